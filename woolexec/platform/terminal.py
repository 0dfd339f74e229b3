"""POSIX features for the terminal: a lock, and the foreground process group."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
    from typing import TextIO
else:  # faster to import, as in `posix`
    import _signal as signal

VARIABLE = "WOOLEXEC_WORKER_TERMINAL"
"""Environment variable of workers with the path of the terminal that tasks may use."""


def of_stdin() -> str:
    """Return the path of the terminal that is this program's standard input; empty if it is not a terminal."""
    try:
        return os.ttyname(sys.__stdin__.fileno()) if sys.__stdin__ is not None else ""
    except (OSError, ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def taken(path: str) -> Iterator[tuple[TextIO, TextIO]]:
    """
    Wait until no other task has the terminal, then hold it for the block.

    :return: files for reading from it and for writing to it
    :raises OSError: if it cannot be opened, or does not belong to this session
    """
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, closefd=True) as stdin, open(os.dup(fd), "w", buffering=1) as stdout:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = os.tcgetpgrp(fd)
        _bring_to_front(fd, os.getpgrp())
        try:
            yield stdin, stdout
        finally:
            _bring_to_front(fd, before)


def give_back(path: str, group: int) -> None:
    """Make the parent's process group the foreground one, if the foreground group has ended."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.tcgetpgrp(fd) == group:
            _bring_to_front(fd, os.getpgid(os.getppid()))
    except OSError:  # the program has ended, or has another terminal by now
        pass
    finally:
        os.close(fd)


def _bring_to_front(fd: int, group: int) -> None:
    """Make a process group the foreground one; a background process must block a signal to do that."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        os.tcsetpgrp(fd, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def keys() -> Iterator[Callable[[float], str | None]]:
    """
    Turn off line buffering and echo of standard input for the block.

    :return: a function that waits for keys, up to a number of seconds, and returns them; None: the terminal is closed
    """
    import select
    import termios
    import tty

    fd = sys.stdin.fileno()

    def read(timeout: float) -> str | None:
        if not select.select([fd], [], [], timeout)[0]:
            return ""
        try:
            return os.read(fd, 1024).decode(errors="replace") or None
        except OSError:
            return None

    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield read
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
