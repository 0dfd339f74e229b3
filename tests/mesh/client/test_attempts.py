"""Very many records without a peer: the one peer is found, and memory, descriptors and logs are limited."""

import asyncio
import itertools
import logging
import os
import socket

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from woolexec import Discovery, NoPeersError, PeerPoolExecutor
from woolexec.discovery.base import Joined, Record
from woolexec.mesh.client import attempts

MANY = 2000


class Listed(Discovery):
    """Names these addresses, each as a peer of its own."""

    def __init__(self, addresses):
        self.addresses = addresses

    async def watch(self):
        for n, address in enumerate(self.addresses):
            yield Joined(Record(str(n), (address,)))
        await asyncio.Event().wait()


def nowhere(port, count=MANY):
    return [f"127.{1 + n // 65536}.{n // 256 % 256}.{n % 256}:{port}" for n in range(1, count + 1)]


@pytest.fixture
def silent():
    """A port at which nobody answers: connections are made and wait."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # each address in 127/8 is one of this host
        listener.listen(1)
        yield listener.getsockname()[1]


def find(peer, dead):
    middle = len(dead) // 2
    found = Listed([*dead[:middle], peer.address, *dead[middle:]])
    return PeerPoolExecutor(peers=found, credentials=CREDENTIALS, peers_timeout=None)


@pytest.mark.slow
def test_peer_is_found_among_very_many_records_that_lead_nowhere(peer):
    with find(peer, nowhere(9)) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.slow
def test_peer_is_found_among_very_many_addresses_that_do_not_answer(peer, silent, monkeypatch):
    monkeypatch.setattr(attempts, "_TRIES", 100)
    with find(peer, nowhere(silent, 500)) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.slow
def test_descriptors_are_bounded_while_very_many_addresses_are_tried(silent, monkeypatch):
    monkeypatch.setattr(attempts, "_TRIES", 50)
    before = len(os.listdir("/proc/self/fd"))
    found = Listed(nowhere(silent, 500))
    with PeerPoolExecutor(peers=found, credentials=CREDENTIALS, peers_timeout=None) as pool:
        pool.submit(abs, -1)
        for _ in range(20):
            tried = sum(each.failures for each in pool._peers._attempts.candidates)
            eventually(lambda tried=tried: sum(e.failures for e in pool._peers._attempts.candidates) > tried)
            assert len(os.listdir("/proc/self/fd")) < before + 100
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.slow
def test_few_of_very_many_that_cannot_be_reached_are_logged_and_named(caplog):
    caplog.set_level(logging.WARNING, "woolexec")
    found = Listed(nowhere(9, 300))
    with PeerPoolExecutor(peers=found, credentials=CREDENTIALS, peers_timeout=1.0) as pool:
        with pytest.raises(NoPeersError, match=r"more records lead to no peer") as caught:
            pool.submit(abs, -1).result(PATIENCE)
        eventually(lambda: all(each.failures for each in pool._peers._attempts.candidates))
    assert len(str(caught.value)) < 3000
    assert len(caplog.records) == attempts._LOGGED + 1
    assert "further peers" in caplog.records[-1].getMessage()


@pytest.mark.slow
def test_dead_records_are_tried_less_often_while_there_is_a_link(peer, monkeypatch):
    monkeypatch.setattr(attempts, "_RATE", 0.1)  # of 300 records, each again after 3,000 s
    with find(peer, nowhere(9, 300)) as pool:
        pool.wait_for_peers(1, PATIENCE)
        eventually(lambda: sum(each.failures > 0 for each in pool._peers._attempts.candidates) == 300)
        tried = sum(each.failures for each in pool._peers._attempts.candidates)
        for n in range(20):
            assert pool.submit(abs, -n).result(PATIENCE) == n
        assert sum(each.failures for each in pool._peers._attempts.candidates) - tried < 300


def test_peer_that_the_user_has_named_does_not_wait_for_foreign_records(peer, monkeypatch):
    monkeypatch.setattr(attempts, "_RATE", 0.1)
    address = peer.address
    found = Listed(nowhere(9, 300))
    with PeerPoolExecutor(peers=[found, address], credentials=CREDENTIALS, peers_timeout=None) as pool:
        pool.wait_for_peers(1, PATIENCE)
        for link in itertools.chain(pool._peers.links):
            pool._engine._loop.tell(link.close)
        eventually(lambda: not pool._peers.links)
        pool.wait_for_peers(1, PATIENCE)
