"""
Which offers a peer takes, and who is told when it has room again.

Guarantee: a client that was refused is in line until it has been told of room, or has left.  So none waits for ever.
It stays there for as many places as it was refused, as long as it uses those that it is told of.
"""

from __future__ import annotations

from woolexec.core.offer import Offer
from woolexec.core.placement import taken_by, weigh
from woolexec.core.window import HORIZON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from woolexec.resources import Requirement


class _Turn:
    """A client in line."""

    __slots__ = ("places", "told", "used", "wanted")

    def __init__(self) -> None:
        self.wanted: set[tuple[Requirement | None, bool]] = set()
        self.places = 0  # so many it was refused and has not had since
        self.told = False  # of room since it was refused last
        self.used = False  # what it was told of


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
        self._waiting: dict[Hashable, _Turn] = {}

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
        lane_place: bool = False,
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
        has_room = lane_place or pinned or (self.free > 0 if offer else self._long < self._width)
        if not (has_room and self.offer.has(requirement)):
            self._refuse(client, requirement, lane_place=lane_place)
            return None
        if self._waiting and (turn := self._waiting.get(client)) is not None and turn.told:
            turn.used = True
            turn.places -= 1
            if not turn.places:
                del self._waiting[client]
        self.offer.take(requirement)
        weight = 0.0 if lane_place else weigh(seconds)
        self._load += weight
        self._long += weight >= HORIZON
        return weight

    def done(self, weight: float, requirement: Requirement | None = None) -> None:
        """A call that was taken is over."""
        self.offer.give(requirement)
        self._load = max(0.0, self._load - weight)
        self._long -= weight >= HORIZON

    def _refuse(self, client: Hashable, requirement: Requirement | None, *, lane_place: bool) -> None:
        turn = self._waiting.setdefault(client, _Turn())
        turn.wanted.add((requirement, lane_place))
        if not turn.told:  # else it tries again what was refused before
            turn.places += 1
        turn.told = False

    def next(self) -> Any:
        """
        Return the client that has waited longest for what is free now; None: nobody is to be told.

        One that was told before, and has not used that, leaves the line.
        """
        free = self.free > 0
        for client, turn in list(self._waiting.items()):
            if any((free or lane_place) and self.offer.has(requirement) for requirement, lane_place in turn.wanted):
                del self._waiting[client]
                if turn.used or not turn.told:
                    turn.told, turn.used = True, False
                    self._waiting[client] = turn  # last in line
                    return client
        return None

    @property
    def has_waiting(self) -> bool:
        """Somebody is in line."""
        return bool(self._waiting)

    def leave(self, client: Hashable) -> None:
        """A client is gone."""
        self._waiting.pop(client, None)
