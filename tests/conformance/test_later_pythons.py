"""The additions of Python 3.14 to executors: `terminate_workers`, `kill_workers`, and `buffersize` of `map`."""

import inspect
import itertools
from concurrent.futures.process import BrokenProcessPool

import pytest

from . import tasks
from .subject import SOON, Subject

pytestmark = pytest.mark.skipif(
    not hasattr(Subject, "kill_workers") or "buffersize" not in inspect.signature(Subject.map).parameters,
    reason="the executor under test is older than 3.14's interface",
)

STOPS = ["terminate_workers", "kill_workers"]


@pytest.mark.parametrize("stop", STOPS)
def test_stop_ends_running_calls_and_workers_at_once(stop, tmp_path):
    pool = Subject(2)
    worker = pool.submit(tasks.pid).result(SOON)
    running = pool.submit(tasks.hold, tmp_path)
    assert tasks.is_held(tmp_path)
    getattr(pool, stop)()
    with pytest.raises(BrokenProcessPool):
        running.result(SOON)
    assert tasks.eventually(lambda: tasks.is_gone(int((tmp_path / "held").read_text())))
    assert tasks.eventually(lambda: tasks.is_gone(worker))
    pool.shutdown()


@pytest.mark.parametrize("stop", STOPS)
def test_stop_cancels_what_has_not_started(stop, tmp_path):
    pool = Subject(1)
    pool.submit(tasks.hold, tmp_path)
    assert tasks.is_held(tmp_path)
    waiting = [pool.submit(tasks.nap, 0) for _ in range(20)]
    getattr(pool, stop)()
    pool.shutdown()
    assert all(future.done() for future in waiting)
    # The stdlib has handed one or two calls to its workers already: those are lost, not cancelled.
    assert sum(future.cancelled() for future in waiting) >= 18


@pytest.mark.parametrize("stop", STOPS)
def test_stop_replaces_no_worker(stop, tmp_path):
    # The running call is the last one of its worker.
    pool = Subject(1, max_tasks_per_child=1)
    pool.submit(tasks.hold, tmp_path)
    waiting = [pool.submit(tasks.hold, tmp_path, f"late{n}") for n in range(2)]
    assert tasks.is_held(tmp_path)
    getattr(pool, stop)()
    tasks.release(tmp_path)
    pool.shutdown()
    assert all(future.cancelled() or future.exception() for future in waiting)
    assert list(tmp_path.glob("late*")) == []


@pytest.mark.parametrize("stop", STOPS)
def test_stop_shuts_the_executor_down(stop):
    pool = Subject(1)
    pool.submit(tasks.pid).result(SOON)
    getattr(pool, stop)()
    # Its message may be that of a shutdown or of a broken pool.
    with pytest.raises(RuntimeError):
        pool.submit(tasks.pid)
    pool.shutdown()


@pytest.mark.parametrize("stop", STOPS)
def test_stop_of_an_unused_or_stopped_executor_does_nothing(stop):
    pool = Subject(1)
    getattr(pool, stop)()
    getattr(pool, stop)()
    pool.shutdown()
    getattr(pool, stop)()


def test_kill_ends_a_worker_that_ignores_termination(tmp_path):
    pool = Subject(1)
    pool.submit(tasks.ignore_termination, tmp_path)
    assert tasks.is_held(tmp_path)
    pool.kill_workers()
    assert tasks.eventually(lambda: tasks.is_gone(int((tmp_path / "held").read_text())))
    pool.shutdown()


@pytest.mark.parametrize("buffersize", ["foo", 2.0])
def test_buffersize_is_an_integer(buffersize):
    with Subject(1) as pool, pytest.raises(TypeError, match="buffersize must be an integer or None"):
        pool.map(str, range(4), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [0, -1])
def test_buffersize_is_positive(buffersize):
    with Subject(1) as pool, pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool.map(str, range(4), buffersize=buffersize)


@pytest.mark.parametrize("buffersize", [1, 2, 4, 5])
def test_buffersize_changes_no_result(buffersize):
    with Subject(2) as pool:
        assert list(pool.map(tasks.mul, range(4), itertools.repeat(3), buffersize=buffersize)) == [0, 3, 6, 9]


@pytest.mark.parametrize("buffersize", [1, 3, 16])
def test_endless_iterables_are_pulled_no_further_than_the_buffer(buffersize):
    pulled = 0

    def count():
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield number

    with Subject(2) as pool:
        results = pool.map(tasks.mul, count(), itertools.count(), buffersize=buffersize)
        for consumed in range(1, 50):
            assert next(results) == (consumed - 1) ** 2
            assert pulled <= consumed + buffersize
        results.close()


def test_buffersize_of_nothing():
    with Subject(1) as pool:
        assert list(pool.map(str, [], buffersize=2)) == []
        assert list(pool.map(bool, buffersize=2)) == []


def test_without_buffersize_everything_is_pulled_at_once():
    source = iter(range(100))
    with Subject(1) as pool:
        results = pool.map(str, source)
        assert next(source, None) is None
        assert list(results) == [str(n) for n in range(100)]


def test_buffersize_with_an_error_in_the_middle():
    with Subject(1) as pool:
        results = pool.map(divmod, [1, 1, 1, 1], [1, 1, 0, 1], buffersize=2)
        assert [next(results), next(results)] == [(1, 0), (1, 0)]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_buffersize_with_chunks():
    with Subject(2) as pool:
        results = pool.map(tasks.mul, range(100), itertools.repeat(2), chunksize=7, buffersize=2)
        assert list(results) == [2 * n for n in range(100)]


def test_results_of_a_buffered_map_outlive_the_executor():
    with Subject(1) as pool:
        results = pool.map(str, range(4), buffersize=4)
    assert list(results) == ["0", "1", "2", "3"]


@pytest.mark.timeout(10)
def test_buffered_map_after_shutdown_says_so():
    pool = Subject(1)
    results = pool.map(str, itertools.count(), buffersize=2)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        list(results)
