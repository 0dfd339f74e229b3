"""
Find out quickly and cheaply whether a peer may be at an address, when very many addresses must be tried.

A probe connects, and with TLS checks that the certificate is from an accepted authority; a connection of grpc takes ten
times as long.  The handshake checks everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.mesh.client.channel import to_peer

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.tls import Tls

_NAMES = 4
"""Maximum number of names that are looked up at a time: each takes a thread of the event loop."""

_PART = 16 << 10
"""Maximum number of bytes to receive at a time."""

_KEPT = 1.0
"""Seconds after which certificates are read again."""


class Prober:
    """Probes addresses for one client."""

    def __init__(self) -> None:
        self._few = asyncio.Semaphore(_NAMES)  # limits how many names are looked up at once
        self._contexts: dict[Tls, tuple[float, ssl.SSLContext]] = {}

    async def why_not(self, address: str, credentials: Credentials) -> str | None:
        """
        Return why no peer can be reached at an address; None if one may be there.

        There is no time limit: the caller must end it.

        :raises CredentialsError: if a certificate file cannot be used
        """
        tls = credentials.tls
        try:
            if address.startswith("unix:"):
                _, writer = await to_peer(address)
                writer.transport.abort()
                return None
            sock = await self._connect(address)
            try:
                if tls is not None:
                    await self._encrypt(sock, tls, address.rpartition(":")[0].strip("[]"))
            finally:
                sock.close()
        except (OSError, ValueError) as exc:  # ssl's errors are OSErrors
            return f"not reachable: {getattr(exc, 'verify_message', None) or getattr(exc, 'strerror', None) or exc}"
        return None

    async def _encrypt(self, sock: socket.socket, tls: Tls, host: str) -> None:
        """
        Do the TLS handshake; asyncio's way takes 256 KiB for each connection.

        :raises OSError: if it fails
        """
        loop = asyncio.get_running_loop()
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = self._context(tls).wrap_bio(received, to_send, server_hostname=tls.name or host)
        while True:
            try:
                end.do_handshake()
                return
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, to_send.read())
            data = await loop.sock_recv(sock, _PART)
            if not data:
                raise ConnectionResetError("the other end has closed the connection")
            received.write(data)

    async def _connect(self, address: str) -> socket.socket:
        """
        Return a connected socket.

        :raises OSError: if the connection fails
        :raises ValueError: if this is not an address
        """
        loop = asyncio.get_running_loop()
        host, _, digits = address.rpartition(":")
        host, port = host.strip("[]").replace("%25", "%"), int(digits)
        family = _family_of(host)
        where: tuple[object, ...] = host, port
        if family == socket.AF_UNSPEC:
            async with self._few:
                (family, *_, where), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        return sock

    def _context(self, tls: Tls) -> ssl.SSLContext:
        made, context = self._contexts.get(tls, (0.0, None))
        if context is None or monotonic() - made > _KEPT:
            context = tls.context("")
            self._contexts[tls] = monotonic(), context
        return context


def _family_of(host: str) -> socket.AddressFamily:
    """Return the family of a numeric address; that of a name is unspecified."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return family
    return socket.AF_UNSPEC
