"""A client engine and a peer's engine, joined by one gRPC stream on a private Unix socket."""

import asyncio
import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.chaos.relay import Relay
from tests.marks import slow
from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.tasks import Tattler, die, double, fail, hold_by_name, run_once, whoami
from woolexec import NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.core import admission
from woolexec.mesh.client.link import Link, _put_start
from woolexec.mesh.link import messages
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server.peer import Peer
from woolexec.wire.fast_frames import encode_return
from woolexec.wire.frames import Keep, Load, Raise, Recalled, Return, Start, Started, Yield, encode
from woolexec.wire.payload import Parts


def occupied(pool, room):
    """Two calls that run, one for each worker of the peer."""
    held = [pool.submit(hold_by_name, room, f"held-{number}") for number in range(2)]
    eventually(lambda: all(Path(room, f"held-{number}").exists() for number in range(2)))
    return held


@pytest.mark.parametrize("force", [False, True])
def test_call_whose_peer_answers_a_cancel_too_late_ends_all_the_same(monkeypatch, force):
    monkeypatch.setattr("woolexec.futures.call_future._PATIENCE", 0.05)
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        with Relay(int(peer.address.rpartition(":")[2])) as relay, joined(relay.address) as pool:
            relay.silence()
            future = pool.submit(time.sleep, 0)
            eventually(lambda: pool._engine.counts["outstanding"])
            assert not future.cancel(force=force)
            relay.mend()
            eventually(future.done)
            assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_socket_lies_in_a_private_folder(peer):
    path = peer.address.removeprefix("unix:")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_submitted_calls_run_in_the_peers_workers(pool, peer):
    pids = {pool.submit(os.getpid).result(PATIENCE) for _ in range(20)}
    assert pids <= set(peer.engine.pids)
    assert not pool._engine.pids


def test_many_calls_come_home_with_their_own_results(pool):
    futures = [pool.submit(double, number) for number in range(5_000)]
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(5_000)]


def test_map_gives_results_in_order(pool):
    assert list(pool.map(double, range(20_000), timeout=PATIENCE)) == list(range(0, 40_000, 2))


def test_map_whose_iterator_is_not_kept_runs_all(peer, tmp_path):
    with joined(peer) as pool:
        pool.map(Path.touch, [tmp_path / str(number) for number in range(60)])
    assert len(list(tmp_path.iterdir())) == 60


def test_map_notes_the_item_that_failed(pool):
    with pytest.raises(LookupError, match="text") as caught:
        list(pool.map(fail, ["text"]))
    assert caught.value.__notes__ == ["item 0 of the map"]


def test_closing_a_map_cancels_its_rest(pool, tmp_path):
    def task(number):
        if number:
            eventually((tmp_path / "release").exists)
        (tmp_path / str(number)).touch()

    results = pool.map(task, range(500), chunksize=1)
    next(results)
    eventually(lambda: pool._engine.counts["outstanding"] >= 2)
    results.close()
    (tmp_path / "release").touch()
    assert pool.submit(double, 1).result(PATIENCE) == 2
    assert len(list(tmp_path.iterdir())) < 400


def test_exception_arrives_as_itself_with_its_remote_traceback(pool):
    with pytest.raises(LookupError, match="no such thing") as caught:
        pool.submit(fail, "no such thing").result(PATIENCE)
    assert "in fail" in str(caught.value.__cause__)


def test_classes_of_an_exception_decide_about_a_retry(pool, tmp_path):
    def flaky():
        with (tmp_path / "tries").open("a") as tries:
            tries.write("x")
        if (tmp_path / "tries").stat().st_size < 3:
            raise KeyError("not yet")
        return "now"

    assert pool.with_options(retries=5, retry_on=LookupError).submit(flaky).result(PATIENCE) == "now"


@pytest.mark.parametrize("size", [0, 5_000, 100_000, 200_000, 6_000_000])
def test_payload_of_any_size_goes_there_and_back(pool, size):
    payload = os.urandom(size)
    assert pool.submit(bytes, payload).result(PATIENCE) == payload


def test_array_goes_there_and_back_and_is_writable(pool):
    def increment(array):
        array += 1
        return array

    result = pool.submit(increment, np.zeros(500_000)).result(PATIENCE)
    result += 1
    assert (result == 2).all()


def test_large_function_travels(pool):
    load = os.urandom(300_000)
    assert pool.submit(lambda: len(load)).result(PATIENCE) == 300_000


def test_peer_does_not_unpickle_what_it_passes_on(pool, peer):
    assert pool.submit(double, Tattler()).result(PATIENCE) in [2 * pid for pid in peer.engine.pids]
    assert pool.submit(Tattler).result(PATIENCE) == os.getpid()


def test_task_may_submit_tasks_of_its_own(pool):
    def outer():
        from woolexec import current_executor

        return current_executor().submit(double, 21).result()

    assert pool.submit(outer).result(PATIENCE) == 42


def test_running_call_is_known_to_run(pool, tmp_path):
    held = occupied(pool, tmp_path)
    eventually(lambda: all(future.running() for future in held))
    assert not held[0].cancel()
    (tmp_path / "release").touch()
    assert [future.result(PATIENCE) for future in held] == ["held-0", "held-1"]


def test_call_that_waits_at_the_peer_can_be_cancelled(pool, peer, tmp_path):
    for _ in range(50):  # now they are known to be short, and are sent ahead
        pool.submit(tasks.hold_if, tmp_path, "").result(PATIENCE)
    calls = {name: pool.submit(tasks.hold_if, tmp_path, name) for name in ("a", "b", "c", "d")}
    eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    eventually(lambda: len(pool._engine.scheduler.links[0].outstanding) == 4)
    name = next(name for name in calls if not (tmp_path / name).exists())
    assert calls[name].cancel()
    assert calls[name].cancelled()
    (tmp_path / "release").touch()
    for future in calls.values():
        assert future.cancelled() or future.result(PATIENCE) in peer.engine.pids
    assert {path.name for path in tmp_path.iterdir()} == {*calls, "release"} - {name}


def test_calls_that_are_cancelled_one_after_the_other_are_not_sent_again_in_between(pool, tmp_path, monkeypatch):
    for _ in range(50):  # now they are known to be short, and are sent ahead
        pool.submit(tasks.hold_if, tmp_path, "").result(PATIENCE)
    # Else neither the client nor the peer has more of them wait behind long ones.
    monkeypatch.setattr(Link, "note_overdue", lambda *_: None)
    monkeypatch.setattr(admission, "_LATE", PATIENCE)
    running = [pool.submit(tasks.hold_if, tmp_path, name) for name in ("a", "b")]
    eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    try:
        waiting = [pool.submit(tasks.hold_if, tmp_path, f"waiting-{n}") for n in range(400)]
        eventually(lambda: len(pool._engine.scheduler.links[0].outstanding) > 300)
        recalls = []
        send = Link.send_recall
        monkeypatch.setattr(Link, "send_recall", lambda *args, **more: recalls.append(args) or send(*args, **more))
        assert all(future.cancel() for future in waiting)
        assert len(recalls) < 200
        after = pool.submit(double, 4)
    finally:
        (tmp_path / "release").touch()
    assert after.result(PATIENCE) == 8
    assert all(future.result(PATIENCE) for future in running)


def test_calls_run_at_once_after_others_were_ended_by_force(tmp_path):
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        for future in occupied(pool, tmp_path):
            assert future.cancel(force=True)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_running_call_is_ended_by_force_and_no_other(pool, tmp_path):
    held = occupied(pool, tmp_path)
    assert held[0].cancel(force=True)
    (tmp_path / "release").touch()
    assert held[1].result(PATIENCE) == "held-1"
    assert pool.submit(double, 4).result(PATIENCE) == 8


def test_client_that_goes_while_outcomes_come_leaves_nothing(peer, tmp_path, monkeypatch):
    with joined(peer) as pool:
        held = occupied(pool, tmp_path)
        (served,) = peer._acceptor.served

        def hear_meanwhile(_answer, *, force):
            assert force
            for number in list(served.outstanding):
                served.forget(number, "returned")
            return False

        monkeypatch.setattr(served, "_drop", hear_meanwhile)
        pool._engine._loop.tell(pool._peers.links[0].close)
        assert all(isinstance(future.exception(PATIENCE), WorkerLostError) for future in held)
        eventually(lambda: served not in peer._acceptor.places.clients and served not in peer._acceptor.served)
        (tmp_path / "release").touch()


def test_lost_worker_costs_its_own_call_and_no_other(pool, tmp_path):
    futures = [pool.submit(double, number) for number in range(200)]
    lost = pool.submit(die)
    futures += [pool.submit(double, number) for number in range(200, 400)]
    with pytest.raises(WorkerLostError, match="SIGKILL") as caught:
        lost.result(PATIENCE)
    assert caught.value.exitcode == -signal.SIGKILL
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(400)]


def test_lost_worker_is_made_good_by_a_retry(pool, tmp_path):
    def dies_once():
        try:
            (tmp_path / "been here").touch(exist_ok=False)
        except FileExistsError:
            return "alive"
        return die()

    assert pool.with_options(idempotent=True).submit(dies_once).result(PATIENCE) == "alive"


def test_broken_link_loses_what_was_sent_and_what_waits_goes_elsewhere(tmp_path):
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Peer(1, credentials=CREDENTIALS))
        pool = stack.enter_context(joined(peer))
        held = pool.submit(hold_by_name, tmp_path)
        waiting = pool.submit(double, 2)
        eventually((tmp_path / "held").exists)
        pool._engine.scheduler.workforce.limit = 1  # a worker of our own, which may only start when there is more work
        peer.close()
        with pytest.raises(WorkerLostError):
            held.result(PATIENCE)
        assert waiting.result(PATIENCE) == 4
        (tmp_path / "release").touch()


def test_peer_that_is_killed_loses_its_calls_and_a_retry_runs_them_here(tmp_path):
    code = (
        "import sys; from woolexec import Credentials; from woolexec.mesh.server.peer import Peer\n"
        f"with Peer(1, credentials=Credentials({CREDENTIALS.token!r})) as peer:\n"
        "    print(peer.address, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().strip()
        try:
            with PeerPoolExecutor(0, peers=address, credentials=CREDENTIALS) as pool:
                held = pool.submit(hold_by_name, tmp_path)
                eventually((tmp_path / "held").exists)
                again = pool.with_options(idempotent=True).submit(double, 3)
                pool._engine.scheduler.workforce.limit = 1
                process.kill()
                with pytest.raises(WorkerLostError, match="link"):
                    held.result(PATIENCE)
                assert again.result(PATIENCE) == 6
        finally:
            process.kill()
            with contextlib.suppress(OSError):
                os.unlink(address.removeprefix("unix:"))
                os.rmdir(os.path.dirname(address.removeprefix("unix:")))


@pytest.mark.slow
def test_what_waits_after_the_last_link_broke_fails_when_no_peer_comes_back(peer, tmp_path):
    with joined(peer) as pool:
        held = occupied(pool, tmp_path)
        waiting = pool.submit(double, 2)
        peer.close()
        for future in held:
            with pytest.raises(WorkerLostError):
                future.result(PATIENCE)
        with pytest.raises(NoPeersError, match=r"waited for 1 s.*unix:"):
            waiting.result(PATIENCE)
        (tmp_path / "release").touch()


def test_shutdown_cancels_what_waits_at_the_peer(peer, tmp_path):
    with joined(peer) as pool:
        held = occupied(pool, tmp_path)
        waiting = [pool.submit(double, number) for number in range(50)]
        pool.shutdown(wait=False, cancel_futures=True)
        (tmp_path / "release").touch()
        assert [future.result(PATIENCE) for future in held] == ["held-0", "held-1"]
        for future in waiting:
            with pytest.raises(CancelledError):
                future.result(PATIENCE)


def test_own_workers_and_a_peer_share_the_work(peer):
    with joined(peer, local=1) as pool:
        futures = [pool.submit(whoami) for _ in range(40)]
        pids = {future.result(PATIENCE) for future in futures}
        assert pids & set(peer.engine.pids)
        assert pids & set(pool._engine.pids)


def test_pool_without_peers_does_not_import_grpc():
    code = (
        "import sys, woolexec\n"
        "with woolexec.PeerPoolExecutor(1) as pool:\n"
        "    assert pool.submit(abs, -1).result() == 1\n"
        "    assert list(pool.map(abs, [-1, -2])) == [1, 2]\n"
        "    assert not pool.submit(lambda: [m for m in __import__('sys').modules if m.startswith('grpc')]).result()\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('grpc', 'zeroconf')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE * 2)


@pytest.mark.parametrize("seed", [0, *slow(*range(1, 4))])
def test_calls_run_once_or_are_cancelled_whatever_comes_between(peer, tmp_path, seed):
    chance, log, cancelled = random.Random(seed), tmp_path / "log", set()
    with joined(peer, local=seed % 2) as pool:
        futures = []
        for number in range(400):
            futures.append(pool.submit(run_once, number, chance.choice([0, 0, 0, 0.001, 0.01]), log))
            chosen = chance.randrange(len(futures))
            if chance.random() < 0.3 and futures[chosen].cancel():
                cancelled.add(chosen)
        for number, future in enumerate(futures):
            if number in cancelled:
                assert future.cancelled()
            elif number % 97 == 5:
                with pytest.raises(WorkerLostError):
                    future.result(PATIENCE)
            else:
                assert future.result(PATIENCE) == number
    assert sorted(map(int, log.read_text().split())) == [n for n in range(400) if n not in cancelled]


def test_stream_that_is_no_batch_ends_and_others_go_on(pool, peer):
    import grpc

    with grpc.insecure_channel(peer.address) as channel:
        stream = channel.stream_stream("/woolexec.v1.Peer/Link")(iter([b"\xff\xff"]), timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert pool.submit(double, 1).result(PATIENCE) == 2


@pytest.mark.parametrize("frame", [Started(call=[1, 2, 3], open=True), Yield(call=1, payload=b"x", count=7)])
def test_frame_that_makes_no_sense_for_a_call_ends_no_more_than_its_link(peer, frame):
    with joined(peer) as pool:
        assert pool.submit(double, 1).result(PATIENCE) == 2
        (served,) = peer._acceptor.served
        future = pool.submit(give_async)
        eventually(lambda: served.outstanding)
        frame.call = [*served.outstanding] if isinstance(frame, Started) else next(iter(served.outstanding))
        peer.engine.loop.ask(lambda: (served.tell(frame), served.wake()))
        assert future.exception(PATIENCE) is None or isinstance(future.exception(), WorkerLostError)
        assert pool.submit(double, 2).result(PATIENCE) == 4


async def give_async():
    import asyncio

    await asyncio.sleep(0.5)


def test_others_take_turns_while_a_long_message_of_a_peer_is_handled(monkeypatch):
    monkeypatch.setattr(messages, "_SLICE", -1.0)
    handled, returned, turns = [], [], []
    link = SimpleNamespace(
        _arriving=Arriving(),
        _handle=handled.append,
        _links=SimpleNamespace(returned=lambda *outcome: returned.append(outcome)),
        _leaving=False,
        outstanding={},
        recalling=0,
        lane_place=SimpleNamespace(outstanding={}, recalling=0),
    )
    data = encode_return(7, 1.0, b"x") * 2000 + encode(Started(call=(1,))) * 600
    asyncio.run(Link._hear(link, data, lambda: turns.append((len(returned), len(handled)))))
    assert turns[-1] == (2000, 600)
    assert all(1 < after[0] - before[0] < 1500 for before, after in pairwise(turns) if after[0] < 2000)
    assert sorted({turn for turn in turns if turn[1]}) == [(2000, count) for count in range(1, 601)]


MIB = 1 << 20
FOREIGN = tuple(range(1 << 40, (1 << 40) + 10_000))
"""Numbers of calls that there are not."""


@pytest.mark.parametrize(
    "frame",
    [
        *(
            kind(extent=(5, 8 * MIB), payload=bytes(8 * MIB + 5), **fields)
            for kind, fields in (
                (Keep, {"value": 7}),
                (Return, {"call": FOREIGN[:1], "seconds": (0.1,), "size": (0,)}),
                (Raise, {"call": FOREIGN[0]}),
                (Yield, {"call": FOREIGN[0]}),
            )
        ),
        Recalled(call=FOREIGN),
        Load(refused=FOREIGN),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_others_take_turns_while_a_large_frame_of_a_peer_is_handled(pool, monkeypatch, frame):
    (link,) = pool._peers.links
    assert pool.submit(abs, -1).result(PATIENCE) == 1
    monkeypatch.setattr(messages, "_SLICE", -1.0)
    turns, heard = [], Future()

    def hear():
        link.recalling += isinstance(frame, Recalled)  # as if it had been asked for
        task = asyncio.ensure_future(link._hear(encode(frame), lambda: turns.append(1)))
        task.add_done_callback(heard.set_result)

    pool._engine._loop.tell(hear)
    heard.result(PATIENCE).result()
    assert len(turns) >= 10
    assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_calls_that_come_back_among_a_long_list_run_again(pool, monkeypatch, tmp_path):
    monkeypatch.setattr(messages, "_NUMBERS", 2)
    held = occupied(pool, tmp_path)
    waiting = [pool.submit(double, number) for number in range(20)]
    assert all(future.cancel() for future in waiting[:10])
    (tmp_path / "release").touch()
    assert [future.result(PATIENCE) for future in waiting[10:]] == [2 * number for number in range(10, 20)]
    assert [future.result(PATIENCE) for future in held]


def test_span_that_waits_behind_a_chunk_defines_its_function_itself():
    outbox = Outbox(set())
    link = SimpleNamespace(_outbox=outbox, _own_definition=lambda _: b"definition")
    outbox.put_parts(1, Start(call=(1,)), Parts([bytes(MIB)]))
    _put_start(link, Start(call=(2,), again=True), 1)
    _put_start(link, Start(call=(3,), again=True), 3)
    assert outbox._behind[1][-1] == b"definition" + encode(Start(call=(2,), again=True))
    assert outbox._frames == [encode(Start(call=(3,), again=True))]
