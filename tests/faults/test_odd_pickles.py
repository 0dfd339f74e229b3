"""Row 50: arguments and results whose pickling or unpickling raises, or calls back into the executor."""

import pickle
import threading

import pytest

from tests.shared_pools import start
from woolexec import PeerPoolExecutor

from . import tasks, tasks_b
from .tasks import SOON

KINDS = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, MemoryError]
by_name = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """One worker for all tests here: none of them may harm it."""
    with PeerPoolExecutor(1) as executor:
        start(executor, 1, tmp_path_factory.mktemp("lone") / "started")
        yield executor


def raised(future):
    """Return what a future raises, by either way of asking."""
    try:
        return future.exception(SOON)
    except BaseException as exc:  # a KeyboardInterrupt passes through `exception`
        return exc


@by_name
def test_argument_that_raises_when_pickled_fails_its_own_future(lone, kind):
    one, other = lone.submit(len, tasks_b.RaisesWhenPickled(kind)), lone.submit(abs, -1)
    assert type(raised(one)) is kind
    assert other.result(SOON) == 1


@by_name
def test_argument_that_raises_when_loaded_fails_its_own_future(lone, kind):
    one, other = lone.submit(len, tasks_b.RaisesWhenLoaded(kind)), lone.submit(abs, -1)
    assert type(raised(one)) is kind
    assert other.result(SOON) == 1


@by_name
def test_result_that_raises_when_pickled_fails_its_own_future(lone, kind):
    one, other = lone.submit(tasks_b.make_raising_when_pickled, kind), lone.submit(abs, -1)
    assert type(raised(one)) is kind
    assert other.result(SOON) == 1


@by_name
def test_result_that_raises_when_loaded_fails_its_own_future(lone, kind):
    one, other = lone.submit(tasks_b.make_raising_when_loaded, kind), lone.submit(abs, -1)
    assert type(raised(one)) is kind
    assert other.result(SOON) == 1


@by_name
def test_item_of_a_map_that_raises_when_pickled_is_raised_in_its_turn(lone, kind):
    results = lone.map(str, [1, tasks_b.RaisesWhenPickled(kind), 3])
    assert next(results) == "1"
    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        next(results)


@by_name
def test_item_of_a_map_that_raises_when_loaded_is_raised_in_its_turn(lone, kind):
    results = lone.map(str, [1, tasks_b.RaisesWhenLoaded(kind), 3])
    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        list(results)
    assert lone.submit(abs, -1).result(SOON) == 1


@by_name
def test_result_of_a_map_that_raises_when_pickled_is_raised_in_its_turn(lone, kind):
    results = lone.map(tasks_b.make_unless_zero, [0, kind, 0], chunksize=3)
    assert next(results) == 0
    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        next(results)


@by_name
def test_function_that_raises_when_pickled_fails_its_own_future(lone, kind):
    bound = tasks_b.RaisesWhenPickled(kind).__init__
    one, other = lone.submit(bound, kind), lone.submit(abs, -1)
    assert type(raised(one)) is kind
    assert other.result(SOON) == 1


@pytest.mark.slow
def test_argument_nested_too_deep_to_be_pickled_fails_its_own_future(lone):
    deep = inner = []
    for _ in range(100_000):
        inner.append([])
        inner = inner[0]
    one, other = lone.submit(len, deep), lone.submit(abs, -1)
    error = one.exception(SOON)
    assert isinstance(error, RecursionError | pickle.PicklingError)
    assert other.result(SOON) == 1


def test_pickling_may_submit_to_the_executor(lone):
    argument = tasks_b.CallsWhenPickled(lambda: lone.submit(abs, -2).result(SOON))
    assert lone.submit(tasks_b.echo, argument).result(SOON) == 2


def test_pickling_may_map_on_the_executor(lone):
    argument = tasks_b.CallsWhenPickled(lambda: list(lone.map(abs, [-1, -2])))
    assert lone.submit(tasks_b.echo, argument).result(SOON) == [1, 2]


def test_pickling_may_cancel_what_waits(lone, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    waiting = lone.submit(abs, -1)
    last = lone.submit(tasks_b.echo, tasks_b.CallsWhenPickled(waiting.cancel))
    tasks.release(tmp_path)
    assert last.result(SOON) is True
    assert waiting.cancelled()
    assert held.result(SOON) == "held"


def test_pickling_that_shuts_the_executor_down_makes_submit_refuse():
    executor = PeerPoolExecutor(1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks_b.echo, tasks_b.CallsWhenPickled(executor.shutdown)).result(SOON)


def test_pickling_that_shuts_the_executor_down_under_a_map_makes_it_refuse():
    executor = PeerPoolExecutor(1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(executor.map(tasks_b.echo, [tasks_b.CallsWhenPickled(executor.shutdown), 1]))


def test_unpickling_in_the_worker_may_submit_to_its_pool(lone):
    assert lone.submit(tasks_b.echo, tasks_b.SubmitsWhenLoaded()).result(SOON) == 5


def test_unpickling_in_the_caller_may_submit_to_the_executor(lone, monkeypatch):
    monkeypatch.setattr(tasks_b, "caller_pool", lone)
    assert lone.submit(tasks_b.SubmitsInCaller).result(SOON) == 7


def test_pickling_in_a_thread_that_blocks_does_not_hold_up_other_threads(lone):
    latch, inside = threading.Event(), threading.Event()

    def block():
        inside.set()
        assert latch.wait(SOON)
        return 4

    futures = []
    argument = tasks_b.CallsWhenPickled(block)
    thread = threading.Thread(target=lambda: futures.append(lone.submit(tasks_b.echo, argument)))
    thread.start()
    assert inside.wait(SOON)
    assert lone.submit(abs, -1).result(SOON) == 1
    latch.set()
    thread.join()
    assert futures[0].result(SOON) == 4


def test_later_changes_of_an_argument_do_not_reach_the_task(lone, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    argument = [1, 2]
    future = lone.submit(tasks_b.echo, argument)
    argument.append(3)
    tasks.release(tmp_path)
    assert future.result(SOON) == [1, 2]
    assert held.result(SOON) == "held"
