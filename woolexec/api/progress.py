"""`progress`: how a task reports its progress."""

from __future__ import annotations

from time import monotonic

from woolexec.task_progress import LONGEST, Throttle
from woolexec.wire.frames import Progress, encode
from woolexec.worker import nested_tasks

_throttle = Throttle()


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """
    Report the progress of the running task.

    Dashboards, statistics and ``woolexec top`` show it, and the `on_progress` of `with_options` is called with it.  It
    is cheap enough to be called for each item: at most one report of a task is passed on every tenth of a second, and
    always the report that all is done.  Outside of a task it does nothing.

    :param done: how much has been done
    :param total: how much there is to do; None: unknown
    :param text: what is being done; only the first 200 characters are passed on
    """
    job = nested_tasks.current_job()
    worker = nested_tasks.worker
    if job is None or worker is None:
        return
    if _throttle.lets_pass(job.number, monotonic(), is_last=total is not None and done >= total):
        frame = Progress(call=job.number, task=job.number, done=float(done), text=str(text)[:LONGEST])
        if total is not None:
            frame.total, frame.has_total = float(total), True
        worker.transport.send(encode(frame))
