"""Counts the bytes of objects that are referred to elsewhere, with a limit, and finds the least recently used one."""

from __future__ import annotations

import weakref
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Room:
    """
    Counts the bytes of numbered objects, without those that were collected.

    :param limit: maximum number of bytes
    :param share: if `limit` is None, the limit as a fraction of the memory that this process may use
    """

    def __init__(self, limit: int | None, share: float) -> None:
        self._limit, self._share = limit, share
        self._size = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}  # the least recently used one is the first
        self._gone: deque[int] = deque()  # appended to by destructors, which may run in any thread

    @property
    def limit(self) -> int:
        """Maximum number of bytes."""
        if self._limit is None:
            from woolexec.platform.memory import usable_memory  # the files that it reads are not needed before

            self._limit = int(usable_memory() * self._share)
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = limit

    @property
    def size(self) -> int:
        """Bytes of the objects that are still referred to."""
        while self._gone:
            self.forget(self._gone.popleft())
        return self._size

    def __len__(self) -> int:
        return len(self._known)

    def add(self, number: int, item: Any, size: int) -> None:
        """Count an object, even if that exceeds the limit; if it is counted already, set its size."""
        self.forget(number)
        gone = self._gone.append
        self._known[number] = weakref.ref(item, lambda _: gone(number)), size
        self._size += size

    def forget(self, number: int) -> None:
        """Stop counting an object."""
        self._size -= self._known.pop(number, (None, 0))[1]

    def use(self, number: int) -> None:
        """Note that an object is used, if it is counted."""
        if number in self._known:
            self._known[number] = self._known.pop(number)

    def excess(self) -> Any:
        """Return the least recently used object if the limit is exceeded, otherwise None."""
        while self.size > self.limit:  # `size` first drops those that were collected
            item = next(iter(self._known.values()))[0]()
            if item is not None:
                return item
        return None
