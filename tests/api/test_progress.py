"""`progress` in tasks, and `on_progress` of the view that has submitted them."""

import asyncio
import threading

import pytest

from tests.shared_pools import shared
from woolexec import TaskProgress, current_executor, current_task, progress

PATIENCE = 30

pytestmark = pytest.mark.usefixtures("shared_pools")


class Listener:
    """An `on_progress` whose reports a test waits for."""

    def __init__(self):
        self.got = []
        self.is_done = threading.Event()
        self.thread = ""

    def __call__(self, report):
        self.got.append(report)
        self.thread = threading.current_thread().name
        if report.done == report.total:
            self.is_done.set()

    def last(self):
        assert self.is_done.wait(PATIENCE)
        return self.got[-1]


def work(items):
    for number in range(items):
        progress(number, items, f"item {number}")
    progress(items, items, "ready")
    return current_task().id


async def work_asynchronously(items):
    await asyncio.to_thread(work, items)
    return current_task().id


def generate(items):
    yield current_task().id
    work(items)


class Machine:
    def work(self, items):
        return work(items)


def test_callback_hears_how_far_a_task_is_where_done_callbacks_are_called():
    listener = Listener()
    with shared(1) as pool:
        task = pool.with_options(on_progress=listener, name="job").submit(work, 1000).result(PATIENCE)
        assert listener.last() == TaskProgress(task, "job", 1000, 1000, "ready")
    assert len(listener.got) < 100
    assert listener.thread == "woolexec-callbacks"


@pytest.mark.parametrize("kind", [work_asynchronously, generate])
def test_coroutines_and_streams_are_heard(kind):
    listener = Listener()
    with shared(1) as pool:
        outcome = pool.with_options(on_progress=listener).submit(kind, 10).result(PATIENCE)
        task = outcome if isinstance(outcome, int) else next(iter(list(outcome)))
        assert listener.last() == TaskProgress(task, kind.__name__, 10, 10, "ready")


def test_calls_of_actors_are_heard():
    listener = Listener()
    with shared(1) as pool:
        machine = pool.with_options(on_progress=listener).actor(Machine)
        task = machine.submit(Machine.work, 10).result(PATIENCE)
        assert listener.last() == TaskProgress(task, "Machine.work", 10, 10, "ready")
        machine.shutdown()


def test_items_of_a_map_are_heard():
    listener = Listener()
    with shared(1) as pool:
        list(pool.with_options(on_progress=listener).map(work, [5, 5]))
        assert listener.last().total == 5


def listen_to_task():
    listener = Listener()
    task = current_executor().with_options(on_progress=listener).submit(work, 10).result()
    return task, tuple(listener.last())


def test_task_hears_how_far_its_own_tasks_are():
    with shared(1) as pool:
        task, heard = pool.submit(listen_to_task).result(PATIENCE)
    assert heard == (task, "work", 10, 10, "ready")


def test_outside_of_a_task_it_does_nothing():
    progress(1, 2, "nobody hears it")


def test_on_progress_must_be_callable():
    with shared(1) as pool, pytest.raises(TypeError, match="on_progress must be a callable or None"):
        pool.with_options(on_progress=3)
