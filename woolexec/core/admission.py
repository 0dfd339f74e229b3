"""
Which offers a peer accepts, and which client it notifies when places are free again.

Guarantee: a client that was refused stays in line until it has been notified of a free place, or has left.  So no
client waits indefinitely.  It stays in line for as many places as it was refused, while it uses the places that it is
notified of.
"""

from __future__ import annotations

from woolexec.core.offer import Offer
from woolexec.core.window import EPSILON, HORIZON, taken_by, weigh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

    from woolexec.resources import Requirement


_WANTED = 64
"""Maximum number of different requirements of a client in line; with more it is notified of any free place."""


_LATE = 0.02
"""Minimum seconds after which a running call that was expected to be short counts as long."""


def late_after(weight: float) -> float | None:
    """Return the seconds that a call of this weight may run until it is `late`; None if it takes a whole place."""
    return max(_LATE, 2 * weight) if 0.0 < weight < HORIZON else None


class _Turn:
    """A client in line."""

    __slots__ = ("places", "told", "used", "wanted")

    def __init__(self) -> None:
        self.wanted: set[tuple[Requirement | None, bool]] = set()
        self.places = 0  # the number of places that it was refused and has not been given since
        self.told = False  # notified of a free place since its last refusal
        self.used = False  # it has used a place that it was notified of


class Admission:
    """
    The places of one peer, and how many of them its clients' calls take.

    :param width: number of calls that the peer runs at once
    :param offer: what calls may require of the peer
    """

    def __init__(self, width: int, offer: Offer) -> None:
        self.offer = offer
        self._width = width
        self._load = 0.0
        self._long = 0  # calls that each occupy a whole worker, except pinned ones, which have no limit
        self._loads: dict[Hashable, float] = {}  # of each client that has calls
        self._waiting: dict[Hashable, _Turn] = {}

    @property
    def free(self) -> int:
        """The number of places that no call takes."""
        return max(0, self._width - taken_by(self._load))

    def admit(
        self,
        client: Hashable,
        seconds: float | None,
        requirement: Requirement | None = None,
        *,
        offer: bool,
        is_lane: bool = False,
        pinned: bool = False,
    ) -> float | None:
        """
        Accept a call, or refuse it and put its client in line.

        :param seconds: expected run time; None if unknown
        :param offer: the call must run at once or be refused
        :param is_lane: the call does not run in a main thread, and takes no place
        :param pinned: the call waits for one particular worker, without limit
        :return: the weight to pass to `done`; None if the call is refused
        """
        # A short call may wait behind other short ones, but not behind long ones.
        has_room = is_lane or pinned or (offer and self.free > 0)
        if not has_room and self._long < self._width:
            has_room = not offer or self._is_below_share(client)
        if not (has_room and self.offer.has(requirement)):
            self._refuse(client, requirement, is_lane=is_lane)
            return None
        if self._waiting and (turn := self._waiting.get(client)) is not None and turn.told:
            turn.used = True
            turn.places -= 1
            if not turn.places:
                del self._waiting[client]
        self.offer.take(requirement)
        weight = 0.0 if is_lane else weigh(seconds)
        self._load += weight
        if weight:
            self._loads[client] = self._loads.get(client, 0.0) + weight
        self._long += weight >= HORIZON and not pinned
        return weight

    def late(self, client: Hashable, weight: float, *, pinned: bool = False) -> float:
        """
        Count a running call that was expected to be short as long: later calls would wait behind it.

        :param weight: the weight that it was accepted with
        :return: the weight to pass to `done`
        """
        self._load += HORIZON - weight
        self._loads[client] = self._loads.get(client, 0.0) + HORIZON - weight
        self._long += not pinned
        return HORIZON

    def _is_below_share(self, client: Hashable) -> bool:
        """Return whether a client uses less than its share of the places, so that others' short calls make room."""
        share = max(1, self._width // len({client, *self._loads}))
        return taken_by(self._loads.get(client, 0.0)) < share

    def done(
        self, client: Hashable, weight: float, requirement: Requirement | None = None, *, pinned: bool = False
    ) -> None:
        """Note that an accepted call of a client has ended."""
        self.offer.give(requirement)
        self._load = max(0.0, self._load - weight)
        self._long -= weight >= HORIZON and not pinned
        left = self._loads.get(client, 0.0) - weight
        if left > EPSILON:
            self._loads[client] = left
        else:
            self._loads.pop(client, None)

    def _refuse(self, client: Hashable, requirement: Requirement | None, *, is_lane: bool) -> None:
        turn = self._waiting.setdefault(client, _Turn())
        if len(turn.wanted) >= _WANTED:
            turn.wanted = {(None, was_lane) for _, was_lane in turn.wanted}
        turn.wanted.add((requirement, is_lane))
        if not turn.told:  # otherwise this repeats an earlier, refused offer
            turn.places += 1
        turn.told = False

    def next(self) -> Any:
        """
        Return the client that has waited longest for what is free now; None if no client must be notified.

        A client that was notified before, and has not used that place, leaves the line.
        """
        for client, turn in list(self._waiting.items()):
            free = self.free > 0 or (self._long < self._width and self._is_below_share(client))
            if any((free or is_lane) and self.offer.has(requirement) for requirement, is_lane in turn.wanted):
                del self._waiting[client]
                if turn.used or not turn.told:
                    turn.told, turn.used = True, False
                    self._waiting[client] = turn  # last in line
                    return client
        return None

    @property
    def has_waiting(self) -> bool:
        """A client is in line."""
        return bool(self._waiting)

    def leave(self, client: Hashable) -> None:
        """Remove a client that has left."""
        self._waiting.pop(client, None)
        self._loads.pop(client, None)
