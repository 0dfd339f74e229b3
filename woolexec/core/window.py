"""
How much may be sent to a place before its answers come back.

A place runs one call; more are sent ahead so that it never waits for us, as long as they are short.  Because what is
not started can be taken back at once (see `dispatch`), sending ahead costs no balance.

Figures, measured on two cores: the client's other threads may hold the GIL for 5 ms (the switch interval), so
about that much work has to lie ready with each worker for a burst of tiny tasks to run without a gap.  Each refill
costs the worker 60-100 µs between two calls, so a window of eight times that is filled in large steps: in half as large
ones 2,000 sleeps of 1 ms take 1 % longer.
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
"""With more than this ahead, in seconds, a worker is not sent more yet."""

DEPTH = 1024
"""Calls outstanding at one worker, at most."""

BYTES = 1 << 19
"""Payload outstanding at one worker beyond its first two calls, in bytes, at most."""


class Place:
    """
    Something that runs calls, in the order sent, `limit` at once, and what is outstanding there.

    `width` counts the workers that stand behind it.
    `recalling` counts the recalls that it has not answered: nothing is sent meanwhile, so what was recalled is all
    there was.  `waiting` is the stack of its calls that wait for tasks of their own, `above` the call that runs on top.
    `pinned` calls wait for this place and no other.  `offer` is what it has that calls may require, `candidate` what is
    known of it if it lies behind a link.
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
        """Say whether one more call, of this expected run time and payload size, may be sent."""
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
        """It has enough ahead: filling it up in larger steps costs fewer messages than one for each call that ends."""
        # Of payloads that fill the window a worker has few: it would run dry before a refill at half of it comes.
        return len(self.outstanding) > 2 and (self.load > LOW or self.size > BYTES * 3 / 4)

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Book a call at the moment of the decision."""
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
        """Take a call off the books."""
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
        """List what the place has not started, given the number of the last call that it did start."""
        return [call for number, call in self.outstanding.items() if number > started]

    @property
    def idle(self) -> bool:
        """Nothing is outstanding, and it would take something."""
        return not self.outstanding and self.ready and not self.recalling and not self.is_used_up

    @property
    def is_used_up(self) -> bool:
        """It has been sent as many calls as it may run; tasks of its own that a waiting call runs are not counted."""
        return self.remaining is not None and self.remaining <= 0
