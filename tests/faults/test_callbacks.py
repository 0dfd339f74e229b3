"""Rows 41 and 49: done-callbacks that submit, block, raise, wait or shut down."""

import logging
import threading

import pytest

from woolexec import PeerPoolExecutor

from . import tasks, tasks_b
from .tasks import SOON


@pytest.fixture
def latch(pool):
    """An event on which callbacks block; it is open before the pool is shut down, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def blocked(latch, pool):
    """A future whose callback blocks until the gate is open."""
    inside = threading.Event()

    def block(future):
        inside.set()
        latch.wait(SOON)

    future = pool.submit(tasks.nap, 0.02)
    future.add_done_callback(block)
    assert inside.wait(SOON)
    return future


class Box:
    """Takes one thing from another thread."""

    def __init__(self):
        self._full = threading.Event()
        self._thing = None

    def put(self, thing):
        self._thing = thing
        self._full.set()

    def take(self):
        assert self._full.wait(SOON), "nothing came"
        return self._thing


def test_callback_may_submit(pool):
    box = Box()
    pool.submit(tasks.nap, 0.02).add_done_callback(lambda _: box.put(pool.submit(abs, -3)))
    assert box.take().result(SOON) == 3


def test_callbacks_may_submit_in_a_chain(pool):
    box = Box()

    def go_on(future):
        left = future.result()
        if left == 0:
            box.put("end")
        else:
            pool.submit(tasks_b.echo, left - 1).add_done_callback(go_on)

    pool.submit(tasks_b.echo, 100).add_done_callback(go_on)
    assert box.take() == "end"


def test_callback_may_wait_for_another_future(pool):
    box = Box()
    other = pool.submit(tasks.nap, 0.1)
    pool.submit(tasks.nap, 0.02).add_done_callback(lambda _: box.put(other.result(SOON)))
    assert box.take() == 0.1


def test_callback_may_wait_for_a_task_that_it_submits(lone):
    box = Box()
    lone.submit(tasks.nap, 0.02).add_done_callback(lambda _: box.put(lone.submit(abs, -2).result(SOON)))
    assert box.take() == 2


def test_callback_may_map(pool):
    box = Box()
    pool.submit(tasks.nap, 0.02).add_done_callback(lambda _: box.put(list(pool.map(abs, [-1, -2]))))
    assert box.take() == [1, 2]


def test_callback_that_blocks_does_not_hold_up_other_tasks(blocked, pool):
    assert list(pool.map(abs, range(50))) == list(range(50))


def test_callback_that_blocks_does_not_hold_up_other_callbacks(blocked, pool):
    box = Box()
    pool.submit(tasks.nap, 0.02).add_done_callback(box.put)
    assert box.take().done()


def test_callback_that_blocks_does_not_hold_up_the_result_of_its_own_future(blocked):
    assert blocked.result(SOON) == 0.02


def test_ten_callbacks_that_block_do_not_hold_up_an_eleventh(latch, pool):
    for _ in range(10):
        pool.submit(tasks.nap, 0.01).add_done_callback(lambda _: latch.wait(SOON))
    box = Box()
    pool.submit(tasks.nap, 0.02).add_done_callback(box.put)
    assert box.take().done()


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit], ids=lambda kind: kind.__name__
)
def test_callback_that_raises_leaves_the_next_callback_and_task_alone(pool, caplog, kind):
    box = Box()
    future = pool.submit(tasks.nap, 0.02)
    future.add_done_callback(lambda _: tasks_b.throw(kind, "in a callback"))
    future.add_done_callback(box.put)
    assert box.take() is future
    assert pool.submit(abs, -1).result(SOON) == 1


def test_what_a_callback_raises_is_logged(pool, caplog):
    future = pool.submit(tasks.nap, 0.02)
    future.add_done_callback(lambda _: tasks_b.throw(ValueError, "in a callback"))
    assert tasks.eventually(lambda: caplog.records)
    record = caplog.records[0]
    assert (record.name, record.levelno) == ("concurrent.futures", logging.ERROR)
    assert "exception calling callback" in record.getMessage()


def test_callbacks_run_once_each_in_the_order_in_which_they_were_added(lone):
    seen, box = [], Box()
    future = lone.submit(tasks.nap, 0.02)
    for number in range(10):
        future.add_done_callback(lambda _, number=number: seen.append(number))
    future.add_done_callback(box.put)
    box.take()
    assert seen == list(range(10))


def test_callback_added_to_a_finished_future_runs_at_once_in_this_thread(pool):
    future = pool.submit(abs, -1)
    future.result(SOON)
    seen = []
    future.add_done_callback(lambda _: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_callbacks_of_a_cancelled_future_run(lone, tmp_path):
    held, waiting = lone.submit(tasks.hold, tmp_path), lone.submit(abs, -1)
    seen = []
    waiting.add_done_callback(lambda future: seen.append(future.cancelled()))
    tasks.wait_held(tmp_path)
    assert waiting.cancel()
    assert seen == [True]
    tasks.release(tmp_path)
    held.result(SOON)


def test_callback_may_cancel_other_futures(lone, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    box = Box()
    waiting = [lone.submit(tasks.note_and_return, tmp_path / "started", i) for i in range(20)]
    held.add_done_callback(lambda _: box.put([future.cancel() for future in reversed(waiting)]))
    tasks.release(tmp_path)
    told = box.take()[::-1]
    assert [future.cancelled() for future in waiting] == told
    done = [i for i, future in enumerate(waiting) if not told[i] and future.result(SOON) == i]
    assert sorted(map(int, tasks.notes(tmp_path / "started"))) == done


def test_callback_may_shut_the_executor_down():
    executor, box = PeerPoolExecutor(1), Box()

    def end(_):
        executor.shutdown(wait=True)
        box.put("ended")

    executor.submit(tasks.nap, 0.02).add_done_callback(end)
    assert box.take() == "ended"
    executor.shutdown()


def test_shutdown_returns_after_the_callbacks():
    seen = []

    def linger(future):
        tasks.nap(0.1)
        seen.append(future.result())

    with PeerPoolExecutor(1) as executor:
        for number in range(3):
            executor.submit(tasks_b.echo, number).add_done_callback(linger)
    assert seen == [0, 1, 2]


def test_callback_sees_the_failure_of_its_task(pool):
    box = Box()
    pool.submit(tasks_b.throw, KeyError, "gone").add_done_callback(lambda future: box.put(future.exception()))
    assert repr(box.take()) == "KeyError('gone')"


def test_callback_sees_that_its_worker_died(pool):
    box = Box()
    pool.submit(tasks.die).add_done_callback(lambda future: box.put(type(future.exception()).__name__))
    assert box.take() == "WorkerLostError"
