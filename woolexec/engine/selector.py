"""What the engine's thread sleeps on."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from woolexec.errors import PlatformError


class Selector:
    """
    The descriptors that the engine sleeps on, and what it does when they are ready.

    `select.epoll` where there is one, else `select.poll`: `selectors` takes 2-3 µs more in each round.
    """

    def __init__(self) -> None:
        self._poll: Any
        if hasattr(select, "epoll"):
            self._poll, self._unit = select.epoll(), 1.0
        else:
            self._poll, self._unit = select.poll(), 1000.0
        self._acts: dict[int, Callable[[], object]] = {}

    def add(self, fd: int, act: Callable[[], object]) -> None:
        """Do this when the descriptor can be read."""
        self._acts[fd] = act
        self._poll.register(fd, select.POLLIN)

    def change(self, fd: int, act: Callable[[], object], *, writing: bool = False) -> None:
        """Do something else, also when the descriptor can be written, if asked."""
        self._acts[fd] = act
        self._poll.modify(fd, select.POLLIN | select.POLLOUT if writing else select.POLLIN)

    def remove(self, fd: int) -> None:
        """Forget the descriptor, if it is known."""
        if self._acts.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, timeout: float | None) -> list[Callable[[], object]]:
        """Sleep until something is ready, or for `timeout` seconds; return what to do."""
        ready = self._poll.poll(None if timeout is None else timeout * self._unit)
        acts = self._acts
        return [acts[fd] for fd, _ in ready if fd in acts]

    def fileno(self) -> int:
        """
        Return what another loop may sleep on: it can be read when something here is ready.

        :raises PlatformError: where the kernel has no such thing
        """
        if not hasattr(self._poll, "fileno"):
            raise PlatformError("links to peers need epoll, which this platform does not have")
        number: int = self._poll.fileno()
        return number

    def close(self) -> None:
        """Release what the kernel holds."""
        if hasattr(self._poll, "close"):
            self._poll.close()
