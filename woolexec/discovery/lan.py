"""
Peers on the local network, found by DNS-SD over multicast DNS, as in Bonjour and Avahi.

A peer registers ``<host>-<identity>._woolexec._tcp.local.`` with its addresses, its port and a TXT record: ``v=1``,
``id``, ``pool``, ``fp`` (fingerprint of its authority) and a ``t.<key>=<value>`` for each tag.

A peer that was killed does not unregister; its record expires after `TTL` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from woolexec.discovery.base import Discovery, Event, Joined, Left, Record, Updated
from woolexec.discovery.dns import with_port
from woolexec.errors import DiscoveryError
from woolexec.platform.posix import host_name

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

SERVICE = "_woolexec._tcp.local."
TTL = 120

_ANSWER = 3.0
"""Seconds to wait for the addresses of a peer, each time it is asked."""

_AT_ONCE = 16
"""Maximum number of peers asked at a time."""

_ITEM, _TXT = 255, 1200
"""Bytes of one item of a TXT record (RFC 6763, 6.1) and of all items, so that an answer fits into one packet."""


class Lan(Discovery):
    """
    Peers on the local network.

    :param pool: only peers of this pool; empty: all
    """

    def __init__(self, pool: str = "") -> None:
        self.pool = pool

    def __str__(self) -> str:
        return f"lan://{self.pool}"

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield events from the services on the network.

        :raises DiscoveryError: if multicast does not work here
        """
        from zeroconf.asyncio import AsyncServiceBrowser

        async with _zeroconf() as zeroconf:
            seen = _Seen(zeroconf, self.pool)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[seen.changed])
            try:
                while True:
                    yield await seen.events.get()
            finally:
                seen.close()
                await browser.async_cancel()

    @contextlib.asynccontextmanager
    async def announce(self, record: Record) -> AsyncIterator[None]:
        """
        Register the peer's service; unregister it at the end.

        :raises DiscoveryError: if multicast does not work here, or the addresses cannot be announced
        """
        info = await _service_of(record)
        async with _zeroconf() as zeroconf:
            try:
                await zeroconf.async_register_service(info)
            except Exception as exc:  # zeroconf raises several types
                raise DiscoveryError(f"cannot register with mDNS: {str(exc) or type(exc).__name__}") from exc
            try:
                yield
            finally:
                goodbye = await zeroconf.async_unregister_service(info)
                await goodbye


@contextlib.asynccontextmanager
async def _zeroconf() -> AsyncIterator[AsyncZeroconf]:
    from zeroconf.asyncio import AsyncZeroconf

    try:
        zeroconf = AsyncZeroconf(interfaces=_interfaces())
    except (OSError, RuntimeError) as exc:
        raise DiscoveryError(f"cannot start mDNS: {exc}") from exc
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()


def _interfaces() -> list[str | int]:
    """Return the interfaces to use: IPv4 addresses, interface numbers for IPv6; loopback if there is nothing else."""
    found: list[str | int] = []
    for number, address in addresses_here():
        if address.version == 4:
            found.append(str(address))
        elif number is not None and number not in found:
            found.append(number)
    return found or ["127.0.0.1"]


def addresses_here() -> list[tuple[int | None, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Return each address of this host with the number of its interface, except loopback addresses."""
    import ifaddr

    found = [
        (adapter.index, ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0]))
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    return [(number, address) for number, address in found if not address.is_loopback]


class _Seen:
    """Turns the changes that a service browser reports, which contain only names, into events."""

    def __init__(self, zeroconf: AsyncZeroconf, pool: str) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._zeroconf = zeroconf.zeroconf
        self._pool = pool
        self._few = asyncio.Semaphore(_AT_ONCE)  # limits how many names are looked up at once
        self._records: dict[str, Record] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def changed(self, *, name: str, state_change: Any, **_: Any) -> None:
        """Handle a change of one service; zeroconf calls this in the event loop."""
        asking = self._asking.pop(name, None)
        if asking is not None:
            asking.cancel()
        if state_change.name == "Removed":
            self._note(name, None)
            return
        task = self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))
        task.add_done_callback(lambda _: self._asking.pop(name) if self._asking.get(name) is task else None)

    async def _ask(self, name: str) -> None:
        """Ask for the details of a service until it answers: answers get lost when many services are asked at once."""
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(SERVICE, name)
        while not info.load_from_cache(self._zeroconf):  # until it is removed: its record expires
            async with self._few:
                if await info.async_request(self._zeroconf, _ANSWER * 1e3):
                    break
        self._note(name, _record_of(info))

    def _note(self, name: str, record: Record | None) -> None:
        if record is not None and self._pool not in ("", record.pool):
            record = None
        before = self._records.pop(name, None)
        if record is None:
            if before is not None:
                self.events.put_nowait(Left(before.key))
            return
        self._records[name] = record
        if record != before:
            self.events.put_nowait(Joined(record) if before is None else Updated(record))

    def close(self) -> None:
        """Stop asking."""
        for task in list(self._asking.values()):
            task.cancel()


def _record_of(info: ServiceInfo) -> Record | None:
    """Make a record from a service; return None if it is not one of ours."""
    texts = {}
    for key, value in info.properties.items():
        with contextlib.suppress(UnicodeDecodeError):
            texts[key.decode()] = (value or b"").decode()
    addresses = sorted(info.parsed_scoped_addresses(), key=_distance)
    if texts.get("v") != "1" or not texts.get("id") or not addresses or not info.port:
        return None
    tags = tuple(sorted(f"{key[2:]}={value}" for key, value in texts.items() if key.startswith("t.")))
    places = tuple(with_port(address.replace("%", "%25"), info.port) for address in addresses)
    return Record(texts["id"], places, texts.get("pool", ""), tags, texts.get("fp", ""))


def _distance(text: str) -> tuple[bool, bool, str]:
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.is_link_local, address.version == 6, text


async def _service_of(record: Record) -> ServiceInfo:
    """
    Make a service from a record.

    :raises DiscoveryError: if it cannot be announced
    """
    from zeroconf.asyncio import AsyncServiceInfo

    packed, port = await _numeric(record)
    name = f"{host_name().partition('.')[0][:40]}-{record.key[:12]}"
    return AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        addresses=packed,
        port=port,
        properties=_txt(record),
        server=f"woolexec-{record.key}.local.",
        host_ttl=TTL,
        other_ttl=TTL,
    )


async def _numeric(record: Record) -> tuple[list[bytes], int]:
    """Resolve the addresses of a record: mDNS announces numeric addresses."""
    found: dict[bytes, None] = {}
    ports = set()
    for address in record.addresses:
        host, _, port = address.rpartition(":")
        if address.startswith("unix:"):
            continue
        try:
            answers = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as exc:
            raise DiscoveryError(f"cannot resolve address {address}: {exc}") from exc
        for family, *_, sockaddr in answers:
            found[socket.inet_pton(family, str(sockaddr[0]).partition("%")[0])] = None
            ports.add(int(port))
    if len(ports) != 1:
        raise DiscoveryError(f"mDNS announces addresses with one port, not {', '.join(record.addresses)}")
    return list(found), ports.pop()


def _txt(record: Record) -> dict[str, str]:
    items = {"v": "1", "id": record.key}
    more = {"pool": record.pool, "fp": record.fingerprint}
    more |= {f"t.{key}": value for key, _, value in (tag.partition("=") for tag in record.tags)}
    size = sum(len(f"{key}={value}") + 1 for key, value in items.items())
    for key, value in more.items():
        length = len(f"{key}={value}".encode())
        if not value:
            continue
        if length > _ITEM or size + length + 1 > _TXT:
            logging.getLogger("woolexec").warning("%s does not fit into the mDNS record of this peer", key)
            continue
        size += length + 1
        items[key] = value
    return items
