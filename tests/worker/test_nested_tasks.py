import contextvars
import itertools
import threading
from types import SimpleNamespace

import pytest

from tests.worker.lanes import SOON, Engine, job
from woolexec.wire.frames import Cancel, Close, Raise, Return, Started, Submit, Wait, Yield
from woolexec.wire.pickling import dumps_value
from woolexec.worker import nested_tasks
from woolexec.worker.setup import Setup


class Reading:
    is_open = False

    def open(self):
        self.is_open = True


class Receiver:
    """Notes what is delivered to it."""

    def __init__(self):
        self.got = []

    def __getattr__(self, name):
        return lambda *args: self.got.append((name, *args))


@pytest.fixture
def worker(monkeypatch):
    """A worker whose main thread runs call 5."""
    lane = SimpleNamespace(current=job(5, len))
    worker = SimpleNamespace(transport=Engine(), reading=Reading(), lane=lane)
    monkeypatch.setattr(nested_tasks, "worker", worker)
    monkeypatch.setattr(nested_tasks, "_tasks", {})
    monkeypatch.setattr(nested_tasks, "_numbers", itertools.count(1))
    return worker


FUNCTION = SimpleNamespace(payload=b"function", name="fn", lane=0)


def make_call(receiver, context=b""):
    return SimpleNamespace(
        line=None, number=0, receiver=receiver, function=FUNCTION, payload=b"payload", context=context, options=None
    )


def submit(receiver=None, context=b""):
    call = make_call(receiver or Receiver(), context)
    nested_tasks.submit(call)
    assert call.payload == b""  # the engine has it
    return call.number


def take(frame):
    nested_tasks.HANDLERS[type(frame)](frame)


def test_task_is_sent_with_the_number_of_the_call_that_submits_it(worker):
    numbers = submit(), submit(context=b"context")

    assert worker.transport.next() == Submit(task=1, parent=5, function=b"function", name="fn", payload=b"payload")
    assert worker.transport.next().context == b"context"
    assert numbers == (1, 2)


def test_call_has_its_number_before_an_outcome_can_arrive(worker):
    seen = []
    call = make_call(SimpleNamespace(deliver=lambda *_: seen.append(call.number)))
    worker.transport.send = lambda *_: take(Return(call=(1,), payload=b""))

    nested_tasks.submit(call)

    assert seen == [1]


def test_function_has_the_setup_of_the_call_that_submits_it(worker):
    worker.lane.current.slot.setup = setup = Setup([("crate", "1" * 64)])
    submit()
    frame = worker.transport.next()

    assert frame.function == setup.wrap([b"function"])
    assert frame.code == ("1" * 64,)


def test_task_outside_of_a_worker_is_an_error(monkeypatch):
    monkeypatch.setattr(nested_tasks, "worker", None)
    with pytest.raises(RuntimeError, match="not in a worker of a PeerPoolExecutor"):
        submit()


def test_task_without_a_call_is_an_error_that_leaves_nothing_behind(worker):
    worker.lane.current = None
    with pytest.raises(RuntimeError, match="no call is running in this worker"):
        submit()

    assert nested_tasks._tasks == {}
    assert worker.transport.is_quiet


def test_call_of_the_context_comes_before_that_of_the_main_thread(worker):
    beside = job(6, len)
    ctx = contextvars.copy_context()
    ctx.run(nested_tasks.current.set, beside)

    assert ctx.run(nested_tasks.current_job) is beside
    assert nested_tasks.current_job() is worker.lane.current


@pytest.mark.parametrize(
    ("frame", "delivered"),
    [
        (Return(call=(1,), payload=b"p"), ("deliver", None, b"p")),
        (Return(call=(1,), payload=b"p", context=b"c"), ("deliver_context", None, b"c", b"p")),
        (Raise(call=1, payload=b"e"), ("deliver_failure", None, b"e")),
        (Raise(call=1), ("deliver_failure", None, None)),
    ],
)
def test_outcome_is_delivered_once(worker, frame, delivered):
    receiver = Receiver()
    submit(receiver)
    take(frame)
    take(frame)

    assert receiver.got == [delivered]


def test_start_and_items_of_a_stream_are_delivered_until_its_end(worker):
    stream, item = Receiver(), Yield(call=1, payload=dumps_value(1))
    submit(stream)
    for frame in (Started(call=(1,)), item, item, Return(call=(1,)), Started(call=(1,)), item):
        take(frame)

    assert [name for name, *_ in stream.got] == ["deliver_start", "deliver_item", "deliver_item", "deliver"]
    assert stream.got[1] == ("deliver_item", None, item)


def test_cancelled_task_is_dropped_and_by_force_ended(worker):
    nested_tasks.cancel(3)
    nested_tasks.cancel(4, force=True)

    assert [worker.transport.next(), worker.transport.next()] == [Cancel(call=3), Close(call=4)]


def test_end_of_an_abandoned_task_opens_its_latch_and_reaches_nobody_else(worker):
    receiver = Receiver()
    number = submit(receiver)
    ended = nested_tasks.when_ended(number)
    assert not ended.wait(0)

    take(Yield(call=number))
    assert not ended.wait(0)
    take(Raise(call=number))

    assert ended.wait(0)
    assert receiver.got == []


def test_latch_of_a_task_that_has_ended_is_open(worker):
    assert nested_tasks.when_ended(9).wait(0)


def test_engine_is_told_once_that_a_call_occupies_the_main_thread(worker):
    nested_tasks.wait_lane()
    nested_tasks.wait_lane()

    assert worker.transport.next() == Wait(call=5, stays=True)
    assert worker.transport.is_quiet
    assert worker.reading.is_open


def test_call_beside_the_main_thread_does_not_occupy_it(worker):
    ctx = contextvars.copy_context()
    ctx.run(nested_tasks.current.set, job(6, len))
    ctx.run(nested_tasks.wait_lane)

    assert worker.transport.is_quiet
    assert worker.reading.is_open


def test_only_a_call_of_the_main_thread_reads_while_it_waits(worker):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(nested_tasks.must_read()))
    thread.start()
    thread.join(SOON)

    assert (nested_tasks.must_read(), seen) == (threading.current_thread() is threading.main_thread(), [False])
    worker.lane.current = None
    assert not nested_tasks.must_read()


@pytest.mark.parametrize("was_open", [False, True])
def test_reader_thread_goes_on_after_a_wait_if_it_was_reading_before(worker, was_open):
    worker.reading.is_open = was_open
    waits = []

    def wait_for(is_done, deadline):
        worker.reading.is_open = False  # the main thread reads
        waits.append((is_done, deadline))

    worker.lane.wait_for = wait_for
    nested_tasks.wait_until(bool, None)

    assert worker.reading.is_open is was_open
    assert waits == [(bool, None)]


def test_flush_ends_when_all_is_sent_or_after_its_time(worker, monkeypatch):
    left = [True, True, False]
    transport = type("Transport", (), {"is_sending": property(lambda _: left.pop(0))})
    worker.transport = transport()
    nested_tasks.flush()
    assert left == []

    monkeypatch.setattr(nested_tasks, "_FLUSHING", 0.01)
    worker.transport = SimpleNamespace(is_sending=True)
    nested_tasks.flush()
