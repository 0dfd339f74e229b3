"""The bytes of objects that others refer to, a limit for them, and which of them was used longest ago."""

from __future__ import annotations

import weakref
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Room:
    """
    Counts objects by number, and forgets those that are collected.

    :param limit: maximum number of bytes
    :param share: what of the memory that this process may use is the limit if that is None
    """

    def __init__(self, limit: int | None, share: float) -> None:
        self._limit, self._share = limit, share
        self._size = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}  # the one used longest ago is the first
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
        """Count an object, even if it exceeds the limit; one that is counted has this size now."""
        self.forget(number)
        gone = self._gone.append
        self._known[number] = weakref.ref(item, lambda _: gone(number)), size
        self._size += size

    def forget(self, number: int) -> None:
        """Count an object no more."""
        self._size -= self._known.pop(number, (None, 0))[1]

    def use(self, number: int) -> None:
        """Note that an object is used, if it is counted."""
        if number in self._known:
            self._known[number] = self._known.pop(number)

    def excess(self) -> Any:
        """Return the object that was used longest ago if the limit is exceeded, otherwise None."""
        while self.size > self.limit:  # which forgets those that are collected
            item = next(iter(self._known.values()))[0]()
            if item is not None:
                return item
        return None
