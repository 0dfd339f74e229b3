"""The values that a program has put: how many bytes they take, and where those go for which there is no room."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from woolexec.errors import StoreFullError
from woolexec.room import Room
from woolexec.wire.payload import Parts, store
from woolexec.wire.values import Value

if TYPE_CHECKING:
    from woolexec.wire.payload import File

_SHARE = 0.3
"""The default limit, as a fraction of the memory that this process may use."""


class Store:
    """
    Counts the values of one executor.

    :param limit: maximum number of bytes in memory; None: 30 % of the memory that this process may use
    :param spill_dir: folder for the values that exceed it; None: they are an error
    """

    def __init__(self, limit: int | None, spill_dir: str | None) -> None:
        self._room = Room(limit, _SHARE)
        self._folder = spill_dir
        self._lock = threading.Lock()  # guards the room

    @property
    def size(self) -> int:
        """Bytes of the values in memory that are still referred to."""
        with self._lock:
            return self._room.size

    def add(self, payload: bytes | File | Parts) -> Value:
        """
        Make a value of a pickle.

        :raises StoreFullError: if there is no room for it
        :raises OSError: if it cannot be written to the folder
        """
        with self._lock:
            size, limit = self._room.size, self._room.limit
            if size + len(payload) <= limit:
                value = Value(payload)
                self._room.add(value.number, value, len(payload))
                return value
        if self._folder is None:
            raise StoreFullError(
                f"a value of {len(payload)} bytes, beside {size} bytes of others, exceeds store_limit, which is "
                f"{limit}; values are freed when their futures are collected, and spill_dir= puts them on disk"
            )
        parts: list[Any] = [payload] if isinstance(payload, bytes) else payload.load()
        return Value(store(parts, at_all_costs=True, folder=self._folder))
