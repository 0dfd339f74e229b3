"""
Which offers a peer takes, and who is told when it has room again.

Guarantee: a client that was refused is in line until it has been told of room, or has left.  So none waits for ever.
"""

from __future__ import annotations

from woolexec.core.offer import Offer
from woolexec.core.placement import taken_by, weigh
from woolexec.core.window import HORIZON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from woolexec.requirement import Requirement


class Admission:
    """
    The places of one peer, as far as its clients' calls take them.

    :param width: how many calls it runs at once
    :param offer: what calls may require of it
    """

    def __init__(self, width: int, offer: Offer) -> None:
        self.offer = offer
        self._width = width
        self._load = 0.0
        self._long = 0  # calls of which each has a worker for itself
        self._waiting: dict[Hashable, set[tuple[Requirement | None, bool]]] = {}  # for what

    @property
    def free(self) -> int:
        """How many places no call takes."""
        return max(0, self._width - taken_by(self._load))

    def admit(
        self,
        client: Hashable,
        seconds: float | None,
        requirement: Requirement | None = None,
        *,
        offer: bool,
        aside: bool = False,
        pinned: bool = False,
    ) -> float | None:
        """
        Take a call, or refuse it and put its client in line.

        :param seconds: how long it is expected to run; None: not known
        :param offer: it is to run at once, or not here
        :param aside: it does not run in a main thread, and takes no place
        :param pinned: it waits for one of the workers, however long
        :return: what it takes, for `done`; None if it is refused
        """
        # A short call waits for other short ones, and not behind long ones.
        has_room = aside or pinned or (self.free > 0 if offer else self._long < self._width)
        if not (has_room and self.offer.has(requirement)):
            self._waiting.setdefault(client, set()).add((requirement, aside))
            return None
        self.offer.take(requirement)
        weight = 0.0 if aside else weigh(seconds)
        self._load += weight
        self._long += weight >= HORIZON
        return weight

    def done(self, weight: float, requirement: Requirement | None = None) -> None:
        """A call that was taken is over."""
        self.offer.give(requirement)
        self._load = max(0.0, self._load - weight)
        self._long -= weight >= HORIZON

    def next(self) -> Any:
        """Take the client that waited longest out of the line, if there is room; None: nobody is to be told."""
        free = self.free > 0
        for client, wanted in self._waiting.items():
            if any((free or aside) and self.offer.has(requirement) for requirement, aside in wanted):
                del self._waiting[client]
                return client
        return None

    @property
    def has_waiting(self) -> bool:
        """Somebody is in line."""
        return bool(self._waiting)

    def leave(self, client: Hashable) -> None:
        """A client is gone."""
        self._waiting.pop(client, None)
