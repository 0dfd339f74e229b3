"""
Finding peers: what a peer announces, and what a client hears of it.

::

    peer --announce(Record)--> a folder, the local network, ... --watch()--> Joined, Updated, Left --> client

1. Whoever begins to watch first hears of all that are there already.
2. A record is a hint: it says where a peer may be, never that it is one.  The handshake decides.
3. A record that has left does not end a link that works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from woolexec.errors import DiscoveryError

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials

PORT = 7437
"""Where peers listen unless they are told otherwise."""


@dataclass(frozen=True, slots=True)
class Record:
    """
    What is known of a peer before anybody has talked to it.

    :param key: tells it from the others of its discovery; what a peer announces has its identity here
    :param addresses: ``host:port`` or ``unix:/path``, the best first
    :param pool: the name of the pool that it belongs to
    :param tags: as ``key=value``
    :param fingerprint: SHA-256 of the certificate of the authority that its own is from, in hex; empty: unknown
    :param credentials: for this peer alone; never announced
    """

    key: str
    addresses: tuple[str, ...]
    pool: str = ""
    tags: tuple[str, ...] = ()
    fingerprint: str = ""
    credentials: Credentials | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """A peer is there."""

    record: Record


@dataclass(frozen=True, slots=True)
class Updated:
    """What is known of a peer has changed."""

    record: Record


@dataclass(frozen=True, slots=True)
class Left:
    """A peer is there no more, as far as its discovery knows."""

    key: str


Event = Joined | Updated | Left


class Discovery:
    """
    One way of finding peers; subclass it for others.

    Both methods run in an event loop of asyncio that has other things to do: they must not block it.
    """

    count: int | None = None
    """How many peers it names, and no others ever, where that is known beforehand; else None."""

    def __str__(self) -> str:
        """Return what messages call it."""
        return type(self).__name__

    def watch(self) -> AsyncIterator[Event]:
        """
        Yield what is there, then what changes, until closed.

        If it raises, or ends, it is called anew some seconds later.

        :raises DiscoveryError: if nothing can be found out now; the message tells the user why
        """
        raise NotImplementedError

    def announce(self, record: Record) -> AbstractAsyncContextManager[None]:
        """
        Let watchers know of a peer for as long as the context lasts.

        :raises DiscoveryError: if they cannot be told
        """
        raise DiscoveryError(f"{type(self).__name__} finds peers, but cannot announce them")


class Known:
    """Makes events out of looks at the whole."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def changes(self, records: dict[str, Record]) -> list[Event]:
        """Return what has changed since the last look."""
        before, self._records = self._records, records
        events: list[Event] = [Left(key) for key in before if key not in records]
        for key, record in records.items():
            if key not in before:
                events.append(Joined(record))
            elif before[key] != record:
                events.append(Updated(record))
        return events
