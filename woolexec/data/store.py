"""The values that a program has put: how many bytes they take, and where those go for which there is no room."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from woolexec.errors import StoreFullError
from woolexec.platform.memory import usable_memory
from woolexec.wire.payload import File, Parts, store
from woolexec.wire.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARE = 0.3
"""The default limit, as a fraction of the memory that this process may use."""


class Store:
    """
    Counts the values of one executor.

    :param limit: maximum number of bytes in memory; None: 30 % of the memory that this process may use
    :param spill_dir: folder for the values that exceed it; None: they are an error
    """

    def __init__(self, limit: int | None, spill_dir: str | None) -> None:
        self._limit = limit
        self._folder = spill_dir
        self._size = 0
        self._values: dict[int, tuple[weakref.ref[Value], int]] = {}
        self._gone: deque[int] = deque()  # appended to by destructors, which may run in any thread
        self._lock = threading.Lock()  # guards all of these

    @property
    def size(self) -> int:
        """Bytes of the values in memory that are still referred to."""
        with self._lock:
            self._forget()
            return self._size

    def _forget(self) -> None:
        while self._gone:
            self._size -= self._values.pop(self._gone.popleft())[1]

    def add(self, payload: bytes | File | Parts) -> Value:
        """
        Make a value of a pickle.

        :raises StoreFullError: if there is no room for it
        :raises OSError: if it cannot be written to the folder
        """
        with self._lock:
            self._forget()
            if self._limit is None:
                self._limit = int(usable_memory() * _SHARE)
            if self._size + len(payload) <= self._limit:
                return self._counted(Value(payload), len(payload))
        if self._folder is None:
            raise StoreFullError(
                f"a value of {len(payload)} bytes, beside {self._size} bytes of others, exceeds store_limit, which is "
                f"{self._limit}; values are freed when their futures are collected, and spill_dir= puts them on disk"
            )
        parts: list[Any] = [payload] if isinstance(payload, bytes) else payload.load()
        return Value(store(parts, at_all_costs=True, folder=self._folder))

    def _counted(self, value: Value, size: int) -> Value:
        note: Callable[[int], None] = self._gone.append
        number = value.number
        self._values[number] = weakref.ref(value, lambda _: note(number)), size
        self._size += size
        return value
