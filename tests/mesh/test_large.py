"""Large payloads: sent in parts, or passed as descriptors."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

from tests.marks import slow
from tests.memory import memory_files, without_collector
from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.tasks import give_large_and_small, take_large
from woolexec import WorkerLostError
from woolexec.cli.local_peers import address_of, local_peer
from woolexec.mesh.link import outbox as outbox_module
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server.peer import Peer
from woolexec.wire.fast_frames import decode, encode_part
from woolexec.wire.frames import Close, Next, Part, Return, Yield, encode
from woolexec.wire.payload import store

pytestmark = pytest.mark.matrix

LARGE = 5 << 20


def written(outbox, count):
    """What the outbox writes, so many times."""

    async def main():
        batches, enough = [], asyncio.Event()

        async def write(data):
            batches.append(list(decode(data)))
            if len(batches) == count:
                enough.set()
                await asyncio.Event().wait()

        outbox.open(write, enough.set)
        async with asyncio.timeout(PATIENCE):
            await enough.wait()
        outbox.close()
        return batches

    return asyncio.run(main())


def weighed(number, array):
    return number, int(array.sum())


def held_up(monkeypatch):
    """Let large payloads wait, with empty parts on the way, until the event is set."""
    go, take = threading.Event(), outbox_module._Parts.take

    def take_when_told(parts, packing):
        if go.is_set():
            return take(parts, packing)
        time.sleep(0.005)  # so that not thousands of them lie between the frames that matter
        return encode_part(parts._call, b"")

    monkeypatch.setattr(outbox_module._Parts, "take", take_when_told)
    return go


def names(batches):
    return [[type(frame).__name__ for frame in batch] for batch in batches]


def returning(number):
    return Return(call=(number,), seconds=(0.0,), size=(0,))


def test_small_frames_pass_between_the_parts_of_a_large_payload(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 100_000)
    outbox = Outbox(set())
    outbox.put_frame(1, returning(1), store([b"x" * 250_000]))
    outbox.put(encode(Next(call=2)), 2)
    assert names(written(outbox, 3)) == [["Next", "Part"], ["Part"], ["Part", "Return"]]


def test_frames_of_one_call_keep_their_order(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 200_000)
    outbox = Outbox(set())
    outbox.put(encode(Yield(call=1, payload=b"first")), 1)
    outbox.put_frame(1, Yield(call=1), store([b"x" * 250_000]))
    outbox.put(encode(Yield(call=1, payload=b"third")), 1)
    outbox.put_frame(1, Yield(call=1), store([b"y" * 150_000]))
    outbox.put(encode(Close(call=1)), 1)
    batches = written(outbox, 3)
    assert names(batches) == [["Yield", "Part"], ["Part", "Yield", "Yield"], ["Part", "Yield", "Close"]]


def test_large_payloads_of_several_calls_take_turns(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 100_000)
    outbox = Outbox(set())
    for number in (1, 2):
        outbox.put_frame(number, returning(number), store([b"x" * 200_000]))
    calls = [frame.call for batch in written(outbox, 4) for frame in batch if isinstance(frame, Part)]
    assert calls == [1, 2, 1, 2]


def test_few_large_payloads_are_sent_at_a_time(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 100_000)
    outbox, half_sent, most = Outbox(set()), set(), 0
    for number in range(20):
        outbox.put_frame(number, returning(number), store([b"x" * 200_000]))
    outbox.withdraw(3)
    for batch in written(outbox, 2 * 19):
        for frame in batch:
            if isinstance(frame, Part):
                half_sent.add(frame.call)
            else:
                half_sent.remove(frame.call[0])
            most = max(most, len(half_sent))
    assert (most, half_sent) == (4, set())


def test_parts_become_the_payload_that_was_sent(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 256 << 10)
    outbox, arriving = Outbox(set()), Arriving()
    parts = [os.urandom(300_001), os.urandom(700), os.urandom(150_000)]
    outbox.put_frame(7, returning(7), store(parts))
    frames = [frame for batch in written(outbox, 2) for frame in batch]
    assert len(frames) == 3
    for frame in frames[:-1]:
        arriving.add(frame)
    assert [bytes(part) for part in arriving.take(frames[-1]).load()] == parts


def test_payload_of_which_nothing_has_come_is_a_broken_stream():
    frame = returning(1)
    frame.extent, frame.payload = (200_000,), b""
    with pytest.raises(ValueError, match="before any part"):
        Arriving().take(frame)


@pytest.fixture(params=["in parts", "handed over"])
def way(request):
    """Each way that a large payload may go."""
    if request.param == "in parts":
        request.getfixturevalue("apart")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [outbox_module.LARGE - 1, outbox_module.LARGE, LARGE, *slow(200_000_000)])
def test_arrays_of_any_size_go_there_and_back_and_are_writable(peer, size):
    array = np.arange(size // 8)
    with joined(peer) as pool:
        back = pool.submit(np.add, array, 1).result(PATIENCE * 2)
    back += 1
    assert np.array_equal(back, array + 2)


@pytest.mark.usefixtures("way")
def test_many_large_payloads_at_once(peer):
    arrays = [np.full(LARGE // 8, n) for n in range(20)]
    with joined(peer) as pool:
        for n, array in enumerate(pool.map(np.negative, arrays)):
            assert (array == -n).all()
        futures = [pool.submit(np.negative, array) for array in arrays]
        assert [int(future.result(PATIENCE)[0]) for future in futures] == [-n for n in range(20)]


@pytest.mark.usefixtures("way")
def test_arguments_and_results_are_let_go_when_the_call_is_over(peer):
    with joined(peer) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        before = memory_files()
        with without_collector():
            for _ in range(6):
                assert len(pool.submit(bytes, np.ones(LARGE // 8)).result(PATIENCE)) == LARGE
            eventually(lambda: memory_files() == before)
            for _ in range(6):
                assert sum(map(len, pool.map(bytes, [np.ones(LARGE // 8)] * 4))) == 4 * LARGE
            eventually(lambda: memory_files() <= before + 6)  # each place knows the last chunk of a map


@pytest.mark.usefixtures("way")
def test_stream_of_large_and_small_items_keeps_its_order(peer):
    with joined(peer) as pool, pool.stream(give_large_and_small, 8, LARGE, prefetch=4) as items:
        assert [int(np.max(item)) for item in items] == list(range(8))


@pytest.mark.usefixtures("way")
def test_large_values_are_sent_into_a_stream(peer):
    with joined(peer) as pool, pool.stream(take_large) as stream:
        next(stream)
        assert stream.send(b"x" * LARGE) == LARGE
        assert stream.send(b"x") == LARGE + 1


@pytest.mark.usefixtures("way")
def test_cancelled_call_whose_arguments_are_on_the_way_is_ended(peer):
    blob = b"x" * (20 << 20)
    with joined(peer) as pool:
        futures = [pool.submit(len, blob) for _ in range(6)]
        for future in futures:
            future.cancel()
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: all(future.done() for future in futures))
        assert all(future.cancelled() or future.result() == len(blob) for future in futures)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("fn", [tasks.weigh, tasks.weigh_async])
def test_call_whose_arguments_are_on_the_way_can_be_cancelled(peer, monkeypatch, force, fn):
    go = held_up(monkeypatch)
    with joined(peer) as pool:
        future = pool.submit(fn, b"x" * LARGE)
        (link,) = pool._peers.links
        eventually(lambda: link._outbox._behind)
        (served,) = peer._acceptor.served
        eventually(lambda: served._arriving._files)
        assert future.cancel(force=force)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        eventually(lambda: not (served._arriving._files or link._outbox._behind))
        go.set()
        assert pool.submit(fn, b"x" * LARGE).result(PATIENCE) == LARGE


@pytest.mark.usefixtures("apart")
def test_call_for_a_certain_worker_is_not_kept_from_leaving(peer, monkeypatch):
    go = held_up(monkeypatch)
    with joined(peer) as pool:
        future = pool.submit(tasks.weigh, b"x" * LARGE)
        (link,) = pool._peers.links
        eventually(lambda: link._outbox._behind)
        future.outstanding_call.pin = 1
        assert not future.cancel()
        assert not link.pinned  # where nobody would look for it
        go.set()
        assert future.result(PATIENCE) == LARGE


@pytest.mark.parametrize("extent", [(200_000,), (100_000, 2**63), (2**64 - 1,)])
def test_file_that_is_shorter_than_what_it_is_to_hold_is_a_broken_stream(extent):
    arriving = Arriving()
    arriving.add(Part(call=1, data=bytes(100_064)))
    frame = returning(1)
    frame.extent, frame.payload = extent, b""
    with pytest.raises(ValueError, match="shorter"):
        arriving.take(frame)


@pytest.mark.usefixtures("apart")
def test_link_that_breaks_in_the_middle_of_a_payload_fails_its_call(monkeypatch):
    monkeypatch.setattr(outbox_module, "PART", 4096)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        future = pool.submit(tasks.weigh, b"x" * (48 << 20))
        (link,) = pool._peers.links
        eventually(lambda: link._outbox._behind)
        pool._engine._loop.tell(link.close)
        assert isinstance(future.exception(PATIENCE), WorkerLostError)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.usefixtures("apart")
def test_small_calls_go_on_while_a_large_payload_travels(peer, monkeypatch):
    go = held_up(monkeypatch)
    with joined(peer) as pool:
        future = pool.submit(tasks.weigh, b"x" * LARGE)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert not future.done()
        go.set()
        assert future.result(PATIENCE) == LARGE


@pytest.mark.usefixtures("apart")
def test_function_of_a_call_on_the_way_is_not_mixed_up_with_later_ones(monkeypatch):
    go = held_up(monkeypatch)
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        large = pool.submit(tasks.weigh, b"x" * LARGE)
        functions = [partial(pow, n) for n in range(140)]  # more than a link remembers
        futures = [pool.submit(function, 1) for function in functions]
        assert [future.result(PATIENCE) for future in futures] == list(range(140))
        go.set()
        assert large.result(PATIENCE) == LARGE


PROGRAM = """
import os, signal, sys, time
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.link import fd_passing

fd_passing.boot_id = str
pool = PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(sys.argv[3].encode()))
pool.wait_for_peers(1, 20)
pool.submit(len, b"").result(20)
os.kill(int(sys.argv[2]), signal.SIGSTOP)
pool.submit(len, bytes(16 << 20))
while not pool._peers.links[0]._outbox._behind:
    time.sleep(0.01)
time.sleep(0.2)
pool.kill_workers()
pool.shutdown()
print("shut")
"""


@pytest.mark.usefixtures("apart")
def test_large_chunks_of_maps_travel_in_parts(peer, monkeypatch):
    cuts = []
    monkeypatch.setattr(outbox_module, "cut", cuts.append)
    with joined(peer) as pool:
        arrays = [np.full(300_000, n) for n in range(8)]
        assert list(pool.map(np.sum, arrays, chunksize=4)) == [300_000 * n for n in range(8)]
    assert cuts == []


@pytest.mark.usefixtures("apart")
def test_spans_of_maps_are_not_mixed_up_while_chunks_are_on_the_way(monkeypatch):
    """Each refers to the last chunk, and to a function whose slot is used by others meanwhile."""
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (link,) = pool._peers.links
        go = held_up(monkeypatch)
        numbers = [np.full(100_000, n) for n in range(12)]
        maps = [pool.map(partial(weighed, n), numbers, chunksize=6) for n in range(3)]
        small = pool.map(partial(weighed, 7), [np.full(2, 5), np.full(2, 6)], chunksize=2)
        eventually(lambda: link._outbox._behind)
        others = [pool.submit(partial(divmod, n), 7) for n in range(200)]
        go.set()
        assert [list(each) for each in maps] == [[(n, 100_000 * k) for k in range(12)] for n in range(3)]
        assert list(small) == [(7, 10), (7, 12)]
        assert [future.result(PATIENCE) for future in others] == [divmod(n, 7) for n in range(200)]


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:{}/socket"])
def test_pool_ends_while_a_peer_is_frozen_in_the_middle_of_a_large_payload(bind, tmp_path):
    token = CREDENTIALS.token.decode()
    with local_peer(bind.format(tmp_path), 1, token) as peer:
        arguments = [address_of(peer), str(peer.pid), token]
        try:
            program = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=40, check=False
            )
        finally:
            peer.send_signal(signal.SIGCONT)
    assert (program.returncode, program.stdout, program.stderr) == (0, "shut\n", "")
