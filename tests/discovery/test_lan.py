"""Multicast on this machine: what goes out comes back in, so peers and clients find each other."""

import asyncio
import logging
import socket
import struct

import pytest

from tests.discovery.watching import watching
from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec import DiscoveryError, PeerPoolExecutor
from woolexec.discovery import lan
from woolexec.discovery.base import Joined, Left, Record
from woolexec.discovery.lan import Lan
from woolexec.mesh.server.peer import Peer


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


def test_watcher_hears_of_who_is_there_who_comes_and_who_leaves():
    other = Record("e" * 32, ("127.0.0.1:7438",), "team")

    async def main():
        async with Lan().announce(RECORD), watching(Lan("team")) as heard:
            assert await heard.first(bool) == Joined(RECORD)
            async with Lan().announce(other):
                assert await heard.first(bool) == Joined(other)
            assert await heard.first(bool) == Left(other.key)

    asyncio.run(main())


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
        items = lan._txt(record)
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


def test_client_finds_peers_of_its_pool():
    here = {"bind": "127.0.0.1:0", "credentials": CREDENTIALS, "announce": [Lan()]}
    with Peer(1, pool="lan-test", **here), Peer(1, pool="lan-other", **here):
        with PeerPoolExecutor(peers="lan://lan-test", credentials=CREDENTIALS) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
            assert pool.wait_for_peers(1, PATIENCE) == 1
