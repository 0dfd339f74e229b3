"""The executor of tasks, in a process that the test makes a worker."""

import pickle
import threading
from concurrent.futures import FIRST_COMPLETED, wait

import pytest

from woolexec.api.pool_executor import ambient
from woolexec.api.task_executor import NestedExecutor, current_executor
from woolexec.futures.latch import Latch
from woolexec.wire.pickling import dumps
from woolexec.worker import nested_tasks

SOON = 20


class Worker:
    """Keeps what nested tasks do; `outcomes` are delivered when the thread that waits reads."""

    def __init__(self, monkeypatch):
        self.reads = True
        self.steps = []
        self.calls = []
        self.outcomes = []
        monkeypatch.setattr(nested_tasks, "worker", object())
        monkeypatch.setattr(nested_tasks, "must_read", lambda: self.reads)
        for name in ("open_worker", "wait_lane"):
            monkeypatch.setattr(nested_tasks, name, lambda name=name: self.steps.append(name))
        monkeypatch.setattr(nested_tasks, "send", lambda frame, file=None: self.steps.append(frame))
        monkeypatch.setattr(nested_tasks, "wait_until", self.wait_until)
        monkeypatch.setattr(nested_tasks, "submit", self.submit)

    def submit(self, call, use=None):
        call.number = len(self.calls) + 1
        self.calls.append(call)
        self.steps.append("submit")

    def wait_until(self, is_done, timeout):
        self.steps.append("read")
        while self.outcomes and not is_done():
            self.outcomes.pop(0)()


@pytest.fixture
def worker(monkeypatch):
    return Worker(monkeypatch)


@pytest.fixture
def pool(worker):
    return current_executor()


# -- which executor ---------------------------------------------------------------------------------------------------


def test_there_is_no_current_executor_outside_of_tasks_and_blocks():
    with pytest.raises(RuntimeError, match="no current executor"):
        current_executor()


def test_executor_of_a_task_is_that_of_its_block_if_it_has_one(worker):
    assert type(current_executor()) is NestedExecutor
    inner = NestedExecutor()
    token = ambient.set(inner)
    try:
        assert current_executor() is inner
    finally:
        ambient.reset(token)


def test_executor_of_a_task_that_travels_is_the_one_where_it_arrives(pool):
    arrived = pickle.loads(pickle.dumps(pool.with_options(retries=2)))

    assert type(arrived) is NestedExecutor
    assert arrived._options is None


def test_executor_of_a_task_cannot_be_shut_down_by_it(pool, worker):
    with pool:
        pool.submit(abs, 1)
    pool.shutdown(cancel_futures=True)
    pool.submit(abs, 2)

    assert len(worker.calls) == 2


def rows():
    yield 1


def test_stream_of_a_task_is_read_by_the_reader_thread(pool, worker):
    pool.with_options(name="rows").submit(rows)

    assert worker.steps == ["open_worker", "submit"]
    assert worker.calls[0].options.name == "rows"


# -- waiting ----------------------------------------------------------------------------------------------------------


def submit(pool, worker, value):
    """Submit a task whose value arrives when the socket is read."""
    future = pool.submit(abs, 1)
    worker.outcomes.append(lambda: future.deliver(None, dumps(value)))
    return future


def test_thread_that_waits_for_a_result_reads_the_socket(pool, worker):
    future = submit(pool, worker, 7)

    assert future.result(SOON) == 7
    assert worker.steps == ["submit", "read"]


def test_thread_that_polls_reads_the_socket(pool, worker):
    future = submit(pool, worker, 7)

    assert future.done()
    assert worker.steps == ["submit", "read"]


def test_waiting_for_several_reads_the_socket(pool, worker):
    futures = [submit(pool, worker, number) for number in range(3)]

    assert len(wait(futures, SOON, FIRST_COMPLETED).done) == 1
    assert wait(futures, SOON).not_done == set()
    assert set(worker.steps) == {"submit", "read"}


def test_thread_that_need_not_read_waits_for_the_reader_thread(pool, worker):
    future = pool.submit(abs, 1)
    worker.reads = False
    thread = threading.Timer(0.01, future.deliver, (None, dumps(7)))
    thread.start()

    assert future.result(SOON) == 7
    thread.join()
    assert worker.steps == ["submit", "wait_lane"]


def test_callbacks_are_called_by_the_reader_thread(pool, worker):
    future, got = submit(pool, worker, 7), []
    future.add_done_callback(lambda future: got.append(future.result()))

    assert worker.steps == ["submit", "wait_lane"]
    worker.outcomes.pop()()
    for thread in threading.enumerate():
        if thread.name == "woolexec-callbacks":
            thread.join(SOON)
    assert got == [7]


def test_callbacks_run_where_the_outcome_arrives_if_no_thread_can_be_started(pool, worker, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    future, got = submit(pool, worker, 7), []
    future.add_done_callback(lambda future: got.append(future.result()))
    monkeypatch.setattr(threading.Thread, "start", refuse)

    worker.outcomes.pop()()

    assert got == [7]


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [True, False])
def test_task_is_dropped_or_ended_by_force(pool, worker, monkeypatch, force):
    ended, cancelled = Latch(), []
    monkeypatch.setattr(nested_tasks, "when_ended", lambda number: ended)
    monkeypatch.setattr(nested_tasks, "cancel", lambda number, *, force: cancelled.append((number, force)))
    future = pool.submit(abs, 1)

    assert future.cancel(force=force) is force
    assert cancelled == [(1, force)]
    assert future.ended is (ended if force else None)
    assert not future.running()
