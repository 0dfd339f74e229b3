"""The selector on which the engine's thread sleeps."""

from __future__ import annotations

from collections.abc import Callable

from woolexec.errors import PlatformError
from woolexec.platform.ipc import READABLE, WRITABLE, fast_poll

_LONGEST = 86_400.0
"""Maximum number of seconds of one wait; neither epoll nor poll can wait for 25 days."""


class Selector:
    """
    The descriptors that the engine waits for, and the callbacks to run when they are ready.

    It uses `select.epoll` where available, else `select.poll`: `selectors` takes 2-3 µs more in each round.
    """

    def __init__(self) -> None:
        self._poll, self._unit = fast_poll()
        self._acts: dict[int, Callable[[], object]] = {}

    def add(self, fd: int, act: Callable[[], object]) -> None:
        """Run `act` when the descriptor can be read."""
        self._acts[fd] = act
        self._poll.register(fd, READABLE)

    def change(self, fd: int, act: Callable[[], object], *, writing: bool = False) -> None:
        """Run `act` instead; with `writing`, also when the descriptor can be written."""
        self._acts[fd] = act
        self._poll.modify(fd, READABLE | WRITABLE if writing else READABLE)

    def remove(self, fd: int) -> None:
        """Remove the descriptor, if it is registered."""
        if self._acts.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[Callable[[], object]]:
        """Wait until a descriptor is ready, or for `timeout` seconds, a day at most; return the callbacks to run."""
        ready = self._poll.poll(None if timeout is None else min(timeout, _LONGEST) * self._unit)
        acts = self._acts
        return [acts[fd] for fd, _ in ready if fd in acts]

    def fileno(self) -> int:
        """
        Return a descriptor for another event loop: it can be read when a descriptor here is ready.

        :raises PlatformError: if the platform has no epoll
        """
        if not hasattr(self._poll, "fileno"):
            raise PlatformError("links to peers need epoll, which this platform does not have")
        number: int = self._poll.fileno()
        return number

    def close(self) -> None:
        """Close the epoll descriptor, if there is one."""
        if hasattr(self._poll, "close"):
            self._poll.close()
