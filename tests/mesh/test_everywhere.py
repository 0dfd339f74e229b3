"""Features that involve every worker of every peer: initializers, `run_on_all`, logging records."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.tasks import Counter
from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.tasks import (
    after_a_second,
    double,
    fail,
    log,
    log_async,
    log_much,
    log_nested,
    nest_prepared,
    prepare,
    prepared,
    prepared_async,
    prepared_stream,
    treble,
)
from woolexec import InitializerError, PeerPoolExecutor
from woolexec.discovery.urls import discoveries
from woolexec.mesh.server.peer import Peer


def with_initializer(*peers, initializer, initargs, local=0, **more):
    addresses, more["initargs"] = [peer.address for peer in peers], initargs
    pool = PeerPoolExecutor(local, peers=addresses, credentials=CREDENTIALS, initializer=initializer, **more)
    pool.wait_for_peers(len(addresses), PATIENCE)
    return pool


def test_initializer_runs_once_in_each_worker_ahead_of_every_kind_of_task(peer, tmp_path):
    notes = tmp_path / "notes"
    with with_initializer(peer, initializer=prepare, initargs=(notes, "ready")) as pool:
        done = pool.run_on_all(prepared)
        assert [future.result() for future in done.values()] == [("ready",)] * 2
        assert set(pool.map(prepared, range(100))) == {("ready",)}
        assert pool.submit(prepared_async).result(PATIENCE) == ("ready",)
        with pool.stream(prepared_stream) as items:
            assert list(items) == [("ready",)]
    lines = notes.read_text().splitlines()
    assert len({line.split()[0] for line in lines}) == len(lines) == 2


def test_initializer_of_a_client_runs_in_its_own_workers_only(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer:
        pools = [with_initializer(peer, initializer=prepare, initargs=(tmp_path / "n", word)) for word in ("a", "b")]
        with pools[0], pools[1]:
            assert pools[0].submit(prepared).result(PATIENCE) == ("a",)
            assert pools[1].submit(prepared).result(PATIENCE) == ("b",)
            assert pools[0].submit(prepared, None).result(PATIENCE) == ("a",)


def test_initializer_runs_in_workers_here_and_there(peer, tmp_path):
    with with_initializer(peer, initializer=prepare, initargs=(tmp_path / "n", "x"), local=1) as pool:
        assert {future.result() for future in pool.run_on_all(prepared).values()} == {("x",)}


@pytest.mark.parametrize("far", [False, True])
def test_initializer_runs_also_where_tasks_go_that_tasks_submit(tmp_path, far):
    with contextlib.ExitStack() as stack:
        elsewhere = discoveries(stack.enter_context(Peer(1, credentials=CREDENTIALS)).address) if far else ()
        peer = stack.enter_context(Peer(1 if far else 2, credentials=CREDENTIALS, peers=elsewhere))
        with with_initializer(peer, initializer=prepare, initargs=(tmp_path / "n", "ready")) as pool:
            one, other = pool.submit(nest_prepared, tmp_path).result(PATIENCE)
    assert one[0] != other[0]
    assert one[1] == other[1] == ("ready",)


def cause_count(error):
    return 0 if error.__cause__ is None else 1 + cause_count(error.__cause__)


def test_error_of_an_initializer_does_not_grow_with_the_tasks_that_get_it(peer):
    with with_initializer(peer, initializer=fail, initargs=("no licence",)) as pool:
        errors = [pool.submit(prepared).exception(PATIENCE) for _ in range(10)]
        assert {len(error.__notes__) for error in errors} == {1}
        assert {cause_count(error) for error in errors} == {cause_count(errors[0])}


def test_initializer_that_takes_too_long_ends_its_worker_and_fails_the_task():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as other:
        pool = with_initializer(peer, initializer=time.sleep, initargs=(600,), initializer_timeout=0.2)
        with pool:
            for fn in (prepared, prepared_async):
                with pytest.raises(InitializerError, match=r"longer than 0\.2 s in worker \d+ on"):
                    pool.submit(fn).result(PATIENCE)
        assert other.submit(prepared).result(PATIENCE) == ()


@pytest.mark.slow
def test_initializer_that_is_in_time_ends_nothing(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer:
        pool = with_initializer(peer, initializer=prepare, initargs=(tmp_path / "n", "x"), initializer_timeout=0.5)
        with pool:
            pid, words = pool.submit(after_a_second).result(PATIENCE)
            assert words == ("x",)
            assert pool.submit(os.getpid).result(PATIENCE) == pid


def test_initializer_that_raises_fails_every_task_that_comes_there(peer):
    with with_initializer(peer, initializer=fail, initargs=("no licence",)) as pool:
        for _ in range(3):
            error = pool.submit(abs, -1).exception(PATIENCE)
            assert isinstance(error, InitializerError)
            assert "LookupError" in str(error)
            assert "no licence" in str(error)
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_run_on_all_reaches_each_worker_of_each_peer_and_those_here():
    with (
        Peer(2, credentials=CREDENTIALS) as one,
        Peer(1, credentials=CREDENTIALS) as two,
        joined(one, two, local=1) as pool,
    ):
        done = pool.run_on_all(os.getpid)
        pids = {future.result() for future in done.values()}
        assert len(done) == len(pids) == 4
        assert pids == {*one.engine.pids, *two.engine.pids, *pool._engine.pids}
        here = [key for key in done if isinstance(key, int)]
        assert [done[key].result() for key in here] == here
        names = [f"{os.uname().nodename}/{peer.identity[:8]}" for peer in (one, two)]
        assert {*done} - {*here} == {f"{names[0]}/1", f"{names[0]}/2", f"{names[1]}/1"}


def test_run_on_all_reaches_workers_that_are_busy(peer, tmp_path):
    with joined(peer) as pool:
        held = [pool.submit(tasks.hold, tmp_path, f"held{n}") for n in range(2)]
        eventually(lambda: all(future.running() for future in held))
        import threading

        threading.Timer(0.05, (tmp_path / "release").touch).start()
        assert len({future.result() for future in pool.run_on_all(os.getpid).values()}) == 2
        assert len({future.result(PATIENCE) for future in held}) == 2


def records_of(caplog):
    return [record for record in caplog.records if record.name == "tests.mesh"]


@pytest.mark.parametrize("task", [log, log_async, log_nested])
def test_logging_records_reach_the_client_whose_task_logged(peer, caplog, task):
    with joined(peer) as pool:
        pool.submit(task, "hello").result(PATIENCE)
        eventually(lambda: records_of(caplog))
    (record,) = records_of(caplog)
    assert record.getMessage() == "it says hello"
    assert record.host == os.uname().nodename
    assert record.process not in (os.getpid(), None)


@pytest.mark.slow
def test_flood_of_records_does_not_keep_an_outcome(peer):
    with joined(peer) as pool:
        assert pool.submit(log_much, 20_000).result(PATIENCE) == 20_000
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_calls_for_all_workers_survive_a_recall(peer, tmp_path):
    with joined(peer) as pool:
        held = [pool.submit(tasks.hold, tmp_path, f"held{n}") for n in range(2)]
        eventually(lambda: all(future.running() for future in held))
        (link,), engine = pool._peers.links, pool._engine
        with ThreadPoolExecutor(1) as thread:
            everywhere = thread.submit(pool.run_on_all, os.getpid)
            eventually(lambda: len(link.outstanding) == 4)
            engine._loop.ask(lambda: engine.scheduler.recall(link))
            eventually(lambda: not link.recalling)
            (tmp_path / "release").touch()
            assert len({future.result() for future in everywhere.result(PATIENCE).values()}) == 2


def test_maps_of_plain_functions_and_of_coroutines_at_once_keep_their_own_items(peer):
    with joined(peer) as pool:
        plain = pool.map(double, range(3000))
        tripled = pool.map(treble, range(3000))
        for n, (two, three) in enumerate(zip(plain, tripled, strict=True)):
            assert (two, three) == (2 * n, 3 * n)


def append(n, kept):
    kept.append(n)
    return len(kept)


@pytest.mark.parametrize("initializer", [None, prepare])
def test_each_call_at_a_peer_has_its_own_copy_of_the_state_of_its_callable_and_of_its_arguments(
    peer, tmp_path, initializer
):
    initargs = () if initializer is None else (tmp_path / "notes", "ready")
    with with_initializer(peer, initializer=initializer, initargs=initargs) as pool:
        futures = [pool.submit(Counter().add, n) for n in range(20)]

        assert [future.result(PATIENCE) for future in futures] == [1] * 20
        assert list(pool.map(Counter().add, range(20), timeout=PATIENCE)) == [1] * 20
        assert list(pool.map(append, range(20), [[]] * 20, timeout=PATIENCE)) == [1] * 20


def test_item_of_a_map_is_started_again_at_a_peer_after_the_exceptions_of_retry_on(peer, tmp_path):
    with joined(peer) as pool:
        view = pool.with_options(retries=1, retry_on=FileNotFoundError)
        assert list(view.map(touch_or_fail, [tmp_path / str(n) for n in range(20)])) == list(range(20))


def touch_or_fail(path):
    try:
        path.read_bytes()
    finally:
        path.touch()
    return int(path.name)
