"""The address at which a peer listens: why that fails, and how other hosts reach it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from woolexec.discovery.dns import with_port
from woolexec.discovery.lan import addresses_here
from woolexec.errors import CredentialsError
from woolexec.platform.posix import descriptor_limit


def why_not_listening(addresses: Sequence[str | None], error: Exception) -> str:
    """
    Return why a peer cannot listen.

    :param addresses: where it tried to; the first one is its own
    :param error: what gRPC, or loading the credentials, raised
    """
    if not isinstance(error, CredentialsError):
        for address in filter(None, addresses):
            if reason := why_not_bound(address):
                return f"cannot listen on {address}: {reason}"
    return f"cannot listen on {addresses[0]}: {error}"


def why_not_bound(address: str) -> str | None:
    """Try to listen on an address; return why that fails, or None if it works."""
    if address.startswith("unix:"):
        return None
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, proto, _, sockaddr in found:
            with socket.socket(family, kind, proto) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(sockaddr)
    except (socket.gaierror, UnicodeError) as exc:  # or it is not the name of a host
        return f"cannot look up the host name {host!r} ({getattr(exc, 'strerror', None) or exc})"
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "the address is in use: is another peer there? Port 0 selects any free port",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this host; 0.0.0.0 selects all of them",
            errno.EACCES: "this user may not listen on that port; choose one above 1023",
        }
        return reasons.get(exc.errno or 0, exc.strerror)
    return None


def reachable(address: str) -> tuple[str, ...]:
    """Return the addresses at which other hosts can reach a peer that listens on this address."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or host.strip("[]") not in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        return (address,)
    found = [
        with_port(about, port)
        for _, about in addresses_here()
        if not about.is_link_local and (about.version == 4 or ":" in host)
    ]
    return tuple(found) or (address,)


def at_most(share: float) -> tuple[str, int]:
    """Return the server option that limits its connections to this share of the descriptors."""
    return "grpc.max_allowed_incoming_connections", max(32, int(min(descriptor_limit(), 1 << 20) * share))


AGAINST_STRANGERS = [
    ("grpc.so_reuseport", 0),
    # R7: a connection that sends nothing is closed.  That of a client is never idle, because its link is open.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.http2.settings_timeout", 10_000),
    # A client needs two streams, a probe needs one.  A call that waits costs 40 KiB, before authentication too.
    ("grpc.max_concurrent_streams", 10),
]
"""Options of the server."""
