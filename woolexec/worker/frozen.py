"""
Frozen programs, as PyInstaller makes them.

They contain no separate interpreter: the executable always runs the program.  So the fork server is the executable
started with a special argument, which `freeze_support` recognises; the program calls that function first.
"""

from __future__ import annotations

import gc
import os
import sys

FORK_SERVER: str = "--woolexec-fork-server"
"""The argument that makes the executable of a frozen program run the fork server."""

is_ready: bool = False
"""Whether this program has called `freeze_support`; otherwise its executable would start itself again, endlessly."""


def freeze_support() -> None:
    """
    Let a frozen program, as PyInstaller makes it, start its workers from its own executable.

    Call this first in the program, before it parses its arguments or makes a pool.  In other programs it does nothing.
    """
    global is_ready
    if not getattr(sys, "frozen", False):
        return
    if sys.argv[1:] == [FORK_SERVER]:
        _serve()
        sys.exit()
    is_ready = True


def _serve() -> None:
    """Run the fork server: the code that `woolexec.engine.fork_server` otherwise passes to an interpreter."""
    from woolexec.platform.posix import CONTROL_FD
    from woolexec.worker.records import RECORD, STARTED

    gc.disable()
    try:
        os.write(CONTROL_FD, RECORD.pack(STARTED, 0, 0))
    except OSError:  # the caller is gone: there is no one to report to
        os._exit(0)
    from woolexec.worker.fork_server import main

    main(CONTROL_FD)
