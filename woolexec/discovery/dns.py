"""
Peers behind a DNS name: all addresses of the name, looked up periodically.

``dns://workers.prod:7437`` asks for A and AAAA records, such as those of a headless Kubernetes service.
``dns://_woolexec._tcp.prod`` asks for SRV records, which include the port; this needs the dnspython package.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from woolexec.discovery.base import PORT, Discovery, Event, Known, Record
from woolexec.errors import DiscoveryError

EVERY = 5.0
"""Seconds between two lookups; resolvers cache answers for their TTL."""

_NOBODY = frozenset(getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name))
"""Error codes for a name that has no addresses now: it has no peers."""


class Dns(Discovery):
    """
    Peers behind a DNS name.

    :param name: the name of the hosts, or of a service if it begins with ``_``
    :param port: the port of all peers, if `name` is a name of hosts
    """

    def __init__(self, name: str, port: int = PORT, *, every: float = EVERY) -> None:
        self.name = name
        self.port = port
        self.every = every

    def __str__(self) -> str:
        return f"dns://{self.name}" if self.name.startswith("_") else f"dns://{self.name}:{self.port}"

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield events from the answers of DNS.

        :raises DiscoveryError: if the first lookup fails; later failures are ignored
        """
        known = Known()
        ask = self._services if self.name.startswith("_") else self._hosts
        addresses = await ask()
        while True:
            for event in known.changes({address: Record(address, (address,)) for address in addresses}):
                yield event
            await asyncio.sleep(self.every)
            try:
                addresses = await ask()
            except DiscoveryError:
                continue  # the known peers are probably still there

    async def _hosts(self) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            if exc.errno in _NOBODY:
                return []
            raise DiscoveryError(f"DNS lookup of {self.name} failed: {exc.strerror}") from exc
        except UnicodeError as exc:  # it is not the name of a host
            raise DiscoveryError(f"DNS lookup of {self.name} failed: {exc}") from exc
        return list(dict.fromkeys(with_port(address[0], address[1]) for *_, address in found))

    async def _services(self) -> list[str]:
        try:
            from dns import asyncresolver, exception, resolver
        except ImportError as exc:
            raise DiscoveryError(
                f"SRV records of {self.name} need the dnspython package: pip install 'woolexec[dns]'"
            ) from exc
        try:
            answer = await asyncresolver.resolve(self.name, "SRV", search=True)
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return []
        except exception.DNSException as exc:
            raise DiscoveryError(f"DNS lookup of {self.name} failed: {exc}") from exc
        return [
            with_port(record.target.to_text(omit_final_dot=True), record.port)
            for record in sorted(answer, key=lambda record: (record.priority, record.target))
        ]


def with_port(host: object, port: object) -> str:
    """Return an address in the form that grpc expects."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
