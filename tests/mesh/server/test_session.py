import asyncio
import errno
import os
import pickle
import signal
import threading
import time
from functools import partial

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import WorkerLostError
from woolexec.core.call import ASYNCIO, LIFE
from woolexec.mesh.link import messages
from woolexec.mesh.server import session as session_module
from woolexec.mesh.server.peer import Peer
from woolexec.resources import Requirement
from woolexec.wire.descriptors import Descriptors
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import Define, Keep, Raise, Recall, Return, Send, Start, Stop, Throw, Wait, Yield, encode
from woolexec.wire.payload import LARGE, Parts
from woolexec.wire.pickling import dumps

MIB = 1 << 20


@pytest.mark.parametrize("frame", [Wait(call=1), Stop()])
def test_client_is_told_which_frame_of_it_a_peer_does_not_accept(frame):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        outstanding = pool.submit(time.sleep, PATIENCE)
        eventually(outstanding.running)
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(encode(frame)))

        with pytest.raises(WorkerLostError, match=f"a peer does not accept {type(frame).__name__} frames"):
            outstanding.result(PATIENCE)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Start(function=0, call=range(1, 2000), size=[0] * 1999), "1999 calls came in one frame"),
        (Start(function=77, call=[1], size=[0]), "slot 77 has no function"),
        (Return(call=[1]), "a frame could not be handled: IndexError"),
        (Return(call=[1], kept=9), "a client cannot keep the outcome of a call"),
        (Start(function=0, call=[1], size=[0], values=range(10_000)), "a call has 10000 values and 0 bytes of context"),
        (Start(function=0, call=[900], size=[0], lane=LIFE, worker=1), "call 900 is about an actor"),
        (Start(function=0, call=[900], size=[0], lane=LIFE, count=1), "call 900 is about an actor"),
        (Start(function=0, call=[900, 901], size=[0, 0], lane=LIFE), "call 900 is about an actor"),
        (Start(function=0, call=[900], size=[0], actor=1, worker=1), "call 900 is about an actor"),
        (
            Start(function=0, call=[1], size=[0], context=bytes(5 << 20)),
            "a call has 0 values and 5242880 bytes of context",
        ),
    ],
)
def test_frame_that_makes_no_sense_ends_its_link_and_nothing_else(frame, reason):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool, joined(peer) as other:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(encode(frame)))
        eventually(lambda: reason in pool._peers.explain())
        assert other.submit(abs, -1).result(PATIENCE) == 1
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # over another link


def test_client_whose_calls_cannot_be_ended_leaves_its_places_to_others(monkeypatch, caplog):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as other:
        with joined(peer) as pool:
            eventually(pool.submit(time.sleep, PATIENCE).running)
            (served,) = (served for served in peer._acceptor.served if served.outstanding)
            monkeypatch.setattr(served._links, "cancel", None)
            pool._engine._loop.tell(lambda: pool._peers.links[0].send(encode(Stop())))  # the link ends
            eventually(lambda: served not in peer._acceptor.served)
            assert not served.outstanding
        assert other.submit(abs, -1).result(PATIENCE) == 1
    assert "is not callable" in caplog.text
    caplog.clear()  # the traceback keeps the link


def test_client_keeps_a_limited_number_of_functions():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        link = pool._peers.links[0]
        pool._engine._loop.tell(
            lambda: link.send(b"".join(encode(Define(function=1000 + n, payload=b"x")) for n in range(1000)))
        )
        (served,) = peer._acceptor.served
        eventually(lambda: 1999 in served.definitions.slots)
        assert len(served.definitions.slots) == 129
        assert 1000 not in served.definitions.slots


def test_others_take_turns_between_the_steps_of_one_frame(monkeypatch):
    monkeypatch.setattr(messages, "_SLICE", -1.0)
    with Peer(1, credentials=CREDENTIALS, coroutines=1) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        turns = []
        wake = served.engine.wake
        monkeypatch.setattr(served.engine, "wake", lambda: turns.append(len(served.outstanding)) or wake())
        payload = pickle.dumps(((PATIENCE,), {}))
        function = encode(Define(function=3, payload=pickle.dumps(asyncio.sleep)))
        calls = {"call": range(1000, 1100), "size": [len(payload)] * 100, "payload": payload * 100}
        start = encode(Start(function=3, lane=ASYNCIO, **calls))
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(function + start + encode(Recall(call=1000, loop=True))))
        eventually(lambda: 100 in turns and turns[-1] < 10)
        most = turns.index(100)
        assert len(set(turns[:most])) == 100  # between each two calls of the Start
        assert len(set(turns[most:])) > 90  # between each two that the Recall gives back


@pytest.mark.slow
def test_message_of_very_many_frames_does_not_keep_others_waiting():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool, joined(peer) as other:
        assert [each.submit(abs, -1).result(PATIENCE) for each in (pool, other)] == [1, 1]
        frames = encode(Recall()) * 300_000
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(frames))
        after = pool.submit(abs, -2)
        assert other.submit(abs, -3).result(PATIENCE) == 3
        assert not after.done()
        assert after.result(PATIENCE) == 2


def grow():
    while True:
        yield bytes(2 * LARGE)


def test_stream_of_which_an_item_could_not_be_received_ends_at_the_peer_too(monkeypatch):
    def take(descriptors):
        os.close(received(descriptors))
        raise OSError(errno.EMFILE, "no descriptor was left")

    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        received = Descriptors.take
        monkeypatch.setattr(Descriptors, "take", take)  # in the peer's engine, which is in this process
        with pool.stream(grow) as stream, pytest.raises(OSError, match="no descriptor was left"):
            next(stream)

        (worker,) = peer.engine.engines[0].scheduler.workers.values()
        eventually(lambda: not worker.lane_place.outstanding)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("is_coroutine", [False, True])
def test_client_that_reads_no_results_costs_a_bounded_number_of_bytes(is_coroutine):
    # No memory files: one read may bring very many of these, which only their number on the way bounds.
    size, count = LARGE // 2, 800

    async def give():
        return bytes(size)

    go_on = threading.Event()
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool, joined(peer) as other:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        for served in peer._acceptor.served:
            served.outbox._limit = 40 * size
        pool._engine._loop.tell(go_on.wait)  # the client's engine does nothing more
        futures = [pool.submit(give) if is_coroutine else pool.submit(bytes, size) for _ in range(count)]
        go_on.set()
        eventually(lambda: any(future.done() for future in futures))
        go_on.clear()
        pool._engine._loop.tell(go_on.wait)
        full = [served for served in peer._acceptor.served if served.outbox.is_full]
        assert other.submit(abs, -1).result(PATIENCE) == 1
        most = max((served.bytes_here for served in full), default=0)
        go_on.set()
        assert most < 160 * size
        assert {len(future.result(PATIENCE)) for future in futures} == {size}
        eventually(lambda: not any(served.outbox.is_full for served in peer._acceptor.served))


def test_arguments_beyond_the_limit_are_refused_and_run_when_there_is_room(tmp_path):
    blob = bytes(1000)

    def weigh(data):
        eventually((tmp_path / "go").exists)
        return len(data)

    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        served.byte_quota._limit = served.byte_quota.size + 4000
        futures = [pool.submit(weigh, blob) for _ in range(8)]
        eventually(lambda: served.outstanding)
        assert served.byte_quota.size <= served.byte_quota._limit
        (tmp_path / "go").touch()
        assert [future.result(PATIENCE) for future in futures] == [1000] * 8
        eventually(lambda: not served.outstanding)
        assert served.byte_quota.size == sum(served.byte_quota._kept.values())


@pytest.mark.parametrize("more", [{"context": bytes(3000)}, {"name": "n" * 3000}, {"values": [1] * 300}])
def test_all_that_comes_with_a_call_counts(more, monkeypatch):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        payload, added, add = pickle.dumps(((PATIENCE,), {})), [], served.byte_quota.add
        monkeypatch.setattr(served.byte_quota, "add", lambda size: added.append(size) or add(size))
        define = Define(function=77, payload=pickle.dumps(time.sleep), name="")
        start = Start(function=77, call=[900], size=[len(payload)], payload=payload, **more)
        pool._engine._loop.tell(lambda: pool._peers.links[0].send(encode(define) + encode(start)))
        eventually(lambda: added)  # a call whose context cannot be unpickled is soon over
        assert added[0] > 3000


def test_large_payload_within_any_frame_of_a_client_is_stored_in_steps():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        handlers = served._handlers()
        kinds = {kind for kind in handlers if hasattr(kind, "extent")}
        assert kinds == {Start, Define, Keep, Send, Return, Raise, Yield}
        for kind in kinds:
            steps = handlers[kind](kind(extent=(MIB,), payload=bytes(MIB)))
            assert next(steps) is None  # so it has not been handled
            steps.close()

        keep = Keep(value=7, extent=(5, 3 * MIB), payload=bytes(3 * MIB + 5))
        assert peer.engine.loop.ask(lambda: sum(1 for _ in handlers[Keep](keep))) >= 4
        assert len(served.values) == 1


def test_call_of_a_method_of_no_actor_is_refused_and_takes_nothing():
    with Peer(1, credentials=CREDENTIALS, resources={"gpu": 1}) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        size, define = served.byte_quota.size, encode(Define(function=77, payload=b"f"))
        start = encode(Start(function=77, call=[900], size=[1], payload=b"x", actor=899, require=("gpu>=1.0",)))
        after = encode(Define(function=78, payload=b"f"))
        pool._engine._loop.tell(lambda: pool._peers.links[0].send(define + start + after))
        eventually(lambda: 78 in served.definitions.slots)
        assert served.places.admission.offer.has(Requirement({"gpu": 1}))
        assert served.byte_quota.size == size + 2
        assert not served.outstanding


@pytest.mark.usefixtures("apart")
def test_large_value_for_a_stream_that_has_just_ended_is_forgotten(monkeypatch):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (served,) = peer._acceptor.served
        link, forgotten, forget = pool._peers.links[0], [], served._arriving.forget
        monkeypatch.setattr(served._arriving, "forget", lambda number: forgotten.append(number) or forget(number))
        for number in range(900, 1000):
            pool._engine._loop.tell(partial(link.send_command, Send(call=number), Parts([bytes(2 * LARGE)])))
        eventually(lambda: len(forgotten) == 100)
        assert pool.submit(abs, -2).result(PATIENCE) == 2
        assert served in peer._acceptor.served
        assert not served._arriving.size


def test_commands_that_a_worker_does_not_read_are_bounded(monkeypatch):
    monkeypatch.setattr(session_module, "_UNREAD", 1 << 20)
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool, pool.stream(grow) as stream:
        next(stream)
        (served,) = peer._acceptor.served
        (number,) = served.outstanding
        (pid,) = peer.engine.pids
        os.kill(pid, signal.SIGSTOP)
        link = pool._peers.links[0]
        command = encode(Throw(call=number, payload=dump_failure(KeyError(bytes(100_000)))))
        for _ in range(100):
            pool._engine._loop.tell(lambda: link.send(command))
        eventually(lambda: served.engine.unsent > 1 << 20)
        assert served.engine.unsent < 8 << 20
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(KeyError):
            stream.close()


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1e30])
def test_worker_that_lies_about_run_times_changes_no_place_for_others(seconds):
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (engine,) = peer.engine.engines
        (worker,) = engine.scheduler.workers.values()

        def lie():
            for number in tuple(worker.outstanding):
                said = Return(call=(number,), seconds=(seconds,), payload=dumps(7))
                engine._rounds.outcomes._handle(worker, said)

        future = pool.submit(time.sleep, 0.1)
        eventually(lambda: bool(worker.outstanding))
        peer.engine.loop.ask(lie)
        assert future.result(PATIENCE) == 7
        running = pool.submit(time.sleep, PATIENCE)
        eventually(running.running)
        assert peer._acceptor.places.admission.free == 1
        with joined(peer) as other:
            assert other.submit(abs, -1).result(PATIENCE) == 1
        running.cancel(force=True)
