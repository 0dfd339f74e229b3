"""``map`` with each item as a separate task, whose futures the test completes."""

import gc
import weakref
from concurrent.futures import CancelledError, Future

import pytest

from woolexec.api.map_futures import map_futures


class Futures:
    """Makes futures, which a test completes."""

    def __init__(self):
        self.made = []

    def __call__(self, *args):
        self.made.append(Future())
        return self.made[-1]

    def finish(self, *numbers):
        for number in numbers:
            self.made[number].set_result(number)


def test_futures_that_nobody_asked_for_are_not_cancelled():
    futures = Futures()

    map_futures(futures, (range(3),)).close()
    map_futures(futures, (range(3),))
    gc.collect()

    assert not any(future.cancelled() for future in futures.made)


@pytest.mark.parametrize("buffersize", [None, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_futures_of_an_iterator_that_was_begun_are_cancelled_with_it(ordered, buffersize):
    futures = Futures()
    results = map_futures(futures, (range(4),), buffersize=buffersize, ordered=ordered)
    futures.finish(0)
    assert next(results) == 0

    del results

    assert [future.cancelled() for future in futures.made] == [False, True, True, True]


@pytest.mark.parametrize("buffersize", [None, 3])
def test_futures_come_as_they_are_done(buffersize):
    futures = Futures()
    results = map_futures(futures, (range(3),), buffersize=buffersize, ordered=False)

    futures.finish(1)
    assert next(results) == 1
    futures.finish(0)
    assert next(results) == 0
    futures.finish(2)
    assert list(results) == [2]


@pytest.mark.parametrize("buffersize", [None, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_what_futures_raised_may_be_results(ordered, buffersize):
    futures = Futures()

    def submit(*args):
        future = futures(*args)
        if args[0] == 1:
            future.set_exception(ValueError("one"))
        elif args[0] == 2:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(args[0])
        return future

    how = {"ordered": ordered, "buffersize": buffersize}
    got = list(map_futures(submit, (range(4),), return_exceptions=True, **how))
    assert {type(result) for result in got} == {int, ValueError, CancelledError}
    error = next(result for result in got if isinstance(result, ValueError))
    assert error.__notes__ == ["item 1 of the map"]
    with pytest.raises((ValueError, CancelledError)):
        list(map_futures(submit, (range(4),), **how))


@pytest.mark.parametrize("buffersize", [None, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_future_that_is_late_is_a_timeout_and_cancels_the_rest(ordered, buffersize):
    futures = Futures()

    with pytest.raises(TimeoutError):
        next(map_futures(futures, (range(4),), timeout=0.01, ordered=ordered, buffersize=buffersize))

    assert all(future.cancelled() for future in futures.made)


def test_error_of_the_source_comes_after_the_results_of_the_futures_before_it():
    def source():
        yield 0
        raise LookupError("source")

    futures = Futures()
    results = map_futures(futures, (source(),))
    futures.finish(0)

    assert next(results) == 0
    with pytest.raises(LookupError, match="source"):
        next(results)


def test_no_more_tasks_are_outstanding_than_buffersize_says():
    futures = Futures()
    results = map_futures(futures, (iter(range(100)),), buffersize=3)
    assert len(futures.made) == 3

    futures.finish(0, 1)

    assert [next(results), next(results)] == [0, 1]
    assert len(futures.made) == 5


def test_pool_that_takes_no_more_is_an_error_behind_the_results_of_the_futures_before_it():
    futures = Futures()

    def submit(*args):
        if len(futures.made) == 2:
            raise RuntimeError("shut down")
        future = futures(*args)
        futures.finish(len(futures.made) - 1)
        return future

    results = map_futures(submit, (range(5),), buffersize=2)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match="shut down"):
        next(results)


def test_pool_that_takes_no_tasks_at_all_is_an_error_at_once():
    def submit(*_):
        raise RuntimeError("shut down")

    with pytest.raises(RuntimeError, match="shut down"):
        map_futures(submit, (range(5),))


@pytest.mark.parametrize("buffersize", [None, 10])
def test_pool_is_let_go_when_all_items_have_been_submitted(buffersize):
    futures = Futures()
    kept = weakref.ref(futures)
    results = map_futures(futures, (range(2),), buffersize=buffersize)
    made = futures.made
    for number in range(2):
        futures.finish(number)
    del futures
    gc.collect()

    assert kept() is None
    assert list(results) == [0, 1]
    assert len(made) == 2


@pytest.mark.parametrize("ordered", [True, False])
def test_result_is_the_consumers_alone_once_it_was_given_out(ordered):
    class Result:
        pass

    futures = []

    def submit(_):
        future = Future()
        future.set_result(Result())
        futures.append(future)
        return future

    results = map_futures(submit, (range(2),), ordered=ordered)
    futures.clear()
    result = weakref.ref(next(results))
    gc.collect()

    assert result() is None
