"""`put` with peers: a value is sent to each of them once."""

import asyncio
import contextlib
import gc

import numpy as np
import pytest

from tests.mesh.array_tasks import LONG, change, ones, pass_on, pass_on_many, total, total_later
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import PeerPoolExecutor
from woolexec.core.compressing import Compressing
from woolexec.mesh.client.link import Link
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server.fetching import Fetching, NotFetchedError
from woolexec.mesh.server.peer import Peer
from woolexec.wire.payload import LARGE


@pytest.fixture
def sent(monkeypatch):
    """The numbers of the values that were sent to peers."""
    sent, send = [], Link.send_value

    def counted(self, value):
        sent.append(value.number)
        send(self, value)

    monkeypatch.setattr(Link, "send_value", counted)
    return sent


@pytest.fixture(params=["handed over", "in parts"])
def way(request):
    if request.param == "in parts":
        request.getfixturevalue("apart")


def kept(peer):
    return [len(served.values) for served in peer._acceptor.served]


@pytest.mark.usefixtures("way")
def test_value_is_sent_to_a_peer_once_and_shared_there(sent):
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        value, small = pool.put(np.ones(LONG)), pool.put(np.ones(LARGE // 16))
        assert {pool.submit(total, value).result(PATIENCE) for _ in range(10)} == {LONG}
        assert pool.submit(change, value).result(PATIENCE) == 7
        assert list(pool.map(total, [value] * 5)) == [LONG] * 5
        assert pool.submit(total, small).result(PATIENCE) == LARGE // 16
        assert len(sent) == 1  # a small one travels with each call
        assert kept(peer) == [1]
        del value
        gc.collect()
        eventually(lambda: kept(peer) == [0])
        (served,) = peer._acceptor.served
        assert served.byte_quota.size == sum(served.byte_quota._kept.values()) < LONG


@pytest.fixture
def few(request):
    """Four peers that clients take to be on other hosts, as peers take each other."""
    request.getfixturevalue("apart")
    with contextlib.ExitStack() as peers:
        yield [peers.enter_context(Peer(1, credentials=CREDENTIALS)) for _ in range(4)]


@pytest.fixture
def left(monkeypatch):
    """The sizes of the messages that have left the owner."""
    monkeypatch.setattr(Compressing, "pays", lambda *_: False)
    left = []

    class Counting(Outbox):
        def open(self, write, on_failure):
            async def counted(data):
                left.append(len(data))
                await write(data)

            super().open(counted, on_failure)

    monkeypatch.setattr("woolexec.mesh.client.link.Outbox", Counting)
    return left


@pytest.fixture
def pulled(monkeypatch):
    """The names of peers that were told to fetch a value, and of those that gave it."""
    pulled, send = [], Link.send_pull

    def counted(self, number, key, holder):
        pulled.append((self.name, holder.name))
        send(self, number, key, holder)

    monkeypatch.setattr(Link, "send_pull", counted)
    return pulled


def at_each(pool, *args):
    """The results of a task at each peer of a pool, which are given it at once."""
    links = list(pool._engine.scheduler.links)
    futures = [pool.with_options(at=link.name).submit(*args) for link in links for _ in range(3)]
    return {future.result(PATIENCE) for future in futures}


SHARED = 1 << 21  # 16 MiB


@pytest.mark.slow
def test_value_for_several_peers_leaves_its_owner_twice(left, few, pulled):
    with joined(*few) as pool:
        value = pool.put(np.ones(SHARED))
        assert at_each(pool, total, value) == {SHARED}
        assert len(pulled) == 2
        assert 2 * 8 * SHARED < sum(left) < 2.1 * 8 * SHARED
        assert [sum(kept(peer)) for peer in few] == [1] * 4
        del value
        gc.collect()
        eventually(lambda: all(set(kept(peer)) <= {0} for peer in few))


@pytest.mark.slow
def test_large_result_for_several_peers_leaves_its_owner_twice(left, few, pulled):
    with joined(*few, local=1) as pool:
        made = pool.submit(ones, SHARED)
        assert at_each(pool, total, made) == {SHARED}
        assert len(pulled) == 2
        assert sum(left) < 2.1 * 8 * SHARED


@pytest.mark.slow
def test_value_that_cannot_be_fetched_is_sent(monkeypatch, left, few, pulled):
    async def cannot(self, pull):
        raise NotFetchedError("no road")

    monkeypatch.setattr(Fetching, "fetch", cannot)
    with joined(*few) as pool:
        assert at_each(pool, total, pool.put(np.ones(SHARED))) == {SHARED}
        assert len(pulled) == 2
        assert sum(left) > 4 * 8 * SHARED


@pytest.mark.slow
def test_peer_that_gives_a_value_and_ends_costs_nobody_anything(monkeypatch, few, pulled):
    fetch, asked = Fetching.fetch, []

    async def wait_and_fetch(self, pull):
        asked.append(pull.address)
        while len(asked) < 3:  # noqa: ASYNC110  # the test adds one
            await asyncio.sleep(0.005)
        return await fetch(self, pull)

    monkeypatch.setattr(Fetching, "fetch", wait_and_fetch)
    with joined(*few, timeout=PATIENCE) as pool:
        value = pool.put(np.ones(SHARED))
        links = list(pool._engine.scheduler.links)
        futures = [pool.with_options(near=link.name, retries=3).submit(total, value) for link in links]
        eventually(lambda: len(asked) == 2)
        givers = [peer for peer in few if peer.address in asked]
        for peer in givers:
            peer.close()
        asked.append("")
        assert {future.result(PATIENCE) for future in futures} == {SHARED}


@pytest.mark.slow
def test_value_is_shared_by_peers_that_are_trusted_only(few, pulled, sent):
    addresses = [peer.address for peer in few]
    with PeerPoolExecutor(0, peers=addresses, credentials=CREDENTIALS, results="plain") as pool:
        pool.wait_for_peers(4, PATIENCE)
        assert at_each(pool, total, pool.put(np.ones(SHARED))) == {SHARED}
    assert (len(pulled), len(sent)) == (0, 4)


@pytest.mark.slow
def test_value_of_less_than_a_mebibyte_is_sent_to_each(few, pulled, sent):
    with joined(*few) as pool:
        assert at_each(pool, total, pool.put(np.ones(LONG // 4))) == {LONG // 4}
    assert (len(pulled), len(sent)) == (0, 4)


def test_two_peers_have_it_each(sent):
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as two, joined(one, two) as pool:
        value = pool.put(np.ones(LONG))
        assert {future.result(PATIENCE) for future in [pool.submit(total, value) for _ in range(40)]} == {LONG}
        assert len(sent) == 2
        assert kept(one) == kept(two) == [1]


@pytest.mark.slow
@pytest.mark.usefixtures("apart")
def test_calls_that_come_before_their_value_wait_for_it_and_are_cancelled():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        value = pool.put(bytes(200_000_000))
        futures = [pool.submit(len, value) for _ in range(4)]
        assert futures[3].cancel() or futures[3].result(PATIENCE) == 200_000_000
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # it passes the value
        assert [future.result(PATIENCE) for future in futures[:3]] == [200_000_000] * 3


@pytest.mark.usefixtures("apart")
def test_value_that_nobody_needs_any_more_is_not_sent_to_its_end():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        futures = [pool.submit(len, pool.put(bytes(100_000_000))) for _ in range(3)]
        for future in futures:
            future.cancel()
        del futures, future
        gc.collect()
        eventually(lambda: kept(peer) == [0])
        eventually(lambda: not any(served._arriving.size for served in peer._acceptor.served))
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_peer_with_little_room_has_the_values_used_last(monkeypatch, sent):
    monkeypatch.setattr("woolexec.mesh.server.peer.usable_memory", lambda: 4 * 3 * 8 * LONG)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        values = [pool.put(np.full(LONG, number)) for number in range(6)]
        for _ in range(2):
            assert [pool.submit(total, value).result(PATIENCE) for value in values] == [n * LONG for n in range(6)]
        assert kept(peer)[0] <= 3
        assert len(sent) == 12


def test_link_that_breaks_takes_no_value_along(sent, tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer, timeout=PATIENCE) as pool:
        value = pool.put(np.ones(LONG))
        future = pool.with_options(retries=5).submit(total_later, value, tmp_path / "go")
        eventually(lambda: kept(peer) == [1])
        (link,) = pool._engine.scheduler.links
        pool._engine._loop.tell(link.close)
        eventually(lambda: link not in pool._engine.scheduler.links)
        (tmp_path / "go").touch()
        assert future.result(PATIENCE) == LONG
        assert len(sent) == 2


def test_tasks_at_a_peer_put_values():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(pass_on, pool.put(np.ones(LONG))).result(PATIENCE) == 3 * LONG


def test_value_of_a_task_goes_to_the_peers_of_its_peer_once(sent):
    with (
        Peer(1, credentials=CREDENTIALS) as far,
        Peer(1, credentials=CREDENTIALS, peers=[far.address]) as near,
        joined(near) as pool,
    ):
        assert pool.submit(pass_on_many, 20).result(PATIENCE) == 20 * LONG
        assert len(sent) <= 1


def test_peers_pass_values_on_to_their_own_peers():
    with (
        Peer(1, credentials=CREDENTIALS) as far,
        Peer(1, credentials=CREDENTIALS, peers=[far.address]) as near,
        joined(near) as pool,
    ):
        value = pool.put(np.ones(LONG))
        assert {future.result(PATIENCE) for future in [pool.submit(total, value) for _ in range(10)]} == {LONG}


def test_value_runs_on_all_workers_of_peers():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer, local=1) as pool:
        value = pool.put(np.ones(LONG))
        results = pool.run_on_all(total, value)
        assert len(results) == 3
        assert {future.result() for future in results.values()} == {LONG}
