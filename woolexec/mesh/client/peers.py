"""
A client's peers: one link to each peer that was found, reconnected when it breaks.

::

    discovery --Joined--> record --> connect, handshake --> Link, a place of the engine --> it ends --> wait --> again
                            |                   |
              Left: no new links to it          `- refused or not reachable: kept for messages, and logged once

A link that has worked is retried after at most `FIRST` seconds, then with exponential backoff up to `SLOWEST`.  Pauses
are randomised, so that the clients of a peer that comes back do not all connect at the same moment.

If there are more than `MOST` peers, a client uses `MOST` of them, chosen by rendezvous hashing (Thaler and Ravishankar,
1998): the choice changes little when peers come and go, and each peer gets about the same number of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING

from woolexec import errors
from woolexec.discovery.base import Left
from woolexec.errors import CredentialsError, DiscoveryError, PeerRefusedError
from woolexec.mesh.client.channel import connected, greet, open_link
from woolexec.mesh.client.link import Link, no_code
from woolexec.mesh.client.trusted import Trusted, fault_of
from woolexec.mesh.grpc_module import check_fork, in_use, load_grpc
from woolexec.mesh.link import fd_passing as passages
from woolexec.mesh.security.handshake import Caller
from woolexec.printable import printable

if TYPE_CHECKING:
    from woolexec.discovery.base import Discovery, Event, Record
    from woolexec.engine.links import Linked
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.worker.setup import Setup

FIRST, SLOWEST = 0.1, 5.0
"""Seconds before a failed link or discovery is retried: at first, and at most."""

_REPLAY = 10.0
"""Seconds within which a discovery that was started again must report all existing peers."""

MOST = 100
"""Maximum number of links of one client."""

_GREETING = 10.0
"""Timeout of the handshake, in seconds."""

_AT_ONCE = 16
"""Maximum number of handshakes at a time."""

_LOOK = 0.25
"""How often to check for tasks that wait while no peer is connected, in seconds."""


@dataclass(slots=True, eq=False)
class _Known:
    """A peer that was found: its record, and the state of the link to it."""

    record: Record
    task: asyncio.Task[None] | None = None
    link: Link | None = None
    reason: str = ""
    is_final: bool = False  # no later try can succeed
    since: float = field(default_factory=monotonic)
    said: bool = False  # whether it was logged that it cannot be reached


class Peers:
    """
    The links of one client.

    :param discoveries: how peers are found
    :param credentials: used for both ends, unless the record of a peer has its own
    :param timeout: seconds that tasks wait while no peer is connected; None: no limit
    :param setup: what each worker of the peers needs for our tasks, and runs before the first of them
    :param code: returns the code archive with this digest; None if there is none
    :param identity: our own, if this process is a peer itself
    :param session: the secret name of the client whose tasks these are; None: our own
    :param client: what that client is called, if it is not this process
    :param hops: peers that these tasks have passed through; 0: they are our own
    :raises RuntimeError: in a forked child that cannot have links
    """

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        credentials: Credentials,
        *,
        timeout: float | None = None,
        setup: Setup | None = None,
        code: Callable[[str], bytes | None] = no_code,
        identity: str = "",
        session: bytes | None = None,
        client: str = "",
        hops: int = 0,
    ) -> None:
        check_fork()
        self._discoveries = discoveries
        self._credentials = credentials
        self._timeout = timeout
        self._identity = identity
        self._ours = session or secrets.token_bytes(16), client, hops
        self._changed = Condition()  # guards `_links`
        self._links: dict[str, Link | None] = {}  # by the peer's identity; None: being connected
        self._known: dict[tuple[Discovery, str], _Known] = {}
        self._troubles: dict[Discovery, str] = {}
        self._final: set[Discovery] = set()  # those that no later try can repair
        self._random = random.Random()  # noqa: S311  # not for secrets; does not disturb the program's random numbers
        self._salt = self._random.randbytes(8)
        self._over = False
        self._setup, self._code = setup, code
        self._trusted = Trusted()

    # -- from any thread ----------------------------------------------------------------------------------------

    def wait(self, count: int, timeout: float | None) -> int:
        """
        Wait until this number of peers is connected.

        :return: the number of connected peers
        :raises TimeoutError: if they are not connected in time; the message says why
        """

        def is_over() -> bool:
            return len(self.links) >= count or self._over or self._possible() < count

        with self._changed:
            self._changed.wait_for(is_over, timeout)
            there = len(self.links)
        if there < count or self._over:
            raise TimeoutError(f"only {there} of {count} peers connected. {self.explain()}".rstrip())
        return there

    def _possible(self) -> float:
        """Return the maximum number of peers that can be connected, as far as is known."""
        if not all(discovery.count is not None for discovery in self._discoveries):
            return float("inf")
        hopeless = sum(known.is_final and known.link is None for known in tuple(self._known.values()))
        named = sum(discovery.count or 0 for discovery in self._discoveries if discovery not in self._final)
        return named - hopeless

    @property
    def links(self) -> list[Link]:
        """The established links."""
        return [link for link in tuple(self._links.values()) if link is not None]

    def explain(self) -> str:
        """Return why each peer that is not connected is not, and which discoveries have found none."""
        known = list(self._known.items())
        reasons = list(self._troubles.values())
        reasons += [
            f"{each.record.addresses[0]}: {each.reason or f'connecting for {monotonic() - each.since:.1f} s'}"
            for _, each in known
            if each.link is None
        ]
        found = {place[0] for place, _ in known} | self._troubles.keys()
        nowhere = ", ".join(str(discovery) for discovery in self._discoveries if discovery not in found)
        if nowhere:
            reasons.append(f"no peers found at {nowhere}")
        return printable("; ".join(reasons))

    # -- the engine's thread ------------------------------------------------------------------------------------

    async def __call__(self, engine: Linked, wake: Callable[[], None]) -> None:
        """Maintain the links until cancelled."""
        self._engine = engine
        self._wake = wake
        self._few = asyncio.Semaphore(_AT_ONCE)  # limits how many handshakes run at once
        engine.links.expect(peers=True)
        asyncio.get_running_loop().call_later(_REPLAY, partial(engine.links.expect, peers=False))
        try:
            with in_use():
                async with asyncio.TaskGroup() as group:
                    for discovery in self._discoveries:
                        group.create_task(self._follow(group, discovery))
                    group.create_task(self._watch())
        finally:
            for known in self._known.values():
                known.task = None  # its exception would keep everything alive that it used
            with self._changed:
                self._over = True
                self._changed.notify_all()

    async def _follow(self, group: asyncio.TaskGroup, discovery: Discovery) -> None:
        """Watch a discovery, and restart it when it fails or ends."""
        pause = FIRST
        while True:
            heard: set[str] = set()
            forgetting = asyncio.get_running_loop().call_later(_REPLAY, self._forget, group, discovery, heard)
            try:
                async with contextlib.aclosing(discovery.watch()) as events:  # type: ignore[type-var]  # a generator
                    async for event in events:
                        self._troubles.pop(discovery, None)
                        self._final.discard(discovery)
                        pause = FIRST
                        heard.add(event.key if isinstance(event, Left) else event.record.key)
                        self._hear(group, discovery, event)
            except DiscoveryError as exc:
                self._complain(discovery, str(exc))
                if exc.is_final:
                    self._final.add(discovery)
                    self._tell()
            except Exception as exc:  # a third-party discovery: the others continue
                self._complain(discovery, f"{type(discovery).__name__}: {exc!r}")
            finally:
                forgetting.cancel()
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, SLOWEST)

    def _forget(self, group: asyncio.TaskGroup, discovery: Discovery, heard: set[str]) -> None:
        """Remove the peers that a restarted discovery has not reported again: they have left meanwhile."""
        for place, key in list(self._known):
            if place is discovery and key not in heard:
                self._hear(group, discovery, Left(key))

    def _complain(self, discovery: Discovery, trouble: str) -> None:
        if self._troubles.get(discovery) != trouble:
            self._troubles[discovery] = trouble
            logging.getLogger("woolexec").warning("finding peers: %s", printable(trouble))

    def _hear(self, group: asyncio.TaskGroup, discovery: Discovery, event: Event) -> None:
        if isinstance(event, Left):
            known = self._known.pop((discovery, event.key), None)
            if known is not None and known.task is not None and known.link is None:
                known.task.cancel()
        else:
            record = event.record
            try:
                "".join((record.key, record.pool, *record.addresses)).encode()
            except UnicodeEncodeError as exc:  # lone surrogates: neither grpc nor a log can encode them
                self._complain(discovery, f"invalid record: {exc}")
                return
            place = discovery, record.key
            self._known.setdefault(place, _Known(record)).record = record
        self._choose(group)

    def _choose(self, group: asyncio.TaskGroup) -> None:
        """Choose among the known peers, and keep links to the chosen ones."""
        chosen = list(self._known.items())
        if len(chosen) > MOST:
            chosen.sort(key=lambda item: hashlib.blake2b(item[0][1].encode(), key=self._salt).digest())
        for place, known in chosen[:MOST]:
            if known.task is None:
                known.task = group.create_task(self._keep(place, known))
        for _, known in chosen[MOST:]:
            if known.task is not None and known.link is None:
                known.task.cancel()
                known.task = None

    async def _keep(self, place: tuple[Discovery, str], known: _Known) -> None:
        """Connect to one peer again and again, as long as it is known."""
        pause = FIRST
        while self._known.get(place) is known:
            try:
                linked = await self._link(known)
            except Exception as exc:  # a bug, or an address that grpc rejects: other links continue
                if not known.said:
                    known.said = True
                    logging.getLogger("woolexec").exception("peer %s", printable(known.record.addresses[0]))
                linked, known.reason, known.is_final = False, repr(exc), False
            pause = FIRST if linked else min(2 * pause, SLOWEST)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))

    async def _link(self, known: _Known) -> bool:
        """Run one link until it ends; return False if none could be made."""
        reasons, finals = [], []
        for address in known.record.addresses:
            refusal = await self._link_to(known, address)
            if refusal is None:
                return True
            reasons.append(str(refusal))
            finals.append(getattr(refusal, "is_final", False))
        known.reason, known.is_final = "; ".join(reasons), all(finals)
        if not known.said:
            known.said = True
            about = printable(f"{known.record.addresses[0]}: {known.reason}")
            logging.getLogger("woolexec").warning("peer %s", about)
        if known.is_final:
            self._tell()
        return False

    def _tell(self) -> None:
        """Wake the threads that wait for peers."""
        with self._changed:
            self._changed.notify_all()

    async def _link_to(self, known: _Known, address: str) -> Exception | str | None:
        """Run one link until it ends and return None; or return why none could be made."""
        grpc = load_grpc()
        credentials = known.record.credentials or self._credentials
        try:
            if known.record.fingerprint and credentials.tls is not None:
                ours = credentials.tls.fingerprints
                if ours and known.record.fingerprint not in ours:
                    return "its certificates are from another authority"
            trust = self._trusted.of(credentials.tls)
        except CredentialsError as exc:
            return exc
        async with contextlib.AsyncExitStack() as taken:
            try:
                async with self._few, asyncio.timeout(_GREETING):
                    channel, accepted = await taken.enter_async_context(connected(address, credentials, trust))
                    welcome, opening = await greet(channel, Caller(credentials.token, known.record.pool, *self._ours))
                    if welcome.identity == self._identity or welcome.identity in self._links:
                        known.said = True
                        return "already linked to this peer"  # found in two ways, or this process itself
                    taken.enter_context(self._taking(welcome.identity))
                    stream, told = await open_link(channel, opening)
                    passage = await passages.enter(told)
                    if passage is not None:
                        taken.callback(passage.close)
            except TimeoutError:
                return f"no answer in {_GREETING:g} s"
            except CredentialsError as exc:
                return exc
            except PeerRefusedError as exc:
                return exc if exc.is_final or credentials.tls is None else f"{exc}{fault_of(credentials.tls)}"
            except grpc.RpcError as exc:
                return f"{exc.code().name}: {exc.details()}"
            known.link = link = Link(self._engine, address, welcome, self._setup, self._code)
            known.said = known.is_final = False
            self._note(welcome.identity, link)
            try:
                with self._trusted.watching(link, trust, accepted):
                    known.reason = await link.run(stream, passage, self._wake)
            finally:
                known.link = None
        return None

    @contextlib.contextmanager
    def _taking(self, identity: str) -> Iterator[None]:
        """Reserve this peer, so that no second link to it is made."""
        self._links[identity] = None
        try:
            yield
        finally:
            with self._changed:
                del self._links[identity]
                self._changed.notify_all()

    def _note(self, identity: str, link: Link) -> None:
        with self._changed:
            self._links[identity] = link
            self._changed.notify_all()

    async def _watch(self) -> None:
        """Fail the tasks that wait while no peer can be reached."""
        alone_since = None
        pause = _LOOK if self._timeout is None else min(_LOOK, self._timeout / 4)
        while True:
            self._trusted.check()
            links = self._engine.links
            if links.has_waiting:
                self._wake()  # submitting a call does not wake the engine while no place can accept it
            if links.are_open or links.has_workers or not links.has_waiting:
                alone_since = None
            elif self._possible() <= 0 and self._discoveries:
                text = f"no peer can be reached, and waiting would not help. {self.explain()}"
                links.fail_waiting(errors.NoPeersError(text))
            elif alone_since is None:
                alone_since = monotonic()
            elif self._timeout is not None and monotonic() - alone_since > self._timeout:
                text = f"tasks have waited for {self._timeout:g} s, but no peer is connected. {self.explain()}"
                links.fail_waiting(errors.NoPeersError(text))
            await asyncio.sleep(pause)
