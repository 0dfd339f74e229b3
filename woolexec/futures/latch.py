"""
A latch: closed until it is opened, and open from then on.

Like `threading.Event`, but safe in a signal handler that runs while the same thread is inside one of its methods: an
Event's lock is not re-entrant, and a Condition's notification is lost when a handler runs between the check and the
wait.  A waiter adds its own lock to the list, then checks the flag; the opener sets the flag, then releases the locks
in the list.  One of the two sees the other.  (`Thread.join` has a similar problem before Python 3.13: an exception
raised by a handler marks a running thread as ended.)
"""

from __future__ import annotations

import contextlib
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Sleeper(Protocol):
        """A waiter: a held lock, or the waiter of a task in an event loop."""

        def release(self) -> object:
            """Wake up."""


class Latch:
    """Lets threads and tasks wait for an event that happens once."""

    __slots__ = ("_sleepers", "is_open")

    def __init__(self) -> None:
        self.is_open: bool = False
        self._sleepers: list[Sleeper] = []

    @property
    def is_awaited(self) -> bool:
        """Whether something waits for it to open."""
        return bool(self._sleepers)

    def open(self) -> None:
        """Open the latch and release all waiters."""
        self.is_open = True
        while True:
            try:
                self._sleepers.pop().release()
            except IndexError:
                return

    def add(self, sleeper: Sleeper) -> bool:
        """Add a sleeper, to be released when the latch opens; return False if it is already open."""
        if self.is_open:
            return False
        self._sleepers.append(sleeper)
        return not self.is_open

    def remove(self, sleeper: Sleeper) -> None:
        """Remove a sleeper, if it is still there."""
        with contextlib.suppress(ValueError):
            self._sleepers.remove(sleeper)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the latch is open, or for `timeout` seconds; return whether it is open."""
        if self.is_open:
            return True
        sleeper = threading.Lock()  # held until the latch opens
        sleeper.acquire()
        if self.add(sleeper) and not sleeper.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self.remove(sleeper)
        return self.is_open
