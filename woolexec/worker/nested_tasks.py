"""
The call that runs in a worker, and the nested tasks that it submits.

A nested task is sent over the worker's socketpair to its engine, which places it like any other task; its outcome
comes back as Return or Raise under the number that the worker gave it.

A value that nested tasks share is sent to the engine once, before the first task that needs it, and dropped there when
it is collected here.
"""

from __future__ import annotations

import itertools
import threading
from contextvars import ContextVar
from time import monotonic, sleep
from types import CoroutineType

from woolexec.platform.posix import renewed_at_fork
from woolexec.wire.fast_frames import encode_apart
from woolexec.wire.frames import (
    Cancel,
    Close,
    Drop,
    Keep,
    Options,
    Progress,
    Raise,
    Return,
    Started,
    Submit,
    Wait,
    Yield,
    encode,
)
from woolexec.wire.payload import File, attach
from woolexec.wire.values import WithValues

TYPE_CHECKING = False
if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from woolexec.core.call import Call
    from woolexec.futures.latch import Latch
    from woolexec.wire.protobuf import Message
    from woolexec.wire.values import Value
    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.socket_transport import SocketTransport

    class Job(Protocol):
        """The part of `woolexec.worker.job.Job` that this module uses."""

        number: int
        stays: bool
        slot: Any
        frame: Any

        @property
        def name(self) -> str:
            """The name of the task."""

    class Worker(Protocol):
        """The part of `woolexec.worker.process.Worker` that this module uses."""

        transport: SocketTransport
        reading: Reading
        lane: Any


worker: Worker | None = None
"""The worker of this process; None if the process is not a worker."""

current: ContextVar[Job | None] = ContextVar("woolexec_current", default=None)
"""The call that runs in this context, if it does not run in the main thread."""

_FLUSHING = 1.0
"""Seconds that a worker that is about to end waits for its frames to be sent."""

mark: Callable[[Any], Any] | None = None
"""Marks the outcomes of nested tasks, if these may have run at untrusted peers."""

_numbers = itertools.count(1)
_tasks: dict[int, Any] = {}
"""Nested tasks that have not ended, by number."""
_uses: dict[int, object] = {}
"""Objects that are held until some of them have ended."""
_listening: dict[int, Call] = {}
"""Those of them that have an `on_progress`."""

report: Callable[[Call, Progress], object] | None = None
"""Schedules a call of such a callback; set once, by `woolexec.api.task_executor`."""


unfinished: set[Any] = {CoroutineType}
"""Classes of objects that a call may return instead of a value: coroutines, from a lambda or another function that is
not declared async, and futures of nested tasks, once their class is loaded."""

held: set[Call] = set()
"""Nested tasks that have not been sent yet, because they need values of other tasks."""

_shared: dict[int, weakref.ref[Value]] = {}
"""The values that have been sent to the engine, by number."""

_sharing = renewed_at_fork(threading.RLock())  # held while a value is sent: no task that needs it is sent before


def current_job() -> Job | None:
    """Return the call that runs in this context; in a thread started by user code, the one in the main thread."""
    job = current.get()
    if job is None and worker is not None:
        job = worker.lane.current
    return job


def _marked(payload: Any) -> Any:
    return payload if mark is None or not payload or isinstance(payload, OSError) else mark(payload)


def _ended(number: int) -> Any:
    """Forget a nested task; return its receiver."""
    if _uses:
        _uses.pop(number, None)
    if _listening:
        _listening.pop(number, None)
    return _tasks.pop(number, None)


def _returned(frame: Return) -> None:
    receiver = _ended(frame.call[0])
    if receiver is None:
        return
    if frame.context:
        receiver.deliver_context(None, _marked(frame.context), _marked(frame.payload))
    else:
        receiver.deliver(None, _marked(frame.payload))


def _raised(frame: Raise) -> None:
    receiver = _ended(frame.call)
    if receiver is not None:
        receiver.deliver_failure(None, _marked(frame.payload) or None)  # no payload: it was cancelled


def _started(frame: Started) -> None:
    stream = _tasks.get(frame.call[0])
    if stream is not None:
        stream.deliver_start(None)


def _yielded(frame: Yield) -> None:
    stream = _tasks.get(frame.call)
    if stream is not None:
        frame.payload, frame.context = _marked(frame.payload), _marked(frame.context)
        stream.deliver_item(None, frame)


def _progressed(frame: Progress) -> None:
    call = _listening.get(frame.call)
    if call is not None and report is not None:
        report(call, frame)


HANDLERS: dict[type[Message], Callable[[Any], None]] = {
    Return: _returned,
    Raise: _raised,
    Started: _started,
    Yield: _yielded,
    Progress: _progressed,
}
"""The frames about nested tasks: their starts, items, progress and outcomes."""


def submitting_job() -> Job:
    """
    Return the call that submits tasks here.

    :raises RuntimeError: if this process is not a worker, or no call is running
    """
    if worker is None:
        raise RuntimeError("not in a worker of a PeerPoolExecutor")
    job = current_job()
    if job is None:
        raise RuntimeError("no call is running in this worker")
    return job


def submit(call: Call, job: Job | None = None, use: object = None) -> None:
    """
    Send a nested task to the engine; its outcome is delivered to the call's receiver.

    :param job: the call that submits it; None: the one that runs here
    :param use: kept until it has ended
    :raises RuntimeError: if this process is not a worker, or no call is running
    """
    job = job or submitting_job()
    assert worker is not None
    call.number = number = next(_numbers)
    _tasks[number] = call.receiver
    if call.options is not None and call.options.on_progress is not None:
        _listening[number] = call
    if use is not None:
        _uses[number] = use
    function, payload, call.payload = call.function, call.payload, b""  # from now on only the engine keeps it
    frame = Submit(task=number, parent=job.number, function=function.payload, name=function.name, lane=function.lane)
    setup = job.slot.setup
    if call.line is not None and call.line.actor is not None:
        frame.actor = call.line.actor  # type: ignore[assignment]  # in a worker an actor is known by its key
    elif setup is not None:
        frame.function, frame.code = setup.wrap([function.payload]), setup.digests
    if call.context:
        frame.context = call.context
    if call.options is not None:
        frame.options = Options(**call.options.submit_fields)
    if payload.__class__ is WithValues:
        frame.values = _share(payload.values)
        payload = payload.payload
    file = attach(frame, payload)
    worker.transport.send(encode_apart(frame), file, frame.payload)


def ask_for(name: str, job: Job, receiver: Any) -> None:
    """Request the object with a name in the caller's ``__main__``; `receiver` gets its pickle, which may be empty."""
    number = next(_numbers)
    _tasks[number] = receiver
    send(Submit(task=number, parent=job.number, name=name, main_name=name))


def _share(values: Sequence[Value]) -> tuple[int, ...]:
    """Send the values that the engine lacks; return the numbers of all."""
    import weakref

    assert worker is not None
    for value in values:
        number = value.number
        with _sharing:
            if number not in _shared:
                frame = Keep(value=number)
                file = attach(frame, value.payload)  # type: ignore[arg-type]  # it is not None here
                worker.transport.send(encode_apart(frame), file, frame.payload)
                _shared[number] = weakref.ref(value, lambda _, number=number: _drop(number))  # type: ignore[misc]
    return tuple(value.number for value in values)


def _drop(number: int) -> None:
    """Make the engine drop a value that was collected here; takes no lock, since a destructor may run in any thread."""
    _shared.pop(number, None)
    send(Drop(value=(number,)))


def flush() -> None:
    """Wait until this worker's frames have been written, for a limited time because the engine may not read."""
    deadline = monotonic() + _FLUSHING
    while worker is not None and worker.transport.is_sending and monotonic() < deadline:
        sleep(0.001)


def send(frame: Any, file: File | None = None) -> None:
    """Send a frame about a nested task to the engine."""
    if worker is not None:
        worker.transport.send(encode(frame), file)


def cancel(number: int, *, force: bool = False) -> None:
    """Drop a nested task if it has not been started; with `force`, end it."""
    send(Close(call=number) if force else Cancel(call=number))


def when_ended(number: int) -> Latch:
    """Abandon a nested task; return the latch that opens at its end."""
    from woolexec.futures.call_future import Nobody

    nobody = Nobody()
    if number in _tasks:
        _tasks[number] = nobody
    else:
        nobody.ended.open()
    return nobody.ended


def open_worker() -> None:
    """Let the reader thread read, for threads and tasks that wait without reading."""
    if worker is not None:
        worker.reading.open()


def wait_lane() -> None:
    """
    Prepare for a wait for a nested task that does not read: in an event loop or a thread that a plain call started.

    The main thread can run none of the call's tasks meanwhile, so the engine is told to run them in another worker.
    """
    if worker is None:
        return
    worker.reading.open()
    job = current_job()
    if job is not None and job is worker.lane.current and not job.stays:
        job.stays = True
        worker.transport.send(encode(Wait(call=job.number, stays=True)))


def must_read() -> bool:
    """
    Return whether a wait here for a nested task reads the socket and runs tasks: true in a main thread's call.

    It is false while tasks are held: another thread may end them, and would not wake a thread that reads.
    """
    assert worker is not None
    return threading.current_thread() is threading.main_thread() and worker.lane.current is not None and not held


def wait_until(is_done: Callable[[], bool], timeout: float | None) -> None:
    """Wait until `is_done`, or for `timeout` seconds, if `must_read`; tasks of the waiting call run meanwhile."""
    assert worker is not None
    was_open = worker.reading.is_open
    worker.lane.wait_for(is_done, None if timeout is None else monotonic() + timeout)
    if was_open:  # something relied on the reader thread, for example an event loop that the task started
        worker.reading.open()
