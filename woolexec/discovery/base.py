"""
Finding peers: what a peer announces, and the events that a client receives.

::

    peer --announce(Record)--> a folder, the local network, ... --watch()--> Joined, Updated, Left --> client

1. A new watcher first receives all peers that are already known.
2. A record is a hint: it says where a peer may be, not that a peer is really there.  The handshake decides.
3. When a record leaves, a working link to that peer is kept.
4. Others may write records to the place where peers announce themselves.  So a peer that has a token signs its record
   with a key made from it, and clients that have a token use no other records from such a place.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from woolexec.errors import DiscoveryError

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.record_key import RecordKey

PORT = 7437
"""The default port of peers."""

LIFETIME = 3600.0
"""Seconds for which a signed record is accepted; the clocks of the hosts may differ by as much."""


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
    :param time: when it was signed, in seconds since 1970; 0: it was not
    :param mac: shows that a peer with our token has made the record; empty: it was not signed
    :param signing: the key that signs it; never announced
    """

    key: str
    addresses: tuple[str, ...]
    pool: str = ""
    tags: tuple[str, ...] = ()
    fingerprint: str = ""
    credentials: Credentials | None = field(default=None, repr=False, compare=False)
    time: float = 0.0
    mac: str = ""
    signing: RecordKey | None = field(default=None, repr=False, compare=False)

    def signed(self) -> Record:
        """
        Return it signed with the present time, if it has a key.

        To be called when a record is announced, after all changes to it, and again several times an hour.
        """
        if self.signing is None:
            return self
        now = replace(self, time=round(time.time(), 3))
        return replace(now, mac=self.signing.mac(now.content))

    def fault(self, key: RecordKey) -> str | None:
        """Return why it was not signed with this key, or not recently; None if it was."""
        if not self.mac:
            return "not signed"
        if not key.is_right(self.content, self.mac):
            return "not signed with our token"
        if abs(time.time() - self.time) > LIFETIME:
            return "signed too long ago, or in the future: do the clocks agree?"
        return None

    @property
    def content(self) -> bytes:
        """What is signed: all fields that are announced, as they are on every host."""
        # Watchers sort addresses, and add the interface to local ones.
        addresses = sorted({_without_scope(address) for address in self.addresses})
        about = [self.key, addresses, self.pool, sorted(self.tags), self.fingerprint, f"{self.time:.3f}"]
        return json.dumps(about).encode()


def _without_scope(address: str) -> str:
    host, percent, rest = address.partition("%")
    return host + rest[rest.find("]") :] if percent and "]" in rest else address


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
    :param reason: why, if that is worth telling the user: its job has failed, for example
    """

    key: str
    reason: str = ""


Event = Joined | Updated | Left


class Discovery:
    """
    A way to find peers; subclass it to add another.

    Both methods run in an asyncio event loop that is shared with other work: they must not block it.
    """

    count: int | None = None
    """The number of peers that it will ever name, if known beforehand; else None."""

    signs: bool = False
    """Its records are signed if a peer has a token, so clients that have one use no others."""

    slowest: float = 5.0
    """Maximum seconds until it is watched again when it has failed; at once when somebody begins to wait for peers."""

    def __str__(self) -> str:
        """Return its name for messages."""
        return type(self).__name__

    def watch(self) -> AsyncIterator[Event]:
        """
        Yield the peers that exist, then the changes, until closed.

        If it raises or ends, it is called again: after 0.1 s at first, then after twice as long each time.

        :raises DiscoveryError: if peers cannot be looked up now; the message tells the user why
        """
        raise NotImplementedError

    def announce(self, record: Record) -> AbstractAsyncContextManager[None]:
        """
        Make a peer known to watchers while the context is open.

        :param record: announced as `Record.signed` returns it
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
