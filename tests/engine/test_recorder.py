import asyncio
import contextlib
import itertools
import os
import time
from unittest.mock import Mock

import pytest

from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, current_executor
from woolexec.engine import recorder as recorder_module
from woolexec.engine.peer_runs import report_runs
from woolexec.engine.recorder import LOST, RAISED, RETURNED, RUNS, Recorder, Run


@contextlib.contextmanager
def recorded(pool):
    runs = []
    stop = report_runs(pool._engine, runs.append)
    try:
        yield runs
    finally:
        stop()


def times(run):
    return [run.submitted, run.sent, run.began, run.ended]


def in_order(run):
    return times(run) == sorted(times(run))


def busy(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return until - seconds, time.monotonic()


def die():
    os._exit(7)


def fails():
    raise ValueError


def submits(count):
    return sum(future.result() for future in [current_executor().submit(abs, -1) for _ in range(count)])


async def sleeps():
    await asyncio.sleep(0.001)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.001)


pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def pool():
    with shared(2) as pool:
        yield pool


def test_every_task_and_every_item_of_a_map_is_recorded(pool):
    with recorded(pool) as runs:
        futures = [pool.submit(abs, -1) for _ in range(300)]
        list(pool.map(abs, range(5000)))
        for future in futures:
            future.result()
    assert sum(run.count or 1 for run in runs) == 5300
    assert {run.name for run in runs} == {"abs"}
    assert {run.outcome for run in runs} == {RETURNED}
    assert all(map(in_order, runs))
    assert {run.where.pid for run in runs} <= set(pool._processes)


def test_runs_in_the_main_thread_of_a_worker_do_not_overlap(pool):
    with recorded(pool) as runs:
        list(pool.map(busy, [0.0005] * 200, chunksize=1))
    for pid in {run.where.pid for run in runs}:
        lane = sorted((run.began, run.ended) for run in runs if run.where.pid == pid)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(lane))


def test_a_run_that_was_read_late_does_not_overlap_the_next_one():
    runs = []
    recorder = Recorder(None, runs.append)
    # At 10 the second one had ended as well, and its outcome was not there yet.
    worker = Mock(is_closed=False, page=Mock(started=2, since=9.0), candidate=None)
    for number, now in ((1, 10.0), (2, 11.0)):
        recorder._batch = [(Run(number, "nap", 0, 0.0, 0.0, worker, 0, None, (), False), 0.5)]
        recorder._lay_out(worker, now)
    first, second = runs
    assert first.ended <= second.began <= second.ended <= 11.0


def test_call_that_waited_began_when_the_page_said_so_although_its_outcome_is_read_late():
    runs = []
    recorder = Recorder(None, runs.append)
    call, now = Mock(), 10.0
    worker = Mock(is_closed=False, page=Mock(started=2, since=7.0), candidate=None, outstanding={1: call})
    worker.began.return_value = 3.0
    recorder._runs[call] = run = Run(1, "waits", 0, 0.0, 2.0, worker, 0, None, (), False)
    recorder._waits(Mock(), worker, 1, 1)
    recorder._batch = [(run, 4.0)]
    recorder._lay_out(worker, now)
    assert [(run.began, run.ended) for run in runs] == [(3.0, 10.0)]


def test_a_run_is_recorded_when_it_ran(pool):
    with recorded(pool) as runs:
        began, ended = pool.submit(busy, 0.02).result()
    (run,) = runs
    assert run.began <= began
    assert ended - 0.005 <= run.ended
    assert run.ended - run.began >= 0.02


def test_the_outcome_of_a_task_that_raises_is_recorded(pool):
    with recorded(pool) as runs:
        assert isinstance(pool.submit(fails).exception(), ValueError)
        with pytest.raises(ValueError):
            pool.with_options(retries=2, retry_on=ValueError).submit(fails).result()
    assert [run.outcome for run in runs] == [RAISED] * 4
    assert all(map(in_order, runs))


def test_a_task_whose_worker_dies_is_lost():
    with PeerPoolExecutor(1) as pool, recorded(pool) as runs:
        assert pool.submit(die).exception() is not None
    assert [run.outcome for run in runs] == [LOST]


def test_tasks_of_tasks_know_the_lane_of_the_task_that_submitted_them(pool):
    with recorded(pool) as runs:
        pool.submit(submits, 3).result()
    *children, parent = sorted(runs, key=lambda run: run.ended)
    assert parent.name == "submits"
    assert [child.parent for child in children] == [parent.where] * 3
    assert all(parent.began <= child.submitted <= child.began <= child.ended <= parent.ended for child in children)


def test_a_task_knows_where_the_values_of_its_inputs_were_made(pool):
    with recorded(pool) as runs:
        first = pool.submit(abs, -1)
        assert pool.submit(abs, first).result() == 1
        assert pool.submit(abs, first).result() == 1  # the input is done by then
    made, *users = runs
    for user in users:
        (value,) = user.inputs
        assert (value.where, value.ended) == (made.where, made.ended)


def test_coroutines_that_run_at_once_are_in_lanes_of_their_own(pool):
    with recorded(pool) as runs:
        for future in [pool.submit(sleeps) for _ in range(20)]:
            future.result()
    assert all(run.where.row for run in runs)
    for lane in {run.where for run in runs}:
        inside = sorted((run.began, run.ended) for run in runs if run.where == lane)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(inside))


def test_what_still_runs_at_the_end_is_recorded_as_far_as_it_has_come(pool, tmp_path):
    with recorded(pool) as runs:
        future = pool.submit(wait_for, tmp_path / "go")
        while not future.running():
            time.sleep(0.001)
    (run,) = runs
    assert (run.name, run.outcome) == ("wait_for", RUNS)
    assert in_order(run)
    (tmp_path / "go").touch()
    future.result()
    assert len(runs) == 1


def test_cancelled_calls_are_not_kept(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "_LEAST", 10)
    with recorded(pool):
        recorder = vars(pool._engine)["submit_chunk"].func.__self__
        blocked = [pool.submit(wait_for, tmp_path / "go") for _ in range(2)]
        try:
            for _ in range(1000):
                pool.submit(abs, 1).cancel()
            assert len(recorder._submitted) <= 30
        finally:
            (tmp_path / "go").touch()
        for future in blocked:
            future.result()


def test_nothing_of_it_is_left_afterwards(pool):
    rounds = pool._engine._rounds
    owners = [
        rounds.scheduler,
        rounds.scheduler.main,
        rounds.scheduler.main.queue,
        rounds.scheduler.lanes,
        rounds.dispatcher,
        rounds.outcomes,
        pool._engine,
    ]
    before = [(dict(vars(owner)).keys(), getattr(owner, "submit_chunk", None)) for owner in owners]
    with recorded(pool):
        pool.submit(abs, 1).result()
        assert [vars(owner).keys() for owner in owners] != [names for names, _ in before]
    assert [(dict(vars(owner)).keys(), getattr(owner, "submit_chunk", None)) for owner in owners] == before
    assert rounds.scheduler.balancing.grants_permits
