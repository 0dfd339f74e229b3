"""
The values that a program has put: how many bytes they take, and which of them are moved to disk.

If memory is exceeded, the thread that puts a value writes the least recently used values to the folder.  From then on
they are files on disk, which workers map.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from woolexec.errors import StoreFullError
from woolexec.room import Room
from woolexec.wire.payload import spill
from woolexec.wire.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.wire.payload import File, Parts

_SHARE = 0.3
"""The default limit, as a fraction of the memory that this process may use."""

_UNLIMITED = 1 << 62


class Store:
    """
    Counts the values of one executor.

    :param limit: maximum number of bytes in memory; None: 30 % of the memory that this process may use
    :param spill_dir: folder for the values that exceed the limit; None: exceeding it is an error
    :param on_spilled: called with the number of a value that was written to the folder and whose memory can be freed
    """

    def __init__(self, limit: int | None, spill_dir: str | None, on_spilled: Callable[[int], object] = bool) -> None:
        self._room = Room(limit, _SHARE)
        self._disk = Room(_UNLIMITED, _SHARE)  # the values in the folder
        self._folder = spill_dir
        self._on_spilled = on_spilled
        self._lock = threading.Lock()  # guards the rooms

    @property
    def size(self) -> int:
        """Bytes of the values in memory that are still referred to."""
        with self._lock:
            return self._room.size

    @property
    def held(self) -> tuple[int, int, int, int]:
        """The number and the bytes of the values in memory, and of those in the folder."""
        with self._lock:
            sizes = self._room.size, self._disk.size  # `size` first drops those that were collected
            return len(self._room), sizes[0], len(self._disk), sizes[1]

    def add(self, payload: bytes | File | Parts) -> Value:
        """
        Make a value of a pickle.

        :raises StoreFullError: if there is no room for it
        :raises OSError: if it, or a value that must make room for it, cannot be written to the folder
        """
        folder, size = self._folder, len(payload)
        if folder is not None and size > self._room.limit:  # spilling all others would not make enough room
            value = Value(spill(payload, folder))
            with self._lock:
                self._disk.add(value.number, value, size)
            return value
        value = _Stored(payload, self)
        with self._lock:
            if folder is None:
                self._check(size)
            self._room.add(value.number, value, size)
            excess = self._take_excess()
        if folder is not None:
            self._spill(excess, folder)
        return value

    def _check(self, added: int) -> None:
        size, limit = self._room.size, self._room.limit
        if size + added > limit:
            raise StoreFullError(
                f"a value of {added} bytes, in addition to {size} bytes of others, exceeds store_limit={limit}; "
                "values are freed when their futures are collected, and spill_dir= moves them to disk"
            )

    def _take_excess(self) -> list[Value]:
        """Return the values that must leave memory, and stop counting them."""
        excess = []
        while (value := self._room.excess()) is not None:
            self._room.forget(value.number)
            excess.append(value)
        return excess

    def _spill(self, values: list[Value], folder: str) -> None:
        """Write values to the folder; those that cannot be written are counted again."""
        try:
            while values:
                value = values[0]
                value.payload = spill(value.payload, folder)
                with self._lock:
                    self._disk.add(value.number, value, value.size)
                self._on_spilled(values.pop(0).number)
        finally:
            with self._lock:
                for value in values:
                    self._room.add(value.number, value, value.size)

    def use(self, value: Value) -> None:
        """Note that a call uses a value; skipped while another thread puts one, because the engine must not wait."""
        if self._lock.acquire(blocking=False):
            try:
                self._room.use(value.number)
            finally:
                self._lock.release()


class _Stored(Value):
    """A value that is counted by a store."""

    __slots__ = ("_store",)

    def __init__(self, payload: bytes | File | Parts, store: Store) -> None:
        super().__init__(payload)
        self._store = store

    def use(self) -> None:
        """Note that a call uses it."""
        self._store.use(self)
