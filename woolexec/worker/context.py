"""
What a task can ask about where it runs, and the tasks that it submits itself.

A nested task travels up the worker's socketpair to its engine, which places it like any other; its outcome comes back
as Return or Raise under the number that the worker gave it.
"""

from __future__ import annotations

import itertools
import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.worker.main import Worker

worker: Worker | None = None
"""The worker that this process is, if it is one."""

_numbers = itertools.count(1)
_tasks: dict[int, Any] = {}
"""Nested tasks without an outcome yet, by number."""


def resolve(frame: Any) -> None:
    """Give a nested task its outcome."""
    number = frame.call if isinstance(frame.call, int) else frame.call[0]
    future = _tasks.pop(number, None)
    if future is None:
        return
    if isinstance(frame.call, int):
        future.deliver_failure(None, frame.payload)
    else:
        future.deliver(None, frame.payload)


def submit(future: Any, function: bytes, payload: Any, options: Any) -> int:
    """
    Send a nested task up; its outcome is delivered to `future`.

    :return: the number under which it travels
    :raises RuntimeError: if this process is not a worker, or no call is running
    """
    from woolexec.wire.codec import Options, Submit, encode, encode_apart
    from woolexec.wire.payload import File, Parts

    if worker is None:
        raise RuntimeError("not in a worker of a PeerPoolExecutor")
    job = worker.lane.current
    if job is None:
        raise RuntimeError("no call is running in this worker")
    number = next(_numbers)
    _tasks[number] = future
    frame = Submit(task=number, parent=job.number, function=function)
    if options is not None:
        frame.options = Options(
            timeout=options.timeout or 0.0,
            retries=options.retries,
            idempotent=options.idempotent,
            name=options.name or "",
            retry_on=tuple(sorted(options.retry_on_names)),
        )
    if isinstance(payload, File):
        frame.extent = payload.extent
        worker.road.send(encode(frame), payload)
        return number
    if isinstance(payload, Parts):
        frame.extent = payload.extent
    frame.payload = payload
    worker.road.send(encode_apart(frame), payload=payload)
    return number


def cancel(number: int) -> None:
    """Drop a nested task, if it has not been started."""
    from woolexec.wire.codec import Cancel, encode

    if worker is not None:
        worker.road.send(encode(Cancel(call=number)))


def wait_until(is_done: Callable[[], bool], timeout: float | None) -> None:
    """
    Wait for the outcome of nested tasks, or for `timeout` seconds; tasks of the waiting call run meanwhile.

    In a thread of the user's own the worker's main thread is busy with the call, so that thread reads for itself.
    """
    assert worker is not None
    deadline = None if timeout is None else monotonic() + timeout
    if threading.current_thread() is threading.main_thread():
        worker.lane.wait_for(is_done, deadline)
        return
    while not is_done() and (deadline is None or monotonic() < deadline):
        worker.read_aside(0.02)
