"""
A client's connection to a peer: address, channel and the two calls of the handshake (see `mesh/security/handshake.py`).

::

    address --> resolve --> certificate, or the user of a Unix socket --> gRPC channel --> greet --> open_link

A host name may have several addresses, and another program may listen at one of them, such as [::1] in addition to
127.0.0.1: each address is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.errors import PeerRefusedError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.outbox import HELLO, LINK, OPTIONS
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.handshake import CANNOT_WORK, DRAINING, HELLO_KEY, MOST_WORKERS, WELCOME_KEY, final
from woolexec.mesh.security.self_signed import SELF_SIGNED
from woolexec.mesh.security.trust import Trust
from woolexec.platform.files import is_trusted
from woolexec.platform.ipc import user_of
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.handshake import Caller, Opening
    from woolexec.mesh.security.trust import Accepted
    from woolexec.wire.wire_pb2 import Welcome

Answer = TypeVar("Answer")

DETAILS = 1000
"""Maximum length of a message from the other end, in characters."""

_OPTIONS = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]  # each link has its own connection

_LOOK_UP = 10.0
"""Seconds in which a host name must be found."""

_MOST = 8
"""Maximum number of addresses of one host name that are tried."""

_DER = 2
"""The value of `_ssl.ENCODING_DER`."""

_DIGITS = 5
"""Maximum number of digits of a port."""


@dataclass(frozen=True, slots=True)
class Channel:
    """
    A connection to a peer.

    :param channel: the gRPC channel; it connects on first use, and only to a server with this certificate
    :param fingerprint: SHA-256 of that certificate; empty without TLS
    :param accepted: that certificate, if an authority has issued it
    """

    channel: Any
    fingerprint: bytes = b""
    accepted: Accepted | None = None


async def resolve(address: str) -> list[str]:
    """Return the addresses to try: all addresses of the host name; the address itself if these are unknown."""
    if address.startswith("unix:"):
        return [address]
    host, _, port = address.rpartition(":")
    if not _is_port(port):
        return [address]
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
        return [address]
    except ValueError:
        pass
    try:
        async with asyncio.timeout(_LOOK_UP):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):  # connecting will report the reason
        return [address]
    numbers = [str(sockaddr[0]) for *_, sockaddr in found]
    return list(dict.fromkeys(f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in numbers))[:_MOST]


async def at_any(address: str, ask: Callable[[str], Awaitable[Answer]]) -> Answer:
    """
    Return the first answer from one of the addresses of `resolve`.

    :param ask: called with each address until one answers
    :raises PeerRefusedError: if none does, with the reason for each
    """
    reasons = []
    found = await resolve(address)
    for at in found:
        try:
            return await ask(at)
        except PeerRefusedError as exc:
            reasons.append(f"{at}: {exc}" if found[1:] else str(exc))
    raise PeerRefusedError("; ".join(reasons))


@contextlib.asynccontextmanager
async def open_channel(
    address: str, credentials: Credentials, trust: Trust | None = None, *, at: str = ""
) -> AsyncIterator[Channel]:
    """
    Return a context manager with a channel to a peer whose certificate or socket is acceptable.

    gRPC compares names of every kind, and does not show the certificate.  So the certificate is fetched first, and the
    channel connects only to a server that has it.  Without an authority, the proofs of the token vouch for it.

    :param trust: which certificates are accepted; None: those that the files name now
    :param at: one of the addresses that `resolve` returns; empty: the address is not a host name
    :raises CredentialsError: if a certificate file cannot be read
    :raises PeerRefusedError: if the peer cannot be reached, or its certificate or its user is not accepted
    """
    grpc = load_grpc()

    tls, at = credentials.tls, at or address
    is_unix = at.startswith("unix:")
    if is_unix:
        await _check_socket(at.removeprefix("unix:"))
    if tls is None and (credentials.token is None or is_unix):
        async with grpc.aio.insecure_channel(at, options=_OPTIONS) as channel:
            yield Channel(channel)
        return
    host = address.rpartition(":")[0].strip("[]")
    name = SELF_SIGNED if tls is None else tls.name or host
    chain = await _fetch(at, any_certificate() if tls is None else tls.context(host), name)
    only, accepted = ssl.DER_cert_to_PEM_cert(chain[0]), None
    try:
        certificate, *others = map(Certificate.from_der, chain)
    except ValueError as exc:
        raise PeerRefusedError("its certificate cannot be read") from exc
    if tls is None:
        if certificate.dns_names != {SELF_SIGNED.encode()}:
            raise PeerRefusedError(
                "its certificate is from an authority: set WOOLEXEC_TLS_CA to the file of that authority"
            )
        made = grpc.ssl_channel_credentials(only.encode())
    else:
        # If the certificate has no peer name, TLS has compared its names with the host.
        accepted = (trust or Trust(tls)).accept(certificate, [tls.name] if tls.name else None, others)
        made = tls.channel(only)
    options = [*_OPTIONS, ("grpc.ssl_target_name_override", name)]
    async with grpc.aio.secure_channel(at, made, options=options) as channel:
        yield Channel(channel, bytes.fromhex(certificate.fingerprint), accepted)


def any_certificate() -> ssl.SSLContext:
    """Return a TLS context that verifies nothing, because the proofs of the handshake do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


async def _fetch(address: str, context: ssl.SSLContext, name: str) -> list[bytes]:
    """
    Return the certificate of a peer, and those by which it was verified, after verification by the context.

    :raises PeerRefusedError: if there is none, or it fails verification
    """
    try:
        _, writer = await to_peer(address, ssl=context, server_hostname=name)
    except ssl.SSLError as exc:
        text = f"{exc.reason or exc}: {getattr(exc, 'verify_message', '')}".removesuffix(": ")
        if exc.reason in _NO_TLS:
            text = f"the server there does not use TLS, as a peer with a token or certificates does ({text})"
        raise PeerRefusedError(f"not reachable: {text}") from exc
    except OSError as exc:
        raise PeerRefusedError(f"not reachable: {exc.strerror or exc}") from exc
    try:
        shown = writer.get_extra_info("ssl_object")
        der = shown.getpeercert(binary_form=True)
        verified = _verified(shown) if context.verify_mode == ssl.CERT_REQUIRED else []
    finally:
        writer.transport.abort()
    if der is None:
        raise PeerRefusedError("it shows no certificate")
    return [bytes(der), *verified[1:]]


def _verified(shown: Any) -> list[bytes]:
    """Return the certificates by which one was verified, itself first."""
    if hasattr(shown, "get_verified_chain"):  # since Python 3.13
        return list(shown.get_verified_chain())
    return [each.public_bytes(_DER) for each in shown._sslobj.get_verified_chain() or ()]


_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""Reasons that OpenSSL gives for an answer that is not TLS."""


async def _check_socket(path: str) -> None:
    """
    Check that this user listens at a Unix socket, and that no other user can put another in its place.

    gRPC does not tell which user is at the other end, so this makes a separate connection; the folder must protect the

    next one.
    :raises PeerRefusedError: if another user listens or could replace the socket, or no process listens
    """
    try:
        for each in (path, os.path.dirname(path)):
            about = os.lstat(each)
            mode, is_folder = about.st_mode, each is not path
            # In a folder such as /tmp other users can create files, but not replace this user's.
            is_open = is_folder and mode & 0o022 and not mode & stat.S_ISVTX
            if not is_trusted(about.st_uid) or is_open or not (stat.S_ISDIR if is_folder else stat.S_ISSOCK)(mode):
                what = "folder" if is_folder else "socket"
                raise PeerRefusedError(f"{each} must be a {what} of this user that no other user can replace")
        _, writer = await to_peer(f"unix:{path}")
    except (OSError, ValueError) as exc:  # a path with NUL
        raise PeerRefusedError(f"not reachable: {getattr(exc, 'strerror', None) or exc}") from exc
    try:
        user = user_of(writer.get_extra_info("socket"))
    finally:
        writer.transport.abort()
    if user is not None and not is_trusted(user):
        raise PeerRefusedError(f"another user (uid {user}) listens there")


async def to_peer(address: str, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """
    Connect to an address without gRPC.

    :param tls: arguments of `asyncio.open_connection`
    """
    host, _, port = address.rpartition(":")
    is_unix = address.startswith("unix:")
    if "\0" in address or not (is_unix or _is_port(port)):
        raise OSError(f"{printable(address, DETAILS)} is not an address")
    if is_unix:
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), **tls)
    try:
        return await asyncio.open_connection(host.strip("[]"), int(port), **tls)
    except UnicodeError as exc:
        raise OSError(f"{printable(host, DETAILS)} is not the name of a host") from exc


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS and int(text) < 1 << 16


def said_in(error: Any) -> str:
    """Return the text of a `grpc.RpcError`, which may come from the other end."""
    return f"{error.code().name}: {printable(error.details() or '', DETAILS)}"  # grpc adds these at run time


def is_local(address: str) -> bool:
    """Return whether a connection to this address stays on this host."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def greet(channel: Channel, caller: Caller) -> tuple[Welcome, Opening]:
    """
    Make the first call of the handshake.

    :return: the peer's first answer, which is not authenticated yet, and what opens a link
    :raises PeerRefusedError: if it is not compatible
    """
    _, answer = await _ask(channel, HELLO, ((HELLO_KEY, caller.hello),))
    return caller.answer(dict(answer)[WELCOME_KEY], channel.fingerprint)


async def open_link(channel: Channel, opening: Opening) -> tuple[Any, Welcome]:
    """
    Make the second call of the handshake.

    :return: the stream of frames, and the peer's description of itself
    :raises PeerRefusedError: if the peer refuses the link, or has not proved its identity
    """
    call, answer = await _ask(channel, LINK, opening.metadata)
    try:
        welcome = opening.check(answer)
        if not 0 < welcome.workers <= MOST_WORKERS:
            raise PeerRefusedError(f"the peer reports {welcome.workers or 'no'} workers")
        if welcome.trouble:
            raise PeerRefusedError(f"{CANNOT_WORK}: {printable(welcome.trouble, DETAILS)}")
    except BaseException:
        call.cancel()
        raise
    return call, welcome


async def _ask(channel: Channel, method: str, metadata: Iterable[tuple[str, bytes]]) -> tuple[Any, Any]:
    """Make a call; return it, and the metadata of the answer, which contain a welcome."""
    grpc = load_grpc()

    call = channel.channel.stream_stream(method)(metadata=tuple(metadata))
    try:
        # grpc.aio may lose the initial metadata of a call that has ended, so Hello is answered in trailing metadata.
        answer = tuple(await (call.trailing_metadata() if method == HELLO else call.initial_metadata()) or ())
        if any(key == WELCOME_KEY and isinstance(value, bytes) for key, value in answer):
            return call, answer
        code, details = await call.code(), printable(await call.details() or "", DETAILS)
        if code is grpc.StatusCode.UNAVAILABLE and details != DRAINING:
            raise PeerRefusedError(f"not reachable: {details}")
        error = PeerRefusedError(details or "the server there is not a woolexec peer")
        raise final(error) if code is grpc.StatusCode.FAILED_PRECONDITION else error
    except BaseException:
        call.cancel()
        raise
