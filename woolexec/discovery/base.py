"""
Finding peers: what a peer announces, and the events that a client receives.

::

    peer --announce(Record)--> a folder, the local network, ... --watch()--> Joined, Updated, Left --> client

1. A new watcher first receives all peers that are already known.
2. A record is a hint: it says where a peer may be, not that a peer is really there.  The handshake decides.
3. When a record leaves, a working link to that peer is kept.
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
"""The default port of peers."""


@dataclass(frozen=True, slots=True)
class Record:
    """
    What is known about a peer before a client has connected to it.

    :param key: unique within its discovery; a record that a peer announces has the identity of the peer here
    :param addresses: ``host:port`` or ``unix:/path``, the preferred one first
    :param pool: the name of the pool that it belongs to
    :param tags: each as ``key=value``
    :param fingerprint: SHA-256 of the certificate of the authority that issued its own, in hex; empty: unknown
    :param credentials: for this peer only; never announced
    """

    key: str
    addresses: tuple[str, ...]
    pool: str = ""
    tags: tuple[str, ...] = ()
    fingerprint: str = ""
    credentials: Credentials | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """
    A peer was found.

    :param record: what is known about it
    """

    record: Record


@dataclass(frozen=True, slots=True)
class Updated:
    """
    The record of a peer has changed.

    :param record: the new one, with the same key
    """

    record: Record


@dataclass(frozen=True, slots=True)
class Left:
    """
    A peer is gone, as far as its discovery knows.

    :param key: that of its record
    """

    key: str


Event = Joined | Updated | Left


class Discovery:
    """
    A way to find peers; subclass it to add another.

    Both methods run in an asyncio event loop that is shared with other work: they must not block it.
    """

    count: int | None = None
    """The number of peers that it will ever name, if known beforehand; else None."""

    def __str__(self) -> str:
        """Return its name for messages."""
        return type(self).__name__

    def watch(self) -> AsyncIterator[Event]:
        """
        Yield the peers that exist, then the changes, until closed.

        If it raises or ends, it is called again some seconds later.

        :raises DiscoveryError: if peers cannot be looked up now; the message tells the user why
        """
        raise NotImplementedError

    def announce(self, record: Record) -> AbstractAsyncContextManager[None]:
        """
        Make a peer known to watchers while the context is open.

        :raises DiscoveryError: if the peer cannot be announced
        """
        raise DiscoveryError(f"{type(self).__name__} finds peers, but cannot announce them")


class Known:
    """Turns complete listings into events."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def changes(self, records: dict[str, Record]) -> list[Event]:
        """Return the changes since the last call."""
        before, self._records = self._records, records
        events: list[Event] = [Left(key) for key in before if key not in records]
        for key, record in records.items():
            if key not in before:
                events.append(Joined(record))
            elif before[key] != record:
                events.append(Updated(record))
        return events
