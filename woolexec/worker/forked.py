"""
Processes that tasks fork: each exits when the task ends, as a program does at its end.

Otherwise such a process would send the outcome of the task, which its parent sends too, and then read calls from its
parent's socket.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

from woolexec.platform.posix import at_fork
from woolexec.worker import sync_lane
from woolexec.worker.job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_RUNS_ITEMS = sync_lane.SyncLane._results.__code__


def watch() -> None:
    """Make processes that are forked from this worker end with the task."""
    at_fork(after_in_child=_forked)


def _forked() -> None:
    # Patched where they are looked up: checking the process id would cost time in each call.
    for owner, name, end in (
        (Job, "succeed", lambda *_, **__: leave(0)),
        (Job, "fail", lambda _job, _transport, _seconds, exc, **_: _leave_for(exc)),
        (sync_lane, "dump_failure", lambda exc, **_: _leave_for(exc)),  # of an item of a map
    ):
        setattr(owner, name, end)
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code is _RUNS_ITEMS:
            frame.f_locals["items"].clear()  # the parent runs the remaining items
        frame = frame.f_back


def _leave_for(exc: BaseException) -> NoReturn:
    code: Any = 1
    if isinstance(exc, SystemExit):
        code = 0 if exc.code is None else exc.code
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    else:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    leave(code & 0xFF)


def leave(code: int) -> NoReturn:
    """End this process as the interpreter would: wait for threads, run exit functions, flush the streams."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as at interpreter exit; killed if it takes long
    except BaseException:  # Ctrl-C
        pass
    try:
        atexit._run_exitfuncs()
    except BaseException:  # user code
        pass
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed, or replaced by the user
            pass
    os._exit(code)
