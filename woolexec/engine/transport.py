"""
How frames are sent to a target: a local worker through its socket, or a peer through its link.

A call is sent as a Start frame.  Its function is sent before it, once, as a Define frame that names a slot.  The main
place and the lane of a target share its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from woolexec.core.call import MAIN, Call, Function
from woolexec.core.remote_place import RemotePlace
from woolexec.wire.fast_frames import encode_slot, encode_start
from woolexec.wire.frames import Define, Drop, Fetch, Keep, Recall, Start, encode
from woolexec.wire.payload import APART, File, Parts, attach
from woolexec.wire.protobuf import Message
from woolexec.wire.values import WithValues

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from woolexec.core.place import Place
    from woolexec.core.remote_place import RemoteLane
    from woolexec.engine.kept_outcomes import KeptOutcomes
    from woolexec.wire.values import Value

SLOTS = 128
"""Maximum number of functions that a target remembers; a slot number takes one byte."""


class Sent:
    """
    What a target was sent and remembers.

    `slot_of` holds the encoded slot of each function, `families` the last sent version of each large function, and
    `chunks` the mark of the chunk last sent to the main place and to the lane.  `values` holds the sizes of values by
    number, in bytes; the most recently used is the last.  `kept` holds the sizes of outcomes that it keeps.
    """

    __slots__ = ("chunks", "families", "kept", "slot_of", "values")

    def __init__(self) -> None:
        self.slot_of: dict[Function, bytes] = {}
        self.families: dict[object, Function] = {}
        self.chunks: list[object] = [None, None]
        self.values: dict[int, int] = {}
        self.kept: dict[int, int] = {}

    def clear(self) -> None:
        """Drop the references to functions and chunks: they may hold descriptors."""
        self.slot_of.clear()
        self.families.clear()
        self.chunks = [None, None]


class Transport:
    """
    The sending half of a target: a mixin for its main place.  Only the engine's thread uses it.

    `has_sent` is what the target was sent, `lane_place` the place of its calls that do not run in a main thread, and
    `values` tracks the values that this and the other targets of the engine have.
    """

    __slots__ = ()

    VALUES: ClassVar[int]
    """Maximum number of values that it keeps, except for those of a single call."""

    candidate: Any  # a `Candidate` behind a link; None for a worker here
    has_sent: Sent
    lane_place: Place
    values: KeptOutcomes
    room_for_values: int
    """Maximum size of the values that it keeps, in bytes, except for those of a single call."""

    def place_of(self, number: int) -> Place:
        """Return the place where this call is outstanding: the lane, or the target itself."""
        return self.lane_place if number in self.lane_place.outstanding else self  # type: ignore[return-value]

    def key(self, number: int) -> int | str:
        """Return the key of a worker in `run_on_all`."""
        raise NotImplementedError

    def send_calls(self, calls: Sequence[Call]) -> None:
        """Send calls; consecutive calls of one function are sent together."""
        run: list[Call] = []
        for call in calls:
            follows = call.follows is not None
            if not follows and (
                not call.is_plain
                or len(call.payload) >= APART
                or call.payload.__class__ is not bytes
                or call.attempts > 1
            ):
                self._send_run(run)
                run = []
                self._send_alone(call)
            else:
                first = run[0] if run else call
                if first.function is not call.function or (first.follows is None) is follows or len(run) >= 256:
                    self._send_run(run)
                    run = []
                run.append(call)
        self._send_run(run)

    def _send_run(self, run: list[Call]) -> None:
        if run:
            first = run[0]
            slot, numbers = self._slot(first.function), [call.number for call in run]
            if first.follows is None:
                payloads, after = [call.payload for call in run], 0
            else:
                payloads, after = [call.payload.payload for call in run], first.follows.after
            self.send(encode_start(slot, numbers, payloads, first.function.lane, after))

    def _send_alone(self, call: Call) -> None:
        frame = Start(function=self._slot(call.function), call=(call.number,), count=call.count, first=call.first)
        frame.attempt = call.attempts - 1
        frame.lane = call.function.lane
        frame.context = call.context
        frame.parent = call.parent
        frame.worker = call.pin
        if call.options is not None:
            vars(frame).update(call.options.start_fields)
        self._say_more(frame, call)
        if call.chunk is not None:
            in_lane = call.function.lane > MAIN
            frame.again = self.has_sent.chunks[in_lane] is call.chunk.mark
            # A chunk that refers to values is sent whole each time: a target that remembered it would keep these alive.
            self.has_sent.chunks[in_lane] = None if call.payload.__class__ is WithValues else call.chunk.mark
        if frame.again:
            self._send_again(frame)
            return
        payload = call.payload
        if payload.__class__ is WithValues:
            frame.values = self.values.send(self, payload.values)
            payload = payload.payload
        self._send_payload(frame, payload)

    def _say_more(self, frame: Start, call: Call) -> None:
        """Add fields that only some places need."""

    def _send_again(self, frame: Start) -> None:
        """Send a span of the chunk that was last sent."""
        self.send(encode(frame))

    def _slot(self, function: Function) -> int:
        """Return the slot in which the target has this function; send the function first if it does not have it."""
        field = self.has_sent.slot_of.get(function)
        if field is not None:
            return field[1]
        slot_of, families = self.has_sent.slot_of, self.has_sent.families
        needs = self._slots_of_needs(function)
        before = families.get(function.family)
        if before is not None:
            field = self._forget(before)
        elif len(slot_of) >= SLOTS:
            field = self._forget(next(iter(slot_of)))
        else:
            field = encode_slot(len(slot_of))
        slot_of[function] = field
        if function.family is not None:
            families[function.family] = function
        slot = field[1]
        self._send_function(slot, function, needs)
        return slot

    def _slots_of_needs(self, function: Function) -> tuple[int, ...]:
        """Return the slots of the large globals that a function needs."""
        return tuple(self._slot(need) for need in function.needs)

    def _forget(self, function: Function) -> bytes:
        """Free a function's slot for another function, and return it."""
        if self.has_sent.families.get(function.family) is function:
            del self.has_sent.families[function.family]
        return self.has_sent.slot_of.pop(function)

    def _send_function(self, slot: int, function: Function, needs: tuple[int, ...]) -> None:
        frame = Define(function=slot, needs=needs)
        file = attach(frame, function.payload)
        self.send(encode(frame), file)

    def may_share(self, value: Value) -> bool:
        """Return whether the target may get a value from another one, and send it to others."""
        return False

    def nearness(self, holder: Transport) -> int:
        """Return how near the target is to another one that has a value; 0 if it cannot fetch the value from there."""
        return 0

    def send_value(self, value: Value) -> bool:
        """Send a value; return whether the target says when it has arrived."""
        frame = Keep(value=value.number)
        file = attach(frame, value.payload)  # type: ignore[arg-type]  # calls that lack a value are not sent
        self.send(encode(frame), file)
        return False

    def send_drop(self, number: int) -> None:
        """Tell the target to drop a value."""
        self.send(encode(Drop(value=(number,))))

    def send_fetch(self, number: int) -> None:
        """Request an outcome that the target keeps."""
        self.send(encode(Fetch(value=(number,))))

    def send_pull(self, number: int, key: bytes, holder: Transport) -> None:
        """Tell the target to fetch a value from another one that has it."""
        raise NotImplementedError

    def send_recall(self, number: int, waiting: int, *, lane: bool) -> None:
        """Send the mark that the main place, or the lane, answers with Recalled."""
        self.send(encode(Recall(call=number, waiting=waiting, loop=lane)))

    def send_command(self, frame: Message, file: File | None = None) -> None:
        """Queue a command for a call."""
        self.send(encode(frame), file)

    def answer(self, task: int, frame: Message, payload: bytes | File | Parts | None = None) -> None:
        """Send an outcome of a task that was submitted there."""
        file = None if payload is None else attach(frame, payload)
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


class Remote(Transport, RemotePlace):
    """A link to a peer.  Only the peer knows what it has started, so a cancel is answered when it has replied."""

    __slots__ = ()

    lane_place: RemoteLane
    round_trip: float | None
    """The round-trip time in seconds, measured when the link was made; None if unknown."""
    name: str
    """Name of the process at the other end."""

    @property
    def bytes_received(self) -> int:
        """Bytes that were read from the link."""
        raise NotImplementedError

    @property
    def bytes_sent(self) -> int:
        """Bytes that were written to the link."""
        raise NotImplementedError

    def key(self, number: int) -> int | str:
        """Return the key of the peer's worker with this number in `run_on_all`."""
        return f"{self.name}/{number}"

    def spares(self, values: Sequence[Value]) -> int:
        """Return the bytes of these values that the peer has, or is being sent."""
        sizes, kept = self.has_sent.values, self.has_sent.kept
        return sum(sizes.get(value.number) or kept.get(value.number, 0) for value in values)

    def say_directly(self, frames: bytes) -> bool:
        """Return False: only the engine's thread writes to a link."""
        return False

    def withdraw(self, call: Call) -> bool:
        """Queue a call again whose large payload has not been sent yet; return False if the call has been sent."""
        raise NotImplementedError

    def take_back(self, call: Call, answer: Callable[[bool], object], *, force: bool = False) -> None:
        """
        Ask the peer to give an outstanding call back or, with `force`, to end it.

        :param answer: called in the engine's thread with whether the call was cancelled
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the link: the calls that the peer still runs for this client end."""
        raise NotImplementedError
