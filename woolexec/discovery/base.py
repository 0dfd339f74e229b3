"""
Finding peers: what a peer announces, and the events that a client receives.

::

    peer --announce(Record)--> a folder, the local network, ... --watch()--> Joined, Updated, Left --> client

1. A new watcher first receives all peers that are already known.
2. A record is a hint: it says where a peer may be, not that a peer is really there.  The handshake decides.
3. When a record disappears, a working link to that peer is kept.
4. Anyone may be able to write records where peers announce themselves.  So a peer with a token signs its record with a
   key derived from the token, and clients with a token use only signed records from such a place.
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
"""Seconds for which a signed record is accepted; the clocks of the hosts may differ by this much."""


@dataclass(frozen=True, slots=True)
class Record:
    """
    What is known about a peer before a client has connected to it.

    :param key: unique within its discovery; for an announced record, the identity of the peer
    :param addresses: ``host:port`` or ``unix:/path``, the preferred one first
    :param pool: the name of the pool that it belongs to
    :param tags: each as ``key=value``
    :param fingerprint: SHA-256, in hex, of the certificate of the authority that issued its certificate; empty: unknown
    :param credentials: for this peer only; never announced
    :param time: when it was signed, in seconds since 1970; 0 if it was not
    :param mac: the signature, which proves that a peer with the same token made the record; empty if it was not signed
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
        Return a copy signed with the current time; the record itself if it has no key.

        Call this when a record is announced, after all changes to it, and again several times an hour.
        """
        if self.signing is None:
            return self
        now = replace(self, time=round(time.time(), 3))
        return replace(now, mac=self.signing.mac(now.content))

    def fault(self, key: RecordKey) -> str | None:
        """Return why the signature is not valid for this key and time; None if it is."""
        if not self.mac:
            return "not signed"
        if not key.is_right(self.content, self.mac):
            return "not signed with our token"
        if abs(time.time() - self.time) > LIFETIME:
            return "signed too long ago, or in the future: do the clocks agree?"
        return None

    @property
    def content(self) -> bytes:
        """The signed bytes: all announced fields, in a form that is the same on every host."""
        # Watchers sort addresses, and append the interface to link-local ones.
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

    :param record: the new record, with the same key
    """

    record: Record


@dataclass(frozen=True, slots=True)
class Left:
    """
    A peer is gone, according to its discovery.

    :param key: the key of its record
    :param reason: why, if the user should know, for example that its job has failed
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
    """The total number of peers that it will name, if known in advance; otherwise None."""

    signs: bool = False
    """Whether peers with a token sign their records here, so that clients with a token use only signed ones."""

    slowest: float = 5.0
    """Maximum seconds until it is watched again after a failure; it is retried at once when a task needs peers."""

    def __str__(self) -> str:
        """Return its name for messages."""
        return type(self).__name__

    def watch(self) -> AsyncIterator[Event]:
        """
        Yield the peers that exist, then the changes, until closed.

        If it raises or ends, it is called again: after 0.1 s at first, then after twice as long each time.

        :raises DiscoveryError: if peers cannot be looked up now; the message must tell the user why
        """
        raise NotImplementedError

    def announce(self, record: Record) -> AbstractAsyncContextManager[None]:
        """
        Make a peer known to watchers while the context is open.

        :param record: announced as `Record.signed` returns it
        :raises DiscoveryError: if the peer cannot be announced
        """
        raise DiscoveryError(f"{type(self).__name__} can find peers, but cannot announce them")


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
