"""Tasks that running calls submit: they take the way of any other, and their outcomes go to the worker that asked."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from woolexec.core.call import Call
from woolexec.options import TaskOptions
from woolexec.wire.codec import Raise, Return, Submit, encode
from woolexec.wire.failures import dump_failure
from woolexec.wire.payload import File, Parts

if TYPE_CHECKING:
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.workers import Worker


class NestedTasks:
    """The nested tasks of all workers that have no outcome yet."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._tasks: dict[tuple[int, int], _Receiver] = {}

    def submit(self, worker: Worker, frame: Submit, broken: BaseException | None) -> None:
        """Queue a task that a worker's call submits."""
        dispatcher = self._dispatcher
        function = dispatcher.intern(frame.function, "a nested task")
        options = None
        if frame.options is not None:
            asked = frame.options
            options = TaskOptions.restore(
                asked.timeout or None,
                asked.retries,
                asked.retry_on,
                idempotent=asked.idempotent,
                name=asked.name or None,
            )
        receiver = _Receiver(self, worker, frame.task)
        receiver.call = call = Call(function, frame.payload, receiver, options, frame.parent)
        self._tasks[worker.id, frame.task] = receiver
        if broken is not None:
            receiver.deliver_failure(call, broken)
            return
        dispatcher.core.queue.offer(call)
        dispatcher.core.queue.add(call)

    def cancel(self, worker: Worker, task: int) -> None:
        """Drop a task, if it has not been sent."""
        receiver = self._tasks.get((worker.id, task))
        if receiver is not None and self._dispatcher.core.queue.claim(receiver.call):
            receiver.call.move("cancel")
            del self._tasks[worker.id, task]

    def orphan(self, worker: Worker) -> None:
        """Drop the tasks of a dead worker's calls, for which nobody waits, if they have not been sent."""
        for worker_id, task in [key for key in self._tasks if key[0] == worker.id]:
            self.cancel(worker, task)
            self._tasks.pop((worker_id, task), None)

    def finish(self, receiver: _Receiver, frames: bytes, file: File | None = None) -> None:
        """Send the outcome of a task to the worker that submitted it."""
        worker = receiver.worker
        self._tasks.pop((worker.id, receiver.task), None)
        if not worker.doomed:
            worker.send(frames, file)
            self._dispatcher.due.add(worker)


class _Receiver:
    """Takes the outcome of one nested task."""

    __slots__ = ("_tasks", "call", "task", "worker")

    call: Call

    def __init__(self, tasks: NestedTasks, worker: Worker, task: int) -> None:
        self._tasks = tasks
        self.worker = worker
        self.task = task

    def deliver(self, call: Call, payload: Any) -> None:
        """Send the encoded value down."""
        frame = Return(call=(self.task,), seconds=(0.0,))
        if isinstance(payload, File):
            frame.extent = payload.extent
            self._tasks.finish(self, encode(frame), payload)
            return
        if isinstance(payload, Parts):
            frame.extent = payload.extent
            payload = b"".join(payload.parts)
        frame.size = (len(payload),)
        frame.payload = payload
        self._tasks.finish(self, encode(frame))

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Send the exception down; None: the task was cancelled."""
        if payload is None:
            payload = CancelledError()
        if isinstance(payload, BaseException):
            payload = dump_failure(payload)
        self._tasks.finish(self, encode(Raise(call=self.task, payload=payload)))
