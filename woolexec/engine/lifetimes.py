"""The engines of this process: how they are closed in a forked child, and at the end of the interpreter."""

from __future__ import annotations

import sys
import threading
import weakref

from woolexec.platform.posix import at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Protocol

    class Running(Protocol):
        """An engine, or the host of the engines of a peer's clients."""

        serves_others: ClassVar[bool]
        """Whether it runs calls of other engines, which may be in this process; if so, it ends after those."""

        @property
        def has_begun(self) -> bool:
            """It has been used or shut down."""

        @property
        def forked(self) -> bool:
            """This is the copy in a forked child."""

        def forget(self) -> None:
            """Close all descriptors in a forked child."""

        def interrupt(self) -> None:
            """Cancel calls that have not been started and interrupt those that run."""

        def shutdown(self, *, wait: bool, cancel: bool) -> None:
            """Accept no more calls; end when all accepted calls are done or cancelled."""

        def join(self) -> None:
            """Wait until everything has ended."""


running: weakref.WeakSet[Running] = weakref.WeakSet()


def _forget_all() -> None:
    for engine in list(running):
        if engine.has_begun:  # one that has not been used yet holds nothing of the parent process
            engine.forget()


def _finish_all() -> None:
    """Finish all submitted calls at interpreter exit, as the standard library's executors do."""
    # An unhandled Ctrl-C (it has set sys.last_type by now) ends the program, but not the calls that still run.
    ended_by = getattr(sys, "last_type", None)
    interrupted = ended_by is not None and issubclass(ended_by, KeyboardInterrupt) and not hasattr(sys, "ps1")
    found = [engine for engine in running if not engine.forked]
    for serve_others in (False, True):
        engines = [engine for engine in found if engine.serves_others is serve_others]
        for engine in engines:
            if interrupted:
                engine.interrupt()
            engine.shutdown(wait=False, cancel=interrupted)
        for engine in engines:
            engine.join()


at_fork(after_in_child=_forget_all)
# This runs before threads are joined, as in concurrent.futures; atexit handlers run after that.
getattr(threading, "_register_atexit", __import__("atexit").register)(_finish_all)
