"""`progress`: what a task says of how far it is."""

from __future__ import annotations

from time import monotonic

from woolexec.task_progress import LONGEST, Throttle
from woolexec.wire.frames import Progress, encode
from woolexec.worker import nested_tasks

_throttle = Throttle()


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """
    Say how far the running task is.

    It is shown where the pool is observed, and passed to the `on_progress` of `with_options`.  It costs little, and may
    be called for each item: of one task one report in a tenth of a second is passed on, and the one that says that all
    is done.  Outside of a task it does nothing.

    :param done: how much has been done
    :param total: how much that will be; None: nobody knows
    :param text: what is being done; of a longer one the first 200 characters are passed on
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
