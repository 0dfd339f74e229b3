"""The executor: the effect of every argument and option, on real workers."""

import asyncio
import concurrent.futures
import functools
import itertools
import operator
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

import woolexec
from tests.faults.tasks import RaisesWhenLoaded
from tests.shared_pools import shared
from tests.tasks import (
    WATCHDOG,
    count_in,
    count_in_async,
    die_until,
    fail_until,
    fibonacci,
    hold,
    keyword_only,
    look,
    make_thing,
    map_and_forget,
    map_in_a_task,
    nested_options,
    outer,
    poll,
    refuse,
    set_variable,
    tell_pid_and_exit,
    use_as_argument,
    wait_until,
)
from woolexec import PeerPoolExecutor, WorkerLostError, current_executor


@pytest.fixture
def own():
    """A pool for a test that loses workers, or looks at them."""
    with PeerPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def pool(shared_pools):
    with shared(2) as pool:
        return pool


@pytest.fixture
def latch(tmp_path):
    """A file that holds tasks up until it is there, and one that says that the first has begun."""
    return Latch(tmp_path)


class Latch:
    def __init__(self, folder):
        self.folder = folder

    def began(self):
        wait_until((self.folder / "began").exists)

    def open(self):
        (self.folder / "open").touch()


# -- submit ------------------------------------------------------------------------------------------------------------


def test_arguments_arrive_as_they_were_given(pool):
    future = pool.submit(keyword_only, 1, 2, 3, c=4, self=5, fn=6)

    assert future.result(WATCHDOG) == (1, 2, (3,), 4, {"self": 5, "fn": 6})


def test_tasks_run_in_other_processes(own):
    assert own.submit(os.getpid).result(WATCHDOG) != os.getpid()


def test_exception_arrives_as_itself_with_its_traceback(pool):
    error = pool.submit(operator.truediv, 1, 0).exception(WATCHDOG)

    assert type(error) is ZeroDivisionError
    assert isinstance(error.__cause__, woolexec.RemoteTraceback)


def test_arguments_are_copied_at_submit(pool):
    items = [1]
    future = pool.submit(list, items)

    items.append(2)

    assert future.result(WATCHDOG) == [1]


def test_what_does_not_pickle_fails_its_future_only(pool):
    bad = pool.submit(print, threading.Lock())
    good = pool.submit(abs, -1)

    assert isinstance(bad.exception(WATCHDOG), TypeError)
    assert good.result(WATCHDOG) == 1


@pytest.mark.parametrize(
    "fn",
    [abs, functools.partial(pow, 2), lambda x: x, (5).__add__, operator.neg, str, type("Local", (), {"__call__": abs})],
    ids=["builtin", "partial", "lambda", "method of a builtin", "builtin of a module", "type", "class"],
)
def test_callables_of_every_kind_run(pool, fn):
    assert pool.submit(fn, *() if isinstance(fn, type) and fn is not str else (3,)).exception(WATCHDOG) is None


def test_submit_from_many_threads(pool):
    got = []

    def use():
        got.extend(future.result(WATCHDOG) for future in [pool.submit(abs, -n) for n in range(200)])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == sorted([*range(200)] * 4)


def test_asyncio_waits_for_it(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, abs, -n) for n in range(50)))

    assert asyncio.run(main()) == list(range(50))


def test_standard_library_waits_for_it(pool):
    futures = [pool.submit(abs, -n) for n in range(20)]

    assert concurrent.futures.wait(futures, timeout=WATCHDOG).done == set(futures)
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == set(range(20))


# -- max_workers -------------------------------------------------------------------------------------------------------


def test_max_workers_is_how_many_processes_there_are(tmp_path):
    with PeerPoolExecutor(3) as pool:
        futures = [pool.submit(hold, tmp_path, n) for n in range(9)]
        wait_until(lambda: len(pool._engine.pids) == 3)
        (tmp_path / "open").touch()
        assert [future.result(WATCHDOG) for future in futures] == list(range(9))
        assert len(set(pool.map(lambda _: os.getpid(), range(50), chunksize=1))) <= 3


def test_max_workers_defaults_to_the_usable_processors(monkeypatch):
    monkeypatch.setattr("woolexec.api.parameters.usable_cpus", lambda: 5)

    with PeerPoolExecutor() as pool:
        assert pool._max_workers == 5


@pytest.mark.parametrize("max_workers", [0, -1])
def test_max_workers_below_one_is_a_value_error(max_workers):
    with pytest.raises(ValueError, match="max_workers"):
        PeerPoolExecutor(max_workers)


def test_workers_start_when_they_are_needed():
    with PeerPoolExecutor(4) as pool:
        assert pool._engine.pids == []
        pool.submit(abs, -1).result(WATCHDOG)
        assert len(pool._engine.pids) == 1


# -- mp_context, initializer, max_tasks_per_child ----------------------------------------------------------------------


def test_mp_context_is_taken_and_ignored():
    import multiprocessing

    with PeerPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(abs, -1).result(WATCHDOG) == 1


def test_initializer_runs_in_each_worker_before_its_first_call(tmp_path):
    with PeerPoolExecutor(2, initializer=set_variable, initargs=("yes",)) as pool:
        assert set(pool.map(os.getenv, ["WOOLEXEC_TEST_INITIALIZED"] * 20, chunksize=1)) == {"yes"}


def test_initializer_that_raises_breaks_the_executor():
    with PeerPoolExecutor(1, initializer=refuse) as pool:
        future = pool.submit(abs, -1)
        with pytest.raises(woolexec.InitializerError) as caught:
            future.result(WATCHDOG)
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(BrokenProcessPool):
            pool.submit(abs, -1)


def test_initializer_timeout_ends_one_that_hangs():
    with PeerPoolExecutor(1, initializer=time.sleep, initargs=(1000,), initializer_timeout=0.2) as pool:
        error = pool.submit(abs, -1).exception(WATCHDOG)

    assert isinstance(error, woolexec.InitializerError)
    assert "longer than 0.2 s" in str(error)


def test_initializer_must_be_callable():
    with pytest.raises(TypeError, match="initializer"):
        PeerPoolExecutor(1, initializer=3)


def test_max_tasks_per_child_replaces_workers():
    with PeerPoolExecutor(1, max_tasks_per_child=2) as pool:
        pids = [pool.submit(os.getpid).result(WATCHDOG) for _ in range(6)]

    assert len(set(pids)) == 3
    assert all(pids.count(pid) == 2 for pid in pids)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [1, 2])
def test_tasks_within_tasks_run_where_workers_are_replaced(limit, workers):
    with PeerPoolExecutor(workers, max_tasks_per_child=limit) as pool:
        assert [pool.submit(outer).result(WATCHDOG) for _ in range(4)] == [1] * 4


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (1.5, TypeError)])
def test_bad_max_tasks_per_child_is_refused(limit, error):
    with pytest.raises(error):
        PeerPoolExecutor(1, max_tasks_per_child=limit)


# -- map ---------------------------------------------------------------------------------------------------------------


def test_map_keeps_the_order(pool):
    assert list(pool.map(abs, range(-5000, 0))) == list(range(5000, 0, -1))


def test_map_takes_several_iterables(pool):
    assert list(pool.map(pow, [2, 3], [3, 2, 1])) == [8, 9]


def test_map_obeys_chunksize(pool):
    pids = list(pool.map(lambda _: (os.getpid(), time.monotonic_ns()), range(40), chunksize=10))

    for chunk in range(4):
        assert len({pid for pid, _ in pids[chunk * 10 : chunk * 10 + 10]}) == 1


def collect(item, collected=[]):  # noqa: B006  # calls are to share it
    collected.append(item)
    return collected


class Point:
    def __init__(self, x):
        self.x = x


def test_results_of_a_chunk_whose_size_was_given_travel_together(pool):
    results = list(pool.map(collect, "abcd", chunksize=4))

    assert all(result is results[0] for result in results)  # as in the standard library
    assert results[0][-4:] == ["a", "b", "c", "d"]


def test_result_of_a_chunk_that_cannot_be_pickled_fails_alone(pool):
    made = pool.map(lambda n: threading.Lock() if n == 2 else [n], range(6), chunksize=3)

    assert [next(made), next(made)] == [[0], [1]]
    with pytest.raises(TypeError, match="lock") as caught:
        next(made)
    assert "item 2 of the map" in caught.value.__notes__
    results = pool.map(lambda n: threading.Lock() if n == 2 else [n], range(6), chunksize=3, return_exceptions=True)
    assert [result for result in results if type(result) is list] == [[0], [1], [3], [4], [5]]


@pytest.mark.parametrize("around", [list, tuple, Point], ids=lambda around: around.__name__)
def test_result_of_a_chunk_that_cannot_be_unpickled_fails_alone(pool, around):
    results = pool.map(
        lambda n: RaisesWhenLoaded() if n == 1 else around([n]), range(6), chunksize=3, return_exceptions=True
    )

    assert [type(result) for result in results] == [around, LookupError, *[around] * 4]


def test_chunk_whose_result_holds_what_cannot_be_unpickled_fails(pool):
    results = list(
        pool.map(lambda n: [RaisesWhenLoaded()] if n == 1 else n, range(6), chunksize=3, return_exceptions=True)
    )

    assert [type(result) for result in results] == [LookupError] * 3 + [int] * 3
    assert "items 0 to 2 of the map" in results[0].__notes__
    with pytest.raises(LookupError, match="not to be loaded"):
        list(pool.map(lambda n: [RaisesWhenLoaded()] if n == 1 else n, range(6), chunksize=3))


def test_map_with_buffersize_takes_no_more_than_that(pool):
    taken = []
    source = (taken.append(n) or n for n in range(10**9))

    results = pool.map(abs, source, buffersize=10)

    for consumed in range(100):
        assert next(results) == consumed
        assert len(taken) <= consumed + 1 + 10
    results.close()


def test_map_timeout(own, latch):
    results = own.map(hold, [latch.folder] * 2, timeout=0.2)

    with pytest.raises(TimeoutError):
        list(results)
    latch.open()


def test_map_error_loses_no_earlier_result(pool):
    results = pool.map(lambda n: 1 / n, [4, 2, 0, 1])

    assert [next(results), next(results)] == [0.25, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("workers", [1, 2])
def test_map_whose_iterator_is_not_kept_runs_all(tmp_path, workers):
    ways = {
        "dropped": lambda pool, paths: pool.map(count_in, paths),
        "closed": lambda pool, paths: pool.map(count_in, paths).close(),
        "in chunks": lambda pool, paths: pool.map(count_in, paths, chunksize=7),
        "as they come": lambda pool, paths: pool.map(count_in, paths, ordered=False),
        "of a view": lambda pool, paths: pool.with_options(retries=1).map(count_in, paths),
        "of a coroutine function": lambda pool, paths: pool.map(count_in_async, paths),
        "of two iterables": lambda pool, paths: pool.map(die_until, paths, [-1] * 40),
        "nested": lambda pool, paths: pool.submit(map_and_forget, paths[0], 38),
        "with a buffer": lambda pool, paths: pool.map(count_in, itertools.repeat(paths[0]), buffersize=40),
    }
    with PeerPoolExecutor(workers) as pool:
        for way, begin in ways.items():
            begin(pool, [tmp_path / way] * 40)
    ran = {way: os.path.getsize(tmp_path / way) for way in ways}
    assert ran == dict.fromkeys(ways, 40)


@pytest.mark.parametrize("end", ["close", "drop", "fail"])
def test_map_that_was_begun_and_is_given_up_starts_no_more_and_waits_for_nothing(tmp_path, latch, end):
    def task(number):
        if number:
            hold(latch.folder)
        count_in(tmp_path / "ran")
        if number == 1:
            raise LookupError(number)
        while number and not (tmp_path / "given up").exists():
            time.sleep(0.005)

    with PeerPoolExecutor(1) as pool:
        results = pool.map(task, range(50), chunksize=1)
        next(results)
        latch.began()
        if end == "close":
            results.close()
        elif end == "fail":
            latch.open()
            with pytest.raises(LookupError) as caught:
                next(results)
            assert "item 1 of the map" in caught.value.__notes__
        del results
        latch.open()
        (tmp_path / "given up").touch()
        assert pool.submit(abs, -1).result(WATCHDOG) == 1
    assert os.path.getsize(tmp_path / "ran") < 50


def test_map_gives_exceptions_as_results_and_results_as_they_come(pool, latch):
    got = list(pool.map(lambda n: 1 / n, [4, 0, 1], return_exceptions=True))
    assert [got[0], got[2]] == [0.25, 1.0]
    assert isinstance(got[1], ZeroDivisionError)
    assert got[1].__notes__ == ["item 1 of the map"]

    results = pool.map(lambda n: n or hold(latch.folder, 0), range(3), chunksize=1, ordered=False)
    assert {next(results), next(results)} == {1, 2}
    latch.open()
    assert list(results) == [0]


@pytest.mark.parametrize("how", [{}, {"ordered": False}, {"buffersize": 2}, {"buffersize": 2, "ordered": False}])
def test_map_in_a_task_takes_the_same_arguments(pool, how):
    assert pool.submit(map_in_a_task, how).result(WATCHDOG) == [1, 3]


def test_map_of_a_lost_worker_notes_its_item(own):
    with pytest.raises(WorkerLostError) as caught:
        list(own.map(lambda n: n if n != 3 else os._exit(7), range(5), chunksize=1))
    assert caught.value.__notes__ == ["item 3 of the map"]


def test_map_with_a_buffer_says_behind_its_results_that_the_pool_was_shut_down():
    with PeerPoolExecutor(1) as pool:
        results = pool.map(abs, itertools.count(), buffersize=3)
        assert next(results) == 0
    assert [next(results), next(results), next(results)] == [1, 2, 3]
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(results)


def test_map_of_what_does_not_pickle_fails_each_item(pool):
    unpicklable = threading.Lock().acquire
    assert list(pool.map(unpicklable, [])) == []
    with pytest.raises(TypeError, match="pickle"):
        list(pool.map(unpicklable, [1]))
    assert [type(error) for error in pool.map(unpicklable, [1, 2], return_exceptions=True)] == [TypeError] * 2


def test_map_arguments_are_checked_at_once(pool):
    with pytest.raises(ValueError):
        pool.map(abs, [1], chunksize=0)


# -- cancel ------------------------------------------------------------------------------------------------------------


def test_waiting_calls_are_cancelled_in_any_order(latch):
    with PeerPoolExecutor(1) as pool:
        for _ in range(20):
            pool.submit(abs, -1).result(WATCHDOG)
        running = pool.submit(hold, latch.folder)
        latch.began()
        waiting = [pool.submit(abs, -n) for n in range(6)]
        time.sleep(0.02)

        cancelled = [future.cancel() for future in reversed(waiting)]

        latch.open()
        assert cancelled == [True] * 6
        assert running.result(WATCHDOG) is None
        assert pool.submit(abs, -7).result(WATCHDOG) == 7


def test_running_call_is_not_cancelled(latch):
    with PeerPoolExecutor(1) as pool:
        future = pool.submit(hold, latch.folder, 5)
        latch.began()

        assert future.running()
        assert not future.cancel()

        latch.open()
        assert future.result(WATCHDOG) == 5


def test_force_ends_a_running_call_and_nothing_else(latch):
    with PeerPoolExecutor(1) as pool:
        future = pool.submit(hold, latch.folder)
        latch.began()
        behind = [pool.submit(abs, -n) for n in range(5)]

        assert future.cancel(force=True)

        assert future.cancelled()
        assert [each.result(WATCHDOG) for each in behind] == list(range(5))


# -- with_options ------------------------------------------------------------------------------------------------------


def test_timeout_ends_the_call_and_nothing_else(own):
    late = own.with_options(timeout=0.1).submit(time.sleep, 1000)
    others = [own.submit(abs, -n) for n in range(10)]

    with pytest.raises(TimeoutError, match=r"sleep ran longer than its timeout of 0.1 s"):
        late.result(WATCHDOG)
    assert [future.result(WATCHDOG) for future in others] == list(range(10))


def test_call_within_its_timeout_is_left_alone(pool):
    assert pool.with_options(timeout=100).submit(abs, -1).result(WATCHDOG) == 1


def test_timeout_counts_from_the_start_of_the_call():
    with PeerPoolExecutor(1) as pool:
        pool.submit(abs, -1).result(WATCHDOG)
        first = pool.submit(time.sleep, 1.0)
        second = pool.with_options(timeout=0.8).submit(abs, -2)
        assert second.result(WATCHDOG) == 2
        assert first.exception(WATCHDOG) is None


def test_without_retries_a_lost_call_is_an_error_that_says_all(own, tmp_path):
    before = time.monotonic()
    error = own.submit(tell_pid_and_exit, tmp_path / "pid").exception(WATCHDOG)

    assert isinstance(error, WorkerLostError)
    assert isinstance(error, BrokenProcessPool)
    assert (error.exitcode, error.task, error.attempts) == (7, "tell_pid_and_exit", 1)
    assert error.pid == int((tmp_path / "pid").read_text())
    assert 0 < error.seconds <= time.monotonic() - before
    assert pickle.loads(pickle.dumps(error)).exitcode == 7


@pytest.mark.parametrize("retries", [1, 2])
def test_retries_start_a_lost_call_again(own, tmp_path, retries):
    view = own.with_options(retries=retries)

    assert view.submit(die_until, tmp_path / "a", retries).result(WATCHDOG) == "alive"
    error = view.submit(die_until, tmp_path / "b", retries + 1).exception(WATCHDOG)
    assert isinstance(error, WorkerLostError)
    assert error.attempts == retries + 1


def test_idempotent_task_is_started_again_without_retries(own, tmp_path):
    assert own.with_options(idempotent=True).submit(die_until, tmp_path / "a", 3).result(WATCHDOG) == "alive"


def test_pool_keeps_neither_the_last_future_nor_its_result(pool):
    for _ in range(20):  # calls that an idle worker gets from the submitting thread, and those that it does not
        future = pool.submit(make_thing, 1)
        kept = [weakref.ref(future), weakref.ref(future.result())]
        del future
        wait_until(lambda kept=kept: [each() for each in kept] == [None, None])


def test_retry_on_starts_again_after_the_exceptions_it_names(pool, tmp_path):
    view = pool.with_options(retries=2, retry_on=LookupError)

    assert view.submit(fail_until, tmp_path / "a", 2, KeyError()).result(WATCHDOG)
    assert isinstance(view.submit(fail_until, tmp_path / "b", 3, KeyError()).exception(WATCHDOG), KeyError)
    assert isinstance(view.submit(fail_until, tmp_path / "c", 1, OSError()).exception(WATCHDOG), OSError)


@pytest.mark.slow
def test_timeout_is_tried_again_when_it_is_named(own, tmp_path):
    def sleep_first(path):  # by value: the time that a fresh worker takes to import this module would count
        with open(path, "ab") as file:
            file.write(b".")
        if path.stat().st_size == 1:
            time.sleep(1000)
        return path.stat().st_size

    view = own.with_options(timeout=2.0, retries=1, retry_on=TimeoutError)

    assert view.submit(sleep_first, tmp_path / "a").result(WATCHDOG) == 2


def test_name_is_what_messages_call_the_task(own):
    error = own.with_options(name="nightly report").submit(os._exit, 1).exception(WATCHDOG)

    assert error.task == "nightly report"
    assert "nightly report" in str(error)


def test_view_is_an_executor_with_map_and_views_of_its_own(own, tmp_path):
    view = own.with_options(retries=1)

    assert isinstance(view, concurrent.futures.Executor)
    assert list(view.map(abs, [-1, -2])) == [1, 2]
    assert isinstance(
        view.with_options(name="only this").submit(die_until, tmp_path / "a", 1).exception(WATCHDOG), WorkerLostError
    )


def test_options_hold_for_map(pool, tmp_path):
    results = pool.with_options(retries=1).map(die_until, [tmp_path / "a"], [1])

    assert list(results) == ["alive"]


@pytest.mark.parametrize("options", [{"timeout": 0}, {"retries": -1}])
def test_bad_options_are_refused_at_once(pool, options):
    with pytest.raises(ValueError):
        pool.with_options(**options)


def test_shutdown_of_a_view_is_that_of_its_executor():
    pool = PeerPoolExecutor(1)
    pool.with_options(name="n").shutdown()

    with pytest.raises(RuntimeError):
        pool.submit(abs, -1)


# -- shutdown ----------------------------------------------------------------------------------------------------------


def test_shutdown_finishes_what_was_submitted():
    pool = PeerPoolExecutor(2)
    futures = [pool.submit(abs, -n) for n in range(100)]

    pool.shutdown()

    assert [future.result(0) for future in futures] == list(range(100))


def test_shutdown_without_waiting_returns_and_the_work_goes_on(latch):
    pool = PeerPoolExecutor(1)
    future = pool.submit(hold, latch.folder, 3)
    latch.began()

    pool.shutdown(wait=False)

    assert not future.done()
    latch.open()
    assert future.result(WATCHDOG) == 3
    pool.shutdown()


def test_shutdown_can_cancel_what_waits(latch):
    pool = PeerPoolExecutor(1)
    running = pool.submit(hold, latch.folder, 3)
    latch.began()
    waiting = [pool.submit(abs, -n) for n in range(20)]

    pool.shutdown(wait=False, cancel_futures=True)

    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(WATCHDOG)
    latch.open()
    assert running.result(WATCHDOG) == 3
    pool.shutdown()


def test_after_shutdown_nothing_is_taken():
    pool = PeerPoolExecutor(1)
    pool.shutdown()
    pool.shutdown()

    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, -1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(abs, [1])


@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_workers_are_ended_on_demand(latch, method):
    pool = PeerPoolExecutor(1)
    future = pool.submit(hold, latch.folder)
    latch.began()

    getattr(pool, method)()

    with pytest.raises(BrokenProcessPool):
        future.result(WATCHDOG)
    with pytest.raises((RuntimeError, BrokenProcessPool)):
        pool.submit(abs, -1)
    pool.shutdown()


def test_abandoned_executor_stops_its_workers():
    pool = PeerPoolExecutor(1)
    pid = pool.submit(os.getpid).result(WATCHDOG)

    del pool

    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


# -- tasks within tasks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_recursion_deeper_than_the_pool_finishes(workers):
    with PeerPoolExecutor(workers) as pool:
        assert pool.submit(fibonacci, 9).result(WATCHDOG) == 34


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("timeout", [0, 0.0001, 0.01])
def test_task_that_asks_again_and_again_gets_its_result(workers, timeout):
    with PeerPoolExecutor(workers) as pool:
        assert [pool.submit(poll, timeout).result(WATCHDOG) for _ in range(20)] == [5] * 20


def test_task_that_looks_whether_it_is_done_sees_it_done():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(look).result(WATCHDOG) == 5


def test_executor_passed_to_a_task_arrives_as_the_one_it_runs_in():
    with PeerPoolExecutor(2) as pool:
        assert pool.submit(use_as_argument, pool).result(WATCHDOG) == 3


def test_options_hold_for_tasks_within_tasks(tmp_path):
    with PeerPoolExecutor(2) as pool:
        assert pool.with_options(retries=1).submit(nested_options, tmp_path / "a").result(WATCHDOG) == "alive"


def test_outside_of_a_task_there_is_no_current_executor():
    with pytest.raises(RuntimeError, match="not in a task"):
        current_executor()


# -- where it is used --------------------------------------------------------------------------------------------------


def test_fork_of_the_caller_cannot_use_it(own):
    own.submit(abs, -1).result(WATCHDOG)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            own.submit(abs, -1)
        except RuntimeError as exc:
            os.write(write, str(exc).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert b"parent process" in pipe.read()
    assert own.submit(abs, -2).result(WATCHDOG) == 2


def test_neither_grpc_nor_protobuf_is_imported():
    code = """
import sys
from woolexec import PeerPoolExecutor
with PeerPoolExecutor(1) as pool:
    theirs = pool.submit(lambda: sorted(__import__("sys").modules)).result()
for name in ("grpc", "google.protobuf", "zeroconf", "anyio", "numpy"):
    assert name not in sys.modules and name not in theirs, name
"""
    run_python("-c", code)


def test_pool_is_imported_without_typing():
    run_python("-c", "import sys; from woolexec import PeerPoolExecutor; assert 'typing' not in sys.modules")


def test_no_guard_is_needed_in_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
from woolexec import PeerPoolExecutor
def double(x):
    return 2 * x
pool = PeerPoolExecutor(2)
print(list(pool.map(double, range(5))))
""")

    done = run_python(script)

    assert done.stdout == "[0, 2, 4, 6, 8]\n"
    assert done.stderr == ""


def run_python(*arguments):
    """Run an interpreter that finds what this one finds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True, timeout=60
    )


@pytest.mark.parametrize("options", [{}, {"chunksize": 5}, {"buffersize": 4}, {"ordered": False}])
def test_result_of_a_map_that_was_given_is_the_consumers_alone(options):
    kept = []
    with PeerPoolExecutor(1) as pool:
        for thing in pool.map(make_thing, range(20), **options):
            reference = weakref.ref(thing)
            del thing
            kept.append(reference())

    assert kept == [None] * 20
