"""Futures as arguments of tasks that run at peers, and of tasks that these submit."""

import time

import pytest

from tests.mesh.conftest import PATIENCE, eventually
from tests.mesh.tasks import add, raise_async
from woolexec import current_executor


class Point:
    def __init__(self, x):
        self.x = x


def depend():
    pool = current_executor()
    one = pool.submit(abs, 1)
    return pool.submit(sum, [one, pool.submit(sum, [one, 1])]).result(PATIENCE)


def test_values_go_from_task_to_task(pool):
    one = pool.submit(abs, 1)
    assert pool.submit(sum, [one, one, 3]).result(PATIENCE) == 5
    assert pool.submit(add, one, y=one).result(PATIENCE) == 2
    assert pool.submit(lambda: one).result(PATIENCE) == 1
    assert list(pool.map(abs, [one, 2])) == [1, 2]


@pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
def test_values_of_any_size_go_from_task_to_task(pool, size):
    value = pool.submit(bytes, size)
    for _ in range(2):
        assert pool.submit(len, value).result(PATIENCE) == size


def test_object_of_a_class_that_travels_by_value_goes_from_task_to_task(pool):
    space = {"__name__": "__main__"}
    exec("class P:\n    def __init__(self, x): self.x = x\ndef x_of(p): return p.x\n", space)
    value = pool.submit(space["P"], 7)
    assert pool.submit(space["x_of"], value).result(PATIENCE) == 7
    assert value.result(PATIENCE).x == 7
    assert pool.submit(space["x_of"], value).result(PATIENCE) == 7


def test_tasks_of_tasks_take_futures(pool):
    assert pool.submit(depend).result(PATIENCE) == 3


def test_failure_of_an_input_is_that_of_what_depends_on_it(pool):
    dependent = pool.submit(abs, pool.submit(raise_async, "nothing"))
    with pytest.raises(LookupError, match="nothing") as caught:
        dependent.result(PATIENCE)
    assert "abs was not started" in caught.value.__notes__[-1]


def test_input_that_is_cancelled_at_a_peer_cancels_what_depends_on_it(pool):
    running = [pool.submit(time.sleep, 0.3) for _ in range(4)]
    waiting = pool.submit(abs, 1)
    dependent = pool.submit(abs, waiting)
    assert waiting.cancel()
    eventually(dependent.cancelled)
    assert all(each.result(PATIENCE) is None for each in running)
