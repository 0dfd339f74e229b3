"""
Peers behind a name: all addresses that DNS gives for it, asked again and again.

``dns://workers.prod:7437`` asks for A and AAAA records, as of a headless service of Kubernetes.
``dns://_woolexec._tcp.prod`` asks for SRV records, which tell the port; that takes the dnspython package.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from woolexec.discovery.base import PORT, Discovery, Event, Known, Record
from woolexec.errors import DiscoveryError

EVERY = 5.0
"""Seconds between two questions; resolvers keep answers as long as DNS says."""

_NOBODY = frozenset(getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name))
"""The name has no addresses now: nobody is there."""


class Dns(Discovery):
    """
    Peers behind a name.

    :param name: of the hosts, or of a service if it begins with ``_``
    :param port: of all peers behind a name of hosts
    """

    def __init__(self, name: str, port: int = PORT, *, every: float = EVERY) -> None:
        self.name = name
        self.port = port
        self.every = every

    def __str__(self) -> str:
        return f"dns://{self.name}" if self.name.startswith("_") else f"dns://{self.name}:{self.port}"

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield what DNS says.

        :raises DiscoveryError: if it says nothing at first; later that changes nothing
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
                continue  # those that were there may well be there still

    async def _hosts(self) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            if exc.errno in _NOBODY:
                return []
            raise DiscoveryError(f"DNS, {self.name}: {exc.strerror}") from exc
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
            raise DiscoveryError(f"DNS, {self.name}: {exc}") from exc
        return [
            with_port(record.target.to_text(omit_final_dot=True), record.port)
            for record in sorted(answer, key=lambda record: (record.priority, record.target))
        ]


def with_port(host: object, port: object) -> str:
    """Write an address as grpc wants it."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
