"""
Watches the memory of a peer, and lets it refuse calls before the kernel kills one of its processes.

::

    used > near          calls are refused, as if the peer were full: clients place them elsewhere
                         nothing is read from the clients that hold most of the memory
    so for `PATIENCE`    the link of the client that holds most ends, if it holds much
    used < near - 5 %    back to normal
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from woolexec.mesh.server.capacity import Places
    from woolexec.mesh.server.peer_log import PeerLog
    from woolexec.platform.memory import Memory

    class Client(Protocol):
        """The session of a client, or what fetches values for all of them."""

        is_stopped: bool

        @property
        def wake(self) -> Callable[[], None]:
            """Continue to read after it was stopped."""

        @property
        def bytes_here(self) -> int:
            """The bytes that are kept for it."""


LOOK = 0.25
"""Seconds between two checks."""

PATIENCE = 30.0
"""Seconds after which the link of the client that holds most is ended."""

_BACK = 20
"""1 / this is the fraction of the limit that must additionally be free before calls are accepted again."""

_LITTLE = 1000
"""A client with less than 1 / this of the limit holds little: its frames are read, so that its calls can be refused."""

_MUCH = 8
"""A client with at least 1 / this of the limit holds much."""


class MemoryGuard:
    """
    Keeps one peer within its memory.

    :param clients: returns the sessions, and what fetches values for them
    :param end: ends the link of a client for a reason
    :param read: returns the memory; None if unknown
    """

    def __init__(
        self,
        places: Places,
        clients: Callable[[], Collection[Client]],
        end: Callable[[Client, str], object],
        log: PeerLog,
        read: Callable[[], Memory | None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._places, self._clients, self._end = places, clients, end
        self._log, self._read, self._clock = log, read, clock
        self._since = 0.0

    async def run(self) -> None:
        """Check periodically, until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(LOOK)

    def check(self) -> None:
        """Check the memory, and act on it."""
        found = self._read()
        if found is None:
            return
        places = self._places
        if not places.shortage and found.used > found.near:
            places.shortage, self._since = f"short of memory: {found.used} of {found.limit} bytes", self._clock()
            self._log.short_of_memory(found.used, found.limit)
        elif places.shortage and found.used < found.near - found.limit // _BACK:
            places.shortage = ""
            self._log.memory_is_back(found.used, found.limit)
            places.invite()
            for client in self._clients():
                client.is_stopped = False
                client.wake()
        if places.shortage:
            self._stop_those_who_hold_most(found)

    def _stop_those_who_hold_most(self, found: Memory) -> None:
        sizes = {client: client.bytes_here for client in self._clients()}
        most = max(sizes.values(), default=0)
        for client, size in sizes.items():
            client.is_stopped = size > found.limit // _LITTLE and 2 * size > most
        if self._clock() - self._since < PATIENCE or most < found.limit // _MUCH:
            return
        self._since = self._clock()
        client = max(sizes, key=lambda client: sizes[client])
        self._end(client, f"the peer is short of memory, and this client holds most of it: {most} bytes")
