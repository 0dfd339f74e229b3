"""Rows 6, 7 and 8: if pickling or unpickling fails, in either direction, only its own call fails."""

import os
import pickle
import sys
import types

import pytest

from woolexec import WorkerLostError

from . import tasks
from .tasks import SOON

# -- row 6: at submit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"), [(tasks.RaisesWhenPickled, LookupError), (tasks.RecursesWhenPickled, RecursionError)]
)
def test_argument_that_fails_to_pickle_fails_its_future(pool, kind, error):
    future = pool.submit(tasks.double, kind())
    assert isinstance(future.exception(SOON), error)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_argument_that_no_pickler_takes_says_why(pool):
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        pool.submit(tasks.double, tasks.threading.Lock()).result(SOON)


def test_keyword_argument_that_fails_to_pickle_fails_its_future(pool):
    with pytest.raises(LookupError, match="not to be pickled"):
        pool.submit(tasks.double, number=tasks.RaisesWhenPickled()).result(SOON)


def test_function_that_fails_to_pickle_fails_its_future(pool):
    with pytest.raises(LookupError, match="not to be pickled"):
        pool.submit(tasks.RaisesWhenPickled()).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_function_that_holds_what_cannot_be_pickled_fails_its_future(pool):
    lock = tasks.threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        pool.submit(lambda: lock).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_calls_around_one_that_fails_to_pickle_are_right(pool):
    futures = [pool.submit(tasks.double, n if n % 3 else tasks.RaisesWhenPickled()) for n in range(60)]
    assert [n if future.exception(SOON) else future.result() // 2 for n, future in enumerate(futures)] == list(
        range(60)
    )
    assert all(isinstance(future.exception(), LookupError) for future in futures[::3])


def test_map_yields_what_came_before_the_item_that_fails_to_pickle(pool):
    results = pool.map(tasks.double, [1, 2, tasks.RaisesWhenPickled(), 4])
    assert [next(results), next(results)] == [2, 4]
    with pytest.raises(LookupError, match="not to be pickled"):
        next(results)


def test_map_of_a_function_that_fails_to_pickle_raises_when_asked(pool):
    results = pool.map(tasks.RaisesWhenPickled(), range(3))
    with pytest.raises(LookupError, match="not to be pickled"):
        next(results)


def test_initializer_that_fails_to_pickle_is_said_so():
    from woolexec import PeerPoolExecutor

    with pytest.raises((TypeError, pickle.PicklingError, LookupError)):
        PeerPoolExecutor(1, initializer=tasks.double, initargs=(tasks.RaisesWhenPickled(),)).submit(tasks.pid).result(
            SOON
        )


# -- row 7: in the worker ----------------------------------------------------------------------------------------------


def test_argument_that_fails_to_unpickle_fails_its_future(lone):
    pid = lone.submit(tasks.pid).result(SOON)
    with pytest.raises(LookupError, match="not to be loaded"):
        lone.submit(tasks.double, tasks.RaisesWhenLoaded()).result(SOON)
    assert lone.submit(tasks.pid).result(SOON) == pid


def test_failure_to_unpickle_names_what_was_done_and_where(pool):
    error = pool.submit(tasks.double, tasks.RaisesWhenLoaded()).exception(SOON)
    (note,) = error.__notes__
    assert note.startswith("while unpickling the function and its arguments in worker ")
    assert note.endswith(f" on {os.uname().nodename}")


@pytest.fixture
def caller_only():
    """A module that this process has and no worker can import."""
    module = types.ModuleType("caller_only")
    source = "class Thing:\n    pass\n\ndef function():\n    return 42\n"
    exec(source, module.__dict__)
    del module.__builtins__  # else it is taken for one that the program has made, and travels
    sys.modules["caller_only"] = module
    yield module
    del sys.modules["caller_only"]


def test_module_that_is_missing_in_the_worker_is_named_with_the_host(lone, caller_only):
    error = lone.submit(tasks.double, caller_only.Thing()).exception(SOON)
    assert (type(error), error.name) == (ModuleNotFoundError, "caller_only")
    assert f" on {os.uname().nodename}" in error.__notes__[0]
    assert lone.submit(tasks.double, 21).result(SOON) == 42


def test_function_whose_module_is_missing_in_the_worker_fails_each_call_alike(lone, caller_only):
    for _ in range(3):
        error = lone.submit(caller_only.function).exception(SOON)
        assert (type(error), error.name) == (ModuleNotFoundError, "caller_only")
    assert lone.submit(tasks.double, 21).result(SOON) == 42


def test_function_that_the_module_does_not_have_in_the_worker_fails_its_future(lone, monkeypatch):
    made = types.FunctionType(tasks.double.__code__, vars(tasks), "made_here")
    made.__qualname__ = "made_here"
    made.__module__ = tasks.__name__
    monkeypatch.setattr(tasks, "made_here", made, raising=False)
    error = lone.submit(made, 1).exception(SOON)
    assert isinstance(error, AttributeError)
    assert "made_here" in str(error)


@pytest.mark.parametrize("how", ["SIGSEGV", 3], ids=str)
def test_argument_that_kills_the_worker_when_unpickled_costs_its_call(pool, how):
    error = pool.submit(tasks.double, tasks.DiesWhenLoaded(how)).exception(SOON)
    assert isinstance(error, WorkerLostError)
    assert error.task == "double"
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_calls_around_one_that_fails_to_unpickle_are_right(pool):
    futures = [pool.submit(tasks.double, n if n % 3 else tasks.RaisesWhenLoaded()) for n in range(60)]
    assert [n if future.exception(SOON) else future.result() // 2 for n, future in enumerate(futures)] == list(
        range(60)
    )
    assert all(isinstance(future.exception(), LookupError) for future in futures[::3])


def test_map_yields_what_came_before_the_chunk_that_fails_to_unpickle(pool):
    results = pool.map(tasks.double, [1, 2, tasks.RaisesWhenLoaded(), 4], chunksize=1)
    assert [next(results), next(results)] == [2, 4]
    with pytest.raises(LookupError, match="not to be loaded"):
        next(results)


def test_items_of_a_chunk_that_fails_to_unpickle_fail_together(pool):
    # They are one pickle: what they share travels once.
    results = pool.map(tasks.double, [1, 2, tasks.RaisesWhenLoaded(), 4], chunksize=4)
    with pytest.raises(LookupError, match="not to be loaded"):
        next(results)
    assert list(results) == []


# -- row 8: the result -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"), [(tasks.RaisesWhenPickled, LookupError), (tasks.RecursesWhenPickled, RecursionError)]
)
def test_result_that_fails_to_pickle_fails_its_future(lone, kind, error):
    pid = lone.submit(tasks.pid).result(SOON)
    failed = lone.submit(tasks.make, kind).exception(SOON)
    assert isinstance(failed, error)
    assert any(note.startswith("while pickling the result in worker ") for note in failed.__notes__)
    assert lone.submit(tasks.pid).result(SOON) == pid


def test_result_that_no_pickler_takes_says_why(pool):
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        pool.submit(tasks.threading.Lock).result(SOON)


@pytest.mark.parametrize("how", ["SIGSEGV", 3], ids=str)
def test_result_that_kills_the_worker_when_pickled_costs_its_call(pool, how):
    assert isinstance(pool.submit(tasks.make, tasks.DiesWhenPickled, how).exception(SOON), WorkerLostError)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_result_that_fails_to_unpickle_fails_its_future(pool):
    future = pool.submit(tasks.make, tasks.RaisesWhenLoaded)
    for _ in range(2):
        with pytest.raises(LookupError, match="not to be loaded"):
            future.result(SOON)
    assert isinstance(future.exception(SOON), LookupError)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_result_of_a_class_that_only_the_worker_has_fails_its_future(pool):
    error = pool.submit(tasks.make_of_missing_module).exception(SOON)
    assert (type(error), error.name) == (ModuleNotFoundError, "worker_only")
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_calls_around_one_whose_result_fails_are_right(pool):
    kinds = [tasks.RaisesWhenLoaded, tasks.RaisesWhenPickled, dict]
    futures = [pool.submit(tasks.make, kinds[n % 3]) for n in range(60)]
    assert [future.result(SOON) for future in futures[2::3]] == [{}] * 20
    assert all(isinstance(future.exception(SOON), LookupError) for future in [*futures[::3], *futures[1::3]])


@pytest.mark.parametrize("kind", [tasks.RaisesWhenPickled, tasks.RaisesWhenLoaded], ids=lambda kind: kind.__name__)
def test_map_yields_what_came_before_the_result_that_fails(pool, kind):
    results = pool.map(tasks.make, [dict, list, kind, dict], chunksize=4)
    assert [next(results), next(results)] == [{}, []]
    with pytest.raises(LookupError):
        next(results)
