"""How `as_pool` behaves where CPython's tests of `multiprocessing.Pool` do not apply: see the table of differences."""

import os
import threading

import pytest

from woolexec import PeerPoolExecutor, RemoteTraceback, as_pool

from .subject import SOON


@pytest.fixture
def pool():
    with PeerPoolExecutor(2) as executor:
        yield as_pool(executor)


def numbers_until(error, count):
    yield from range(count)
    raise error


def test_items_before_an_error_of_the_iterable_are_not_lost(pool):
    results = pool.imap(abs, numbers_until(LookupError("here"), 7), 2)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(LookupError, match="here"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_pool_of_no_workers_is_refused():
    for count in (0, -1):
        with pytest.raises(ValueError):
            as_pool(PeerPoolExecutor(count))


def test_cause_of_an_exception_is_its_traceback_in_the_worker(pool):
    with pytest.raises(ValueError) as raised:
        pool.apply(int, ("a",))
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "ValueError" in raised.value.__cause__.tb


def test_pool_that_is_dropped_leaves_its_executor_open():
    with PeerPoolExecutor(1) as executor:
        as_pool(executor).map(abs, [1])
        assert as_pool(executor).map(abs, [-1]) == [1]


def test_result_that_cannot_be_pickled_raises_what_pickling_raised(pool):
    assert pool.apply(lambda: lambda: 42)() == 42
    with pytest.raises(TypeError, match="lock"):
        pool.apply(threading.Lock)


def test_workers_are_replaced_after_so_many_tasks():
    with PeerPoolExecutor(1, max_tasks_per_child=2) as executor:
        pids = [as_pool(executor).apply_async(os.getpid).get(SOON) for _ in range(6)]
    assert len(set(pids)) == 3


def test_number_of_tasks_of_a_worker_is_checked():
    for value, error in ((0, ValueError), (-1, ValueError), (0.5, TypeError), ("12", TypeError)):
        with pytest.raises(error):
            as_pool(PeerPoolExecutor(3, max_tasks_per_child=value))
