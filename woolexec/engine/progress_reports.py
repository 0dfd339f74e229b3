"""Progress reports of tasks: stored with their calls, and passed to clients, submitting tasks and callbacks."""

from __future__ import annotations

from woolexec.core.call import Relayed
from woolexec.task_progress import INTERVAL, Reports, Throttle, progress_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.engine.event_loop import Loop
    from woolexec.wire.frames import Progress


class ProgressReports:
    """Passes on progress reports, in the engine's thread."""

    def __init__(self, loop: Loop) -> None:
        self._reports, self._clock = Reports(loop.run_user_code), loop.clock
        self._throttle = Throttle(INTERVAL / 4)  # a worker may send any number of them

    def hear(self, target: Any, frame: Progress) -> None:
        """Take the report of a task, from a worker or over a link."""
        call = target.place_of(frame.call).outstanding.get(frame.call)
        is_last = frame.has_total and frame.done >= frame.total
        if call is None or not self._throttle.lets_pass(call.number, self._clock(), is_last=is_last):
            return
        call.progress = progress_of(frame, call.name)
        if isinstance(call.receiver, Relayed):
            call.receiver.deliver_progress(frame)
        elif hasattr(call.receiver, "deliver_progress"):  # that of a nested task
            call.receiver.deliver_progress(call, frame)
        self._reports.tell(call, call.progress)
