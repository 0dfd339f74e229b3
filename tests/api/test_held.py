"""Objects that are kept alive until a task has ended."""

import gc
import threading
import weakref
from functools import partial

import numpy as np
import pytest

from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import current_executor
from woolexec.api.held import held
from woolexec.core.call import Function
from woolexec.wire.pickling import dumps_call

pytestmark = pytest.mark.usefixtures("shared_pools")


class Ending:
    """Something that ends when it is collected; it notes in which thread."""

    def __init__(self, threads):
        self._threads = threads

    def __reduce__(self):
        return str, ()

    def __del__(self):
        self._threads.append(threading.current_thread().name)


class Plain:
    pass


def bare(*args):
    return len(args)


def what_is_held(fn, *args, **kwargs):
    return held(fn, Function(b"small", "fn"), (args, kwargs), dumps_call(args, kwargs))


def test_data_is_not_held():
    assert what_is_held(bare, 1, "two", [b"three", {"four": 4.0}]) is None
    assert what_is_held(bare, bytes(1 << 20), np.zeros(1 << 17), [np.zeros(1 << 17)]) is None


def test_nothing_is_held_for_numbers_whatever_their_pickle_contains():
    assert held(bare, Function(b"small", "fn"), (), dumps_call((147,), {})) is None


def test_small_arguments_that_are_more_than_data_are_held():
    plain = Plain()

    assert what_is_held(bare, 1, plain) == [((1, plain), {})]
    assert what_is_held(bare, key=[plain]) == [((), {"key": [plain]})]


def test_of_large_arguments_those_are_held_whose_end_may_have_an_effect():
    data, ending, watched = np.zeros(1 << 17), Ending([]), Plain()
    watching = weakref.ref(watched)

    assert what_is_held(bare, data, ending, [watched, Plain()], {"key": Plain()}) == [ending, watched]
    assert watching() is watched


def test_functions_are_held_with_what_they_hold():
    ending = Ending([])
    holding = partial(bare, ending)

    def closed():
        return ending

    assert what_is_held(holding, 1) == [holding]
    assert what_is_held(closed, 1) == [closed]
    assert what_is_held(str, 1) is None
    large = Function(memoryview(b"large"), "fn")
    assert held(holding, large, ((), {}), b"") == [ending]
    assert held(closed, large, ((), {}), b"") == [ending]


@pytest.mark.parametrize("way", ["submit", "map", "map_futures", "partial", "awaited"])
def test_arguments_live_until_the_task_has_ended_and_no_longer(way, tmp_path):
    threads = []
    with shared(1) as pool:
        blocked = pool.submit(wait_for, tmp_path / "go")
        if way == "submit":
            future = pool.submit(bare, Ending(threads))
        elif way == "partial":
            future = pool.submit(partial(bare, Ending(threads)), Ending(threads))
        elif way == "awaited":
            future = pool.submit(bare, blocked, Ending(threads), bytes(1 << 18))
        else:
            view = pool.with_options(timeout=SOON) if way == "map_futures" else pool
            future = view.map(bare, [Ending(threads)])
        gc.collect()
        assert threads == []
        (tmp_path / "go").touch()
        assert eventually(lambda: threads)
        assert set(threads) == {"woolexec-callbacks"}
        assert (next(future) if "map" in way else future.result(SOON)) in (1, 2, 3)
        assert blocked.result(SOON) is None


def test_thread_that_waits_for_the_task_lets_go_of_its_arguments():
    threads = []
    with shared(1) as pool:
        assert pool.submit(bare, Ending(threads)).result(SOON) == 1
    assert eventually(lambda: len(threads) == 1)


def test_arguments_of_a_task_that_is_cancelled_are_let_go(tmp_path):
    threads = []
    with shared(1) as pool:
        blocked = pool.submit(wait_for, tmp_path / "go")
        waiting = [pool.submit(bare, Ending(threads)) for _ in range(4)]
        assert all(future.cancel() for future in waiting[2:])
        assert len(threads) == 2
        (tmp_path / "go").touch()
        assert blocked.result(SOON) is None
        assert [future.result(SOON) for future in waiting[:2]] == [1, 1]
    assert eventually(lambda: len(threads) == 4)


def make_and_call(pool):
    """Return what had ended while an actor lived, and what has ended with it."""
    threads = []
    with pool.actor(bare_object, Ending(threads)) as made:
        assert made.submit(str.upper).result(SOON) == "STATE"
        gc.collect()
        before = list(threads)
    eventually(lambda: threads)
    return before, threads


def make_and_call_in_a_task():
    before, after = make_and_call(current_executor())
    return before, len(after)


def bare_object(_):
    return "state"


def test_arguments_of_a_constructor_live_until_the_actor_has_ended():
    with shared(1) as pool:
        assert make_and_call(pool) == ([], ["woolexec-callbacks"])
        assert pool.submit(make_and_call_in_a_task).result(SOON) == ([], 1)


def count_up(_):
    yield from range(100)


async def count_up_later(_):
    for number in range(100):
        yield number


def pull(pool, fn, end):
    """Return what had ended while a stream was open, and what has ended with it."""
    threads = []
    stream = pool.submit(fn, Ending(threads)).result(SOON)
    assert next(stream) == 0
    gc.collect()
    before = list(threads)
    if end == "read":
        assert list(stream) == list(range(1, 100))
    elif end == "close":
        stream.close()
    del stream
    eventually(lambda: threads)
    return before, threads


def pull_in_a_task(fn, end):
    before, after = pull(current_executor(), fn, end)
    return before, len(after)


@pytest.mark.parametrize("end", ["read", "close", "drop"])
@pytest.mark.parametrize("fn", [count_up, count_up_later])
def test_arguments_of_a_stream_live_until_its_end(fn, end):
    with shared(1) as pool:
        assert pull(pool, fn, end) == ([], ["woolexec-callbacks"])
        assert pool.submit(pull_in_a_task, fn, end).result(SOON) == ([], 1)


def wait_for(path):
    assert eventually(path.exists)
