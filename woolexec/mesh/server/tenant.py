"""
What one client has at a peer: its workers, its code, and links to other peers for its nested tasks.

Links with the same session belong to one client: its own link, and those of peers that pass on its tasks.  Everything
ends `LINGER` seconds after the last link with the fewest hops, so that a client whose link broke finds its workers
again.  Links with more hops do not keep it: two peers that pass on a client's tasks to each other would never end each
other's links.

Another client that learns the name of a session cannot join it: the session is bound to the certificate or token that
the client has proved (`Identity.own`), and only peers may pass on a session that another peer has bound.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from woolexec.mesh.server.code_store import CodeStore
from woolexec.worker.code_import import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from woolexec.engine.hosted import Host, Hosted
    from woolexec.mesh.client.peers import Peers
    from woolexec.wire.wire_pb2 import Hello


LINGER = 1.5
"""Seconds for a client to reconnect after its link has broken."""


class Tenant:
    """
    One client at a peer; only in the engine's thread.

    `level` is the number of hops of the links that keep it, `links` the tasks of all its links, with their hops.

    :param make_peers: creates the links to other peers, which are opened for the first nested task; None: there are no
        other peers
    """

    def __init__(self, host: Host, make_peers: Callable[[Tenant], Peers] | None) -> None:
        self.code_store = CodeStore()
        self.engine: Hosted = host.engine({"environment": {FOLDER: self.code_store.folder}, "client": b""})
        self.level = 0
        self.has_ended = False
        self.links: dict[asyncio.Task[Any], int] = {}
        self.peers: Peers | None = None
        self._make_peers = make_peers
        self._finding: asyncio.Task[Any] | None = None
        if make_peers is not None:
            self.engine.on_first_nested(self._find_peers)

    def _find_peers(self) -> None:
        assert self._make_peers is not None
        self.peers = self._make_peers(self)
        self._finding = asyncio.get_running_loop().create_task(self.peers(self.engine, self.engine.wake))

    @property
    def is_kept(self) -> bool:
        """Whether a link keeps it."""
        return self.level in self.links.values()

    def end(self) -> None:
        """End everything."""
        self.has_ended = True
        if self._finding is not None:
            self._finding.cancel()
        for task in self.links:
            task.cancel()
        self.engine.retire(self.code_store.close)


class Tenants:
    """
    The clients of one peer, by their sessions.

    :param make_peers: see `Tenant`
    """

    def __init__(self, host: Host, make_peers: Callable[[Tenant, bytes, str], Peers] | None) -> None:
        self._host = host
        self._make_peers = make_peers
        self._is_open = True
        self._by_session: dict[bytes, Tenant] = {}
        self._lingering: dict[Tenant, asyncio.TimerHandle] = {}

    def enter(self, hello: Hello, name: str, task: asyncio.Task[Any]) -> Tenant:
        """
        Note a link of a client; a client without a session has only this link.

        :param task: serves the link; cancelled when the client's other links have ended, if this one does not keep it
        """
        tenant = self._by_session.get(hello.session) if hello.session else None
        if tenant is None:
            make = self._make_peers
            make_peers = None if make is None else lambda tenant: make(tenant, hello.session, name)
            tenant = Tenant(self._host, make_peers)
            tenant.level = hello.hops
            if hello.session:
                self._by_session[hello.session] = tenant
        tenant.links[task] = hello.hops
        tenant.level = min(tenant.level, hello.hops)
        if tenant.is_kept and tenant in self._lingering:
            self._lingering.pop(tenant).cancel()
        return tenant

    def leave(self, session: bytes, tenant: Tenant, task: asyncio.Task[Any]) -> None:
        """Note that a link has ended; if it was the client's last one, everything of the client ends soon."""
        del tenant.links[task]
        if tenant.is_kept or tenant.has_ended or tenant in self._lingering:
            return
        if session and self._is_open:
            after = asyncio.get_running_loop().call_later
            self._lingering[tenant] = after(LINGER, self._forget, session, tenant)
        else:
            self._end(session, tenant)

    def _forget(self, session: bytes, tenant: Tenant) -> None:
        self._end(session, tenant)
        self._host.wake()

    def _end(self, session: bytes, tenant: Tenant) -> None:
        self._lingering.pop(tenant, None)
        if self._by_session.get(session) is tenant:
            del self._by_session[session]
        tenant.end()

    def __iter__(self) -> Iterator[Tenant]:
        return iter(tuple(self._by_session.values()))

    def close(self) -> None:
        """Keep nothing for clients whose links have ended, or end later."""
        self._is_open = False
        for session, tenant in list(self._by_session.items()):
            if tenant in self._lingering:
                self._lingering[tenant].cancel()
                self._end(session, tenant)
