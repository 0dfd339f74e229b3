"""Peers at known addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from woolexec.discovery.base import Discovery, Event, Joined, Record


class Static(Discovery):
    """
    Peers at fixed addresses.

    :param addresses: ``host:port`` or ``unix:/path``
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self.addresses = tuple(dict.fromkeys(addresses))
        self.count = len(self.addresses)

    def __str__(self) -> str:
        return ", ".join(self.addresses)

    async def watch(self) -> AsyncIterator[Event]:
        """Yield all peers, then wait."""
        for address in self.addresses:
            yield Joined(Record(address, (address,)))
        await asyncio.Event().wait()  # it is never set: these peers do not change
