"""A client's way to a peer: the channel, and the two calls of the handshake (see `mesh/security/handshake.py`)."""

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

_OPTIONS = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]  # each link has a connection of its own


def open_channel(address: str, credentials: Credentials) -> Any:
    """
    Make a channel of grpc's; it connects when it is used.

    :raises CredentialsError: if a file of certificates cannot be read, or a token alone is not enough
    """
    grpc = load_grpc()

    if credentials.tls is None:
        if credentials.token is not None and not is_local(address):
            error = CredentialsError(
                f"a token alone does not protect what travels to {address}: it takes TLS (see docs/security.md), or "
                "ssh://"
            )
            error.is_final = True
            raise error
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    secrets, options = credentials.tls.channel()
    return grpc.aio.secure_channel(address, secrets, options=[*_OPTIONS, *options])


def is_local(address: str) -> bool:
    """Say whether what travels to an address stays on this host."""
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

    :return: what the peer says of itself, and what opens a link
    :raises PeerRefusedError: if it has not proved itself, or does not fit
    """
    welcome, opening = caller.answer((await _ask(channel, HELLO, caller.hello))[1])
    if not welcome.workers:
        raise PeerRefusedError("the peer says that it has no workers")
    return welcome, opening


async def open_link(channel: Any, opening: bytes) -> tuple[Any, bytes]:
    """
    Make the second call of the handshake.

    :return: the stream of frames, and where large payloads may be handed over
    :raises PeerRefusedError: if the peer does not let us in
    """
    return await _ask(channel, LINK, opening)


async def _ask(channel: Any, method: str, hello: bytes) -> tuple[Any, bytes]:
    grpc = load_grpc()

    call = channel.stream_stream(method)(metadata=((HELLO_KEY, hello),))
    try:
        # A call that has ended may have lost its initial metadata (grpc.aio); an answer that ends it trails.
        answer = await (call.trailing_metadata() if method == HELLO else call.initial_metadata())
        for key, value in answer or ():
            if key == WELCOME_KEY:
                return call, value
        code, details = await call.code(), await call.details()
        if code is grpc.StatusCode.UNAVAILABLE and details != DRAINING:
            raise PeerRefusedError(f"nobody answers: {details}")
        error = PeerRefusedError(details or "what answers there is not a peer of woolexec")
        raise final(error) if code is grpc.StatusCode.FAILED_PRECONDITION else error
    except BaseException:
        call.cancel()
        raise
