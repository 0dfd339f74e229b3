"""Multicast on this machine: messages are looped back, so peers and clients find each other."""

import asyncio
import logging
import socket
import struct
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.discovery.watching import watching
from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec import DiscoveryError, PeerPoolExecutor
from woolexec.discovery import lan
from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.discovery.lan import Lan
from woolexec.mesh.security.record_key import RecordKey
from woolexec.mesh.server.peer import Peer
from woolexec.platform.posix import host_name


def multicast_works():
    here, group = socket.inet_aton("127.0.0.1"), socket.inet_aton("224.0.0.251")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        try:
            ears.bind(("", 0))
            ears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", group, here))
            ears.settimeout(1)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
            mouth.sendto(b"?", ("224.0.0.251", ears.getsockname()[1]))
            return ears.recv(1) == b"?"
        except OSError:
            return False


pytestmark = pytest.mark.skipif(not multicast_works(), reason="multicast does not come back on this machine")


@pytest.fixture(autouse=True)
def stay_here(monkeypatch):
    monkeypatch.setattr(lan, "_interfaces", lambda: ["127.0.0.1"])


RECORD = Record("f" * 32, ("127.0.0.1:7437",), "team", ("gpu=a100", "zone=b"), "ab" * 32)


def named(record):
    """Return it as watchers hear of it: its key is the name of the service."""
    return replace(record, key=f"{host_name().partition('.')[0][:30]}-{record.key}")


@pytest.mark.slow
def test_watcher_hears_of_who_is_there_who_comes_and_who_leaves():
    other = Record("e" * 32, ("127.0.0.1:7438",), "team")

    async def main():
        async with Lan().announce(RECORD), watching(Lan("team")) as heard:
            assert await heard.first(bool) == Joined(named(RECORD))
            async with Lan().announce(other):
                assert await heard.first(bool) == Joined(named(other))
            assert await heard.first(bool) == Left(named(other).key)

    asyncio.run(main())


@pytest.mark.slow
def test_other_pools_are_not_heard_of():
    async def main():
        async with Lan().announce(RECORD), watching(Lan("others")) as heard:
            async with Lan().announce(Record("e" * 32, ("127.0.0.1:7438",), "others")):
                assert (await heard.first(bool)).record.pool == "others"

    asyncio.run(main())


def test_tags_that_do_not_fit_into_a_record_are_left_out_with_a_warning(caplog):
    record = Record(
        "f" * 32, ("127.0.0.1:1",), tags=("long=" + "x" * 300, "short=y", *(f"t{n}=" + "z" * 200 for n in range(9)))
    )
    with caplog.at_level(logging.WARNING, "woolexec"):
        items = lan._txt(record, [socket.inet_aton("127.0.0.1")])
    assert items["t.short"] == "y"
    assert "t.long" not in items
    assert sum(len(f"{key}={value}") + 1 for key, value in items.items()) <= 1200
    assert "t.long does not fit" in caplog.text


def test_address_that_others_cannot_look_up_is_an_error():
    async def main():
        async with Lan().announce(Record("f" * 32, ("unix:/nowhere",))):
            pass

    with pytest.raises(DiscoveryError, match="one port"):
        asyncio.run(main())


@pytest.mark.slow
def test_client_finds_peers_of_its_pool():
    here = {"bind": "127.0.0.1:0", "credentials": CREDENTIALS, "announce": [Lan()]}
    with Peer(1, pool="lan-test", **here), Peer(1, pool="lan-other", **here):
        with PeerPoolExecutor(peers="lan://lan-test", credentials=CREDENTIALS) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
            assert pool.wait_for_peers(1, PATIENCE) == 1


KEY = RecordKey(CREDENTIALS.token)


def test_signed_record_is_right_when_it_arrives_and_signed_again_later(monkeypatch):
    monkeypatch.setattr(lan, "_SIGNING", 0.1)
    many = tuple(f"t{n}=" + "z" * 200 for n in range(9))  # not all of them fit
    record = Record("f" * 32, ("127.0.0.1:7437", "[::1]:7437"), "team", many, "ab" * 32, signing=KEY)

    async def main():
        async with Lan().announce(record), watching(Lan()) as heard:
            first = (await heard.first(bool)).record
            assert first.fault(KEY) is None
            assert {*first.addresses} == {"127.0.0.1:7437", "[::1]:7437"}
            second = (await heard.first(lambda event: isinstance(event, Updated))).record
            assert second.fault(KEY) is None
            assert second.time > first.time

    asyncio.run(main())


class Zeroconf:
    """What services said of themselves, and who was asked."""

    def __init__(self):
        self.known, self.asked = {}, []


class Info:
    """Stands for `AsyncServiceInfo`."""

    port = 7437

    def __init__(self, _, name):
        self.name, self.properties = name, {}

    def load_from_cache(self, zeroconf):
        self.properties = zeroconf.known.get(self.name, {})
        return bool(self.properties)

    def parsed_scoped_addresses(self):
        return ["127.9.9.9", "127.0.0.1"]  # others can add addresses to a name

    async def async_request(self, zeroconf, _):
        zeroconf.asked.append(self.name)
        await asyncio.sleep(60)


@pytest.fixture
def seen(monkeypatch):
    monkeypatch.setattr("zeroconf.asyncio.AsyncServiceInfo", Info)
    return lambda: lan._Seen(SimpleNamespace(zeroconf=Zeroconf()), "")


CAME, GONE = SimpleNamespace(name="Added"), SimpleNamespace(name="Removed")


def test_peer_is_heard_of_though_very_many_names_have_nobody_behind_them(seen):
    async def main():
        there = seen()
        for n in range(30_000):
            there.changed(name=f"{n}.{lan.SERVICE}", state_change=CAME)
        name = f"peer.{lan.SERVICE}"
        there._zeroconf.known[name] = {b"v": b"1", b"a4": b"fwAAAQ=="}
        there.changed(name=name, state_change=CAME)
        assert there.events.get_nowait() == Joined(Record("peer", ("127.0.0.1:7437",)))
        assert len(there._unknown) + len(there._asking) <= lan._NAMES + lan._AT_ONCE
        assert len(there._asking) == lan._AT_ONCE
        for n in range(30_000):
            there.changed(name=f"{n}.{lan.SERVICE}", state_change=GONE)
        assert not there._unknown
        there.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {b"v": b"2", b"a4": b"fwAAAQ=="},
        {b"v": b"1"},
        {b"v": b"1", b"a4": b"fwAAA"},
        {b"v": b"1", b"a4": b"fwAAAQA="},
        {b"v": b"1", b"a6": b"\xff\xfe"},
        {b"v": b"1", b"a4": b"fwAAAQ==", b"at": b"soon"},
        {b"v": b"1", b"a4": b"fwAAAQ==", b"at": b"nan"},
        {b"v": b"1", b"a4": None},
    ],
)
def test_service_that_is_none_of_ours_is_passed_over(texts):
    info = Info(None, f"x.{lan.SERVICE}")
    info.properties = texts
    assert lan._record_of(info) is None


ODD = ["\x1b[2J", "a\x07b", "a\nb", "\x7f", "", "x" * 64, "é" * 40]


@pytest.mark.parametrize("label", ODD)
def test_name_that_no_service_may_have_is_passed_over(label):
    async def main():
        there = lan._Seen(SimpleNamespace(zeroconf=Zeroconf()), "")
        there.changed(name=f"{label}.{lan.SERVICE}", state_change=CAME)  # zeroconf ends its work if it raises
        there.changed(name=f"{label}.{lan.SERVICE}", state_change=GONE)
        assert there.events.empty()
        assert not there._unknown
        assert not there._asking

    asyncio.run(main())


def forged(label):
    """What somebody says who calls a service so: it is there, and where."""
    service = b"".join(bytes([len(each)]) + each for each in (b"_woolexec", b"_tcp", b"local")) + b"\0"
    name = bytes([len(label)]) + label + service
    records = [
        each + struct.pack(">HHIH", kind, 1, lan.TTL, len(data)) + data
        for each, kind, data in ((service, 12, name), (name, 33, struct.pack(">HHH", 0, 0, 1) + service))
    ]
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


@pytest.mark.slow
def test_peer_is_found_among_records_with_names_that_nobody_may_have(caplog):
    other = Record("e" * 32, ("127.0.0.1:7438",))

    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            mouth.bind(("127.0.0.1", 5353))  # answers from elsewhere are ignored
            async with Lan().announce(RECORD), watching(Lan()) as heard:
                assert await heard.first(bool) == Joined(named(RECORD))
                for label in (b"\x1b[2J", b"a\x07b", b"\xff\xfe", b"fine"):
                    mouth.sendto(forged(label), ("224.0.0.251", 5353))
                async with Lan().announce(other):
                    assert await heard.first(bool) == Joined(named(other))

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
