"""
A client's attempts to connect to the peers that were found: which, how many at a time, and when again.

While there are many records, each attempt begins with a probe, and the oldest probe ends when others need its place, so
that 10,000 records that lead nowhere are tried within seconds.  Repeating them takes longer while no task waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.discovery.base import Left
from woolexec.errors import CredentialsError
from woolexec.mesh.client.candidates import Candidates
from woolexec.mesh.client.channel import resolve
from woolexec.mesh.client.finding import FIRST, SLOWEST
from woolexec.mesh.client.probe import Prober
from woolexec.platform.posix import descriptor_limit
from woolexec.printable import printable

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from woolexec.discovery.base import Discovery, Event
    from woolexec.mesh.client.candidates import Candidate
    from woolexec.mesh.security.credentials import Credentials

_GREETING = 10.0
"""Timeout of the handshake, in seconds."""

_NEXT = 3.0
"""Timeout of the handshake while the host has other addresses to try, in seconds."""

_HASTE = 1.0
"""Timeout of the first handshake with a peer while there are many records; it doubles with each failure."""

_MANY = 64
"""Minimum number of records at which each attempt begins with a probe."""

_TRIES = 1000
"""Maximum number of attempts at a time; never more than a quarter of the descriptors that this process may have."""

_LEAST = 0.2
"""Minimum seconds for a probe, even if others need its place."""

_BURST, _GAP, _REST = 25, 0.005, 0.05
"""Attempts that begin together, and seconds until more begin: while a task waits for a peer, and while none does."""

_RATE = 200.0
"""Failed attempts that are repeated in a second, on average, while there is a link or no task waits for one."""

_LOGGED, _PERIOD = 20, 60.0
"""Maximum number of unreachable peers that are logged by name within this many seconds."""

_LOOK = 0.25
"""Seconds between two checks whether a task waits for a peer."""


class Attempts:
    """
    The connection attempts of one client; only in the engine's thread.

    :param credentials: used unless a record has its own
    :param link: runs a link to a candidate until it ends and returns None, or returns why none could be made; its
        arguments are the address, which of the host's addresses to use, and the timeout in seconds
    :param fault: returns why the certificate of a candidate cannot be acceptable; None if it may be
    :param has_room: whether there may be more links
    :param is_urgent: whether a task waits for a peer while there is none
    :param on_final: called when a peer has refused this client permanently
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        link: Callable[[Candidate, str, str, float], Awaitable[Exception | str | None]],
        fault: Callable[[Candidate], str | None],
        has_room: Callable[[], bool],
        is_urgent: Callable[[], bool],
        on_final: Callable[[], object],
        randomness: random.Random,
    ) -> None:
        self.candidates = Candidates(secrets.token_bytes(16))
        self._credentials = credentials
        self._link_to, self._fault = link, fault
        self._has_room, self._is_urgent = has_room, is_urgent
        self._on_final = on_final
        self._random = randomness
        self._trying: dict[Candidate, asyncio.Task[None]] = {}  # not linked yet
        self._probing: dict[Candidate, tuple[float, asyncio.Timeout]] = {}  # since when; the oldest first
        self._logged = 0.0, 0  # a time, and how many were logged since
        self._news = asyncio.Event()  # set when a further record may be tried
        self._prober = Prober()

    def hear(self, discovery: Discovery, event: Event) -> None:
        if isinstance(event, Left):
            candidate = self.candidates.leave((discovery, event.key))
            if candidate is not None and candidate in self._trying:
                self._trying[candidate].cancel()
        else:
            self.candidates.hear((discovery, event.record.key), event.record, monotonic())
            self._news.set()

    def hasten(self, since: float) -> None:
        """Try peers again at once that refused this client permanently before that time."""
        if self.candidates.hasten(since):
            self._news.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Try one record after the other, until cancelled."""
        most = min(_TRIES, descriptor_limit() // 4)
        while True:
            self._news.clear()
            begun, now, later = 0, monotonic(), self._later
            while begun < _BURST and self._has_room() and (len(self._trying) < most or self._end_probe(now)):
                candidate = self.candidates.take(now, later)
                if candidate is None:
                    break
                self._trying[candidate] = group.create_task(self._try(candidate))
                begun += 1
            if begun == _BURST:
                await asyncio.sleep(_GAP if self._is_urgent() else _REST)
                continue
            due = self.candidates.next_due()
            pause = None
            if len(self._trying) >= most:
                pause = _GAP
            elif due is not None and self._has_room():
                pause = max(_GAP, min(due + later - now, _LOOK))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    @property
    def _later(self) -> float:
        """Additional seconds of delay for failed attempts."""
        return 0.0 if self._is_urgent() else max(0.0, len(self.candidates.known) / _RATE - SLOWEST)

    def _end_probe(self, now: float) -> bool:
        """End the oldest probe, if it has had some time."""
        for candidate, (since, limit) in self._probing.items():
            if now - since < _LEAST:
                return False
            limit.reschedule(0.0)
            del self._probing[candidate]
            return True
        return False

    async def _try(self, candidate: Candidate) -> None:
        """Connect to one peer, and run its link until it ends."""
        is_early = False
        try:
            linked = await self._link(candidate)
            is_early = linked or candidate.has_worked
        except Exception as exc:  # a bug, or an address that grpc rejects: other links continue
            if not candidate.was_logged:
                candidate.was_logged = True
                logging.getLogger("woolexec").exception("peer %s", printable(candidate.record.addresses[0]))
            linked, candidate.reason, candidate.refused_at = False, repr(exc), None
        finally:
            self._trying.pop(candidate, None)
            self._news.set()
        candidate.failures = 0 if linked else candidate.failures + 1
        pause = min(FIRST * 2 ** min(candidate.failures, 10), SLOWEST) * self._random.uniform(0.5, 1.0)
        # Records that have worked, and those that the user has named, do not wait for others.
        is_early = is_early or candidate.place[0].count is not None
        self.candidates.give_back(candidate, monotonic() + pause - (self._later if is_early else 0.0))

    async def _link(self, candidate: Candidate) -> bool:
        """Run one link until it ends; return False if none could be made."""
        reasons, finals = [], []
        is_many = len(self.candidates.known) > _MANY
        for address in candidate.record.addresses:
            refusal: Exception | str | None = None
            if is_many:
                refusal = await self._probe(candidate, address)
            if refusal is not None:
                reasons.append(str(refusal))
                finals.append(getattr(refusal, "is_final", False))
                continue
            patience = min(_GREETING, _HASTE * 2.0 ** min(candidate.failures, 10)) if is_many else _GREETING
            found = await resolve(address)
            for at in found:
                refusal = await self._link_to(candidate, address, at, patience if at == found[-1] else _NEXT)
                if refusal is None:
                    return True
                reasons.append(f"{at}: {refusal}" if found[1:] else str(refusal))
                finals.append(getattr(refusal, "is_final", False))
        candidate.reason, candidate.refused_at = "; ".join(reasons), monotonic() if all(finals) else None
        if not candidate.was_logged:
            candidate.was_logged = True
            self._log(f"{candidate.record.addresses[0]}: {candidate.reason}")
        if candidate.refused_at is not None:
            self._on_final()
        return False

    def _log(self, refusal: str) -> None:
        since, count = self._logged
        if monotonic() - since > _PERIOD:
            since, count = monotonic(), 0
        self._logged = since, count + 1
        if count < _LOGGED:
            logging.getLogger("woolexec").warning("peer %s", printable(refusal))
        elif count == _LOGGED:
            logging.getLogger("woolexec").warning("further peers that cannot be reached are not logged now")

    async def _probe(self, candidate: Candidate, address: str) -> Exception | str | None:
        """Return why no peer can be reached there; None if one may be there."""
        try:
            async with asyncio.timeout(_GREETING) as limit:
                self._probing[candidate] = monotonic(), limit
                credentials = candidate.record.credentials or self._credentials
                return self._fault(candidate) or await self._prober.why_not(address, credentials)
        except TimeoutError:
            return "no answer yet"
        except CredentialsError as exc:
            return exc
        finally:
            self._probing.pop(candidate, None)

    def succeeded(self, candidate: Candidate) -> None:
        """Note that a link has begun, which ends the attempt."""
        candidate.was_logged, candidate.refused_at = False, None
        candidate.has_worked = True
        self._trying.pop(candidate, None)

    def clear(self) -> None:
        """Drop the tasks: their exceptions would keep everything alive that they used."""
        self._trying.clear()
