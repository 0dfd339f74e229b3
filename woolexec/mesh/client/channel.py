"""A client's connection to a peer: channel and the two calls of the handshake (see `mesh/security/handshake.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link.outbox import HELLO, LINK, OPTIONS
from woolexec.mesh.security.handshake import DRAINING, HELLO_KEY, WELCOME_KEY, final

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.handshake import Caller
    from woolexec.wire.wire_pb2 import Welcome

_OPTIONS = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]  # each link has its own connection


def open_channel(address: str, credentials: Credentials) -> Any:
    """
    Make a gRPC channel; it connects when it is first used.

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
    secrets, options = credentials.tls.channel()
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
        code, details = await call.code(), await call.details()
        if code is grpc.StatusCode.UNAVAILABLE and details != DRAINING:
            raise PeerRefusedError(f"not reachable: {details}")
        error = PeerRefusedError(details or "the server there is not a woolexec peer")
        raise final(error) if code is grpc.StatusCode.FAILED_PRECONDITION else error
    except BaseException:
        call.cancel()
        raise
