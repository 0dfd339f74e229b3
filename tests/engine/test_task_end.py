"""Tasks that an observer of the pool ends, by their numbers in `stacks`."""

import asyncio
import os
import threading
from concurrent.futures import CancelledError
from signal import SIGTERM

import pytest

from tests.faults.tasks import SOON, eventually
from woolexec import PeerPoolExecutor, current_executor
from woolexec.engine.task_end import end_task


def wait_for(path):
    path.with_suffix(".here").touch()
    assert eventually(path.exists)
    return os.getpid()


async def sleep_for_it(path):
    path.with_suffix(".here").touch()
    await asyncio.Event().wait()


def pass_on(path):
    future, ends = current_executor().submit(wait_for, path), threading.Event()
    future.add_done_callback(lambda _: ends.set())
    assert ends.wait(SOON)  # one that waited for it, or asked whether it is done, might run it in this worker
    return future.cancelled()


def nothing(number, path):
    return wait_for(path) if number == 1 else number


@pytest.fixture
def pool():
    with PeerPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def go(tmp_path):
    return tmp_path / "go"


def end(pool, name, go):
    """End the one task with this name, when it runs."""
    assert eventually(go.with_suffix(".here").exists)
    found = []

    def look():
        found[:] = [each for each in pool.stacks() if each.function.startswith(name)]
        return len(found) == 1

    assert eventually(look)
    (task,) = found
    assert not pool._engine.end_task(task.task, task.pid + 1)
    assert not pool._engine.end_task(task.task + 1000, task.pid)
    assert pool._engine.end_task(task.task, task.pid)
    assert not pool._engine.end_task(task.task, task.pid)


@pytest.mark.parametrize("fn", [wait_for, sleep_for_it])
def test_a_task_is_cancelled_and_the_pool_goes_on(pool, go, fn):
    future = pool.submit(fn, go)
    end(pool, fn.__name__, go)
    with pytest.raises(CancelledError):
        future.result()
    assert future.cancelled()
    assert pool.submit(abs, -1).result() == 1
    if fn is wait_for:
        assert pool.statistics().tasks.cancelled == 1


def test_an_item_of_a_map_is_cancelled(pool, go):
    items = pool.map(nothing, range(3), [go] * 3, chunksize=1, return_exceptions=True)
    end(pool, "nothing", go)
    first, second, third = items
    assert (first, third) == (0, 2)
    assert isinstance(second, CancelledError)


def test_a_task_of_a_task_is_cancelled(pool, go):
    future = pool.submit(pass_on, go)
    end(pool, "wait_for", go)
    assert future.result()


def test_a_task_is_ended_before_the_fork_server_has_reported_the_process_of_its_worker(engine):
    call, worker, far = engine.running()
    far.page.set_pid(4711)
    assert worker.pid is None
    assert end_task(engine.rounds, call.number, 4711)
    assert call.receiver.outcomes == [None]
    assert engine.killed == [(worker.id, SIGTERM)]
