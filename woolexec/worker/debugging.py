"""
`breakpoint()` and `pdb.set_trace()` in a task: they use the caller's terminal, if the pool was made with debug=True.

One task at a time has the terminal: it locks the terminal and makes its own process group the foreground one, which
gets the input and Ctrl-C.  It gives both back when the debugger lets the task continue.  If its worker is ended
meanwhile, the fork server gives the terminal back.  Without a terminal, a clear error replaces the end of an empty
standard input.
"""

from __future__ import annotations

import os
import sys

from woolexec.platform import terminal
from woolexec.worker import import_hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_TERMINAL = (
    "a task cannot use the debugger here: it needs the caller's terminal; make the pool with "
    "PeerPoolExecutor(debug=True), in a program whose standard input is a terminal; tasks at peers have none"
)


def install() -> None:
    """Adapt pdb as soon as it is imported; `breakpoint` calls it, unless PYTHONBREAKPOINT names something else."""
    import_hooks.when_imported("pdb", _adapt)


def _adapt(pdb: Any) -> None:
    class Debugger(pdb.Pdb):  # type: ignore[misc]  # its module is imported by the task
        """A debugger that has the terminal while it reads commands."""

        def interaction(self, *args: Any, **kwargs: Any) -> None:
            with terminal.taken(_path()) as (self.stdin, self.stdout):
                super().interaction(*args, **kwargs)

    def set_trace(*, header: str | None = None, **kwargs: Any) -> None:
        """Start the debugger in the task that calls this."""
        with terminal.taken(_path()) as (stdin, stdout):
            debugger = Debugger(stdin=stdin, stdout=stdout, nosigint=True)
            if header is not None:
                print(header, file=stdout)
        debugger.set_trace(sys._getframe().f_back, **kwargs)

    pdb.set_trace = set_trace


def _path() -> str:
    path = os.environ.get(terminal.VARIABLE, "")
    if not path:
        raise RuntimeError(NO_TERMINAL)
    return path
