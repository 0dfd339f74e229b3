"""The methods that all executors share, on an executor that runs tasks immediately."""

from concurrent.futures import Executor, Future

import pytest

from woolexec.api.base_executor import BaseExecutor


class Submission:
    """Runs each task in place, and keeps with which options."""

    def __init__(self):
        self.options = []

    def submit(self, fn, args, kwargs, options, *, stream=False, prefetch=0):
        self.options.append(options)
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


class Here(BaseExecutor):
    def __init__(self, options=None, submission=None):
        self._options = options
        self._submission = submission or Submission()

    def _view(self, options):
        return Here(options, self._submission)


@pytest.fixture
def executor():
    return Here()


def invert(x):
    return 1 / x


def test_it_is_an_executor_to_the_standard_library(executor):
    assert isinstance(executor, Executor)


def test_task_has_its_arguments_and_the_options_of_its_executor(executor):
    view = executor.with_options(retries=2)

    assert view.submit(int, "11", base=2).result(0) == 3
    assert executor.submit(abs, -1).result(0) == 1
    [first, second] = executor._submission.options
    assert (first.retries, second) == (2, None)


def test_names_of_parameters_are_free_for_the_functions_own(executor):
    assert executor.submit(dict, fn=1, self=2, options=3).result(0) == {"fn": 1, "self": 2, "options": 3}


def test_each_item_of_a_map_is_a_task_with_the_options_of_its_executor(executor):
    view = executor.with_options(retries=2)

    assert list(view.map(pow, [1, 2, 3], [2, 2])) == [1, 4]
    assert [options.retries for options in executor._submission.options] == [2, 2]


def test_map_gives_exceptions_if_asked_for_and_raises_them_else(executor):
    first, error, last = executor.map(invert, [1, 0, 2], return_exceptions=True)

    assert (first, type(error), last) == (1, ZeroDivisionError, 0.5)
    results = executor.map(invert, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_sizes_of_a_map_are_checked_before_a_task_is_submitted(executor):
    for wrong in ({"chunksize": 0}, {"buffersize": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            executor.map(abs, [1], **wrong)

    assert executor._submission.options == []


def test_cancelled_wait_leaves_running_calls_alone_only_if_the_options_say_so(executor):
    assert not executor._abandons
    assert not executor.with_options(retries=2)._abandons
    assert executor.with_options(abandon_on_cancel=True)._abandons
