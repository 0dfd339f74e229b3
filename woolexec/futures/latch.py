"""
A gate: closed until it is opened, once and for all.

Like `threading.Event`, but safe in a signal handler that runs while the same thread is inside one of its methods: an
Event's lock is not re-entrant, and a Condition's notification is lost when a handler comes between the look and the
wait.  A waiter puts a lock of its own in line, then looks; the opener says so, then releases what is in line.  One of
the two sees the other.  (`Thread.join` is no better before Python 3.13: an exception out of a handler marks a running
thread as ended.)
"""

from __future__ import annotations

import contextlib
from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Sleeper(Protocol):
        """Who waits: a lock that is held, or what stands for a task of an event loop."""

        def release(self) -> None:
            """Wake up."""


class Latch:
    """Waits until something has happened that happens once."""

    __slots__ = ("_sleepers", "is_open")

    def __init__(self) -> None:
        self.is_open: bool = False
        self._sleepers: list[Sleeper] = []

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.is_open = True
        while True:
            try:
                self._sleepers.pop().release()
            except IndexError:
                return

    def add(self, sleeper: Sleeper) -> bool:
        """Put a sleeper in line, to be released when it opens; False if it is open already."""
        if self.is_open:
            return False
        self._sleepers.append(sleeper)
        return not self.is_open

    def remove(self, sleeper: Sleeper) -> None:
        """Take a sleeper out of the line, if it is there."""
        with contextlib.suppress(ValueError):
            self._sleepers.remove(sleeper)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, or for `timeout` seconds; say whether it is."""
        if self.is_open:
            return True
        sleeper = Lock()
        sleeper.acquire()
        if self.add(sleeper) and not sleeper.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self.remove(sleeper)
        return self.is_open
