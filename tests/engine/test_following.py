"""Calls in a chain are sent together; a worker hands each outcome on to the call that takes it."""

import gc
import os
import signal
import weakref
from concurrent.futures import CancelledError, Future
from math import inf

import pytest

from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, WorkerLostError, current_executor
from woolexec.core import balance, feeding
from woolexec.core.held import Held

pytestmark = pytest.mark.usefixtures("shared_pools")


def step(value, act=None, *args):
    if act is not None:
        act(*args)
    return value + 1


def append(values, count=1):
    return [*values, *range(count)] if count > 1 else values.append(len(values)) or values


def fail():
    raise LookupError("in the middle")


def mark_and_wait(folder):
    (folder / "running").touch()
    assert eventually((folder / "go on").exists)


def ask_another():
    assert current_executor().submit(step, 0).result() == 1


class Chain:
    """The head of a chain that has not begun, and what follows it."""

    def __init__(self, pool, fn=step, *args):
        self.pool = pool
        self.start = Future()
        self.futures = [pool.submit(fn, self.start, *args)]

    def add(self, *args, fn=step):
        self.futures.append(self.pool.submit(fn, self.futures[-1], *args))
        return self

    def begin(self, value=0):
        for future in self.futures:
            future.outstanding_call.function.seconds = 1e-6  # the first calls of a worker may have taken long
        self.start.set_result(value)
        return self.futures


@pytest.fixture
def sent(monkeypatch):
    """How many calls were sent behind others, and how many of them came back."""
    counts = [0, 0]
    followers, again = feeding.followers, Held.again

    def counted(*args):
        found = followers(*args)
        counts[0] += len(found)
        return found

    def counted_again(held, call):
        counts[1] += 1
        again(held, call)

    monkeypatch.setattr(feeding, "followers", counted)
    monkeypatch.setattr(balance, "STUCK", inf)  # nothing is taken back only because the machine is slow
    monkeypatch.setattr(Held, "again", counted_again)
    return lambda: tuple(counts)


def test_chain_is_sent_at_once(sent):
    with shared(1) as pool:
        chain = Chain(pool)
        for _ in range(20):
            chain.add()
        futures = chain.begin()
        assert [future.result(SOON) for future in futures] == list(range(1, 22))

    assert sent() == (20, 0)


def test_chain_of_several_functions(sent):
    with shared(1) as pool:
        chain = Chain(pool).add(fn=abs).add().add(fn=str).add(fn=list)
        assert chain.begin()[-1].result(SOON) == ["2"]

    assert sent() == (4, 0)


def test_each_call_has_its_own_copy(sent):
    with shared(1) as pool:
        futures = Chain(pool, append).add(fn=append).add(fn=append).add(fn=append).begin([])
        results = [future.result(SOON) for future in futures]

    assert results == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert sent() == (3, 0)


@pytest.mark.parametrize("size", [5_000, 300_000])
def test_large_outcome_goes_the_usual_way(sent, size):
    with shared(1) as pool:
        chain = Chain(pool, append, size).add(fn=len).add()
        assert chain.begin([])[-1].result(SOON) == size + 1

    followed, back = sent()
    assert followed >= 2
    assert back >= 1


def test_outcome_that_is_only_for_the_caller(sent):
    class Local:
        def __init__(self, value):
            self.value = value

        def __add__(self, other):
            return Local(self.value + other)

    with shared(1) as pool:
        futures = Chain(pool).add().add().begin(Local(0))
        assert [future.result(SOON).value for future in futures] == [1, 2, 3]


def test_failure_fails_what_follows(sent):
    with shared(1) as pool:
        futures = Chain(pool).add().add(fail).add().add().begin()
        assert futures[1].result(SOON) == 2
        for future in futures[2:]:
            with pytest.raises(LookupError, match="in the middle"):
                future.result(SOON)
        notes = futures[4].exception().__notes__
        assert sum("its input step failed" in note or "input" in note for note in notes) >= 1
        assert pool.submit(step, 1).result(SOON) == 2

    assert sent() == (4, 2)


def test_cancel_of_a_call_that_follows(tmp_path, sent):
    with shared(1) as pool:
        futures = Chain(pool).add(mark_and_wait, tmp_path).add().add().begin()
        assert eventually((tmp_path / "running").exists)
        assert futures[2].cancel()
        (tmp_path / "go on").touch()
        assert futures[1].result(SOON) == 2
        with pytest.raises(CancelledError):
            futures[3].result(SOON)

    assert sent()[0] == 3


def test_idle_worker_makes_no_difference_to_what_follows_a_long_call(tmp_path, sent):
    with shared(2) as pool:
        futures = Chain(pool).add(mark_and_wait, tmp_path).add().add().begin()
        assert eventually((tmp_path / "running").exists)
        assert eventually(lambda: sent()[1] >= 2)  # the engine takes back what waits behind it
        (tmp_path / "go on").touch()
        assert futures[-1].result(SOON) == 4


def test_worker_is_killed_while_calls_follow(tmp_path):
    with PeerPoolExecutor(1) as pool:
        futures = Chain(pool).add(mark_and_wait, tmp_path).add().add().begin()
        assert eventually((tmp_path / "running").exists)
        [pid] = pool._processes
        os.kill(pid, signal.SIGKILL)
        for future in futures[1:]:
            with pytest.raises(WorkerLostError):
                future.result(SOON)
        assert futures[0].result(SOON) == 1
        assert pool.submit(step, 1).result(SOON) == 2


def test_call_waits_for_a_nested_task_while_others_follow():
    with shared(1) as pool:
        assert Chain(pool).add(ask_another).add(ask_another).add().begin()[-1].result(SOON) == 4


def test_two_calls_that_take_one_outcome_do_not_follow(sent):
    with shared(2) as pool:
        chain = Chain(pool)
        others = [pool.submit(step, chain.futures[0]) for _ in range(4)]
        chain.begin()
        assert [future.result(SOON) for future in others] == [2] * 4

    assert sent() == (0, 0)


@pytest.mark.parametrize("cancel_futures", [False, True])
def test_shutdown_while_calls_follow(tmp_path, cancel_futures):
    with PeerPoolExecutor(1) as pool:
        futures = Chain(pool).add(mark_and_wait, tmp_path).add().add().begin()
        assert eventually((tmp_path / "running").exists)
        pool.shutdown(wait=False, cancel_futures=cancel_futures)
        (tmp_path / "go on").touch()
        assert futures[1].result(SOON) == 2
        if cancel_futures:
            assert futures[3].cancelled()
        else:
            assert futures[3].result(SOON) == 4


def test_calls_that_follow_each_other_are_forgotten():
    with shared(1) as pool:
        chain = Chain(pool)
        for _ in range(10):
            chain.add()
        last = chain.begin()[-1]
        assert last.result(SOON) == 11
        first = weakref.ref(chain.futures[0])
        gc.disable()
        try:
            del chain
            assert eventually(lambda: first() is None)
        finally:
            gc.enable()
