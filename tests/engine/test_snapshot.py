"""The statistics of pools, while they work and after they have ended."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from tests.faults.tasks import SOON, die, double, double_beside, eventually, hold, nap, release, throw, wait_held
from woolexec import PeerPoolExecutor, Statistics, current_executor, progress
from woolexec.engine import snapshot


def function(pool, name):
    return next(each for each in pool.statistics().functions if each.name == name)


def throw_for_odd(number):
    if number % 2:
        raise ValueError(number)
    return number


@pytest.fixture(scope="module")
def worked():
    """A pool that has done a few things, and the statistics of that."""
    with PeerPoolExecutor(1) as pool:
        assert [pool.submit(double, number).result(SOON) for number in range(5)] == [0, 2, 4, 6, 8]
        assert len(list(pool.map(throw_for_odd, range(1001), return_exceptions=True))) == 1001
        assert isinstance(pool.submit(throw, ValueError, "no").exception(SOON), ValueError)
        assert pool.submit(nap, 0.02).result(SOON) == 0.02
        assert asyncio.run(pool.run(double_beside, 4)) == 8
        yield pool


def test_pool_that_was_never_used_says_so_and_starts_nothing():
    with PeerPoolExecutor(2) as pool:
        found = pool.statistics()
        assert not pool._engine.has_begun
    assert (found.pid, found.functions, found.workers) == (os.getpid(), (), ())


def test_each_function_has_its_counts(worked):
    functions = {each.name: each for each in worked.statistics().functions}
    assert functions["double"].count == 5
    assert (functions["throw_for_odd"].count, functions["throw_for_odd"].failures) == (1001, 500)
    assert (functions["throw"].count, functions["throw"].failures) == (1, 1)
    assert functions["double_beside"].count == 1
    assert worked.statistics().tasks.returned == 5 + 501 + 1 + 1
    assert worked.statistics().tasks.failed == 501


def test_run_time_is_that_of_the_function_and_waiting_is_the_rest(worked):
    napped = function(worked, "nap")
    assert 0.02 <= napped.run.min <= napped.run.p50 <= napped.run.p95 <= napped.run.max
    assert napped.run.total == napped.run.max
    assert napped.wait.total > 0
    assert sum(count for _, count in napped.run.bins) == 1


def test_bytes_of_arguments_and_values_are_counted():
    with PeerPoolExecutor(1) as pool:
        pool.submit(bytes, 300_000).result(SOON)
        pool.submit(len, bytes(200_000)).result(SOON)
        assert function(pool, "bytes").bytes_out > 300_000 > function(pool, "bytes").bytes_in
        assert function(pool, "len").bytes_in > 200_000 > function(pool, "len").bytes_out


def test_idle_worker_has_its_facts(worked):
    [worker] = [each for each in worked.statistics().workers if not each.lost]
    assert worker.pid in worked._processes
    assert (worker.state, worker.task, worker.seconds) == ("idle", "", None)
    assert worker.done >= 8
    if sys.platform == "linux":
        assert worker.memory > 1 << 20
        assert worker.cpu > 0


def test_running_task_and_those_that_wait_are_told_apart(tmp_path):
    with PeerPoolExecutor(1) as pool:
        pool.submit(abs, 1).result(SOON)
        held = pool.with_options(name="the held one").submit(hold, tmp_path)
        wait_held(tmp_path)
        waiting = [pool.submit(abs, number) for number in range(100)]
        items = pool.map(abs, range(1000))
        found = pool.statistics()
        [worker] = found.workers
        assert (worker.state, worker.task) == ("running", "the held one")
        assert worker.seconds > 0
        assert found.tasks.running == 1
        assert found.tasks.sent + found.tasks.queued == 1100
        for each in waiting:
            assert each.cancel()
        release(tmp_path)
        held.result(SOON)
        assert len(list(items)) == 1000
        found = pool.statistics()
        assert (found.tasks.cancelled, found.tasks.running, found.tasks.sent, found.tasks.queued) == (100, 0, 0, 0)


def ask_then_hold(folder):
    assert current_executor().submit(abs, -1).result(SOON) == 1
    hold(folder)


def test_task_that_goes_on_after_its_own_tasks_runs(tmp_path):
    with PeerPoolExecutor(1) as pool:
        held = pool.submit(ask_then_hold, tmp_path)
        wait_held(tmp_path)
        assert eventually(lambda: pool.statistics().tasks.returned == 1)
        found = pool.statistics()
        [worker] = found.workers
        assert (worker.state, worker.task, found.tasks.running) == ("running", "ask_then_hold", 1)
        assert worker.seconds > 0
        release(tmp_path)
        held.result(SOON)


def test_task_that_waits_for_values_is_held(tmp_path):
    with PeerPoolExecutor(1) as pool:
        first = pool.submit(hold, tmp_path)
        second = pool.submit(str, first)
        wait_held(tmp_path)
        assert pool.statistics().tasks.held == 1
        release(tmp_path)
        second.result(SOON)
        assert pool.statistics().tasks.held == 0


def test_lost_worker_is_named_with_the_reason():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(die).exception(SOON) is not None
        assert pool.submit(abs, 1).result(SOON) == 1
        found = pool.statistics()
    lost = found.workers[-1]
    assert (lost.state, lost.lost) == ("lost", "was killed by SIGKILL")
    assert lost.started <= lost.ended <= found.time
    assert found.workers_lost == {"SIGKILL": 1}
    assert (found.tasks.lost, function(pool, "die").lost) == (1, 1)


def test_worker_that_was_ended_for_a_timeout_is_named_with_the_task():
    with PeerPoolExecutor(1) as pool:
        future = pool.with_options(timeout=0.05, name="slow one").submit(nap, 60)
        assert isinstance(future.exception(SOON), TimeoutError)
        eventually(lambda: pool.statistics().workers_lost)
        found = pool.statistics()
    assert found.workers_lost == {"ended": 1}
    assert found.workers[-1].lost == "was ended to stop slow one"
    assert (found.tasks.failed, found.tasks.lost) == (1, 0)


def test_retries_are_counted_beside_the_outcome(tmp_path):
    with PeerPoolExecutor(1) as pool:
        future = pool.with_options(retries=2, retry_on=(ValueError,)).submit(throw, ValueError, "no")
        assert isinstance(future.exception(SOON), ValueError)
        thrown = function(pool, "throw")
        assert (thrown.count, thrown.failures, thrown.retries) == (1, 1, 2)


def test_actors_are_named_and_their_lives_are_no_tasks():
    with PeerPoolExecutor(1) as pool:
        actor = pool.actor(list)
        actor.submit(list.append, 1).result(SOON)
        found = pool.statistics()
        assert [worker.actor for worker in found.workers if worker.actor] == ["list"]
        assert found.tasks.running == 0
        assert found.tasks.returned == 1
        actor.shutdown()


def test_values_are_counted_until_they_are_collected(tmp_path):
    with PeerPoolExecutor(1, store_limit=1000, spill_dir=tmp_path) as pool:
        first, second = pool.put(bytes(600)), pool.put(bytes(700))
        values = pool.statistics().values
        assert (values.count, values.spilled) == (1, 1)
        assert values.bytes > 700 > 600 < values.spilled_bytes
        del first, second
        values = pool.statistics().values
        assert (values.count, values.bytes, values.spilled, values.spilled_bytes) == (0, 0, 0, 0)


def test_views_callbacks_and_coroutines_may_ask_as_well():
    async def ask():
        return pool.statistics()

    told = []
    with PeerPoolExecutor(1) as pool:
        pool.submit(double, 1).add_done_callback(lambda _: told.append(pool.statistics()))
        assert eventually(lambda: told)
        for found in (pool.with_options(name="x").statistics(), asyncio.run(ask()), *told):
            assert isinstance(found, Statistics)
            assert any(each.name == "double" for each in found.functions)


def test_pool_that_has_ended_says_what_it_did():
    with PeerPoolExecutor(1) as pool:
        pool.submit(double, 1).result(SOON)
    found = pool.statistics()
    assert function(pool, "double").count == 1
    assert (found.workers, found.tasks.running, found.tasks.returned) == ((), 0, 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_has_no_statistics(worked):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            try:
                worked.statistics()
            except RuntimeError as exc:
                os.write(write, str(exc).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read, "rb") as file:
        assert b"after a fork" in file.read()


def test_statistics_are_taken_while_tasks_come_and_go():
    with PeerPoolExecutor(2) as pool:
        futures = []
        for _ in range(50):
            futures += [pool.submit(abs, number) for number in range(40)]
            found = pool.statistics()
            tasks = found.tasks
            assert tasks.held + tasks.queued + tasks.sent + tasks.running + tasks.returned == len(futures)
        for future in futures:
            future.result(SOON)
        assert function(pool, "abs").count == pool.statistics().tasks.returned == 2000


def test_worker_that_is_stopped_is_still_seen():
    with PeerPoolExecutor(1) as pool:
        pool.submit(abs, 1).result(SOON)
        [pid] = pool._processes
        os.kill(pid, signal.SIGSTOP)
        try:
            [worker] = pool.statistics().workers
        finally:
            os.kill(pid, signal.SIGCONT)
        assert worker.pid == pid


def say_and_hold(done, total, folder):
    progress(done, total, "text")
    hold(folder)


@pytest.mark.parametrize(
    ("said", "expected"), [((3, 10), (3, 10, "text")), ((0.5, None), (0.5, None, "text")), ((float("nan"), 1), None)]
)
def test_worker_is_as_far_as_its_task_has_said(worked, tmp_path, said, expected):
    assert [each.progress for each in worked.statistics().workers] == [None]
    task = worked.submit(say_and_hold, *said, tmp_path)
    wait_held(tmp_path)
    assert eventually(lambda: any(each.task for each in worked.statistics().workers))
    assert eventually(lambda: [each.progress for each in worked.statistics().workers] == [expected])
    release(tmp_path)
    task.result(SOON)


@pytest.mark.parametrize(("name", "value"), [("stopping", True), ("is_dead", True), ("ended_for", "a task")])
def test_worker_that_is_about_to_end_is_ending(make_engine, name, value):
    engine = make_engine()
    _, worker, _ = engine.running()
    assert snapshot._worker(worker).state == "running"
    setattr(worker, name, value)
    assert snapshot._worker(worker).state == "ending"
