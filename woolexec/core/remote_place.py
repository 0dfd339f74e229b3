"""A place behind a link: what a client knows about the calls that it has sent to a peer."""

from __future__ import annotations

from woolexec.core.call import UNCERTAIN, Call
from woolexec.core.place import Place
from woolexec.core.window import BYTES_AHEAD, DEPTH, EPSILON, HORIZON, weigh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.core.candidate import Candidate
    from woolexec.resources import Requirement


class Reports:
    """
    The reports of a peer about the calls that it started; used in place of the shared page of a worker.

    `since` is when it last reported that a call was started or has ended.
    """

    runs = 0
    """Unused: see `RemotePlace.begun`."""

    def __init__(self, now: float) -> None:
        self.started = 0
        self.since = now
        self.sent = 0

    def recall(self, number: int) -> int:
        """Return the last call that was sent: any of them may have been started."""
        return self.sent

    def clear_recall(self) -> None:
        """Do nothing: there are no recalls to clear."""


class RemotePlace(Place):
    """
    A place behind a link, or the lane of one.

    Starts of calls are known with a delay.  `begun` are the calls that were reported as started, and when; `short` are
    those of them that were expected to be short and have not run for much longer yet.  `wanted` has the callbacks that
    are told whether a call could be recalled.  In monotonic seconds, `sent_at` is when a call was last sent,
    `asked_at` when the peer was asked to give back calls (0.0 if it has answered), and `answered_at` when it last
    answered; `answers_in` is how many seconds that took.  `on_the_way` is how long a call and its outcome travel, in
    seconds: this much work is always sent ahead.

    :param now: the time, in monotonic seconds
    """

    __slots__ = ("answered_at", "answers_in", "asked_at", "begun", "on_the_way", "page", "sent_at", "short", "wanted")

    candidate: Candidate
    page: Reports

    def __init__(self, now: float = 0.0) -> None:
        super().__init__()
        self.page = Reports(now)
        self.begun: dict[int, float] = {}
        self.short: set[int] = set()
        self.wanted: dict[Call, Callable[[bool], object]] = {}
        self.asked_at = self.answered_at = self.answers_in = self.sent_at = self.on_the_way = 0.0

    def has_room(self, cost: float | None, size: int) -> bool:
        """Return whether one more call with this expected run time and payload size may be sent."""
        if not self.ready or self.recalling or self.candidate.is_full:
            return False
        ahead = len(self.outstanding)
        if ahead < self.width:
            return True
        if ahead >= DEPTH * self.width or self.size + size > BYTES_AHEAD:
            return False
        if len(self.begun) - len(self.short) >= self.width:  # all of its workers run long calls
            return False
        return self.load + weigh(cost) <= (self._least_ahead + HORIZON / 2) * self.width + EPSILON

    @property
    def _least_ahead(self) -> float:
        """Seconds of work for each worker below which more is sent: enough until it arrives."""
        return max(HORIZON / 2, self.on_the_way)

    def spares(self, values: Sequence[Any]) -> int:
        """Return how many bytes of these values the peer already has."""
        return 0

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether it could now run a call with this requirement."""
        return self.offer.has(requirement) and not self.candidate.is_full

    @property
    def is_supplied(self) -> bool:
        """Whether it has enough work ahead: refilling it in larger steps takes fewer messages."""
        return len(self.outstanding) > self.width and self.load > self._least_ahead * self.width

    @property
    def can_accept(self) -> bool:
        """Whether a call that is submitted now might start there at once."""
        return self.ready and not self.candidate.is_full and len(self.outstanding) < self.width

    @property
    def free(self) -> int:
        """The number of its workers that run nothing, as far as is known."""
        return max(0, self.width - self.candidate.taken - len(self.outstanding)) if self.can_accept else 0

    @property
    def unbegun(self) -> list[Call]:
        """The calls that were not reported as started, in the order sent; some of them may be running."""
        if len(self.outstanding) <= len(self.begun):
            return []
        return [call for number, call in self.outstanding.items() if number not in self.begun]

    @property
    def soon_free(self) -> int:
        """The number of its workers that run nothing or a short call, as far as is known."""
        return max(0, self.width - len(self.begun) + len(self.short))

    def note_overdue(self, now: float, least: float) -> None:
        """
        Count calls as long that were expected to be short, but have run for twice as long as expected.

        How long they will still run is unknown; calls that were sent behind them may wait for long.

        :param least: minimum seconds that a call must have run to count as long
        """
        for number in [number for number in self.short if now - self.begun[number] > least]:
            call = self.outstanding[number]
            if now - self.begun[number] > 2 * call.cost:
                self.short.discard(number)
                self.load += HORIZON - call.cost
                call.cost = HORIZON

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding here, at the moment of the decision."""
        Place.sent(self, call, number, cost, size)  # faster than `super()`; this runs for each call
        self.page.sent = number

    def is_certain(self, number: int) -> bool:
        """Return whether a call is known to have been started, regardless of recalls."""
        return number in self.begun

    def gone(self, number: int, size: int) -> Call | None:
        """Remove a call from those outstanding here."""
        self.begun.pop(number, None)
        self.short.discard(number)
        return Place.gone(self, number, size)

    def began(self, number: int, now: float) -> Call | None:
        """Note that a call was started, as the peer reports; return None if it is no longer outstanding."""
        call = self.outstanding.get(number)
        if call is not None:
            self.begun[number] = now
            if call.cost < HORIZON and not self.is_lane:
                self.short.add(number)
            if call.state == UNCERTAIN:  # commands for it are sent from now on: the peer does not give it back
                call.move("start")
            self.page.started = max(self.page.started, number)
            self.page.since = now
        return call

    @property
    def last_started(self) -> int:
        """Number of the last call that may have been started: any that was sent."""
        return self.page.sent

    def has_started(self, call: Call) -> bool:
        """Return whether the peer has reported that this call was started; from any thread."""
        return call.number in self.begun


class RemoteLane(RemotePlace):
    """
    The lanes of a peer: the place of its calls that do not run in the main threads of its workers.

    :param limit: maximum number of calls that it runs at once
    """

    __slots__ = ()

    is_lane = True

    def __init__(self, target: RemotePlace, limit: int, now: float = 0.0) -> None:
        super().__init__(now)
        self.target = target
        self.limit, self.width = limit, target.width
        self.offer, self.candidate = target.offer, target.candidate
