"""
The outcomes that stay at a peer, of all its clients: their bytes, the limit, and the folder beyond it.

What was used longest ago is written to the folder by a thread, which the engine's does not wait for.  From then on the
value is a file on disk: those who need it map that, or are sent it from there.
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
    Counts what stays at one peer; in its engine's thread only.

    :param limit: maximum number of bytes in memory; None: 30 % of the memory that this process may use
    :param folder: where the rest goes; None: it does not stay
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
        """There is a folder for what exceeds the limit, as far as is known."""
        return self._folder is not None and monotonic() >= self._failed_until

    def may_add(self, size: int) -> bool:
        """Return whether a value of this size may stay."""
        return self.spills or self.size + size <= self._room.limit

    def add(self, value: Value, on_spilled: Callable[[], object]) -> None:
        """
        Count a value that stays.

        :param on_spilled: called when it is in the folder, and not in memory
        """
        self._values[value] = on_spilled
        self._room.add(value.number, value, value.size)
        if self._room.excess() is not None:
            self._over.set()

    def use(self, value: Value) -> None:
        """Note that a value is used."""
        self._room.use(value.number)

    def remove(self, value: Value) -> None:
        """Note that a value does not stay any more."""
        if self._values.pop(value, None) is not None:
            self._room.forget(value.number)

    async def run(self) -> None:
        """Write to the folder what exceeds the limit, until cancelled."""
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
