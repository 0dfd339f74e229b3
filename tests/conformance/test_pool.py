"""The purpose of those tests of the stdlib that read private attributes, tested through the public interface."""

import gc
import multiprocessing.spawn
import os
import signal
import sys
import threading
import time
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import pytest

from . import tasks
from .subject import IS_OURS, SOON, Subject

ours_only = pytest.mark.skipif(not IS_OURS, reason="the stdlib differs: see docs/conformance.md")


@pytest.fixture
def pool():
    with Subject(2) as executor:
        yield executor


# -- workers -----------------------------------------------------------------------------------------------------------


@ours_only
def test_killed_worker_costs_its_own_call_only(pool, tmp_path):
    lost = pool.submit(tasks.kill_self)
    kept = [pool.submit(tasks.mul, n, 2) for n in range(20)]
    with pytest.raises(BrokenProcessPool):
        lost.result(SOON)
    assert [future.result(SOON) for future in kept] == [n * 2 for n in range(20)]
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@pytest.mark.parametrize("ending", [(tasks.leave, 7), (tasks.kill_self, signal.SIGTERM)])
@ours_only
def test_pool_goes_on_after_a_worker_that_ends_in_any_way(pool, ending):
    with pytest.raises(BrokenProcessPool):
        pool.submit(*ending).result(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@ours_only
def test_lost_calls_have_an_error_each(pool):
    # The stdlib made one exception for all of them until 3.14: each `result()` added a frame to its traceback.
    errors = [future.exception(SOON) for future in [pool.submit(tasks.kill_self) for _ in range(3)]]
    assert [isinstance(error, BrokenProcessPool) for error in errors] == [True] * 3
    assert len(set(map(id, errors))) == 3


@ours_only
def test_error_of_a_lost_call_names_the_process_and_its_exit_code():
    with Subject(1) as lone:
        worker = lone.submit(tasks.pid).result(SOON)
        with pytest.raises(BrokenProcessPool, match=rf"worker {worker} .*exited with code 99"):
            lone.submit(tasks.leave, 99).result(SOON)


@ours_only
def test_pool_whose_workers_cannot_start_fails_its_calls(monkeypatch, tmp_path):
    no_python = tmp_path / "python"
    no_python.write_text("#!/bin/sh\nexit 1\n")
    no_python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(no_python))
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", str(no_python))  # what `set_executable` sets
    with Subject(1) as pool:
        waiting = [pool.submit(tasks.pid) for _ in range(3)]
        errors = [future.exception(SOON) for future in waiting]
    assert [isinstance(error, BrokenProcessPool) for error in errors] == [True] * 3


def test_as_many_calls_run_at_once_as_there_are_workers(tmp_path):
    with Subject(4) as pool:
        found = [pool.submit(tasks.meet, tmp_path, 4) for _ in range(4)]
        assert len({future.result(SOON) for future in found}) == 4


def test_idle_workers_are_used_again(pool):
    assert len({pool.submit(tasks.pid).result(SOON) for _ in range(20)}) <= 2


def test_calls_run_in_processes_of_their_own(pool):
    assert pool.submit(tasks.pid).result(SOON) != os.getpid()


def test_worker_is_replaced_after_max_tasks_per_child():
    with Subject(1, max_tasks_per_child=3) as pool:
        pids = [pool.submit(tasks.pid).result(SOON) for _ in range(7)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]


def test_max_tasks_per_child_needs_no_context():
    with Subject(3, max_tasks_per_child=1) as pool:
        assert [future.result(SOON) for future in [pool.submit(tasks.mul, n, n) for n in range(6)]] == [
            n * n for n in range(6)
        ]


# -- shutdown ----------------------------------------------------------------------------------------------------------


def test_shutdown_ends_every_worker(tmp_path):
    pool = Subject(3)
    pids = [future.result(SOON) for future in [pool.submit(tasks.meet, tmp_path, 3) for _ in range(3)]]
    pool.shutdown()
    assert all(map(tasks.is_gone, pids))


def test_leaving_the_with_block_ends_every_worker(tmp_path):
    with Subject(3) as pool:
        found = [pool.submit(tasks.meet, tmp_path, 3) for _ in range(3)]
    assert all(tasks.is_gone(future.result()) for future in found)


def test_abandoned_executor_finishes_its_calls_and_ends():
    pool = Subject(2)
    results = pool.map(tasks.nap, [0.01] * 10)
    worker = pool.submit(tasks.pid)
    del pool
    gc.collect()
    assert list(results) == [0.01] * 10
    assert tasks.eventually(lambda: tasks.is_gone(worker.result()))


def test_shutdown_without_wait_finishes_the_calls():
    pool = Subject(2)
    results = pool.map(tasks.nap, [0.01] * 10)
    worker = pool.submit(tasks.pid)
    pool.shutdown(wait=False)
    assert list(results) == [0.01] * 10
    assert tasks.eventually(lambda: tasks.is_gone(worker.result()))


def test_shutdown_without_wait_after_a_failed_call_ends_workers_of_one_call():
    pool = Subject(4, max_tasks_per_child=1)
    worker = pool.submit(tasks.pid)
    failed = pool.submit(tasks.fail, "text")
    last = pool.submit(tasks.nap, 0.2)
    with pytest.raises(RuntimeError, match="text"):
        failed.result(SOON)
    pool.shutdown(wait=False)
    assert last.result(SOON) == 0.2
    assert tasks.eventually(lambda: tasks.is_gone(worker.result()))


@ours_only  # until 3.13 the stdlib replaces no worker after a shutdown
def test_workers_are_replaced_after_shutdown_without_wait(tmp_path):
    pool = Subject(1, max_tasks_per_child=1)
    held = pool.submit(tasks.hold, tmp_path)
    waiting = [pool.submit(tasks.pid) for _ in range(2)]
    assert tasks.is_held(tmp_path)
    pool.shutdown(wait=False)
    tasks.release(tmp_path)
    assert held.result(SOON) == "held"
    assert len({future.result(SOON) for future in waiting}) == 2
    pool.shutdown()


@ours_only  # the stdlib's raise BrokenProcessPool: the executor was garbage collected
def test_workers_of_an_abandoned_executor_are_replaced(tmp_path):
    pool = Subject(1, max_tasks_per_child=1)
    held = pool.submit(tasks.hold, tmp_path)
    waiting = [pool.submit(tasks.pid) for _ in range(2)]
    assert tasks.is_held(tmp_path)
    del pool
    gc.collect()
    tasks.release(tmp_path)
    assert held.result(SOON) == "held"
    pids = {future.result(SOON) for future in waiting}
    assert len(pids) == 2
    assert tasks.eventually(lambda: all(map(tasks.is_gone, pids)))


def test_shutdown_twice_and_without_use():
    pool = Subject(2)
    pool.shutdown()
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(pow, 2, 8)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(pow, [2], [8])


def test_shutdown_that_cancels_keeps_what_runs(tmp_path):
    pool = Subject(1)
    running = pool.submit(tasks.hold, tmp_path)
    assert tasks.is_held(tmp_path)
    waiting = [pool.submit(tasks.nap, 0) for _ in range(20)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert tasks.eventually(waiting[-1].cancelled)
    tasks.release(tmp_path)
    pool.shutdown()
    assert running.result(SOON) == "held"
    # The stdlib's workers have one or two more calls at hand.
    assert sum(future.cancelled() for future in waiting) >= 18
    assert all(future.done() for future in waiting)


def test_argument_that_fails_to_pickle_does_not_hold_up_shutdown():
    with Subject(2) as pool:
        assert pool.submit(tasks.mul, 6, 7).result(SOON) == 42
        failed = pool.submit(id, tasks.FailsToPickle())
        pool.shutdown(wait=False)
        with pytest.raises(LookupError, match="cannot be pickled"):
            failed.result(SOON)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_remote_traceback_is_the_cause_and_is_printed(pool, capsys):
    with pytest.raises(RuntimeError) as caught:
        pool.submit(tasks.fail, "text").result(SOON)
    assert caught.value.args == ("text",)
    assert "raise RuntimeError(text)  # where it was raised" in caught.value.__cause__.tb
    sys.__excepthook__(type(caught.value), caught.value, caught.value.__traceback__)
    assert "raise RuntimeError(text)  # where it was raised" in capsys.readouterr().err


@ours_only
def test_argument_that_fails_to_unpickle_costs_its_own_call_only(pool):
    # The stdlib: BrokenProcessPool for everyone.
    with pytest.raises(RuntimeError, match="cannot be unpickled"):
        pool.submit(id, tasks.FailsToUnpickle()).result(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@ours_only
def test_argument_that_exits_at_unpickling_costs_its_own_call_only(pool):
    with pytest.raises(SystemExit):
        pool.submit(id, tasks.LeavesAtUnpickle()).result(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@ours_only
def test_result_that_fails_to_unpickle_costs_its_own_call_only(pool):
    with pytest.raises(RuntimeError, match="cannot be unpickled"):
        pool.submit(tasks.make, tasks.FailsToUnpickle).result(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@ours_only
def test_result_that_exits_at_unpickling_costs_its_own_call_only(pool):
    with pytest.raises(SystemExit):
        pool.submit(tasks.make, tasks.LeavesAtUnpickle).result(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit, ZeroDivisionError])
def test_exception_of_any_kind_arrives_as_itself(pool, kind):
    error = pool.submit(tasks.raise_type, kind, 3).exception(SOON)
    assert (type(error), error.args) == (kind, (3,))
    assert pool.submit(pow, 2, 8).result(SOON) == 256


# -- initializer -------------------------------------------------------------------------------------------------------


def test_initializer_runs_before_the_first_call_of_each_worker():
    with Subject(2, initializer=tasks.set_status, initargs=("initialized",)) as pool:
        assert set(pool.map(tasks.status, range(20))) == {"initialized"}


def test_initializer_runs_in_a_worker_that_replaces_another():
    with Subject(1, initializer=tasks.set_status, initargs=("initialized",), max_tasks_per_child=1) as pool:
        assert [pool.submit(tasks.status).result(SOON) for _ in range(3)] == ["initialized"] * 3


def test_initializer_that_raises_breaks_the_pool_in_the_end():
    with Subject(2, initializer=tasks.fail_to_start) as pool:
        with pytest.raises(futures.BrokenExecutor):
            pool.submit(tasks.status).result(SOON)
        assert tasks.eventually(lambda: submit_is_refused(pool))


def submit_is_refused(pool):
    try:
        pool.submit(tasks.status)
    except futures.BrokenExecutor:
        return True
    return False


def test_constructor_refuses_what_the_stdlib_refuses():
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            Subject(number)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Subject(1, initializer=4)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        Subject(1, max_tasks_per_child="many")
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        Subject(1, max_tasks_per_child=0)


# -- futures -----------------------------------------------------------------------------------------------------------


def test_map_raises_timeout_error_after_the_results_in_time():
    with Subject(3) as pool:
        list(pool.map(tasks.nap, [0] * 3))
        results = []
        with pytest.raises(TimeoutError):
            results.extend(pool.map(tasks.nap, [0, 0, 1.0], timeout=0.5))
            pytest.fail("the third call ended in time")
        # `extend` keeps what came before the error.
        assert results == [0, 0]


def test_map_refuses_a_chunksize_below_one(pool):
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        pool.map(tasks.mul, [1], [2], chunksize=0)


def test_map_ends_with_its_shortest_iterable(pool):
    assert list(pool.map(tasks.mul, range(10), range(4))) == [0, 1, 4, 9]
    assert list(pool.map(tasks.mul, range(10), [], chunksize=3)) == []


def test_closing_the_results_of_map_cancels_what_waits(tmp_path):
    first, others = tmp_path / "first", tmp_path / "others"
    first.mkdir()
    others.mkdir()
    tasks.release(first)
    with Subject(1) as pool:
        results = pool.map(tasks.hold, [first] + [others] * 49, [str(n) for n in range(50)], chunksize=1)
        results.__next__()
        results.close()
        if IS_OURS:  # until what was sent ahead has been taken back
            assert tasks.eventually(lambda: not pool.statistics().tasks.sent)
        tasks.release(others)
    assert len(list(others.iterdir())) < 20


def test_wait_returns_what_is_done_at_its_timeout(pool, tmp_path):
    fast, slow = pool.submit(tasks.mul, 6, 7), pool.submit(tasks.hold, tmp_path)
    assert fast.result(SOON) == 42
    done, not_done = futures.wait([fast, slow], timeout=0.05)
    tasks.release(tmp_path)
    assert (done, not_done) == ({fast}, {slow})


def test_future_tells_its_state_truly(tmp_path):
    with Subject(1) as pool:
        held = pool.submit(tasks.hold, tmp_path)
        waiting = [pool.submit(tasks.nap, 0) for _ in range(10)]
        assert tasks.is_held(tmp_path)
        assert tasks.eventually(held.running)
        assert not held.cancel()
        assert waiting[-1].cancel()
        assert waiting[-1].cancelled()
        tasks.release(tmp_path)
        assert held.result(SOON) == "held"
    assert held.done()
    assert not held.running()


def test_arguments_are_those_of_the_moment_of_submit(tmp_path):
    with Subject(1) as pool:
        pool.submit(tasks.hold, tmp_path)
        items = [1]
        later = pool.submit(tasks.keywords, items)
        assert tasks.is_held(tmp_path)
        tasks.release(tmp_path)
        assert later.result(SOON) == (([1],), {})


def test_done_callback_that_raises_harms_nobody(pool, caplog):
    seen = threading.Event()
    future = pool.submit(tasks.nap, 0.05)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: seen.set())
    assert seen.wait(SOON)
    assert pool.submit(pow, 2, 8).result(SOON) == 256
    assert "exception calling callback for" in caplog.text
    # The record holds the traceback, and that the frames of the executor.
    caplog.clear()


def test_submit_from_many_threads(pool):
    answers = []

    def work(n):
        answers.append(pool.submit(tasks.mul, n, n).result(SOON))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [n * n for n in range(16)]


def test_result_with_timeout_raises_and_can_be_asked_again(pool, tmp_path):
    future = pool.submit(tasks.hold, tmp_path)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.02)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    tasks.release(tmp_path)
    assert future.result(SOON) == "held"
    assert future.exception() is None


def test_shutdown_from_a_done_callback_ends(tmp_path):
    pool = Subject(1)
    ended = threading.Event()

    def stop(_):
        pool.shutdown(wait=False)
        ended.set()

    future = pool.submit(tasks.hold, tmp_path)
    future.add_done_callback(stop)
    tasks.release(tmp_path)
    assert ended.wait(SOON)
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(pow, 2, 8)


def test_two_executors_live_side_by_side():
    with Subject(1) as one, Subject(1) as other:
        first, second = one.submit(tasks.pid).result(SOON), other.submit(tasks.pid).result(SOON)
        assert first != second
        started = time.monotonic()
        one.shutdown()
        assert other.submit(pow, 2, 8).result(SOON) == 256
        assert time.monotonic() - started < SOON
