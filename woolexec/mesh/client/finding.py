"""
Follows one discovery for a client: passes on events for usable records, and knows why there are none.

If a discovery signs its records, a client with a token uses only signed ones.  Others are only counted; they neither
replace nor hide a signed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.discovery.base import Left
from woolexec.errors import DiscoveryError
from woolexec.mesh.client.scaler import Scaler
from woolexec.mesh.security.record_key import RecordKey
from woolexec.printable import printable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from woolexec.discovery.base import Discovery, Event, Record
    from woolexec.mesh.security.credentials import Credentials

FIRST, SLOWEST = 0.1, 5.0
"""Seconds before a failed link is retried: at first, and the maximum; a discovery has its own maximum."""

REPLAY = 10.0
"""Seconds within which a discovery that was started again must report all existing peers."""

_FOREIGN = 20_000
"""Maximum number of records that are noted as foreign; further ones are only counted."""

_TURN = 100
"""Number of events after which other tasks of the event loop get a turn."""


class Foreign:
    """
    The records of one discovery that were not properly signed.

    :param discovery: the discovery
    :param credentials: those of the client
    """

    def __init__(self, discovery: Discovery, credentials: Credentials) -> None:
        self._discovery = discovery
        self._key = RecordKey(credentials.token) if credentials.token is not None else None
        self._reasons: dict[int, str] = {}
        self._more = 0
        self._example = ""

    def refuses(self, record: Record) -> bool:
        """Check a record; note it if it must not be used."""
        if self._key is None or record.credentials is not None or not (record.mac or self._discovery.signs):
            return False
        fault = record.fault(self._key)
        number = hash(record.key)
        if fault is None:
            self._reasons.pop(number, None)
            return False
        if number in self._reasons or len(self._reasons) < _FOREIGN:
            self._reasons[number] = fault
        else:
            self._more += 1
        self._example = record.addresses[0]
        return True

    def forget(self, key: str) -> None:
        """Note that a record is gone."""
        self._reasons.pop(hash(key), None)

    def __str__(self) -> str:
        """Return how many there are, and why they are not used; empty if there are none."""
        if not self._reasons:
            return ""
        why = ", ".join(f"{count} {reason}" for reason, count in Counter(self._reasons.values()).most_common())
        count = f"more than {_FOREIGN}" if self._more else str(len(self._reasons))
        return f"{count} records at {self._discovery} are ignored ({why}), such as that of {self._example}"


class Finder:
    """
    Follows one discovery.

    :param credentials: those of the client
    :param on_event: called with each event for a record that may be used
    :param on_final: called when waiting for this discovery is pointless
    """

    def __init__(
        self,
        discovery: Discovery,
        credentials: Credentials,
        *,
        on_event: Callable[[Discovery, Event], object],
        on_final: Callable[[], object],
        randomness: random.Random,
    ) -> None:
        self.discovery = discovery
        self.foreign = Foreign(discovery, credentials)
        self.trouble = ""
        self._is_final = False  # waiting for it is pointless
        self._failed_at: float | None = None  # None: it is being watched
        self._again = asyncio.Event()  # set when it must be watched again early
        self._on_event, self._on_final = on_event, on_final
        self._random = randomness
        self._reported: dict[str, None] = {}  # the keys of the records that were passed on
        self._heard: dict[str, None] | None = None  # those passed on since a restart; None: that was long ago

    def is_hopeless(self, since: float) -> bool:
        """Return whether it has failed permanently since then."""
        failed_at = self._failed_at
        return self._is_final and failed_at is not None and failed_at >= since

    def possible(self, since: float) -> float:
        """Return the maximum number of its peers; infinity if unknown."""
        if self.is_hopeless(since):
            return 0
        if isinstance(self.discovery, Scaler):
            return self.discovery.possible(since)
        return inf if self.discovery.count is None else self.discovery.count

    def hasten(self, since: float) -> None:
        """Watch it again now if it failed before that time."""
        if isinstance(self.discovery, Scaler):
            self.discovery.hasten(since)
        if self._failed_at is not None and self._failed_at < since:
            self._again.set()

    async def follow(self) -> None:
        """Watch the discovery, and restart it when it fails or ends."""
        pause = FIRST
        while True:
            begun = monotonic()
            await self._watch()
            self._again.clear()
            if monotonic() - begun > self.discovery.slowest:
                pause = FIRST
            self._failed_at = monotonic()
            if self._is_final:
                self._on_final()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * self._random.uniform(0.5, 1.0)):
                    await self._again.wait()
            self._failed_at, self._is_final = None, False
            pause = min(2 * pause, self.discovery.slowest)

    async def _watch(self) -> None:
        """Pass events on until the discovery fails or ends."""
        self._heard = {}
        forgetting = asyncio.get_running_loop().call_later(REPLAY, self._forget)
        count = 0
        try:
            async with contextlib.aclosing(self.discovery.watch()) as events:  # type: ignore[type-var]  # a generator
                async for event in events:
                    self.trouble = ""
                    self._hear(event)
                    if isinstance(event, Left) and event.reason:
                        self._complain(event.reason)
                    count += 1
                    if count % _TURN == 0:
                        await asyncio.sleep(0)
        except DiscoveryError as exc:
            self._complain(str(exc) or repr(exc))
            self._is_final = exc.is_final
        except Exception as exc:  # a third-party discovery: the others continue
            self._complain(f"{type(self.discovery).__name__}: {exc!r}")
        finally:
            forgetting.cancel()

    def _forget(self) -> None:
        """Remove the records that a restarted discovery has not reported again: these peers have left meanwhile."""
        heard, self._heard = self._heard or {}, None
        for key in [key for key in self._reported if key not in heard]:
            self._hear(Left(key))

    def _complain(self, trouble: str) -> None:
        if self.trouble != trouble:
            self.trouble = trouble
            logging.getLogger("woolexec").warning("finding peers: %s", printable(trouble))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Left):
            self.foreign.forget(event.key)
            if event.key in self._reported:
                del self._reported[event.key]
                self._on_event(self.discovery, event)
            return
        record = event.record
        try:
            "".join((record.key, record.pool, *record.addresses)).encode()
        except UnicodeEncodeError as exc:  # lone surrogates: neither grpc nor a log can encode them
            self._complain(f"invalid record: {exc}")
            return
        if not self.foreign.refuses(record):
            self._reported[record.key] = None
            if self._heard is not None:
                self._heard[record.key] = None
            self._on_event(self.discovery, event)
