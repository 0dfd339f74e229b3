"""
A client's peers: one link to each peer that was found, reconnected when it breaks.

::

    discovery --Joined--> record --> its turn --> connect, handshake --> Link, a place of the engine --> it ends --,
                            ^                       |                                                              |
                            `------- a pause -------+--- refused or not reachable: logged once <-------------------'

A link that has worked is retried after at most `FIRST` seconds, then with exponential backoff up to `SLOWEST`.  Pauses
are randomised, so that the clients of a restarted peer do not all connect at the same moment.

A client has at most `MOST` links.  `candidates` says which record is tried next, and `attempts` tries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from math import inf
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING

from woolexec import errors
from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.client.attempts import Attempts
from woolexec.mesh.client.channel import greet, open_channel, open_link, said_in
from woolexec.mesh.client.finding import REPLAY, Finder
from woolexec.mesh.client.link import Link, no_code
from woolexec.mesh.client.scaler import Scalers
from woolexec.mesh.client.trusted import Trusted, fault_of
from woolexec.mesh.grpc_module import check_fork, in_use, load_grpc
from woolexec.mesh.link import fd_passing as passages
from woolexec.mesh.security.handshake import CANNOT_WORK, Caller
from woolexec.printable import printable

if TYPE_CHECKING:
    from woolexec.discovery.base import Discovery
    from woolexec.engine.links import Linked
    from woolexec.mesh.client.candidates import Candidate
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.wire.wire_pb2 import Welcome
    from woolexec.worker.setup import Setup

MOST = 100
"""Maximum number of links of one client."""

_AT_ONCE = 32
"""Maximum number of handshakes at a time."""

_NAMED = 10
"""Maximum number of peers that cannot be reached in one error message."""

_TURN = 1.0
"""Seconds that a handshake waits for another one with a peer that has the same identity."""

_VERDICT = 1.0
"""Seconds for which a peer that refused this client permanently is not asked again; later another may be there."""

_LOOK = 0.25
"""How often to check for tasks that wait while no peer is connected, in seconds."""

_FARTHEST = 0.5
"""Maximum seconds of travel for which work is sent ahead: a handshake that took longer may have waited for the peer."""


class Peers:
    """
    The links of one client.

    :param discoveries: how peers are found
    :param credentials: used for both ends, unless the record of a peer has its own credentials
    :param timeout: seconds that tasks wait while no peer is connected; None: no limit
    :param setup: what each worker of the peers runs before this client's first task
    :param code: returns the code archive with this digest; None if there is none
    :param identity: this process's identity, if it is a peer itself
    :param session: the secret name of the client whose tasks these are; None: that of this process
    :param client: the name of that client, if it is not this process
    :param hops: number of peers that these tasks have passed through; 0: they are this process's own
    :param compression: formats in which parts of large payloads may be compressed
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
        compression: tuple[str, ...] = (),
    ) -> None:
        check_fork()
        self._credentials = credentials
        self._timeout = timeout
        self._identity = identity
        self._compression = compression
        self._ours = session or secrets.token_bytes(16), client, hops, compression
        self._changed = Condition()  # guards `_links`
        self._turns: dict[str, asyncio.Event] = {}  # set when the last handshake with this identity has ended
        self._links: dict[str, Link | None] = {}  # by the peer's identity; None: being connected
        self._random = random.Random()  # noqa: S311  # not for secrets; does not disturb the program's random numbers
        self._attempts = Attempts(
            credentials,
            link=self._link_to,
            fault=self._foreign,
            has_room=lambda: len(self._links) < MOST,
            is_urgent=lambda: not self.links and (bool(self._awaited) or self._engine.links.has_waiting),
            on_final=self._tell,
            randomness=self._random,
        )
        self._scalers = Scalers(self._attempts.candidates, self._attempts.hear, self._tell)
        self._finders = [
            Finder(each, credentials, on_event=self._attempts.hear, on_final=self._tell, randomness=self._random)
            for each in self._scalers.wrap(discoveries)
        ]
        self._awaited: list[int] = []  # for each waiting thread, the number of peers that it waits for
        self._asked_at = 0.0
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
            return len(self.links) >= count or self._over or self._attainable < count

        with self._changed:
            if not self._awaited:
                self._ask()
            self._awaited.append(count)
            try:
                self._changed.wait_for(is_over, timeout)
            finally:
                self._awaited.remove(count)
            there = len(self.links)
        if there < count or self._over:
            most = "" if self._over or self._attainable >= count else f", and no more than {self._attainable:g} can be"
            raise TimeoutError(f"only {there} of {count} peers connected{most}. {self.explain()}".rstrip())
        return there

    @property
    def possible(self) -> float:
        """Return the maximum number of peers that can be connected, as far as is known."""
        named = sum(finder.possible(self._asked_at) for finder in self._finders)
        return named - sum(known.is_hopeless(self._asked_at) for known in self._attempts.candidates)

    @property
    def _attainable(self) -> float:
        """The maximum number of peers that can be waited for, including those that launchers may start."""
        return min(self.possible, sum(getattr(finder.discovery, "most", inf) for finder in self._finders))

    @property
    def links(self) -> list[Link]:
        """The established links."""
        return [link for link in tuple(self._links.values()) if link is not None]

    def explain(self) -> str:
        """Return why each unconnected peer is not connected, and which discoveries have found none."""
        known = list(self._attempts.candidates)
        missing = sorted((each for each in known if each.link is None), key=lambda each: not each.reason)
        reasons = [text for finder in self._finders for text in (finder.trouble, str(finder.foreign)) if text]
        reasons += self._scalers.troubles(reasons)
        reasons += [
            f"{each.record.addresses[0]}: {each.reason or f'connecting for {monotonic() - each.since:.1f} s'}"
            for each in missing[:_NAMED]
        ]
        candidates = [link.candidate for link in self.links]
        reasons += [f"{each.address}: {CANNOT_WORK}: {each.trouble}" for each in candidates if each.trouble]
        if len(missing) > _NAMED:
            reasons.append(f"and {len(missing) - _NAMED} more records lead to no peer")
        found = {each.place[0] for each in known}
        silent = [str(each.discovery) for each in self._finders if each.discovery not in found and not each.trouble]
        if silent:
            reasons.append(f"no peers found at {', '.join(silent)}")
        return printable("; ".join(reasons))

    # -- the engine's thread ------------------------------------------------------------------------------------

    async def __call__(self, engine: Linked, wake: Callable[[], None]) -> None:
        """Maintain the links until cancelled."""
        self._engine = engine
        self._wake = wake
        self._few = asyncio.Semaphore(_AT_ONCE)  # limits how many handshakes run at once
        engine.links.expect(peers=True)
        asyncio.get_running_loop().call_later(REPLAY, partial(engine.links.expect, peers=False))
        try:
            with in_use():
                async with asyncio.TaskGroup() as group:
                    for finder in self._finders:
                        group.create_task(finder.follow())
                    group.create_task(self._scalers.run(engine.links, lambda: max([0, *self._awaited])))
                    group.create_task(self._attempts.run(group))
                    group.create_task(self._watch())
        finally:
            self._attempts.clear()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _foreign(self, candidate: Candidate) -> str | None:
        """Return why the certificate there cannot be acceptable; None if it may be."""
        record = candidate.record
        ours = self._trusted.fingerprints((record.credentials or self._credentials).tls)
        if record.fingerprint and ours and record.fingerprint not in ours:
            return "its certificates are from another authority"
        return None

    def _ask(self) -> None:
        """Note that a wait begins: peers that refused this client earlier are asked again."""
        self._asked_at = monotonic() - _VERDICT

    def _tell(self) -> None:
        """Wake the threads that wait for peers."""
        with self._changed:
            self._changed.notify_all()

    async def _link_to(self, known: Candidate, address: str, at: str, patience: float) -> Exception | str | None:
        """Run one link until it ends and return None; or return why none could be made."""
        grpc = load_grpc()
        credentials = known.record.credentials or self._credentials
        try:
            if (foreign := self._foreign(known)) is not None:
                return foreign
            trust = self._trusted.of(credentials.tls)
        except CredentialsError as exc:
            return exc
        async with contextlib.AsyncExitStack() as taken:
            try:
                async with self._few, asyncio.timeout(patience):
                    channel = await taken.enter_async_context(open_channel(address, credentials, trust, at=at))
                    hint, opening = await greet(channel, Caller(credentials.token, known.record.pool, *self._ours))
                    async with self._turn(hint.identity):
                        if (other := self._needless(hint)) is not None:  # unproved: a lie only harms the liar
                            known.was_logged = True
                            return other
                        asked = monotonic()
                        stream, welcome = await open_link(channel, opening)
                        took = monotonic() - asked
                        taken.callback(stream.cancel)
                        if (other := self._needless(welcome)) is not None:
                            return other
                        taken.enter_context(self._taking(welcome.identity))
                    passage = await passages.enter(welcome.passage)
                    if passage is not None:
                        taken.callback(passage.close)
            except TimeoutError:
                return f"no answer in {patience:g} s"
            except CredentialsError as exc:
                return exc
            except PeerRefusedError as exc:
                return exc if exc.is_final or credentials.tls is None else f"{exc}{fault_of(credentials.tls)}"
            except grpc.RpcError as exc:
                return said_in(exc)
            known.link = link = Link(self._engine, address, welcome, self._setup, self._code, self._compression)
            link.round_trip = took
            link.on_the_way = min(took, _FARTHEST)
            self._attempts.succeeded(known)
            self._note(welcome.identity, link)
            try:
                with self._trusted.watching(link, trust, channel.accepted):
                    known.reason = await link.run(stream, passage, self._wake)
            finally:
                known.link = None
        return None

    def _needless(self, welcome: Welcome) -> str | None:
        """Return why no link to this peer is needed; None if it is."""
        if welcome.identity == self._identity or welcome.identity in self._links:
            return "already linked to this peer"  # found in two ways, or this process itself
        return f"{MOST} other peers are linked" if len(self._links) >= MOST else None

    @contextlib.asynccontextmanager
    async def _turn(self, identity: str) -> AsyncIterator[None]:
        """Wait for other handshakes with this peer, so that no second link is made; only briefly, as they may lie."""
        before = self._turns.get(identity)
        self._turns[identity] = ended = asyncio.Event()  # set when this handshake has ended
        try:
            if before is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TURN):
                        await before.wait()
            yield
        finally:
            ended.set()
            if self._turns.get(identity) is ended:
                del self._turns[identity]

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
        alone_since, was_waiting = None, False
        pause = _LOOK if self._timeout is None else min(_LOOK, self._timeout / 4)
        while True:
            self._trusted.check()
            links = self._engine.links
            is_waiting = links.waits_for_peers
            if is_waiting and not was_waiting:
                self._ask()
            if is_waiting or self._awaited:
                self._attempts.hasten(self._asked_at)
                for finder in self._finders:
                    finder.hasten(self._asked_at)
            was_waiting = is_waiting
            if links.has_waiting:
                self._wake()  # submitting a call does not wake the engine while no place can accept it
            if not is_waiting or self._scalers.are_starting:
                alone_since = None
            elif self.possible <= 0 and self._finders:
                text = f"no peer can be reached, and waiting would not help. {self.explain()}"
                links.fail_waiting(errors.NoPeersError(text))
                was_waiting = False  # the next tasks are not those that have waited
            elif alone_since is None:
                alone_since = monotonic()
            elif self._timeout is not None and monotonic() - alone_since > self._timeout:
                text = f"tasks have waited for {self._timeout:g} s, but no peer can run them. {self.explain()}"
                links.fail_waiting(errors.NoPeersError(text))
            await asyncio.sleep(pause)
