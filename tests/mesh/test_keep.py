"""`keep=True` with peers: outcomes stay where they were made until they are needed."""

import asyncio
import contextlib
import gc
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from types import SimpleNamespace

import numpy as np
import pytest

from tests.mesh.array_tasks import (
    LONG,
    boom,
    fail_the_second_time,
    items,
    length,
    nested,
    note_and_make,
    ones,
    slow_ones,
    text,
    total,
    total_async,
    where,
    where_async,
)
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_put import way  # noqa: F401  # a fixture
from woolexec import ProtocolError, UnsatisfiableError, ValueLostError, WorkerLostError
from woolexec.mesh.client.link import Link
from woolexec.mesh.server.answer import Answer
from woolexec.mesh.server.fetching import Fetching, NotFetchedError
from woolexec.mesh.server.kept_values import KeptValues
from woolexec.mesh.server.peer import Peer
from woolexec.mesh.server.stays import Stays
from woolexec.wire.frames import Drop, Fetch, Keep, encode
from woolexec.wire.values import LEAST_KEPT


def made(kept, *args):
    """A future whose value has stayed with a peer."""
    future = kept.submit(ones, *args)
    wait([future])
    return future


@pytest.fixture
def fetched(monkeypatch):
    """The numbers of the values that were fetched from peers."""
    fetched, send = [], Link.send_fetch

    def counted(self, number):
        fetched.append(number)
        send(self, number)

    monkeypatch.setattr(Link, "send_fetch", counted)
    return fetched


@pytest.fixture
def pulled(monkeypatch):
    """The values that peers were told to fetch from others."""
    pulled, send = [], Link.send_pull

    def counted(self, number, key, holder):
        pulled.append(number)
        send(self, number, key, holder)

    monkeypatch.setattr(Link, "send_pull", counted)
    return pulled


@pytest.fixture(params=["straight", "through here"])
def road(request, monkeypatch):
    """How values go from peer to peer."""
    if request.param == "through here":
        monkeypatch.setattr(Fetching, "fetch", cannot)
    return request.param


async def cannot(self, pull):
    raise NotFetchedError("no road")


@pytest.fixture
def unanswered(monkeypatch):
    """Peers that start from now on do not answer to Fetch, and cannot fetch from each other."""
    asked = []
    monkeypatch.setattr(Fetching, "fetch", cannot)
    monkeypatch.setattr(KeptValues, "fetch", lambda self, frame: asked.append(frame.value))
    return asked


@pytest.fixture
def kept(pool):
    return pool.with_options(keep=True)


@pytest.fixture
def two():
    with two_peers() as two:
        yield two


@contextlib.contextmanager
def two_peers(**options):
    with Peer(1, credentials=CREDENTIALS, **options) as one, Peer(1, credentials=CREDENTIALS, **options) as other:
        yield one, other


def values_at(peer):
    return [len(served.values) for served in peer._acceptor.served]


def copies_of(pool, future):
    """The links to the peers that have a value, and can give it."""
    return pool._engine._dispatcher.values._entries[future.value.number].sharing.holders


def links_of(pool):
    return list(pool._engine.scheduler.links)


@contextlib.contextmanager
def busy(pool, link, path):
    """The only worker of a peer has something to do: idle, it would be given what another peer is slow to begin."""
    future = pool.with_options(at=link.name).submit(slow_ones, path)
    eventually(path.exists)
    yield
    path.unlink()
    wait([future], PATIENCE)


# -- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_outcome_stays_until_somebody_asks_for_it(peer, pool, kept, fetched):
    future = made(kept)
    assert future.done()
    assert future.exception() is None
    assert not fetched
    assert values_at(peer) == [1]
    assert [pool.submit(total, future).result(PATIENCE) for _ in range(5)] == [LONG] * 5
    assert pool.submit(total_async, future).result(PATIENCE) == LONG
    assert list(pool.map(total, [future] * 3)) == [LONG] * 3
    assert not fetched
    assert total(future.result(PATIENCE)) == total(future.result()) == LONG
    assert len(fetched) == 1


def test_value_that_is_just_large_enough_to_stay_is_not_fetched_for_a_task(pool, kept, fetched):
    array = made(kept, LEAST_KEPT // 8)
    assert pool.submit(total, array).result(PATIENCE) == LEAST_KEPT // 8
    assert list(pool.map(total, [array] * 3)) == [LEAST_KEPT // 8] * 3
    assert not fetched


def test_future_is_done_when_the_value_is_made(kept, fetched):
    told = []
    futures = [kept.submit(ones) for _ in range(4)]
    futures[0].add_done_callback(told.append)
    assert set(as_completed(futures, PATIENCE)) == set(futures)
    eventually(lambda: told == [futures[0]])
    assert not fetched


@pytest.mark.matrix
@pytest.mark.usefixtures("way")
def test_task_at_another_peer_gets_it_and_it_is_fetched_once(road, two, made_at, fetched, pulled):
    with joined(*two) as pool:
        array, _, other = made_at(pool, ones)
        far = pool.with_options(at=other.name)
        assert {future.result(PATIENCE) for future in [far.submit(total, array) for _ in range(20)]} == {LONG}
        assert [far.submit(total, array, array).result(PATIENCE) for _ in range(5)] == [2 * LONG] * 5
        assert len(pulled) == 1
        assert len(fetched) == (road == "through here")
        assert values_at(two[0])[0] == values_at(two[1])[0] == 1


def test_task_goes_where_its_values_are(two, fetched):
    with joined(*two) as pool:
        for array in [made(pool.with_options(keep=True)) for _ in range(6)]:
            (home,) = (link for link in links_of(pool) if array.kept.number in link.has_sent.kept)
            (peer,) = (peer for peer in two if peer.address == home.candidate.address)
            assert pool.submit(where, array).result(PATIENCE) in peer.engine.pids
        assert not fetched


def test_chain_of_kept_values_stays_at_one_peer(pool, kept, fetched):
    array = kept.submit(ones)
    for _ in range(20):
        array = kept.submit(np.add, array, 1.0)
    assert float(array.result(PATIENCE)[0]) == 21.0
    assert len(fetched) == 1


def test_values_of_two_peers_meet(two, fetched):
    with joined(*two) as pool:
        kept = pool.with_options(keep=True)
        arrays = [kept.submit(ones) for _ in range(10)]
        assert pool.submit(total, *arrays).result(PATIENCE) == 10 * LONG
        assert not fetched


def test_workers_here_leave_calls_that_need_it_to_the_peers(fetched):
    with Peer(1, credentials=CREDENTIALS, resources={"far": 2}) as peer, joined(peer, local=1) as pool:
        array = made(pool.with_options(keep=True, require={"far": 1}))
        assert {pool.submit(total, array).result(PATIENCE) for _ in range(10)} == {LONG}
        assert pool.submit(total_async, array).result(PATIENCE) == LONG
        assert not fetched
        assert {future.result() for future in pool.run_on_all(total, array).values()} == {LONG}
        assert len(fetched) == 1
        assert {pool.submit(total, array).result(PATIENCE) for _ in range(10)} == {LONG}


def test_what_is_made_here_is_here(peer, fetched):
    with joined(peer, local=1) as pool:
        futures = [pool.with_options(keep=True).submit(ones) for _ in range(20)]
        assert {total(future.result(PATIENCE)) for future in futures} == {LONG}
        local = [future for future in futures if future.value is None]
        assert len(fetched) == len(futures) - len(local)


# -- what comes home at once ------------------------------------------------------------------------------------------


class Mine:
    def __init__(self):
        self.data = bytes(1 << 20)


Mine.__module__ = "__main__"


def test_small_outcome_comes_home(peer, kept, fetched):
    assert len(kept.submit(bytes, LEAST_KEPT // 2).result(PATIENCE)) == LEAST_KEPT // 2
    assert not fetched
    assert values_at(peer) == [0]


def test_outcome_of_a_class_of_the_script_comes_home(peer, kept, fetched):
    def make():
        return Mine()

    assert len(kept.submit(make).result(PATIENCE).data) == 1 << 20
    assert not fetched
    assert values_at(peer) == [0]


def test_outcome_for_which_there_is_no_room_comes_home(monkeypatch, fetched):
    monkeypatch.setattr("woolexec.mesh.server.session.usable_memory", lambda: 4 * 3 * 8 * LONG)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        futures = [made(pool.with_options(keep=True)) for _ in range(5)]
        assert values_at(peer) == [2]
        assert [total(future.result(PATIENCE)) for future in futures] == [LONG] * 5
        assert len(fetched) == 2


def test_outcomes_that_find_no_room_are_told_of_once(caplog, fetched):
    with Peer(1, credentials=CREDENTIALS, stays=Stays(3 * 8 * LONG)) as peer, joined(peer) as pool:
        futures = [made(pool.with_options(keep=True)) for _ in range(6)]
        assert values_at(peer) == [2]
        assert [total(future.result(PATIENCE)) for future in futures] == [LONG] * 6
        assert len(fetched) == 2
    assert [record.name for record in caplog.records if "--spill-dir" in record.message] == ["woolexec"]
    assert f"the peer at {peer.address} has no room" in caplog.text


def files_in(folder):
    """How many files of a folder this process has open: they have no names."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder))
    return found


@pytest.mark.usefixtures("way")
def test_outcomes_beyond_the_limit_are_on_disk_and_come_back_unasked(tmp_path, fetched, pulled):
    stays = Stays(3 * 8 * LONG, str(tmp_path))
    with Peer(1, credentials=CREDENTIALS, stays=stays) as peer, Peer(1, credentials=CREDENTIALS) as other:
        with joined(peer, other) as pool:
            home, far = (
                next(link for link in links_of(pool) if link.candidate.address == each.address)
                for each in (peer, other)
            )
            futures = [made(pool.with_options(keep=True, at=home.name)) for _ in range(8)]
            eventually(lambda: stays.size <= 3 * 8 * LONG)
            assert values_at(peer) == [8]
            assert files_in(tmp_path) == 6
            there, elsewhere = pool.with_options(at=home.name), pool.with_options(at=far.name)
            assert [there.submit(total, future).result(PATIENCE) for future in futures] == [LONG] * 8
            assert not fetched
            assert not pulled
            assert [elsewhere.submit(total, future).result(PATIENCE) for future in futures[:2]] == [LONG] * 2
            assert len(pulled) == 2
            assert [total(future.result(PATIENCE)) for future in futures] == [LONG] * 8
            del futures
            gc.collect()
            eventually(lambda: files_in(tmp_path) == 0)
            eventually(lambda: stays.size == 0)


def test_memory_of_an_outcome_on_disk_is_freed_in_workers_too(tmp_path):
    stays = Stays(8 * LONG + 1000, str(tmp_path))
    with Peer(1, credentials=CREDENTIALS, stays=stays) as peer, joined(peer) as pool:
        before = pool.submit(memory_files).result(PATIENCE)
        first = made(pool.with_options(keep=True))
        assert pool.submit(total, first).result(PATIENCE) == LONG
        assert pool.submit(memory_files).result(PATIENCE) == before + 1
        second = made(pool.with_options(keep=True))
        eventually(lambda: files_in(tmp_path) == 1)
        eventually(lambda: pool.submit(memory_files).result(PATIENCE) == before)
        assert pool.submit(total, first, second).result(PATIENCE) == 2 * LONG


def memory_files():
    gc.collect()
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += "memfd:woolexec" in os.readlink(f"/proc/self/fd/{fd}")
    return found


def test_peers_that_are_not_trusted_keep_nothing(peer):
    from woolexec import PeerPoolExecutor

    with PeerPoolExecutor(0, peers=[peer.address], credentials=CREDENTIALS, results="plain") as pool:
        assert total(made(pool.with_options(keep=True)).result(PATIENCE)) == LONG
        assert values_at(peer) == [0]


def test_tasks_of_tasks_maps_and_streams_keep_nothing(peer, kept, fetched):
    assert kept.submit(nested).result(PATIENCE) == 3 << 16
    assert [total(array) for array in kept.map(ones, [LONG] * 3)] == [LONG] * 3
    assert [total(array) for array in kept.submit(items, 3).result(PATIENCE)] == [1 << 14] * 3
    assert not fetched
    assert values_at(peer) == [0]


# -- asynchronous programs --------------------------------------------------------------------------------------------


def test_event_loop_goes_on_while_a_value_is_fetched(unanswered, kept):
    async def main():
        loop = asyncio.get_running_loop()
        waits = [loop.run_in_executor(kept, ones), asyncio.ensure_future(_await(kept.submit(ones)))]
        waits.append(asyncio.wrap_future(made(kept)))
        while len(unanswered) < 3:  # noqa: ASYNC110  # it is the peer's
            await asyncio.sleep(0.005)
        _, pending = await asyncio.wait(waits, timeout=0.1)
        assert len(pending) == 3
        for each in waits:
            each.cancel()
        await asyncio.wait(waits)

    asyncio.run(main())


async def _await(future):
    return await future


@pytest.mark.parametrize("way_to_wait", ["run", "await", "run_in_executor"])
def test_value_is_awaited(kept, way_to_wait):
    async def main():
        if way_to_wait == "run":
            return await kept.run(ones)
        if way_to_wait == "await":
            return await kept.submit(ones)
        return await asyncio.get_running_loop().run_in_executor(kept, ones)

    assert total(asyncio.run(main())) == LONG


def test_map_async_gives_values(kept):
    async def main():
        return [total(array) async for array in kept.map_async(ones, [LONG] * 4)]

    assert asyncio.run(main()) == [LONG] * 4


@pytest.mark.usefixtures("unanswered")
def test_result_ends_in_time(kept):
    future = made(kept)
    with pytest.raises(TimeoutError):
        future.result(0.1)
    later = kept.submit(ones)
    with pytest.raises(TimeoutError):
        later.result(0.3)
    assert later.exception(PATIENCE) is None


# -- who else takes it ------------------------------------------------------------------------------------------------


def test_task_of_another_pool_gets_it(kept):
    array = made(kept)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as other:
        own = [made(other.with_options(keep=True)) for _ in range(3)]
        assert other.submit(total, array, *own).result(PATIENCE) == 4 * LONG
        assert other.submit(total, array, *own).result(PATIENCE) == 4 * LONG


def test_it_is_pickled_nowhere_else(kept):
    with pytest.raises(TypeError, match="stands for its value"):
        pickle.dumps(made(kept))


def test_forked_child_says_so(kept):
    future = made(kept)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            future.result(5)
        except BaseException as exc:
            os.write(write, repr(exc).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "belongs to the parent process" in pipe.read()


# -- its end ----------------------------------------------------------------------------------------------------------


def test_collected_value_is_dropped(peer, pool, kept):
    futures = [made(kept) for _ in range(3)]
    assert values_at(peer) == [3]
    last = pool.submit(total, futures[0])
    del futures
    gc.collect()
    eventually(lambda: values_at(peer) == [0])
    assert last.result(PATIENCE) == LONG
    (served,) = peer._acceptor.served
    eventually(lambda: served.byte_quota.size == sum(served.byte_quota._kept.values()) < LONG)


def test_call_that_was_cancelled_leaves_nothing(tmp_path, peer, kept):
    future = kept.submit(slow_ones, tmp_path / "running")
    eventually((tmp_path / "running").exists)
    assert future.cancel(force=True)
    eventually(lambda: peer._acceptor.served and values_at(peer) == [0])


def test_values_of_a_peer_that_leaves_come_home(peer, pool, kept, fetched):
    futures = [made(kept) for _ in range(4)]
    peer.drain()
    eventually(lambda: not links_of(pool))
    assert [total(future.result(PATIENCE)) for future in futures] == [LONG] * 4
    assert len(fetched) == 4


def test_shutdown_loses_it(pool, kept):
    future = made(kept)
    pool.shutdown()
    with pytest.raises(ValueLostError, match=r"ones is lost: .* its pool was shut down; to prevent this, call result"):
        future.result(PATIENCE)
    assert isinstance(future.exception(), WorkerLostError)


@pytest.mark.parametrize("options", [{}, {"idempotent": True}, {"retries": 2}])
def test_shutdown_loses_it_even_if_it_could_be_made_again(unanswered, pool, options):
    future = made(pool.with_options(keep=True, **options))
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as other:
        waiting = other.submit(total, future)  # asks for it
        eventually(lambda: unanswered)
        pool.shutdown()
        with pytest.raises(ValueLostError):
            future.result(PATIENCE)
        wait([waiting], PATIENCE)
        assert waiting.done()


def test_lost_value_fails_whoever_needs_it(unanswered, two):
    with joined(*two, timeout=PATIENCE) as pool:
        kept = pool.with_options(keep=True)
        array = made(kept)
        (home,) = (link for link in links_of(pool) if array.kept.number in link.has_sent.kept)
        (other,) = (link for link in links_of(pool) if link is not home)
        far = pool.with_options(near=other.name)
        waiting = [far.submit(total, array), far.submit(total_async, array)]  # sent there, where they wait for it
        queued = [pool.submit(total, array) for _ in range(50)]
        with ThreadPoolExecutor() as threads:
            asked = threads.submit(array.result)
            eventually(lambda: unanswered)
            pool._engine._loop.tell(home.close)
            with pytest.raises(ValueLostError) as caught:
                asked.result(PATIENCE)
        assert (caught.value.task, caught.value.host) == ("ones", home.candidate.host)
        for future in waiting:
            with pytest.raises(WorkerLostError):
                future.result(PATIENCE)
        for future in queued:
            error = future.exception(PATIENCE)
            assert error is None or isinstance(error, WorkerLostError)
        late = pool.submit(total, array).exception(PATIENCE)
        assert isinstance(late, ValueLostError)
        assert "total was not started" in " ".join(late.__notes__)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.fixture
def made_at(two):
    """A function that makes a value at one of two peers, and returns it with the links to that and to the other."""

    def make(pool, *args, **options):
        future = pool.with_options(keep=True, **options).submit(*args)
        wait([future])
        (home,) = (link for link in links_of(pool) if future.kept.number in link.has_sent.kept)
        (other,) = (link for link in links_of(pool) if link is not home)
        return future, home, other

    return make


@pytest.mark.parametrize("options", [{"idempotent": True}, {"retries": 1}])
def test_lost_value_is_made_again_if_its_task_may_be(tmp_path, two, made_at, options):
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, _ = made_at(pool, note_and_make, tmp_path / "starts", **options)
        pool._engine._loop.tell(home.close)
        futures = [pool.submit(total, array) for _ in range(20)]
        assert {future.result(PATIENCE) for future in futures} == {LONG}
        assert total(array.result(PATIENCE)) == LONG
        assert (tmp_path / "starts").read_text() == "xx"


def test_its_lost_inputs_are_made_again_first(tmp_path, two, made_at):
    with joined(*two, timeout=PATIENCE) as pool:
        first, home, other = made_at(pool, note_and_make, tmp_path / "first", idempotent=True)
        near = {"idempotent": True, "near": home.name}
        with busy(pool, other, tmp_path / "busy"):  # it would get the inputs too
            second, *_ = made_at(pool, note_and_make, tmp_path / "second", first, **near)
            third, at, _ = made_at(pool, note_and_make, tmp_path / "third", first, second, **near)
            assert at is home
        pool._engine._loop.tell(home.close)
        assert float(third.result(PATIENCE)[0]) == 4.0
        assert [(tmp_path / name).read_text() for name in ("first", "second", "third")] == ["xx"] * 3


def test_task_that_waits_elsewhere_for_a_lost_value_gives_its_place_up(tmp_path, unanswered, two, made_at):
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, note_and_make, tmp_path / "starts", idempotent=True)
        far = pool.with_options(near=other.name)
        futures = [far.submit(total, array), far.submit(total_async, array)]
        eventually(lambda: unanswered and other.outstanding and other.lane_place.outstanding)
        two[0 if two[0].address == home.candidate.address else 1].close()  # one worker is left for all of it
        assert {future.result(PATIENCE) for future in futures} == {LONG}
        assert (tmp_path / "starts").read_text() == "xx"


def test_value_that_cannot_be_made_again_is_lost(tmp_path, two, made_at):
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, _ = made_at(pool, fail_the_second_time, tmp_path / "made", idempotent=True)
        pool._engine._loop.tell(home.close)
        with pytest.raises(ValueLostError, match="making it again has failed") as caught:
            array.result(PATIENCE)
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(ValueLostError):
            pool.submit(total, array).result(PATIENCE)


def test_arguments_that_are_too_large_are_let_go(two):
    from woolexec import PeerPoolExecutor

    peers = [peer.address for peer in two]
    with PeerPoolExecutor(0, peers=peers, credentials=CREDENTIALS, lineage_limit=100_000) as pool:
        pool.wait_for_peers(2, PATIENCE)
        kept = pool.with_options(keep=True, idempotent=True)
        large = []
        for size in (30_000, 30_001):
            large.append(kept.submit(bytes.__add__, bytes(60_000), bytes(size)))
            wait(large)
        assert [future.kept.is_forgotten for future in large] == [True, False]
        for link in links_of(pool):
            pool._engine._loop.tell(link.close)
        with pytest.raises(ValueLostError, match="use a larger lineage_limit"):
            large[0].result(PATIENCE)
        assert len(large[1].result(PATIENCE)) == 90_001


def test_value_that_is_here_outlives_its_peer(peer, kept):
    future = made(kept)
    assert total(future.result(PATIENCE)) == LONG
    with Peer(1, credentials=CREDENTIALS) as other, joined(other, local=1) as pool:
        peer.close()
        assert {future.result(PATIENCE) for future in [pool.submit(total, future) for _ in range(8)]} == {LONG}


def test_task_whose_value_is_on_its_way_is_cancelled(unanswered, two):
    with joined(*two) as pool:
        array = made(pool.with_options(keep=True))
        (other,) = (link for link in links_of(pool) if array.kept.number not in link.has_sent.kept)
        far = pool.with_options(near=other.name)
        plain, coroutine = far.submit(total, array), far.submit(total_async, array)
        eventually(lambda: unanswered)
        for future in (plain, coroutine):
            eventually(lambda: future.cancel(force=True))  # noqa: B023  # it is called at once
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert all(not served.outstanding for served in two[0]._acceptor.served)


# -- from peer to peer ------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(two, made_at):
    """Makes a pool of two peers, a value, the link to the peer that has it, and a view for tasks at the other."""

    @contextlib.contextmanager
    def make():
        with joined(*two, timeout=PATIENCE) as pool:
            array, home, other = made_at(pool, ones)
            yield pool, array, home, pool.with_options(at=other.name)

    return make


def test_many_tasks_at_once_need_one_transfer(pair, fetched, pulled):
    with pair() as (_, array, _, far):
        assert {future.result(PATIENCE) for future in [far.submit(total, array) for _ in range(50)]} == {LONG}
        assert (len(pulled), len(fetched)) == (1, 0)


@pytest.mark.parametrize("is_bound", ["127.0.0.1:0", "[::1]:0"])
def test_value_goes_over_tcp(is_bound, fetched, pulled, made_at):
    with two_peers(bind=is_bound) as two, joined(*two) as pool:
        array, _, far = made_at(pool, ones)
        assert pool.with_options(at=far.name).submit(total, array).result(PATIENCE) == LONG
        assert (len(pulled), len(fetched)) == (1, 0)


def test_copy_outlives_the_peer_that_made_it(pair):
    with pair() as (pool, array, home, far):
        assert far.submit(total, array).result(PATIENCE) == LONG
        eventually(lambda: len(copies_of(pool, array)) == 2)
        pool._engine._loop.tell(home.close)
        eventually(lambda: array.kept.home != home.name)
        assert {future.result(PATIENCE) for future in [pool.submit(total, array) for _ in range(10)]} == {LONG}
        assert total(array.result(PATIENCE)) == LONG


def test_peers_of_other_hosts_are_not_told_addresses_of_this_one(monkeypatch, pair, fetched, pulled):
    with pair() as (_, array, home, far):
        monkeypatch.setattr(home.candidate, "host", "elsewhere")
        assert far.submit(total, array).result(PATIENCE) == LONG
        assert (len(pulled), len(fetched)) == (0, 1)


def test_peer_that_runs_only_listed_functions_fetches_nothing(fetched, pulled, made_at):
    allow = ["tests.mesh.array_tasks:text", "tests.mesh.array_tasks:length"]
    with two_peers(allow=allow) as two, joined(*two) as pool:
        made, _, far = made_at(pool, text)
        assert pool.with_options(at=far.name).submit(length, made).result(PATIENCE) == LONG
        assert (len(pulled), len(fetched)) == (0, 1)


@pytest.mark.matrix
@pytest.mark.parametrize("wrong", [{"key": b"guess"}, {"key": b""}, {"identity": "other"}, {"address": "x:1"}])
def test_without_key_and_identity_nothing_is_given(monkeypatch, pair, fetched, wrong):
    with pair() as (_, array, _, far):
        fetch = Fetching.fetch

        async def tampered(self, pull):
            vars(pull).update(wrong)
            return await fetch(self, pull)

        monkeypatch.setattr(Fetching, "fetch", tampered)
        assert far.submit(total, array).result(PATIENCE) == LONG
        assert len(fetched) == 1


def test_value_that_does_not_fit_goes_nowhere_and_fails_the_task(monkeypatch, pair):
    with pair() as (_, array, _, far):
        monkeypatch.setattr(KeptValues, "_store", refuse)
        future = far.submit(total, array)
        with pytest.raises(WorkerLostError):
            future.result(PATIENCE)


def refuse(self, number, payload):
    raise ProtocolError("no room")


def test_peer_that_dies_while_it_is_asked_costs_the_value(monkeypatch, pair):
    with pair() as (pool, array, home, far):
        asked = []

        async def wait_long(self, pull):
            asked.append(pull)
            await asyncio.sleep(1000)

        monkeypatch.setattr(Fetching, "fetch", wait_long)
        future = far.submit(total, array)
        eventually(lambda: asked)
        pool._engine._loop.tell(home.close)
        with pytest.raises(ValueLostError):
            future.result(PATIENCE)
        assert far.submit(abs, -1).result(PATIENCE) == 1


@pytest.fixture
def slow_roads(monkeypatch):
    """Peers fetch from each other only when the test lets them."""
    fetch, roads = Fetching.fetch, SimpleNamespace(asked=[], are_open=False)

    async def wait_and_fetch(self, pull):
        roads.asked.append(pull)
        while not roads.are_open:  # noqa: ASYNC110  # it is the test's
            await asyncio.sleep(0.005)
        return await fetch(self, pull)

    monkeypatch.setattr(Fetching, "fetch", wait_and_fetch)
    return roads


def test_values_that_are_on_their_way_make_no_room_for_others(monkeypatch, slow_roads, pair):
    monkeypatch.setattr("woolexec.mesh.server.peer.usable_memory", lambda: 4 * 8 * LONG + 4000)
    with pair() as (pool, array, home, far):
        second = made(pool.with_options(keep=True, at=home.name))
        futures = [far.submit(total, array), far.submit(total_async, second)]
        eventually(lambda: len(slow_roads.asked) == 2)
        slow_roads.are_open = True
        assert {future.result(PATIENCE) for future in futures} == {LONG}


def test_value_that_is_here_is_sent_when_its_holder_ends_meanwhile(slow_roads, pair):
    with pair() as (pool, array, home, far):
        future = far.submit(total, array)
        eventually(lambda: slow_roads.asked)
        assert total(array.result(PATIENCE)) == LONG
        pool._engine._loop.tell(home.close)
        assert future.result(PATIENCE) == LONG


def test_map_goes_on_when_a_lost_value_was_made_again(slow_roads, two, made_at, tmp_path):
    with joined(*two, timeout=PATIENCE) as pool:
        array, home, other = made_at(pool, note_and_make, tmp_path / "starts", idempotent=True)
        items = pool.with_options(near=other.name, at=other.name).map(total, [array] * 3, chunksize=1)
        eventually(lambda: slow_roads.asked)
        slow_roads.are_open = True
        pool._engine._loop.tell(home.close)
        assert list(items) == [LONG] * 3


def test_what_ends_at_a_draining_peer_comes_here(tmp_path, peer, kept):
    future = kept.submit(slow_ones, tmp_path / "running")
    eventually((tmp_path / "running").exists)
    peer.drain()
    time.sleep(0.1)
    (tmp_path / "running").unlink()
    assert total(future.result(PATIENCE)) == LONG


def test_task_that_waits_for_another_input_goes_where_its_value_is(tmp_path, two, made_at, fetched):
    with joined(*two) as pool:
        array, _, _ = made_at(pool, ones)
        other = pool.submit(slow_ones, tmp_path / "running")
        future = pool.submit(total, array, other)
        eventually((tmp_path / "running").exists)
        (tmp_path / "running").unlink()
        assert future.result(PATIENCE) == 2 * LONG
        assert not fetched


def test_task_near_a_future_waits_for_all(tmp_path, pool):
    first, second = (pool.submit(slow_ones, tmp_path / name) for name in ("first", "second"))
    for name in ("first", "second"):
        eventually((tmp_path / name).exists)
    future = pool.with_options(near=first).submit(total, second)
    (tmp_path / "second").unlink()
    second.result(PATIENCE)
    time.sleep(0.1)
    assert not future.done()
    (tmp_path / "first").unlink()
    assert future.result(PATIENCE) == LONG


# -- the frames -------------------------------------------------------------------------------------------------------


def test_peer_says_of_what_it_does_not_have_that_it_is_not_there(peer, pool):
    pool.submit(abs, -1).result(PATIENCE)
    (link,), lost = links_of(pool), []
    pool._engine._dispatcher.values.lose = lambda link, number: lost.append(number)
    fetches = b"".join(encode(Fetch(value=(number,))) for number in (7, 8))
    pool._engine._loop.tell(lambda: (link.send(fetches), link._links.due.add(link._outbox)))
    eventually(lambda: lost == [7, 8])


@pytest.mark.parametrize(("results", "options"), [("pickle", {}), ("plain", {}), ("plain", {"keep": True})])
def test_peer_that_keeps_what_it_was_not_asked_to_loses_its_link(monkeypatch, peer, results, options):
    from woolexec import PeerPoolExecutor

    deliver = Answer.deliver_context

    def keep(self, *given):
        self.keeps = True
        deliver(self, *given)

    monkeypatch.setattr(Answer, "deliver_context", keep)
    with PeerPoolExecutor(0, peers=[peer.address], credentials=CREDENTIALS, results=results) as pool:
        view = pool.with_options(**options) if options else pool
        with pytest.raises(WorkerLostError, match="without being asked to"):
            view.submit(ones).result(PATIENCE)
        with pytest.raises(WorkerLostError):
            list(view.map(ones, [LONG] * 3, chunksize=3))


@pytest.mark.parametrize("frame", [Keep(value=5, payload=b"x"), Drop(value=(5, 6))])
def test_value_that_nobody_asked_for_is_ignored(peer, pool, frame):
    pool.submit(abs, -1).result(PATIENCE)
    (served,) = peer._acceptor.served
    peer.engine.tell(lambda: served.tell(frame))
    assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert len(links_of(pool)) == 1


# -- near and at a value ----------------------------------------------------------------------------------------------


def peer_at(link, peers):
    return next(peer for peer in peers if peer.address == link.candidate.address)


@pytest.mark.matrix
@pytest.mark.parametrize("option", ["near", "at"])
@pytest.mark.parametrize("is_done", [True, False])
def test_task_runs_where_a_value_is(tmp_path, two, option, is_done):
    with joined(*two) as pool, contextlib.ExitStack() as stack:
        kept = pool.with_options(keep=True)
        array = kept.submit(ones) if is_done else kept.submit(slow_ones, tmp_path / "running")
        if is_done:
            wait([array])
        else:
            eventually((tmp_path / "running").exists)
        if option == "near":
            (other,) = (each for each in links_of(pool) if not (each.outstanding or each.has_sent.kept))
            stack.enter_context(busy(pool, other, tmp_path / "busy"))
        futures = [pool.with_options(**{option: array}).submit(where, 1) for _ in range(1 if option == "near" else 5)]
        futures.append(pool.with_options(**{option: array}).submit(where_async))
        if not is_done:
            assert not any(future.done() for future in futures)
            (tmp_path / "running").unlink()
        pids = {future.result(PATIENCE) for future in futures}
        (home,) = (link for link in links_of(pool) if link.name == array.value.home)
        assert pids <= set(peer_at(home, two).engine.pids)
        mapped = pool.with_options(**{option: array}).map(where, range(1 if option == "near" else 5))
        assert set(mapped) <= set(peer_at(home, two).engine.pids)


def test_task_runs_at_a_peer_that_is_named(two):
    with joined(*two) as pool:
        for link in links_of(pool):
            view = pool.with_options(at=link.name)
            pids = {future.result(PATIENCE) for future in [view.submit(where, 1) for _ in range(5)]}
            assert pids <= set(peer_at(link, two).engine.pids)
        assert pool.with_options(at=link.candidate.host).submit(abs, -1).result(PATIENCE) == 1


def test_peer_that_is_not_there_is_said_not_to_be(two):
    with joined(*two) as pool, pytest.raises(UnsatisfiableError, match="no peer offers at nowhere"):
        pool.with_options(at="nowhere").submit(abs, -1).result(PATIENCE)


def test_failure_of_the_value_fails_what_must_run_there_and_not_what_wishes_to(pool):
    failing = pool.submit(boom)
    assert pool.with_options(near=failing).submit(abs, -1).result(PATIENCE) == 1
    with pytest.raises(LookupError) as caught:
        pool.with_options(at=failing).submit(abs, -1).result(PATIENCE)
    assert "was not started" in " ".join(caught.value.__notes__)
    cancelled = pool.submit(time.sleep, 30)
    waiting = [pool.with_options(at=cancelled).submit(abs, -1), pool.with_options(near=cancelled).submit(abs, -1)]
    cancelled.cancel(force=True)
    assert waiting[1].result(PATIENCE) == 1
    wait(waiting)
    assert waiting[0].cancelled()


def test_value_that_is_with_no_peer_stands_for_no_place(pool):
    small, put = pool.submit(abs, -1), pool.put(ones())
    wait([small])
    for value in (small, put):
        assert pool.with_options(at=value, near=value).submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize("option", ["near", "at"])
def test_place_is_a_name_or_a_future_of_a_pool(pool, option):
    with pytest.raises(TypeError, match=f"{option} must be a str or a future of a PeerPoolExecutor, not int: 3"):
        pool.with_options(**{option: 3})
