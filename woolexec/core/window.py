"""
How much may be sent to a place before its outcomes arrive.

A place runs one call at a time.  More calls are sent ahead if they are short, so that it never waits for the engine.
Sending ahead does not harm the balance between workers, because calls that have not been started can be taken back at
once (see `scheduler`).

Figures, measured on two cores: the client's other threads may hold the GIL for 5 ms (the switch interval), so each
worker needs about that much work queued to run a burst of tiny tasks without a gap.  Each refill costs the worker
60-100 µs between two calls, so the window is eight times as large and is filled in large steps: with steps half as
large, 2,000 sleeps of 1 ms take 1 % longer.
"""

from __future__ import annotations

from woolexec.core.call import Call
from woolexec.core.offer import NOTHING, Offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HORIZON = 0.040
"""Work sent ahead to one worker, in seconds of expected run time."""

LOW = 0.005
"""A worker with more work ahead than this, in seconds of expected run time, is not sent more yet."""

DEPTH = 1024
"""Maximum number of calls outstanding at one worker."""

BYTES = 1 << 19
"""Maximum payload outstanding at one worker, in bytes, for calls beyond the first two."""


class Place:
    """
    Something that runs calls in the order sent, `limit` at once, together with the calls outstanding there.

    `width` is the number of workers that it stands for.
    `recalling` counts the recalls that it has not answered.  Nothing is sent meanwhile, so the recall covers all
    unstarted calls.  `waiting` is the stack of its calls that wait for tasks of their own; `above` is the call that
    runs on top of them.  `pinned` calls wait for this place and no other.  `offer` is what calls may require of it;
    `candidate` is what is known of it if it is behind a link.
    """

    __slots__ = (
        "above",
        "candidate",
        "limit",
        "load",
        "offer",
        "outstanding",
        "pinned",
        "ready",
        "recalling",
        "remaining",
        "size",
        "waiting",
        "width",
    )

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
        self.candidate: Any = None

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

    @property
    def is_supplied(self) -> bool:
        """It has enough work ahead: refilling in larger steps takes fewer messages than one for each call that ends."""
        # If payloads fill the window, a worker has few calls: it would run out before a refill at half the window.
        return len(self.outstanding) > 2 and (self.load > LOW or self.size > BYTES * 3 / 4)

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding here, at the moment of the decision."""
        call.number = number
        call.place = self
        call.cost = cost
        call.attempts += 1
        call.move("send")
        if call.line is not None:
            self.offer.take(call.line.requirement)
        self.outstanding[number] = call
        self.load += cost
        self.size += size
        if self.remaining is not None and not self.waiting:
            self.remaining -= 1

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

    @property
    def idle(self) -> bool:
        """Nothing is outstanding, and it can take a call."""
        return not self.outstanding and self.ready and not self.recalling and not self.is_used_up

    @property
    def is_used_up(self) -> bool:
        """It has been sent as many calls as it may run; the nested tasks of a waiting call do not count."""
        return self.remaining is not None and self.remaining <= 0
