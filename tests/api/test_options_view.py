"""The views of an executor whose engine runs nothing."""

import pickle
from concurrent.futures import Future
from functools import partial

import anyio
import pytest

from woolexec.api.options_view import EngineExecutor, OptionsView
from woolexec.api.pool_executor import ambient
from woolexec.api.task_executor import current_executor
from woolexec.core.call import Function
from woolexec.futures.call_future import CallFuture


class Submission:
    """Keeps what it is asked for."""

    def __init__(self):
        self.asked = []
        self.closed = False
        self.futures = []

    def check(self):
        if self.closed:
            raise RuntimeError("shut down")

    def submit(self, fn, args, kwargs, options, **how):
        self.check()
        self.asked.append((fn, args, options))
        return Future()

    def function(self, fn, options):
        self.check()
        if isinstance(fn, Exception):
            raise fn
        self.asked.append((fn, options))
        function = Function(b"", "fn")
        function.is_stream = fn is rows
        return function

    def for_all(self, fn, args, kwargs, options):
        arguments = CallFuture()
        arguments.deliver_ready((args, kwargs))
        return arguments, partial(self.run_on_all, fn, options)

    def run_on_all(self, fn, options, payload):
        self.asked.append((fn, payload, options))
        self.futures = [Future() for _ in range(2)]
        for number, future in enumerate(self.futures):
            future.set_result(number)
        return [(lambda number=number: f"worker {number}", future) for number, future in enumerate(self.futures)]


class Pool(EngineExecutor):
    """An executor that notes how it is left."""

    _options = None

    def __init__(self):
        self._pool = self
        self._submission = Submission()
        self.steps = []

    def shutdown(self, wait=True, *, cancel_futures=False, timeout=None):
        self.steps.append(("shutdown", wait, cancel_futures, timeout))

    async def shutdown_async(self, *, cancel_futures=False, timeout=None):  # noqa: ASYNC109  # as the executor has it
        self.steps.append(("shutdown_async", cancel_futures, timeout))

    def __enter__(self):
        self.steps.append("enter")
        return self

    def __exit__(self, *exc_info):
        self.steps.append(("exit", exc_info[0]))

    async def __aexit__(self, *exc_info):
        self.steps.append(("aexit", exc_info[0]))


def rows():
    yield 1


@pytest.fixture
def pool():
    return Pool()


def test_view_submits_with_its_options_to_its_executor(pool):
    view = pool.with_options(retries=2)
    view.submit(abs, 1)

    [(fn, args, options)] = pool._submission.asked
    assert (type(view), fn, args, options.retries) == (OptionsView, abs, (1,), 2)


def test_view_of_a_view_is_one_of_the_executor_with_the_new_options_alone(pool):
    view = pool.with_options(retries=2).with_options(name="it")

    assert view._pool is pool
    assert (view._options.retries, view._options.name) == (0, "it")


def test_view_with_the_default_options_has_none(pool):
    assert pool.with_options(retries=2).with_options(retries=0)._options is None


def test_shutdown_of_a_view_is_the_executors(pool):
    pool.with_options(retries=2).shutdown(wait=False, cancel_futures=True)
    pool.with_options(retries=2).shutdown(timeout=3)

    assert pool.steps == [("shutdown", False, True, None), ("shutdown", True, False, 3)]


def test_asynchronous_shutdown_of_a_view_is_the_executors(pool, run):
    async def body():
        await pool.with_options(retries=2).shutdown_async(cancel_futures=True, timeout=3)

    run(body)

    assert pool.steps == [("shutdown_async", True, 3)]


def test_block_of_a_view_is_the_executors(pool):
    view = pool.with_options(retries=2)
    with pytest.raises(ZeroDivisionError), view as entered:
        assert entered is view
        1 // 0  # noqa: B018

    assert pool.steps == ["enter", ("exit", ZeroDivisionError)]


def test_asynchronous_block_of_a_view_is_the_executors(pool, run):
    view = pool.with_options(retries=2)

    async def body():
        async with view as entered:
            assert entered is view

    run(body)
    assert pool.steps == ["enter", ("aexit", None)]


def test_executor_and_view_that_are_pickled_are_the_one_that_runs_the_task(pool):
    token = ambient.set(pool)
    try:
        for each in (pool, pool.with_options(retries=2)):
            assert each.__reduce__() == (current_executor, ())
            assert pickle.loads(pickle.dumps(each)) is pool
    finally:
        ambient.reset(token)


# -- maps -------------------------------------------------------------------------------------------------------------


def test_map_of_no_iterables_is_empty(pool):
    assert list(pool.map(abs)) == []
    assert pool._submission.asked == []


def test_map_after_shutdown_is_refused_at_once(pool):
    pool._submission.closed = True

    for iterables in ((), ([1],)):
        with pytest.raises(RuntimeError, match="shut down"):
            pool.map(abs, *iterables)


def test_map_of_a_function_that_cannot_be_pickled_raises_from_its_iterator(pool):
    error = LookupError("no")
    results = pool.map(error, [1, 2])

    with pytest.raises(LookupError) as raised:
        next(results)
    assert raised.value is error
    assert list(pool.map(error, [])) == []
    assert list(pool.map(error, [1, 2, 3], [4, 5], return_exceptions=True)) == [error] * 2


def test_map_of_a_generator_function_makes_a_task_of_each_item(pool):
    view = pool.with_options(retries=2)
    view.map(rows, [1, 2])

    [(_, options), *tasks] = pool._submission.asked
    assert [(fn, args) for fn, args, _ in tasks] == [(rows, (1,)), (rows, (2,))]
    assert {each.retries for each in (options, *(options for _, _, options in tasks))} == {2}


@pytest.mark.parametrize(
    ("iterables", "chunksize", "expected"),
    [(([1, 2],), None, (False, False)), (([1], [2]), 3, (True, True))],
)
def test_items_of_a_map_are_sent_in_chunks(pool, monkeypatch, iterables, chunksize, expected):
    made = []

    def chunk_sender(fn, function, options, check, *, is_fixed, star):
        made.append((is_fixed, star))
        raise RuntimeError("far enough")

    monkeypatch.setattr(pool._submission, "chunk_sender", chunk_sender, raising=False)
    with pytest.raises(RuntimeError, match="far enough"):
        pool.map(abs, *iterables, chunksize=chunksize)

    assert made == [expected]


# -- on every worker --------------------------------------------------------------------------------------------------


def test_call_on_every_worker_gives_done_futures_by_worker(pool):
    found = pool.with_options(priority=3).run_on_all(abs, 1)

    assert found == dict(zip(["worker 0", "worker 1"], pool._submission.futures, strict=True))
    [(fn, payload, options)] = pool._submission.asked
    assert (fn, payload, options.priority) == (abs, ((1,), {}), 3)


def test_call_on_every_worker_gives_the_same_in_an_event_loop(pool):
    assert list(anyio.run(pool.run_on_all_async, abs, 1)) == ["worker 0", "worker 1"]
