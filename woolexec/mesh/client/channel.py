"""A client's connection to a peer: channel and the two calls of the handshake (see `mesh/security/handshake.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.outbox import HELLO, LINK, OPTIONS
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.handshake import CANNOT_WORK, DRAINING, HELLO_KEY, WELCOME_KEY, final
from woolexec.mesh.security.trust import Trust
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.handshake import Caller
    from woolexec.mesh.security.tls import Tls
    from woolexec.mesh.security.trust import Accepted
    from woolexec.wire.wire_pb2 import Welcome

DETAILS = 1000
"""Maximum length of a message of the other end, in characters."""

_OPTIONS = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]  # each link has its own connection


@contextlib.asynccontextmanager
async def connected(
    address: str, credentials: Credentials, trust: Trust | None = None
) -> AsyncIterator[tuple[Any, Accepted | None]]:
    """
    Have a channel to a peer with a certificate that we accept.

    gRPC compares names of every kind, and does not show the certificate.  So it is fetched first, and the channel
    connects to nothing that has another one.

    :param trust: what is accepted; None: what the files say now
    :return: the channel, and the certificate; None without TLS
    :raises CredentialsError: if a certificate file cannot be read, or a token alone is not enough
    :raises PeerRefusedError: if the peer cannot be reached, or its certificate is not accepted
    """
    tls, only, accepted = credentials.tls, None, None
    if tls is not None:
        trust = trust or Trust(tls)
        der = await _fetch(address, tls)
        certificate, only = Certificate.from_der(der), ssl.DER_cert_to_PEM_cert(der)
        # If it has no name of its own, TLS has compared the names with the host.
        accepted = trust.accept(certificate, [tls.name] if tls.name else None)
    async with open_channel(address, credentials, only) as channel:
        yield channel, accepted


async def _fetch(address: str, tls: Tls) -> bytes:
    """
    Return the certificate of a peer, after verifying that it is from one of our authorities.

    :raises PeerRefusedError: if there is none, or it is from another authority
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        _, writer = await to_peer(address, ssl=tls.context(host), server_hostname=tls.name or host)
    except ssl.SSLError as exc:
        text = f"{exc.reason or exc}: {getattr(exc, 'verify_message', '')}".removesuffix(": ")
        raise PeerRefusedError(f"not reachable: {text}") from exc
    except OSError as exc:
        raise PeerRefusedError(f"not reachable: {exc.strerror or exc}") from exc
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    assert isinstance(der, bytes)
    return der


async def to_peer(address: str, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """
    Connect to an address without gRPC.

    :param tls: arguments of `asyncio.open_connection`
    """
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), **tls)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), **tls)


def open_channel(address: str, credentials: Credentials, only: str | None = None) -> Any:
    """
    Make a gRPC channel; it connects when it is first used.

    :param only: the one certificate that the peer may have, in PEM; None: any of the authorities
    :raises CredentialsError: if a certificate file cannot be read, or a token alone is not enough
    """
    grpc = load_grpc()

    if credentials.tls is None:
        if credentials.token is not None and not is_local(address):
            error = CredentialsError(
                f"a token alone does not protect the connection to {address}: use TLS (see docs/security.md), or ssh://"
            )
            error.is_final = True
            raise error
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    secrets, options = credentials.tls.channel(only)
    return grpc.aio.secure_channel(address, secrets, options=[*_OPTIONS, *options])


def is_local(address: str) -> bool:
    """Return whether a connection to this address stays on this host."""
    if address.startswith("unix:"):
        return True
    import ipaddress

    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def greet(channel: Any, caller: Caller) -> tuple[Welcome, bytes]:
    """
    Make the first call of the handshake.

    :return: the peer's description of itself, and the message that opens a link
    :raises PeerRefusedError: if it has not proved its identity, or is not compatible
    """
    welcome, opening = caller.answer((await _ask(channel, HELLO, caller.hello))[1])
    if not welcome.workers:
        raise PeerRefusedError("the peer says that it has no workers")
    if welcome.trouble:
        raise PeerRefusedError(f"{CANNOT_WORK}: {printable(welcome.trouble, DETAILS)}")
    return welcome, opening


async def open_link(channel: Any, opening: bytes) -> tuple[Any, bytes]:
    """
    Make the second call of the handshake.

    :return: the stream of frames, and directions for handing over large payloads
    :raises PeerRefusedError: if the peer refuses the link
    """
    return await _ask(channel, LINK, opening)


async def _ask(channel: Any, method: str, hello: bytes) -> tuple[Any, bytes]:
    grpc = load_grpc()

    call = channel.stream_stream(method)(metadata=((HELLO_KEY, hello),))
    try:
        # grpc.aio may lose the initial metadata of a call that has ended, so Hello is answered in trailing metadata.
        answer = await (call.trailing_metadata() if method == HELLO else call.initial_metadata())
        for key, value in answer or ():
            if key == WELCOME_KEY:
                return call, value
        code, details = await call.code(), printable(await call.details() or "", DETAILS)
        if code is grpc.StatusCode.UNAVAILABLE and details != DRAINING:
            raise PeerRefusedError(f"not reachable: {details}")
        error = PeerRefusedError(details or "the server there is not a woolexec peer")
        raise final(error) if code is grpc.StatusCode.FAILED_PRECONDITION else error
    except BaseException:
        call.cancel()
        raise
