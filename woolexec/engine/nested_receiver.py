"""Receives the outcome of a nested task, for the worker that submitted it."""

from __future__ import annotations

from math import inf

from woolexec.core.call import Pulled
from woolexec.wire.exceptions import NotStarted, dump_failure
from woolexec.wire.frames import Progress, Raise, Return, Started, Yield

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from woolexec.core.call import Call
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.protobuf import Message

    class NestedTasks(Protocol):
        """What a receiver needs of `woolexec.engine.nested`."""

        def finish(self, receiver: Receiver, frame: Message, payload: Any = None) -> None:
            """Send the outcome of a task to the worker that submitted it."""

        def tell(self, receiver: Receiver, frame: Message, payload: Any = None) -> None:
            """Send a frame, which may have a payload, to the worker that submitted a task."""

        def remove(self, key: tuple[int, int]) -> bool:
            """Forget a task; return False if it is not known."""

        def has_ended(self, parent: int) -> bool:
            """Return whether the task of this number, which has submitted others, has ended."""

        def cancel(self, call: Call) -> None:
            """Cancel a coroutine or a stream where it runs."""

        @property
        def unread_error(self) -> MemoryError:
            """Return the error for results of nested tasks that workers leave unread."""

        def is_too_much(self, worker: Worker, size: int) -> bool:
            """Return whether there is no room for an outcome or an item besides those that workers have not read."""


class Receiver(Pulled):
    """Receives the outcome and the items of one nested task."""

    outstanding_call: Call
    """Deleted when the task is forgotten: it refers to this receiver, and keeps the arguments alive."""

    def __init__(self, tasks: NestedTasks, worker: Worker, parent: int, task: int, size: int) -> None:
        self._tasks = tasks
        self.size = size
        self.worker = worker
        self.parent = parent
        self.task = task
        self.has_started = False

    @property
    def is_open(self) -> bool:  # type: ignore[override]  # computed when it is read
        """Whether it is a stream whose opening task, which would have closed it, has ended."""
        return self.has_started and self._tasks.has_ended(self.parent)

    @property
    def waiter(self) -> int:
        """The number of the nearest plain call above the task, which waits for it; 0: there is none here."""
        for call, _ in _from(self.worker, self.parent):
            if not call.function.lane:
                return call.number
            if call.line is None or call.line.actor is None:
                return call.ancestor
        return 0

    def deliver(self, call: Call, payload: Any) -> None:
        """Send the encoded value to the worker."""
        self.deliver_context(call, b"", payload)

    def deliver_context(self, call: Call, context: bytes, payload: Any) -> None:
        """Send the encoded value to the worker, with changed context variables."""
        frame = Return(call=(self.task,), seconds=(0.0,))
        frame.context = context
        self._tasks.finish(self, frame, payload)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Send the exception to the worker; None, which is sent as empty bytes, means that the task was cancelled."""
        if payload is None:
            payload = b""
        elif isinstance(payload, NotStarted):
            payload = payload.payload  # nothing is unpickled here, so there is no note
        if isinstance(payload, BaseException):
            payload = dump_failure(payload)
        self._tasks.finish(self, Raise(call=self.task, payload=payload))

    def deliver_start(self, call: Call) -> None:
        """Tell the worker that a stream can be pulled."""
        self.has_started = True
        self._tasks.tell(self, Started(call=(self.task,)))

    def deliver_progress(self, call: Call, frame: Progress) -> None:
        """Send the progress of the task to the worker."""
        below = Progress(call=self.task, task=frame.task, done=frame.done, total=frame.total, text=frame.text)
        below.has_total = frame.has_total
        self._tasks.tell(self, below)

    def give_up(self, call: Call, error: OSError | MemoryError) -> None:
        """End a stream because an item, or a value that was sent into it, could not be received or kept."""
        self.deliver_failure(call, error)
        self._tasks.cancel(call)

    def deliver_item(self, call: Call, frame: Yield) -> None:
        """Pass on items of a stream."""
        if isinstance(frame.payload, OSError):
            self.give_up(call, frame.payload)
            return
        if self._tasks.is_too_much(self.worker, len(frame.payload)):
            self.give_up(call, self._tasks.unread_error)
            return
        below = Yield(call=self.task)
        below.count, below.context = frame.count, frame.context
        self._tasks.tell(self, below, frame.payload)


def _from(worker: Any, number: int) -> Iterator[tuple[Call, Any]]:
    """
    Yield a call that a worker runs and those above it, and where each of them runs.

    Workers say which call has submitted a task, and may lie; calls that were sent earlier have smaller numbers.
    """
    least = inf
    while number < least and (call := worker.place_of(number).outstanding.get(number)) is not None:
        yield call, worker
        receiver = _submitter(call)
        if receiver is None:
            return
        worker, number, least = receiver.worker, receiver.parent, number


def _submitter(call: Call) -> Receiver | None:
    """Return the receiver of a nested task; of the one here that a client's call is made for, if there is one."""
    request: Call | None = getattr(call.receiver, "request", None)
    receiver = call.receiver if request is None else request.receiver
    return receiver if isinstance(receiver, Receiver) else None


def plain_above(worker: Any, call: Call) -> Iterator[tuple[Call, Any]]:
    """Yield the plain calls above one that a worker has submitted, and where each of them runs."""
    return ((each, at) for each, at in _from(worker, call.parent) if not each.function.lane)


def of_same_actor(worker: Any, call: Call, actor: object) -> int:
    """Return the number of the nearest plain call of an actor above one that calls it again; 0: there is none."""
    for each, at in plain_above(worker, call):
        if at.actor is actor or (each.line is not None and each.line.actor is actor):
            return each.number
    return 0


def task_of(worker: Any, call: Call) -> int:
    """Return the number that a worker, or a peer, gave to its nearest task at or above a call; 0: there is none."""
    receiver = _submitter(call)
    above = () if receiver is None else _from(receiver.worker, receiver.parent)
    for each in (receiver, *(_submitter(each) for each, _ in above)):
        if each is not None and each.worker is worker:
            return each.task
    return 0


def known_above(worker: Any, number: int) -> int:
    """Return the client's number of the nearest call above a task that came from the client; 0: there is none."""
    for each, _ in _from(worker, number):
        if not isinstance(each.receiver, Receiver):
            return getattr(each.receiver, "number", 0)
    return 0
