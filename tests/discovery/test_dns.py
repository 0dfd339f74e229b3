import asyncio
import socket
import sys

import pytest

from tests.discovery.watching import watching
from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec import DiscoveryError, PeerPoolExecutor
from woolexec.discovery.base import Joined, Left, Record
from woolexec.discovery.dns import Dns
from woolexec.mesh.server.peer import Peer


def answers(monkeypatch, *each):
    """Let DNS say one after the other; the last one from then on."""
    left = list(each)

    def getaddrinfo(host, port, *args, **kwargs):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def joined_as(address):
    return Joined(Record(address, (address,)))


def test_every_address_of_a_name_is_a_peer_and_changes_are_seen(monkeypatch):
    answers(monkeypatch, ["10.0.0.1", "fd00::1"], ["fd00::1", "10.0.0.2"])

    async def main():
        async with watching(Dns("pods", 99, every=0.001)) as heard:
            assert [await heard.first(bool) for _ in range(4)] == [
                joined_as("10.0.0.1:99"),
                joined_as("[fd00::1]:99"),
                Left("10.0.0.1:99"),
                joined_as("10.0.0.2:99"),
            ]

    asyncio.run(main())


def test_name_without_addresses_has_no_peers_yet(monkeypatch):
    answers(monkeypatch, socket.gaierror(socket.EAI_NONAME, "no such name"), ["10.0.0.1"])

    async def main():
        async with watching(Dns("pods", 99, every=0.001)) as heard:
            assert await heard.first(bool) == joined_as("10.0.0.1:99")

    asyncio.run(main())


def test_resolver_that_fails_later_takes_nobody_away(monkeypatch):
    failure = socket.gaierror(socket.EAI_AGAIN, "try again")
    answers(monkeypatch, ["10.0.0.1"], failure, failure, ["10.0.0.1", "10.0.0.2"])

    async def main():
        async with watching(Dns("pods", 99, every=0.001)) as heard:
            assert [await heard.first(bool) for _ in range(2)] == [joined_as("10.0.0.1:99"), joined_as("10.0.0.2:99")]

    asyncio.run(main())


def test_resolver_that_fails_at_first_says_so(monkeypatch):
    answers(monkeypatch, socket.gaierror(socket.EAI_FAIL, "broken"))
    with pytest.raises(DiscoveryError, match="lookup of pods failed: broken"):
        asyncio.run(anext(Dns("pods").watch()))


@pytest.mark.parametrize("name", ["a..b", "x" * 70])
def test_name_that_no_host_can_have_is_a_lookup_that_failed(name):
    with pytest.raises(DiscoveryError, match=f"lookup of {name} failed: "):
        asyncio.run(anext(Dns(name).watch()))


def test_services_take_dnspython(monkeypatch):
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(DiscoveryError, match=r"woolexec\[dns\]"):
        asyncio.run(anext(Dns("_woolexec._tcp.prod").watch()))


def test_services_tell_their_ports_the_preferred_first(monkeypatch):
    dns = pytest.importorskip("dns.asyncresolver")
    from dns.rdata import from_text

    async def resolve(name, kind, **_):
        assert (name, kind) == ("_woolexec._tcp.prod", "SRV")
        return [from_text("IN", "SRV", text) for text in ("20 0 7001 b.prod.", "10 0 7000 a.prod.")]

    monkeypatch.setattr(dns, "resolve", resolve)

    async def main():
        async with watching(Dns("_woolexec._tcp.prod")) as heard:
            assert [await heard.first(bool) for _ in range(2)] == [joined_as("a.prod:7000"), joined_as("b.prod:7001")]

    asyncio.run(main())


def test_client_finds_a_peer_by_its_name():
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        port = peer.address.rpartition(":")[2]
        with PeerPoolExecutor(peers=f"dns://localhost:{port}", credentials=CREDENTIALS) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
