"""Admits clients: the two calls of the handshake, and the sessions that follow."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from woolexec.errors import PeerRefusedError, ProtocolError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.compression import Packing
from woolexec.mesh.link.outbox import HELLO, LINK, SERVICE
from woolexec.mesh.security.handshake import CANNOT_WORK, DRAINING, FREE_KEY, WELCOME_KEY
from woolexec.mesh.security.tls import CLIENT, OPERATOR, PEER
from woolexec.mesh.security.trust import LOOK, Identity, Trust
from woolexec.mesh.server.fetching import Fetching
from woolexec.mesh.server.inspections import Inspections
from woolexec.mesh.server.memory_guard import MemoryGuard
from woolexec.mesh.server.session import Served
from woolexec.mesh.server.status import StatusReports
from woolexec.mesh.server.traffic import Traffic
from woolexec.platform.memory import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.fd_passing import Passages
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.handshake import Door
    from woolexec.mesh.security.trust import Accepted
    from woolexec.mesh.server.audit_log import Audit
    from woolexec.mesh.server.capacity import Places
    from woolexec.mesh.server.peer_log import PeerLog
    from woolexec.mesh.server.tenant import Tenant, Tenants
    from woolexec.wire.wire_pb2 import Hello


def is_of_user(address: str) -> bool:
    """Return whether a client uses the Unix socket, whose folder only the user of this peer can access."""
    return address.startswith("unix:")


class Acceptor:
    """
    The clients of one peer; only in the engine's thread.

    :param door: the peer's part of the handshake
    :param credentials: what clients must authenticate with
    :param tenants: what the clients have here
    :param places: the capacity that they share
    :param passages: fd passing for large payloads
    :param quota: maximum number of calls of one client
    :param takes_code: whether to store the code that clients send
    :param audit: records the end of each task
    :param on_end: called when a link has ended
    :param compression: formats in which parts of large payloads may be compressed
    """

    def __init__(
        self,
        *,
        door: Door,
        credentials: Credentials,
        tenants: Tenants,
        places: Places,
        passages: Passages,
        quota: int,
        takes_code: bool,
        audit: Audit | None,
        log: PeerLog,
        on_end: Callable[[], object],
        tell: Callable[[Callable[[], object]], None],
        compression: tuple[str, ...] = (),
    ) -> None:
        self.is_open = True
        """Whether clients are admitted; false while the peer drains."""
        self.trouble = ""
        """Why no tasks can be run now; no client is admitted meanwhile."""
        self.served: dict[Served, asyncio.Task[Any]] = {}
        self.traffic = Traffic(self.served)
        self.places, self.tenants = places, tenants
        self._door, self._credentials = door, credentials
        self._passages, self.fetching = passages, Fetching(credentials, compression)
        self._compression = compression
        self._quota, self._takes_code = quota, takes_code
        self._audit, self._log = audit, log
        self._on_end = on_end
        self._tell, self._reports = tell, StatusReports(self.everybody, tell)
        self._reports_of: WeakValueDictionary[str, StatusReports] = WeakValueDictionary()  # by certificate
        self._trust: Trust | None = None  # set if clients must have certificates

    def services(self) -> dict[str, dict[str, Any]]:
        """
        Return the two calls of the handshake, with what handles them.

        :raises CredentialsError: if a certificate file cannot be used
        """
        grpc = load_grpc()
        tls = self._credentials.tls
        if tls is not None and self._credentials.are_mutual:
            self._trust = Trust(tls)
        methods = {
            HELLO.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(self._greet),
            LINK.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(self._link),
        }
        return {SERVICE: methods}

    async def _greet(self, _request: Any, context: Any) -> None:
        try:
            self._accept(context)
            welcome = self._door.greet(context.invocation_metadata())
        except PeerRefusedError as exc:
            self._log.refused(context.peer(), str(exc))
            await context.abort(load_grpc().StatusCode.FAILED_PRECONDITION, str(exc))
        context.set_trailing_metadata(((WELCOME_KEY, welcome),))

    async def _link(self, _request: Any, context: Any) -> None:
        codes = load_grpc().StatusCode
        try:
            accepted = self._accept(context)
            admitted = self._door.admit(context.invocation_metadata())
        except PeerRefusedError as exc:
            self._log.refused(context.peer(), str(exc))
            await context.abort(codes.FAILED_PRECONDITION if exc.is_final else codes.UNAUTHENTICATED, str(exc))
        if not self.is_open:
            await context.abort(codes.UNAVAILABLE, DRAINING)
        if self.trouble:
            await context.abort(codes.RESOURCE_EXHAUSTED, f"{CANNOT_WORK}: {self.trouble}")
        task = asyncio.current_task()
        assert task is not None
        hello = admitted.hello
        is_operator = OPERATOR.encode() in accepted.certificate.dns_names if accepted else is_of_user(context.peer())
        tenant, served = self._enter(hello, accepted, task, is_operator=is_operator)
        self.served[served] = task
        told, forget = self._passages.expect(served.enter)
        self._log.joined(served.client, context.peer())
        began = monotonic()
        try:
            free = str(max(0, self.places.admission.free))
            await context.send_initial_metadata((*self._door.welcome(admitted, told), (FREE_KEY, free)))
            await served.run(context)
        except (ProtocolError, ValueError, OSError) as exc:
            self._log.refused(context.peer(), f"{served.client}: {exc}")
            await context.abort(codes.INVALID_ARGUMENT, str(exc))
        finally:
            self._log.left(served.client, monotonic() - began)
            del self.served[served]
            self.traffic.ended(served)
            forget()
            try:
                served.abandon()
            finally:
                self.tenants.leave(hello.session, tenant, task)
                self._on_end()
                await served.outbox.ended()

    def _accept(self, context: Any) -> Accepted | None:
        """
        Check the certificate of a client, if clients must have one.

        :raises PeerRefusedError: if it is not accepted
        """
        return (
            None if self._trust is None else self._trust.accept_call(context.auth_context(), (PEER, CLIENT, OPERATOR))
        )

    def everybody(self, fingerprint: str = "") -> list[tuple[Hosted, str]]:
        """
        Return the engines of all clients, with the clients' names.

        :param fingerprint: only of clients with this certificate; empty: of all
        """
        found = [each for each in self.served if fingerprint in ("", each.identity.fingerprint)]
        return list({served.engine: (served.engine, served.client) for served in found}.values())

    def _reports_for(self, identity: Identity, *, is_operator: bool) -> StatusReports | None:
        """Return what answers for all clients whose tasks this one may see; None if it may see only its own."""
        if is_operator:
            return self._reports
        if identity.accepted is None or CLIENT.encode() not in identity.accepted.certificate.dns_names:
            return None
        mine = identity.fingerprint
        reports = self._reports_of.get(mine)
        if reports is None:
            reports = self._reports_of[mine] = StatusReports(partial(self.everybody, mine), self._tell)
        return reports

    def _enter(
        self, hello: Hello, accepted: Accepted | None, task: asyncio.Task[Any], *, is_operator: bool
    ) -> tuple[Tenant, Served]:
        """Create the session of an admitted client."""
        claims = f"{hello.host}:{hello.pid}"
        is_peer = accepted is None or PEER.encode() in accepted.certificate.dns_names
        identity = Identity(str(accepted or self._credentials.proof), claims, accepted)
        if hello.client and is_peer:  # it passes on tasks, and vouches for their client
            identity = replace(identity, claims=f"{hello.client} through {claims}")
        else:
            hello.session = identity.own(hello.session)
        tenant = self.tenants.enter(hello, str(identity), task)
        store = tenant.code_store if self._takes_code else None
        fetching = self.fetching if self._takes_code else None  # otherwise a client could make it connect anywhere
        served = Served(
            tenant.engine,
            str(identity),
            self._quota,
            self.places,
            code_store=store,
            audit=self._audit,
            fetching=fetching,
            packing=Packing(self._compression, hello.compression),
        )
        served.identity, served.upward.hops = identity, hello.hops
        reports = None if hello.hops else self._reports_for(identity, is_operator=is_operator)
        served.inspections = Inspections(tenant.engine, served.outbox, reports)
        return tenant, served

    @property
    def beside(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Run the background work of the server, until cancelled."""
        return self.end_untrusted, self.guard_memory, self.fetching.run, self.places.stays.run

    async def guard_memory(self) -> None:
        """Refuse calls before memory runs out, until cancelled."""

        def end(holder: Any, reason: str) -> None:
            if holder is self.fetching:
                self.fetching.end_largest()
            else:
                holder.refuse(self.served[holder], reason)

        await MemoryGuard(self.places, lambda: [*self.served, self.fetching], end, self._log, memory).run()

    async def end_untrusted(self) -> None:
        """End the links of clients whose certificate or authority was withdrawn, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if self._trust is None:
                continue
            self._trust.refresh()
            for served, task in self.served.items():
                accepted = served.identity.accepted
                if accepted is not None and (reason := self._trust.why_not(accepted)):
                    served.refuse(task, reason)

    def drain(self) -> None:
        """Admit no more clients, and tell clients to send no more calls."""
        self.is_open = False
        self.tenants.close()
        for served, task in self.served.items():
            if served.inspections.only_looks:  # it may stay connected indefinitely, and has nothing to finish
                served.refuse(task, DRAINING)
            else:
                served.say_goodbye()

    def close(self) -> None:
        """End all links."""
        self.is_open = False
        self.tenants.close()
        for task in self.served.values():
            task.cancel()
