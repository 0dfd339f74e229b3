"""
A gate: closed until it is opened, once and for all.

Like `threading.Event`, but safe in a signal handler that runs while the same thread is inside one of its methods: an
Event's lock is not re-entrant, and a Condition's notification is lost when a handler comes between the look and the
wait.  A waiter puts a lock of its own in line, then looks; the opener says so, then releases what is in line.  One of
the two sees the other.  (`Thread.join` is no better before Python 3.13: an exception out of a handler marks a running
thread as ended.)
"""

from __future__ import annotations

from threading import Lock


class Gate:
    """Waits until something has happened that happens once."""

    __slots__ = ("_sleepers", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._sleepers: list[Lock] = []

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.is_open = True
        while True:
            try:
                self._sleepers.pop().release()
            except IndexError:
                return

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, or for `timeout` seconds; say whether it is."""
        if self.is_open:
            return True
        sleeper = Lock()
        sleeper.acquire()
        self._sleepers.append(sleeper)
        if not self.is_open:
            sleeper.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        if not self.is_open and sleeper in self._sleepers:
            self._sleepers.remove(sleeper)
        return self.is_open
