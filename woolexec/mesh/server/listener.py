"""
Listens at one address, regardless of what strangers send there: the gRPC server is replaced when it stops accepting.

A call with a path that is not UTF-8 ends the loop in which grpc.aio accepts calls, unless the server is one of
`grpc_server`.  Open calls then continue, so the old server stays until they have ended.  If the loop of a server of
`grpc_server` has ended, this version of grpc is unknown, and the following servers are ordinary ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from woolexec.mesh.client.channel import to_peer
from woolexec.mesh.server.listening import reachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.mesh.security.self_signed import SelfSigned
    from woolexec.mesh.security.tls import ServerFiles
    from woolexec.mesh.server.grpc_server import Services
    from woolexec.mesh.server.peer_log import PeerLog

_LOOK = 0.5
"""Seconds between two checks whether the address still accepts connections; a Unix socket can be removed."""

_RETRY, _LOOKS = 0.1, 5
"""Seconds between two attempts to listen again, and number of checks whether a socket was removed."""

_UNLIMITED = 1e6
"""Seconds for the open calls of a server that accepts no more calls."""

_ACCEPTING = "_server_main_loop"
"""The name of grpc.aio's coroutine that accepts calls; if its task is not found, the address is only checked."""


class Listener:
    """
    One address and its servers; the last one accepts calls.

    :param bind: ``host:port`` or ``unix:/path``
    :param make: makes a gRPC server for services; with `is_ordinary`, without private parts of grpc
    :param services: the services
    :param tls: the certificate of the port; None: connections are not encrypted
    """

    def __init__(
        self,
        bind: str,
        make: Callable[..., Any],
        services: Services,
        tls: ServerFiles | SelfSigned | None,
        log: PeerLog,
    ) -> None:
        self.address = bind
        """The address; once started, with the port that was chosen."""
        self._path = bind.removeprefix("unix:") if bind.startswith("unix:") else ""
        self._make, self._services, self._tls = make, services, tls
        self._log = log
        self._servers: list[Any] = []
        self._accepting: asyncio.Task[Any] | None = None
        self._is_ordinary = False  # the special server has failed
        self._stopping: dict[Any, asyncio.Task[Any]] = {}  # servers that only finish their calls

    async def start(self) -> None:
        """
        Begin to listen.

        :raises RuntimeError: if that is not possible
        :raises CredentialsError: if a certificate file cannot be used
        """
        server = self._make(self._services, is_ordinary=self._is_ordinary)
        self._servers.append(server)
        if self._tls is None:
            port = server.add_insecure_port(self.address)
        else:
            port = server.add_secure_port(self.address, self._tls.server())
        before = asyncio.all_tasks()
        await server.start()
        self._accepting = next((task for task in asyncio.all_tasks() - before if _accepts(task)), None)
        host, _, wanted = self.address.rpartition(":")
        if not self.address.startswith("unix:") and wanted == "0":
            self.address = f"{host}:{port}"

    async def watch(self) -> None:
        """Listen again whenever the server no longer accepts calls; until cancelled."""
        while True:
            await self._deaf()
            reason = self._reason()
            self._log.listening_again(self.address, reason)
            self._is_ordinary = self._is_ordinary or self._accepting is None or self._accepting.done()
            self._let_go(self._servers[-1])
            await self._unlinked()
            while True:
                try:
                    await self.start()
                    break
                except Exception as exc:  # the port may be taken meanwhile: try again
                    if str(exc) != reason:
                        reason = str(exc)
                        self._log.listening_again(self.address, reason)
                    await asyncio.sleep(_RETRY)

    def _let_go(self, server: Any) -> None:
        """Stop a server as soon as its last call has ended."""
        stopping = asyncio.get_running_loop().create_task(server.stop(_UNLIMITED))
        self._stopping[server] = stopping
        stopping.add_done_callback(lambda _: self._forget(server))

    def _forget(self, server: Any) -> None:
        del self._stopping[server]
        self._servers.remove(server)

    async def _deaf(self) -> None:
        """Wait until calls are no longer accepted."""
        while True:
            if self._accepting is None:
                await asyncio.sleep(_LOOK)
            else:
                await asyncio.wait({self._accepting}, timeout=_LOOK if self._path else None)
                if self._accepting.done():
                    return
            if not await _answers(self.address):
                return

    async def _unlinked(self) -> None:
        """Give the old server the time to remove its Unix socket: later it would remove that of the next server."""
        for _ in range(_LOOKS if self._path else 0):
            await asyncio.sleep(_RETRY)
            if not _exists(self._path):
                return

    def _reason(self) -> str:
        task = self._accepting
        if task is None or not task.done() or task.cancelled():
            return "it accepted no connections"
        return repr(task.exception() or "it ended")

    async def stop(self, grace: float) -> None:
        """End all calls, after this many seconds at most."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


def _exists(path: str) -> bool:
    return os.path.exists(path)


def _accepts(task: asyncio.Task[Any]) -> bool:
    return _ACCEPTING in getattr(task.get_coro(), "__qualname__", "")


async def _answers(address: str) -> bool:
    """Return whether an address accepts a connection."""
    try:
        _, writer = await to_peer(reachable(address)[0])
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
