"""
What is common to all places to which frames are sent: local workers, and peers behind a link.

A call is sent as a Start frame.  Its function is sent before it, once, as a Define frame that names a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from woolexec.core.call import Call, Function
from woolexec.core.window import Place
from woolexec.wire.fast_frames import encode_slot, encode_start
from woolexec.wire.frames import Define, Recall, Start, encode
from woolexec.wire.payload import APART, File, Parts, attach
from woolexec.wire.protobuf import Message

if TYPE_CHECKING:
    from typing import Protocol

    from woolexec.core.scheduler import SharedPage

    class TimedPage(SharedPage, Protocol):
        """What is known about the calls that a place has started."""

        @property
        def since(self) -> float:
            """Return when it started the last call, in monotonic seconds."""


SLOTS = 128
"""Maximum number of functions that a place remembers: a slot number takes one byte."""


class Transport(Place):
    """A place, and what has been sent to it.  Unless stated otherwise, only the engine's thread uses it."""

    __slots__ = ("_chunk", "_families", "_slot_of")

    page: TimedPage
    pid: int | None
    is_lane = False
    """It runs calls that do not run in a main thread: coroutines and streams."""

    def __init__(self) -> None:
        super().__init__()
        self._slot_of: dict[Function, bytes] = {}
        self._families: dict[object, Function] = {}  # by family: the version of a large function that was sent last
        self._chunk: object = None

    def place_of(self, number: int) -> Transport:
        """Return the place where this call would be outstanding."""
        return self

    def send_calls(self, calls: Sequence[Call]) -> None:
        """Send calls; consecutive calls of one function are sent together."""
        run: list[Call] = []
        for call in calls:
            if (
                not call.is_plain
                or len(call.payload) >= APART
                or call.payload.__class__ is not bytes
                or call.attempts > 1
            ):
                self._send_run(run)
                run = []
                self._send_alone(call)
            else:
                if run and (run[0].function is not call.function or len(run) >= 256):
                    self._send_run(run)
                    run = []
                run.append(call)
        self._send_run(run)

    def _send_run(self, run: list[Call]) -> None:
        if run:
            slot = self._slot(run[0].function)
            numbers, payloads = [call.number for call in run], [call.payload for call in run]
            self.send(encode_start(slot, numbers, payloads, run[0].function.lane))

    def _send_alone(self, call: Call) -> None:
        frame = Start(function=self._slot(call.function), call=(call.number,), count=call.count, first=call.first)
        frame.attempt = call.attempts - 1
        frame.lane = call.function.lane
        frame.context = call.context
        frame.parent = call.parent
        frame.worker = call.pin
        if call.options is not None:
            frame.name = call.options.name or ""
            frame.context_back = call.options.context_back
            frame.timeout = call.options.timeout or 0.0
        self._say_more(frame, call)
        if call.chunk is not None:
            frame.again = self._chunk is call.chunk
            self._chunk = call.chunk
        if frame.again:
            self.send(encode(frame))
        else:
            self._send_payload(frame, call.payload)

    def _say_more(self, frame: Start, call: Call) -> None:
        """Add fields that only some places need."""

    def _slot(self, function: Function) -> int:
        """Return the slot in which the place has this function; send the function first if it does not have it."""
        field = self._slot_of.get(function)
        if field is not None:
            return field[1]
        needs = self._slots_of_needs(function)
        before = self._families.get(function.family)
        if before is not None:
            field = self._forget(before)
        elif len(self._slot_of) >= SLOTS:
            field = self._forget(next(iter(self._slot_of)))
        else:
            field = encode_slot(len(self._slot_of))
        self._slot_of[function] = field
        if function.family is not None:
            self._families[function.family] = function
        slot = field[1]
        self._send_function(slot, function, needs)
        return slot

    def _slots_of_needs(self, function: Function) -> tuple[int, ...]:
        """Return the slots of the large globals that a function needs."""
        return tuple(self._slot(need) for need in function.needs)

    def _forget(self, function: Function) -> bytes:
        """Free a function's slot for another function, and return it."""
        if self._families.get(function.family) is function:
            del self._families[function.family]
        return self._slot_of.pop(function)

    def _send_function(self, slot: int, function: Function, needs: tuple[int, ...]) -> None:
        frame = Define(function=slot, needs=needs)
        file = attach(frame, function.payload)
        self.send(encode(frame), file)

    def send_recall(self, number: int, waiting: int = 0) -> None:
        """Send the mark that ends a recall."""
        self.send(encode(Recall(call=number, waiting=waiting, loop=self.is_lane)))

    def send_command(self, frame: Message, file: File | None = None) -> None:
        """Queue a command for a call."""
        self.send(encode(frame), file)

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Queue encoded frames; `flush` writes them."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Write what is queued; return False if it cannot all be written now."""
        raise NotImplementedError

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        """Send a Start frame with this payload."""
        raise NotImplementedError


class Remote(Transport):
    """A place behind a link.  What it has started is known late, so a cancel is answered when the peer has replied."""

    __slots__ = ("asked_back", "sent_at")

    asked_back: float
    """When it was last asked to give back unstarted calls, in monotonic seconds."""
    sent_at: float
    """When a call was last sent to it, in monotonic seconds."""

    @property
    def unbegun(self) -> float:
        """Expected run time of all calls known to wait there, in seconds; -1.0 if none waits."""
        raise NotImplementedError

    lane_place: Remote
    """The place of its calls that do not run in a main thread."""
    name: str
    """Name of the process at the other end."""

    def withdraw(self, call: Call) -> bool:
        """Queue a call again whose large payload has not been sent yet; return False if the call has been sent."""
        raise NotImplementedError

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """
        Ask the peer to give an outstanding call back or, with `force`, to end it.

        :param answer: called in the engine's thread with whether the call was cancelled
        """
        raise NotImplementedError

    @property
    def can_accept(self) -> bool:
        """A call that is submitted now might start there at once."""
        raise NotImplementedError

    def is_running(self, call: Call) -> bool:
        """Return whether an outstanding call is known to have been started; from any thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the link: the calls that the peer still runs for this client end."""
        raise NotImplementedError
