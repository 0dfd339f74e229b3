"""
The outcomes of all clients that a peer keeps: their bytes, the limit, and the folder for those beyond the limit.

The least recently used outcomes are written to the folder by a separate thread, for which the engine's thread does not
wait.  From then on the value is a file on disk: workers map it, and others are sent it from there.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.room import Room
from woolexec.wire.payload import spill

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.wire.values import Value

_SHARE = 0.3
"""The default limit, as a fraction of the memory that this process may use."""

_AGAIN = 30.0
"""Seconds for which a folder that cannot be written to is not tried again."""


class Stays:
    """
    Counts the outcomes that are kept at one peer; only in its engine's thread.

    :param limit: maximum number of bytes in memory; None: 30 % of the memory that this process may use
    :param folder: the folder for outcomes beyond the limit; None: they are not kept
    """

    def __init__(self, limit: int | None = None, folder: str | None = None) -> None:
        self._room = Room(limit, _SHARE)
        self._folder = folder
        self._failed_until = 0.0
        self._values: dict[Value, Callable[[], object]] = {}  # in memory
        self._over = asyncio.Event()  # set when the limit is exceeded

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self._room.size

    @property
    def spills(self) -> bool:
        """Whether there is a usable folder for outcomes beyond the limit."""
        return self._folder is not None and monotonic() >= self._failed_until

    def may_add(self, size: int) -> bool:
        """Return whether a value of this size may be kept."""
        return self.spills or self.size + size <= self._room.limit

    def add(self, value: Value, on_spilled: Callable[[], object]) -> None:
        """
        Count a value that is kept.

        :param on_spilled: called when it was moved to the folder
        """
        self._values[value] = on_spilled
        self._room.add(value.number, value, value.size)
        if self._room.excess() is not None:
            self._over.set()

    def use(self, value: Value) -> None:
        """Note that a value is used."""
        self._room.use(value.number)

    def remove(self, value: Value) -> None:
        """Stop counting a value that is no longer kept."""
        if self._values.pop(value, None) is not None:
            self._room.forget(value.number)

    async def run(self) -> None:
        """Write the values that exceed the limit to the folder, until cancelled."""
        while True:
            await self._over.wait()
            self._over.clear()
            while (value := self._room.excess()) is not None and await self._spill(value):
                pass

    async def _spill(self, value: Value) -> bool:
        """Move a value to the folder; return False if that is not possible now."""
        assert self._folder is not None  # without one nothing exceeds the limit
        try:
            file = await asyncio.to_thread(spill, value.payload, self._folder)
        except (OSError, ValueError) as exc:
            self._failed_until = monotonic() + _AGAIN
            logging.getLogger("woolexec.peer").warning("cannot write values to %s: %s", self._folder, str(exc))
            return False
        on_spilled = self._values.pop(value, None)
        if on_spilled is not None:  # it was not dropped meanwhile
            self._room.forget(value.number)
            value.payload = file
            on_spilled()
        return True
