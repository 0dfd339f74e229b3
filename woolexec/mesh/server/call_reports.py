"""Reports the ended calls of a client to it, while it traces its pool."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.wire.trace_frames import Clock, Ran, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.engine.links import Links
    from woolexec.engine.recorder import Run
    from woolexec.wire.protobuf import Message

    Tell = Callable[[Message], object]


def report_calls(links: Links, tell: Tell, frame: Trace) -> None:
    """
    Start or stop reporting the calls of a client's engine, which has only its calls; report the time of the clock.

    :param tell: sends the client a frame
    """
    if frame.on and not links.reports_runs:
        links.report_runs(partial(_report, tell))
    elif not frame.on:
        links.report_runs(None)
    tell(Clock(asked=frame.asked, now=monotonic()))


def _report(tell: Tell, run: Run) -> None:
    where, parent = run.where, run.parent
    frame = Ran(call=run.number_at_client, name=run.name, outcome=run.outcome, count=run.count)
    frame.host, frame.pid, frame.row = where
    if parent is not None:
        frame.parent_pid, frame.parent_row = parent.pid, parent.row
    frame.submitted, frame.sent, frame.began, frame.ended = run.submitted, run.sent, run.began, run.ended
    tell(frame)
