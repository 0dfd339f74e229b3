"""
A place: something that runs calls, and what is known about the calls that it was sent.

::

    target               its main place          its lane
    a local worker       its main thread         its event loops and threads
    a peer               its workers             their event loops and threads

A call is recorded as outstanding at its place at the moment of the decision, before anything is sent.
"""

from __future__ import annotations

from woolexec.core.call import QUEUED, SENT, Call
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.window import BYTES, DEPTH, HORIZON, LOW

USED_UP = -(1 << 62)
"""Number of calls left for a place that must run no more calls, however many it gives back."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from woolexec.core.call import Chunk
    from woolexec.core.candidate import Candidate
    from woolexec.resources import Requirement

    class Marks(Protocol):
        """The calls that a place has started, and must not start: see `woolexec.wire.shared_page`."""

        @property
        def started(self) -> int:
            """Return the number of the call started last."""

        @property
        def runs(self) -> int:
            """Return the number of the call that was started last and was not declined because of a recall."""

        @property
        def since(self) -> float:
            """Return when that call was started, in monotonic seconds."""

        def recall(self, number: int) -> int:
            """Recall this call and all with higher numbers; return the number of the call started last."""

        def clear_recall(self) -> None:
            """Clear the recalls."""


class Place:
    """
    Something that runs calls in the order sent, `limit` at once, together with the calls outstanding there.

    `width` is the number of workers that it stands for.
    `target` is the worker or the peer that it belongs to, and `page` says what has been started there.
    `recalling` counts the recalls that it has not answered.  Nothing is sent meanwhile, so the recall covers all
    unstarted calls.  `waiting` is the stack of its calls that wait for nested tasks; `above` is the call that runs on
    top of them.  `pinned` calls wait only for this place.  `offer` is what calls may require of it; `candidate` is what
    is known about it if it is behind a link; `actor` is the actor that a worker is for; `devices` are a worker's
    devices, see `woolexec.core.devices`.
    """

    __slots__ = (
        "above",
        "actor",
        "candidate",
        "devices",
        "limit",
        "load",
        "offer",
        "outstanding",
        "pinned",
        "ready",
        "recalling",
        "remaining",
        "size",
        "target",
        "waiting",
        "width",
    )

    page: Marks
    is_lane = False
    """Whether it runs calls that do not run in a main thread: coroutines and streams."""

    def __init__(self) -> None:
        self.outstanding: dict[int, Call] = {}
        self.load = 0.0
        self.size = 0
        self.ready = True
        self.recalling = 0
        self.remaining: int | None = None
        self.waiting: list[int] = []
        self.above = 0
        self.limit = self.width = 1
        self.pinned: list[Call] = []
        self.offer: Offer = NOTHING
        self.candidate: Candidate | None = None
        self.actor: Any = None
        self.devices: Any = None
        self.target: Any = self

    def has_room(self, cost: float | None, size: int) -> bool:
        """Return whether one more call with this expected run time and payload size may be sent."""
        if not self.ready or self.waiting or self.recalling or self.is_used_up:
            return False
        ahead = len(self.outstanding)
        if ahead == 0:
            return True
        if cost is None or ahead >= DEPTH:
            return False
        return ahead < 2 or (self.load + cost <= HORIZON and self.size + size <= BYTES)

    def has_room_for_outcome(self, call: Call | Chunk) -> bool:
        """
        Return whether one more call with a rank may be sent, assuming that its outcome is as large as the last one.

        Too many of them would delay the calls that use the outcomes, and so free their memory.
        """
        ahead = len(self.outstanding)
        return ahead < 2 * self.width or call.function.outcome_size * ahead <= BYTES * self.width

    @property
    def is_supplied(self) -> bool:
        """Whether it has enough work ahead: refilling in larger steps takes fewer messages than after each call."""
        # If payloads fill the window, a worker has few calls: it would run out before a refill at half the window.
        return len(self.outstanding) > 2 and (self.load > LOW or self.size > BYTES * 3 / 4)

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether it could now run a call with this requirement."""
        return self.offer.has(requirement)

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding here, at the moment of the decision."""
        call.number = number
        call.place = self
        call.cost = cost
        call.attempts += 1
        if call.state is QUEUED:  # as `move` does it, without a function for each call
            call.state = SENT
        else:
            call.move("send")
        if call.line is not None:
            self.offer.take(call.line.requirement)
        self.outstanding[number] = call
        self.load += cost
        self.size += size
        if self.remaining is not None and not self.waiting:
            self.remaining -= 1

    def is_certain(self, number: int) -> bool:
        """Return whether a call is known to have been started, regardless of recalls: the place has reported it."""
        return number == self.page.runs

    def free_arguments(self, call: Call) -> None:
        """Drop the arguments of a call that runs here and will not be started again."""
        if call.number in self.outstanding:
            self.size -= len(call.payload)
        call.payload = b""

    def gone(self, number: int, size: int) -> Call | None:
        """Remove a call from those outstanding here."""
        call = self.outstanding.pop(number, None)
        if call is None:
            return None
        if call.line is not None:
            self.offer.give(call.line.requirement)
        if self.outstanding:
            self.load -= call.cost
            self.size -= size
        else:
            self.load = 0.0
            self.size = 0
        call.place = None
        return call

    def unstarted(self, started: int) -> list[Call]:
        """Return the calls that the place has not started, given the number of the last call that it did start."""
        return [call for number, call in self.outstanding.items() if number > started]

    def has_started(self, call: Call) -> bool:
        """Return whether an outstanding call has been started; from any thread."""
        return call.number <= self.page.started

    @property
    def current(self) -> Call | None:
        """The call that a worker's main thread runs, or that waits there with none of its own tasks on top of it."""
        started = self.page.started
        call = self.outstanding.get(started)
        if call is None:  # that one has ended: another one that it ran on top of goes on, or waits
            call = next((each for number, each in reversed(self.outstanding.items()) if number < started), None)
        return call

    def runs_here(self, call: Call) -> bool:
        """Return whether a worker's main thread has this outstanding call; the outcomes of others are on their way."""
        return call is self.current or call.number in self.waiting

    @property
    def last_started(self) -> int:
        """Number of the last call that may have been started."""
        return self.page.started

    @property
    def runs(self) -> bool:
        """Whether a call runs here, or is about to; one that waits for nested tasks does not run."""
        return bool(self.outstanding) and not (self.waiting and not self.above)

    @property
    def idle(self) -> bool:
        """Whether nothing is outstanding, and it can take a call."""
        return not self.outstanding and self.ready and not self.recalling and not self.is_used_up

    @property
    def is_used_up(self) -> bool:
        """Whether it was sent as many calls as it may run; nested tasks of a waiting call do not count."""
        return self.remaining is not None and self.remaining <= 0


class Lane(Place):
    """
    The place of a worker's calls that do not run in its main thread: they all run at once.

    :param limit: maximum number of calls that run at once
    """

    __slots__ = ("page",)

    is_lane = True

    def __init__(self, target: Place, limit: int) -> None:
        super().__init__()
        self.target = target
        self.limit = limit

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding; it counts towards the worker's limit, and starts as soon as it arrives."""
        super().sent(call, number, cost, size)
        if self.target.remaining is not None:
            self.target.remaining -= 1

    @property
    def is_used_up(self) -> bool:
        """Whether the worker was sent as many calls as it may run."""
        return bool(self.target.is_used_up)


class AnyOf:
    """The offers of several places."""

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    @property
    def is_far(self) -> bool:
        """Whether calls whose values are at peers may run at one of them."""
        return any(place.candidate is not None for place in self._places)

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether one of them could now run a call with this requirement."""
        return requirement is None or any(place.has(requirement) for place in self._places)
