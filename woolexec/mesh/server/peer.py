"""
A peer: engines behind a gRPC server, in one thread; each client has its own engine.

::

    stream --Define/Start/Next/...--> Served --> engine of the client --> its workers
    stream <--Return/Raise/Yield/...-- outbox <-- receivers of the calls

The peer never unpickles user data; it passes it on to its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Self

import woolexec.mesh.server.preloaded  # noqa: F401  # see there
from woolexec.core.window import DEPTH
from woolexec.discovery.base import Record
from woolexec.discovery.urls import discoveries
from woolexec.engine.hosted import Host
from woolexec.engine.lane import COROUTINES
from woolexec.errors import CredentialsError, PeerStartError
from woolexec.mesh.client.peers import Peers
from woolexec.mesh.grpc_module import in_use, load_grpc
from woolexec.mesh.link.compression import AUTO, formats
from woolexec.mesh.link.fd_passing import Passages
from woolexec.mesh.link.outbox import OPTIONS, end, to_its_end
from woolexec.mesh.security.handshake import Door, no_certificates
from woolexec.mesh.security.record_key import RecordKey
from woolexec.mesh.security.self_signed import SelfSigned
from woolexec.mesh.security.tls import ServerFiles
from woolexec.mesh.server.acceptor import Acceptor
from woolexec.mesh.server.capacity import Places
from woolexec.mesh.server.grpc_server import make_server
from woolexec.mesh.server.health import Health
from woolexec.mesh.server.listener import Listener
from woolexec.mesh.server.listening import AGAINST_STRANGERS, at_most, reachable, why_not_listening
from woolexec.mesh.server.parameters import check_numbers, check_place, check_resources, check_texts, offer_of
from woolexec.mesh.server.peer_log import PeerLog
from woolexec.mesh.server.socket_dir import SocketDir
from woolexec.mesh.server.supervision import Supervision
from woolexec.mesh.server.tenant import Tenant, Tenants
from woolexec.platform.memory import usable_memory
from woolexec.wire.restricted import ALLOW, AllowList
from woolexec.wire.wire_pb2 import Welcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from woolexec.core.offer import Offer
    from woolexec.discovery.base import Discovery
    from woolexec.engine.peer_upkeep import Rules
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.server.audit_log import Audit
    from woolexec.mesh.server.stays import Stays

_STOPPING = 1.0
"""Seconds that gRPC calls have to end when the peer stops."""

_LOOK = 0.1
"""How often to check whether a starting peer is still wanted, in seconds."""


class Peer:
    """
    Serve engines at an address; use it in a ``with``.

    :param workers: maximum number of calls of all clients that run at once in main threads of workers
    :param bind: ``host:port`` (port 0: any free port) or ``unix:/path``; None: a Unix socket in a private folder
    :param credentials: what clients must authenticate with
    :param pool: the name of the pool that it belongs to
    :param tags: what clients may require, each as ``key=value``
    :param resources: amounts that clients may require; a call holds what it requires while it runs
    :param health: another address for the health service, without TLS and credentials, as probes require
    :param announce: where the peer is announced, from the time it is ready until it drains: URLs, such as
        ``dir:/shared``, or discoveries
    :param advertise: addresses to announce; empty: the one it listens at
    :param peers: how to find other peers for nested tasks; the same credentials are used for them
    :param allow: functions that may be run, each as ``module:qualname``, with plain data as arguments; empty: none;
        None: any
    :param audit: records the end of each task
    :param stays: counts the outcomes that are kept here; None: with the default limit
    :param coroutines: maximum number of coroutines and streams that one worker runs at once; more wait
    :param rules: limits for the workers of clients; None: only those that the clients set
    :param threads: the value of ``OMP_NUM_THREADS`` and similar variables in workers, where the environment has none
    :param give_up_after: seconds for which no worker could be started, after which `gave_up` is set
    :param is_wanted: called periodically during the start; if it returns false, the start is abandoned
    :param compression: how large payloads may be compressed: "auto", "off", None or the name of a format
    :param quiet: suppress the messages that grpc's core writes to stderr
    :raises CredentialsError: if TLS is used, but a certificate or a way to authenticate clients is missing
    :raises PeerStartError: if the peer cannot listen on the address
    :raises DiscoveryError: if the peer cannot be announced
    """

    def __init__(
        self,
        workers: int,
        *,
        bind: str | None = None,
        credentials: Credentials,
        pool: str = "",
        tags: Sequence[str] = (),
        resources: Mapping[str, float] | None = None,
        health: str | None = None,
        announce: Sequence[str | Discovery] = (),
        advertise: Sequence[str] = (),
        peers: Sequence[Discovery] = (),
        allow: Sequence[str] | None = None,
        audit: Audit | None = None,
        stays: Stays | None = None,
        coroutines: int = COROUTINES,
        rules: Rules | None = None,
        threads: int = 1,
        give_up_after: float = inf,
        is_wanted: Callable[[], bool] = lambda: True,
        compression: str | None = AUTO,
        quiet: bool = False,
    ) -> None:
        check_numbers(workers, coroutines, threads)
        check_place(credentials, bind, health, pool)
        check_texts("tags", tags, "key=value")
        check_texts("advertise", advertise, "an address such as node7:7437")
        check_texts("allow", () if allow is None else allow, "module:qualname")
        check_resources(resources)
        offer = offer_of(tags, resources or {})
        credentials.check_of_peer()
        self._announce = discoveries(announce) if announce else []
        self.width = workers
        self.identity: str = uuid.uuid4().hex
        self._socket_dir = SocketDir(bind)
        self._pool, self._tags = pool, tuple(tags)
        self._health_bind, self._advertise = health, tuple(advertise)
        self._silence = asyncio.Event()  # set when the peer must no longer be announced
        self._credentials = credentials
        self._quota = (DEPTH + coroutines) * workers + workers  # the most that a client of woolexec sends
        self._passages = Passages()
        variables = {} if allow is None else {ALLOW: AllowList(allow).variable}
        self._takes_code = allow is None
        self._audit, self._stays = audit, stays
        welcome = Welcome(identity=self.identity, workers=workers, coroutines=coroutines * workers, pool=pool, tag=tags)
        _describe(welcome, offer, compression, shares=self._takes_code)
        self._welcome = welcome
        self._bind = self._socket_dir.bind
        self._shown = _shown_at(self._bind, credentials)
        self._health = Health()
        self._log, self._is_quiet = PeerLog(), quiet
        fingerprints = self._shown.fingerprints if self._shown else no_certificates
        self._door = Door(credentials.token, welcome, fingerprints, lambda: self._log.failures)
        self._stop = asyncio.Event()  # set when the server must stop
        self._stopped = threading.Event()  # set when it has stopped
        self._peers = tuple(peers)
        self._give_up_after = give_up_after
        self.gave_up = ""
        """Why no worker could be started for so long that the peer must be ended; empty if that is not so."""
        bound: Future[str] = Future()
        self.engine: Host = Host(
            workers,
            coroutines=coroutines,
            threads=threads,
            guest=partial(self._run, bound, offer),
            offer=offer,
            variables=variables,
            on_worker_death=self._log.worker_died,
            rules=rules,
        )
        try:
            while not wait((bound,), _LOOK).done:
                if not is_wanted():
                    raise PeerStartError("the peer was told to end before it was ready")
            self.address: str = bound.result()
        except BaseException:
            self.close()
            raise

    @property
    def clients(self) -> int:
        """The number of linked clients, without those that only look."""
        return sum(not each.inspections.only_looks for each in tuple(self._acceptor.served))

    @property
    def ended(self) -> bool:
        """Whether the peer has stopped serving."""
        return self.engine.stopped

    def prepare(self) -> None:
        """Start the fork server, so that the first call need not wait for it; from any thread."""
        self.engine.tell(self.engine.forks.prepare)

    def drain(self) -> None:
        """Tell clients to send no more calls, and end when the sent ones are done; from any thread."""
        self.engine.tell(self._drain)

    def _drain(self) -> None:
        self._log.draining(self.clients)
        self._health.serving = False
        self._silence.set()
        self._acceptor.drain()
        self._end_if_alone()

    def _end_if_alone(self) -> None:
        if not (self._acceptor.is_open or self._acceptor.served):
            self.engine.shutdown(wait=False, cancel=False)

    def _link_ended(self) -> None:
        self._end_if_alone()
        self.engine.wake()

    def close(self) -> None:
        """End all running calls, and wait until the peer has ended; do nothing in a forked child."""
        if self.engine.forked:
            return
        self.engine.tell(self._stop.set)  # links first, so that clients place unsent calls elsewhere
        self._stopped.wait()
        self.engine.shutdown(wait=True, cancel=True)
        self._socket_dir.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- the engine's thread ------------------------------------------------------------------------------------

    async def _run(self, bound: Future[str], offer: Offer, host: Host) -> None:
        try:
            self._acceptor = Acceptor(
                door=self._door,
                credentials=self._credentials,
                tenants=Tenants(host, self._peers_of if self._peers else None),
                places=Places(host.loop.after, self.width, offer, has_peers=bool(self._peers), stays=self._stays),
                passages=self._passages,
                quota=self._quota,
                takes_code=self._takes_code,
                audit=self._audit,
                log=self._log,
                on_end=self._link_ended,
                tell=host.loop.tell,
                compression=tuple(self._welcome.compression),
            )
            supervision = Supervision(
                host,
                self._give_up_after,
                say=self._say_trouble,
                give_up=self._give_up,
                invite=self._invite,
            )
            with in_use():
                await self._serve_beside(bound, supervision)
        finally:
            self._stopped.set()
            if not bound.done():
                bound.set_exception(PeerStartError("the peer ended before it was ready"))

    def _peers_of(self, tenant: Tenant, session: bytes, name: str) -> Peers:
        """Create the links to other peers for a client's nested tasks."""
        return Peers(
            self._peers,
            self._credentials,
            code=tenant.code_store.get,
            identity=self.identity,
            session=session,
            client=name,
            hops=tenant.level + 1,
            compression=tuple(self._welcome.compression),
        )

    def _say_trouble(self, reason: str) -> None:
        """Tell all clients why no worker can be started; with an empty string, that one was started again."""
        self._welcome.trouble = reason
        self._acceptor.trouble = reason
        self._health.serving = self._acceptor.is_open and not reason
        self._log.serving(reason)

    def _invite(self) -> None:
        self._acceptor.places.invite()
        self.engine.wake()  # otherwise this would be sent only with the next event

    def _give_up(self, reason: str) -> None:
        self.gave_up = reason

    async def _serve_beside(self, bound: Future[str], supervision: Supervision) -> None:
        """Serve until cancelled, together with fd passing, the end of links, and the watch on workers and memory."""
        async with asyncio.TaskGroup() as group:
            others = (self._passages.run, *self._acceptor.beside, supervision.run)
            beside = [group.create_task(run()) for run in others]
            try:
                await self._serve(bound)
            finally:
                for task in beside:
                    task.cancel()

    async def _serve(self, bound: Future[str]) -> None:
        """Serve until cancelled."""
        grpc, options = load_grpc(quiet=self._is_quiet), [*OPTIONS, *AGAINST_STRANGERS]
        # Half of the descriptors, for both ports together: the others are for payloads and workers.
        share = 1 / 2 if self._health_bind is None else 3 / 8
        make = partial(make_server, grpc, [*options, at_most(share)])
        health = self._health.services()
        listeners = []
        try:
            services = {**self._acceptor.services(), **health}
            listeners.append(Listener(self._bind, make, services, self._shown, self._log))
            if self._health_bind is not None:
                make = partial(make_server, grpc, [*options, at_most(1 / 2 - share)])
                listeners.append(Listener(self._health_bind, make, health, None, self._log))
            for each in listeners:
                await each.start()
        except (RuntimeError, CredentialsError) as exc:
            bound.set_exception(PeerStartError(why_not_listening((self._bind, self._health_bind), exc)))
            await to_its_end(_stop(listeners))
            return
        address = listeners[0].address
        watching = [asyncio.get_running_loop().create_task(each.watch()) for each in listeners]
        announced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        announcing = asyncio.get_running_loop().create_task(self._announce_at(address, announced))
        stopping = asyncio.get_running_loop().create_task(self._stop.wait())
        try:
            either: list[asyncio.Future[Any]] = [announced, stopping]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if announced.done():
                try:
                    announced.result()
                except Exception as exc:
                    bound.set_exception(exc)
                    return
                bound.set_result(address)
                await stopping
        finally:
            stopping.cancel()
            for task in watching:
                task.cancel()
            self._acceptor.close()
            self._silence.set()
            # A server that is destroyed without being stopped waits for its own end and never returns.
            await to_its_end(self._close(listeners, announcing))

    async def _close(self, listeners: Sequence[Listener], announcing: asyncio.Task[None]) -> None:
        stopped = asyncio.get_running_loop().create_task(_stop(listeners))
        await asyncio.wait({announcing}, timeout=_STOPPING)  # it withdraws the announcement
        await end(announcing)
        await stopped  # rarely takes that long: the calls have ended by now

    async def _announce_at(self, address: str, announced: asyncio.Future[None]) -> None:
        """Announce the peer until `_silence` is set; `announced` gets the result, or why it failed."""
        tls = self._credentials.tls
        try:
            fingerprint = next(iter(tls.fingerprints), "") if tls is not None else ""
            where = self._advertise or reachable(address)
            token = self._credentials.token
            signing = RecordKey(token) if token is not None else None
            record = Record(self.identity, where, self._pool, self._tags, fingerprint, signing=signing)
            async with contextlib.AsyncExitStack() as stack:
                for discovery in self._announce:
                    await stack.enter_async_context(discovery.announce(record))
                announced.set_result(None)
                await self._silence.wait()
        except Exception as exc:
            if not announced.done():
                announced.set_exception(exc)


def _describe(welcome: Welcome, offer: Offer, compression: str | None, *, shares: bool) -> None:
    """Describe in a Welcome what a peer offers and supports."""
    welcome.room, welcome.shares = usable_memory() // 4, shares
    welcome.resource.extend(f"{name}>={amount!r}" for name, amount in offer.resources.items())
    welcome.compression.extend(formats(compression))


def _shown_at(bind: str, credentials: Credentials) -> ServerFiles | SelfSigned | None:
    """
    Return the certificate of a peer's port; None: connections are not encrypted.

    :raises PeerStartError: if it needs a certificate that cannot be made
    """
    if credentials.tls is not None:
        return ServerFiles(credentials.tls)
    if credentials.token is None or bind.startswith("unix:"):
        return None
    try:
        return SelfSigned.make()
    except CredentialsError as exc:
        raise PeerStartError(str(exc)) from exc


async def _stop(listeners: Sequence[Listener]) -> None:
    await asyncio.gather(*(listener.stop(_STOPPING) for listener in listeners))
