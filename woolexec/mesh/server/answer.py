"""The receiver of one call of a client, which sends the outcome over the link."""

from __future__ import annotations

from concurrent.futures import CancelledError
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from woolexec.core.call import Relayed
from woolexec.wire.exceptions import dump_failure, types_of
from woolexec.wire.fast_frames import encode_return, encode_yield
from woolexec.wire.frames import Raise, Return, Started, Yield, encode
from woolexec.wire.values import KEPT, LEAST_KEPT

if TYPE_CHECKING:
    from woolexec.core.call import Call
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.mesh.server.capacity import Places
    from woolexec.mesh.server.kept_values import KeptValues
    from woolexec.mesh.server.output_feed import OutputFeed
    from woolexec.mesh.server.refusals import Refusals
    from woolexec.mesh.server.start_reports import StartReports
    from woolexec.resources import Requirement
    from woolexec.wire.frames import Log, Output, Progress
    from woolexec.wire.payload import File, Parts
    from woolexec.wire.protobuf import Message


class Session(Protocol):
    """What an answer needs of the session of its client."""

    outbox: Outbox
    untold: StartReports
    """The calls that are not reported as started."""
    refusals: Refusals
    """The calls that are given back."""
    values: KeptValues
    """Keeps outcomes here."""
    output: OutputFeed
    """Takes the output of the client's tasks."""
    places: Places
    """The capacity that the clients share."""

    def forget(self, number: int, outcome: str) -> bool:
        """Remove a call that is over; return False if it is not outstanding."""

    def let_go_arguments(self, answer: Answer) -> None:
        """Note that the arguments of a running call no longer take memory."""

    def end_stream(self, call: Call) -> None:
        """Cancel a stream whose client already has its outcome."""

    def log(self, frame: Log) -> None:
        """Send a logging record to the client."""

    def __hash__(self) -> int:
        """Sessions are hashed by identity."""


class Answer(Relayed):
    """Receives the outcome of one call, and sends it to the client."""

    __slots__ = (
        "_began",
        "is_of_actor",
        "keeps",
        "number",
        "outstanding_call",
        "pinned",
        "raised",
        "request",
        "requirement",
        "served",
        "size",
        "types",
        "weight",
    )

    outstanding_call: Call
    requirement: Requirement | None
    pinned: bool
    """Whether the call is for one particular worker."""
    size: int
    """Bytes of the call's arguments."""
    weight: float
    """How much of the peer's capacity the call takes."""

    def __init__(self, served: Session, number: int) -> None:
        self.types, self.raised = (), 0
        self._began: float | None = None
        self.is_of_actor = False
        """Whether it is a call of an actor's method, which can run only here."""
        self.request: Call | None = None
        """The call of a task here that the client makes this call for, or that is above it, if there is one."""
        self.keeps = False
        """Whether a large value is kept here."""
        self.served = served
        self.number = number

    @property
    def waiter(self) -> int:
        """The number of the nearest plain call above the call, which waits for it; 0: there is none here."""
        return 0 if self.request is None else self.request.receiver.waiter

    def note_start(self) -> None:
        """Record that the call was seen running."""
        self._began = time()

    def note_late(self) -> None:
        """Count the call as long for admission, although it was expected to be short."""
        served = self.served
        self.weight = served.places.admission.late(served, self.weight, pinned=self.pinned)

    def started_by(self, ended: float, outcome: str) -> float | None:
        """Return when the call was started, in seconds since 1970; None if it was not."""
        if self._began is None and outcome != "cancelled":  # it was over before the first check
            return ended - self.outstanding_call.cost
        return self._began

    def deliver(self, call: Call, payload: Any) -> None:
        """Send the encoded value to the client."""
        if payload.__class__ is not bytes or self.raised or (self.keeps and len(payload) >= LEAST_KEPT):
            self.deliver_context(call, b"", payload)
            return
        if self.served.forget(self.number, "returned"):
            self.served.outbox.put(encode_return(self.number, _seconds(call), payload), self.number)

    def deliver_context(self, call: Call, context: bytes, payload: Any) -> None:
        """Send the encoded value to the client, with changed context variables."""
        frame = Return(call=(self.number,), seconds=(_seconds(call),), context=context, raised=self.raised)
        if not self.served.forget(self.number, "returned"):
            return
        key = self.served.values.stay(KEPT | self.number, payload) if self.keeps and not context else b""
        if key:
            frame.kept, frame.key = len(payload), key
            payload = b""
        frame.full = key is None
        self.served.outbox.put_frame(self.number, frame, payload)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Send the exception to the client."""
        outcome = "cancelled" if payload is None else "raised"
        if payload is None:
            payload = CancelledError()
        frame = Raise(call=self.number, seconds=0.0)
        if isinstance(payload, BaseException):  # raised in this process
            frame.type = types_of(payload)
            payload = dump_failure(payload)
        else:
            frame.type = self.types
        self._end(frame, payload, " ".join((outcome, *frame.type[: outcome == "raised"])))

    def deliver_start(self, call: Call) -> None:
        """Report that items can be pulled from a stream."""
        self.served.untold.forget(self.number)
        self.note_start()
        self.served.outbox.put(encode(Started(call=(self.number,), open=True)))

    def deliver_item(self, call: Call, frame: Yield) -> None:
        """Send items of a stream to the client."""
        if isinstance(frame.payload, OSError):  # no descriptor was left to receive it
            self.deliver_failure(call, frame.payload)
            self.served.end_stream(call)
            return
        if frame.payload.__class__ is bytes and not (frame.count or frame.context):
            self.served.outbox.put(encode_yield(self.number, frame.payload), self.number)
            return
        items = Yield(call=self.number, count=frame.count, context=frame.context)
        self.served.outbox.put_frame(self.number, items, frame.payload)

    def refuse(self, reason: str) -> bool:
        """Give the call back to the client; return False if it is for one particular worker here."""
        if self.pinned:
            return False
        if self.served.forget(self.number, "refused"):
            self.served.refusals.add(self.number, "" if self.is_of_actor else reason)
        return True

    def deliver_log(self, frame: Log) -> None:
        """Send a logging record to the client."""
        self.served.log(frame)

    def deliver_progress(self, frame: Progress) -> None:
        """Send the progress of the call to the client."""
        frame.call = self.number
        self.served.outbox.put(encode(frame))

    def deliver_output(self, frame: Output) -> None:
        """Send output of the call to the client."""
        frame.call = self.number
        self.served.output.send(frame)

    def _end(self, frame: Message, payload: bytes | File | Parts, outcome: str) -> None:
        if self.served.forget(self.number, outcome):
            self.served.outbox.put_frame(self.number, frame, payload)


def _seconds(call: Call) -> float:
    """
    Return the run time that is reported to the client: the moving average here.

    Clients send ahead calls that they expect to be short.  If each single time was reported, calls would wait behind
    long ones.
    """
    return (call.function.seconds or 0.0) * (call.count or 1)
