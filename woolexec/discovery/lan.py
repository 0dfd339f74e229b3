"""
Peers on the local network, found by DNS-SD over multicast DNS, as in Bonjour and Avahi.

A peer registers ``<host>-<identity>._woolexec._tcp.local.`` with its addresses, its port and a TXT record: ``v=1``,
``a4`` and ``a6`` (its addresses, in base64), ``pool``, ``fp`` (fingerprint of its authority), a
``t.<key>=<value>`` for each tag, ``at`` (the time) and ``mac`` (its signature).  Only the addresses in the TXT record
are used: anyone on the network can add addresses to a name.

A killed peer does not unregister; its record expires after `TTL` seconds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import logging
import math
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.discovery.base import LIFETIME, Discovery, Event, Joined, Left, Record, Updated
from woolexec.discovery.dns import with_port
from woolexec.errors import DiscoveryError
from woolexec.platform.posix import host_name

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE = "_woolexec._tcp.local."
TTL = 120

_ANSWER = 3.0
"""Seconds to wait for the details of a service, each time they are requested."""

_AT_ONCE = 64
"""Maximum number of peers asked at a time."""

_NAMES = 20_000
"""Maximum number of services that are noted; further ones are ignored until others are removed."""

_SIGNING = LIFETIME / 4
"""Seconds after which a peer signs its record again."""

_SIZES = {"a4": 4, "a6": 16}
"""Items of the TXT record with addresses, and the bytes of each."""

_ITEM, _TXT = 255, 1200
"""Bytes of one item of a TXT record (RFC 6763, 6.1) and of all items, so that an answer fits into one packet."""


class Lan(Discovery):
    """
    Peers on the local network.

    :param pool: only peers of this pool; empty: all
    """

    def __init__(self, pool: str = "") -> None:
        self.pool = pool

    signs = True

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
            signing = asyncio.get_running_loop().create_task(_sign_again(zeroconf, record))
            try:
                yield
            finally:
                signing.cancel()
                goodbye = await zeroconf.async_unregister_service(info)
                await goodbye


async def _sign_again(zeroconf: AsyncZeroconf, record: Record) -> None:
    """Renew the signature of a record periodically, until cancelled."""
    while record.signing is not None:
        await asyncio.sleep(_SIGNING)
        with contextlib.suppress(DiscoveryError, OSError):  # the next time may work
            await (await zeroconf.async_update_service(await _service_of(record)))


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
        self._records: dict[str, Record] = {}
        self._unknown: dict[str, None] = {}  # names without known details, except those that are being resolved
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._random = random.Random()  # noqa: S311  # does not disturb the program's random numbers

    def changed(self, *, name: str, state_change: Any, **_: Any) -> None:
        """Handle a change of one service; zeroconf calls this in the event loop, and stops if it raises."""
        self._forget(name)
        if state_change.name == "Removed":
            self._note(name, None)
            return
        info = _info_of(name)
        if info is None:
            return
        if info.load_from_cache(self._zeroconf):  # peers send all at once, so other names cannot delay them
            self._note(name, _record_of(info))
        elif len(self._unknown) < _NAMES:
            self._unknown[name] = None
            self._ask_some()

    def _forget(self, name: str) -> None:
        """Stop asking for the details of a service."""
        self._unknown.pop(name, None)
        asking = self._asking.pop(name, None)
        if asking is not None:
            asking.cancel()

    def _ask_some(self) -> None:
        """Ask for the details of some of the unknown services, chosen at random."""
        names = list(self._unknown) if len(self._asking) < _AT_ONCE else []
        for name in self._random.sample(names, min(len(names), _AT_ONCE - len(self._asking))):
            del self._unknown[name]
            task = self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))
            task.add_done_callback(partial(self._asked, name))

    def _asked(self, name: str, task: asyncio.Task[None]) -> None:
        if self._asking.get(name) is task:
            del self._asking[name]
        if not task.cancelled():
            self._ask_some()

    async def _ask(self, name: str) -> None:
        """Ask for the details of a service; again later, because answers get lost when many are requested at once."""
        info = _info_of(name)
        if info is not None and await info.async_request(self._zeroconf, _ANSWER * 1e3):
            self._note(name, _record_of(info))
        else:
            self._unknown[name] = None  # until it is removed: its record expires

    def _note(self, name: str, record: Record | None) -> None:
        if record is not None and self._pool not in ("", record.pool):
            record = None
        before = self._records.pop(name, None)
        if record is not None and before is None and len(self._records) >= _NAMES:
            return
        if record is None:
            if before is not None:
                self.events.put_nowait(Left(before.key))
            return
        self._records[name] = record
        if record != before:
            self.events.put_nowait(Joined(record) if before is None else Updated(record))

    def close(self) -> None:
        """Stop asking."""
        self._unknown.clear()
        for task in list(self._asking.values()):
            task.cancel()


def _info_of(name: str) -> AsyncServiceInfo | None:
    """Return the request for the details of a service; None if the name is not valid for a service."""
    from zeroconf import BadTypeInNameException
    from zeroconf.asyncio import AsyncServiceInfo

    try:
        return AsyncServiceInfo(SERVICE, name)
    except BadTypeInNameException:
        return None


def _record_of(info: ServiceInfo) -> Record | None:
    """Make a record from a service; return None if it is not one of ours."""
    texts = {}
    for key, value in info.properties.items():
        with contextlib.suppress(UnicodeDecodeError):
            texts[key.decode()] = (value or b"").decode()
    scoped = {address.partition("%")[0]: address for address in info.parsed_scoped_addresses()}
    addresses = [scoped.get(address, address) for address in _unpacked(texts)]
    if texts.get("v") != "1" or not addresses or not info.port:
        return None
    tags = tuple(sorted(f"{key[2:]}={value}" for key, value in texts.items() if key.startswith("t.")))
    places = tuple(with_port(each.replace("%", "%25"), info.port) for each in sorted(addresses, key=_distance))
    # The name is the key, so a service that claims another's identity does not hide it.
    record = Record(info.name.removesuffix(f".{SERVICE}"), places, texts.get("pool", ""), tags, texts.get("fp", ""))
    try:
        time = float(texts.get("at", "0"))
    except ValueError:
        return None
    return replace(record, time=time, mac=texts.get("mac", "")) if math.isfinite(time) else None


def _unpacked(texts: dict[str, str]) -> list[str]:
    """Return the addresses in a TXT record; those that are not valid are left out."""
    found = []
    for key, size in _SIZES.items():
        with contextlib.suppress(ValueError):
            packed = base64.b64decode(texts.get(key, ""), validate=True)
            found += [str(ipaddress.ip_address(packed[at : at + size])) for at in range(0, len(packed), size)]
    return found


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
    label = f"{host_name().partition('.')[0][:30]}-{record.key[:32]}"
    where = tuple(with_port(ipaddress.ip_address(each), port) for each in packed)
    return AsyncServiceInfo(
        SERVICE,
        f"{label}.{SERVICE}",
        addresses=packed,
        port=port,
        properties=_txt(replace(record, key=label, addresses=where), packed),
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
    few = [each for key, size in _SIZES.items() for each in _fitting([a for a in found if len(a) == size], key)]
    return few, ports.pop()


def _fitting(packed: list[bytes], key: str) -> list[bytes]:
    """Return as many addresses as fit into an item of the TXT record."""
    most = (_ITEM - len(key) - 1) // 4 * 3 // _SIZES[key]
    if len(packed) > most:
        logging.getLogger("woolexec").warning("only %d of %d addresses fit into the mDNS record", most, len(packed))
    return packed[:most]


def _txt(record: Record, packed: list[bytes]) -> dict[str, str]:
    """
    Return the items of the TXT record of a peer, with the signature of what is in them.

    :param record: a record whose key is the name of the service, with these addresses
    """
    items = {"v": "1"}
    for key, size in _SIZES.items():
        joined = b"".join(each for each in packed if len(each) == size)
        items |= {key: base64.b64encode(joined).decode()} if joined else {}
    signature = ("at=", "mac=" + "0" * 64, "0" * 16)
    room = _TXT - sum(len(f"{key}={value}") + 1 for key, value in items.items()) - sum(map(len, signature)) - 2
    more = {"fp": record.fingerprint, "pool": record.pool}
    more |= {f"t.{key}": value for key, _, value in (tag.partition("=") for tag in record.tags)}
    for key, value in more.items():
        length = len(f"{key}={value}".encode())
        if not value:
            continue
        if length > _ITEM or length + 1 > room:
            logging.getLogger("woolexec").warning("%s does not fit into the mDNS record of this peer", key)
            continue
        room -= length + 1
        items[key] = value
    tags = tuple(f"{key[2:]}={value}" for key, value in items.items() if key.startswith("t."))
    record = replace(record, tags=tags, pool=items.get("pool", ""), fingerprint=items.get("fp", "")).signed()
    return items | ({"at": f"{record.time:.3f}", "mac": record.mac} if record.mac else {})
