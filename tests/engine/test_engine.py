"""An engine as executors and peers use it: calls that are encoded already, and processes."""

import os
import select
import signal
import threading

import pytest

from tests.faults import tasks
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.core.call import Call
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.engine.engine import FORKED_CHILD, Engine
from woolexec.engine.selector import Selector
from woolexec.futures.latch import Latch
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads

PATIENCE = 30


class Receiver:
    """Keeps the outcome of a call."""

    def __init__(self):
        self.done = Latch()

    def deliver(self, call, payload):
        self.value = loads(payload)
        self.done.open()

    def deliver_failure(self, call, payload):
        self.failure = payload
        self.done.open()


def take_no_answer(is_cancelled):
    """Take the answer of a peer, where there is none."""
    raise AssertionError


class Future(Receiver):
    """What `Engine.cancel` takes."""

    outstanding_call = None


def make_call(engine, fn, *args):
    receiver = Future()
    receiver.outstanding_call = Call(engine.intern(dumps(fn), fn.__name__), dumps((args, {})), receiver)
    return receiver.outstanding_call


@pytest.fixture
def engine():
    engine = Engine(1)
    yield engine
    engine.shutdown(wait=True, cancel=True)


def run(engine, fn, *args):
    call = make_call(engine, fn, *args)
    engine.submit(call)
    assert call.receiver.done.wait(PATIENCE)
    return call.receiver


def test_engine_that_was_not_used_has_no_thread_and_no_processes(engine):
    assert not engine.has_begun
    assert engine.thread is None
    assert engine.pids == []
    assert engine.counts == {"queued": 0, "outstanding": 0, "workers": 0}
    engine.shutdown(wait=True, cancel=False)
    assert engine.stopped
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        engine.submit(make_call(engine, abs, -1))


def test_call_runs_in_a_worker(engine):
    pid = run(engine, os.getpid).value
    assert engine.pids == [pid] != [os.getpid()]
    assert list(engine.processes) == [pid]
    assert engine.has_begun
    assert engine.thread.name == "woolexec-engine"
    assert engine.counts["workers"] == 1


def test_thread_and_workers_are_gone_after_the_shutdown(engine):
    run(engine, os.getpid)
    thread = engine.thread
    engine.shutdown(wait=True, cancel=False)
    assert not thread.is_alive()
    assert engine.thread is None
    assert engine.pids == []
    engine.shutdown(wait=True, cancel=False)


def test_queued_call_is_cancelled_in_the_thread_that_asks(engine):
    call = make_call(engine, abs, -1)
    engine.scheduler.main.queue.offer(call)
    assert engine.cancel(call.receiver, take_no_answer, force=False)
    assert not engine.cancel(call.receiver, take_no_answer, force=False)
    assert call.payload == b""  # its arguments are not kept until the queue is looked through


def test_future_without_a_call_is_neither_cancelled_nor_running(engine):
    assert not engine.cancel(Future(), take_no_answer, force=True)
    assert not engine.is_running(Future())


def test_ended_workers_break_the_engine(engine):
    run(engine, os.getpid)
    engine.end_workers(signal.SIGKILL)
    assert isinstance(engine.broken, WorkerLostError)


def test_run_on_all_makes_a_call_for_each_worker():
    engine = Engine(3)
    try:
        made = engine.run_on_all(lambda: make_call(engine, os.getpid))
        for _, call in made:
            assert call.receiver.done.wait(PATIENCE)
        assert sorted(call.receiver.value for _, call in made) == sorted(engine.pids)
        assert len({worker.id for worker, _ in made}) == 3
    finally:
        engine.shutdown(wait=True, cancel=True)


def test_join_in_the_engines_own_thread_returns_at_once(engine):
    run(engine, os.getpid)
    done = threading.Event()
    engine.tell(lambda: (engine.join(), done.set()))
    assert done.wait(PATIENCE)


def test_copy_in_a_forked_child_runs_nothing_and_waits_for_nothing(engine):
    engine._loop.forked = True
    try:
        call = make_call(engine, abs, -1)
        with pytest.raises(RuntimeError, match=FORKED_CHILD):
            engine.wait(call.receiver, 1.0)
        with pytest.raises(RuntimeError, match=FORKED_CHILD):
            engine.wait_for(bool)
        assert not engine.cancel(call.receiver, take_no_answer, force=True)
        engine.shutdown(wait=True, cancel=True)
        assert not engine.stopped
    finally:
        engine._loop.forked = False


def test_shutdown_waits_for_a_call_whose_thread_another_one_was_just_starting(engine, monkeypatch):
    """The first to submit starts the engine's thread; nobody else who submits meanwhile waits for that."""
    begins, go_on = threading.Event(), threading.Event()
    loop = engine._loop
    wake = loop.wake

    def begin_late():
        if threading.current_thread() is first:
            begins.set()
            go_on.wait(PATIENCE)
        wake()

    monkeypatch.setattr(loop, "wake", begin_late)
    calls = [make_call(engine, abs, -number) for number in (1, 2)]
    first = threading.Thread(target=engine.submit, args=calls[:1])
    first.start()
    begins.wait(PATIENCE)
    engine.submit(calls[1])
    engine.shutdown(wait=False, cancel=False)
    go_on.set()
    first.join()

    for call in calls:
        assert call.receiver.done.wait(PATIENCE)
    assert [call.receiver.value for call in calls] == [1, 2]


def test_shutdown_that_cancels_is_handled_before_outcomes_that_come_after_it(monkeypatch, tmp_path):
    is_late, go_on = threading.Event(), threading.Event()

    def wait(selector, timeout, wait=Selector.wait):
        ready = wait(selector, timeout)
        if is_late.is_set() and go_on.wait(PATIENCE):
            is_late.clear()
            ready = wait(selector, 0.0)
        return ready

    monkeypatch.setattr(Selector, "wait", wait)
    with PeerPoolExecutor(1) as pool:
        running = pool.submit(tasks.hold, tmp_path)
        tasks.wait_held(tmp_path)
        waiting = [pool.submit(abs, -1) for _ in range(20)]
        (worker,) = pool._engine.scheduler.workers.values()
        is_late.set()
        pool.shutdown(wait=False, cancel_futures=True)
        tasks.release(tmp_path)
        assert select.select([worker.sock], [], [], PATIENCE)[0]  # its outcome has come, and the request is there too
        go_on.set()
        assert running.result(PATIENCE) == "held"
    assert all(future.cancelled() for future in waiting)
