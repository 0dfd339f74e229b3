"""Tasks that running calls submit: the test acts as the worker that submits them, and as those that run them."""

import gc
import weakref

import pytest

from woolexec.core.call import ASYNCIO, THREAD
from woolexec.engine import nested
from woolexec.engine.worker_process import unread_by
from woolexec.platform.posix import SIGKILL, SIGTERM
from woolexec.wire.exceptions import load_failure
from woolexec.wire.frames import Cancel, Close, Drop, Keep, Next, Options, Raise, Return, Start, Started, Submit, Yield
from woolexec.worker.records import EXITED


@pytest.fixture
def engine(make_engine):
    return make_engine(limit=2)


@pytest.fixture
def parent(engine):
    """A call that runs, and submits tasks; its worker and the far end of that."""
    return engine.running("parent")


def submit(engine, parent, task=1, **fields):
    """Submit a task of a call; return the engine's call for it, or None if there is none."""
    call, worker, _ = parent
    engine.tell(worker, Submit(**{"task": task, "function": b"child", "payload": b"", "parent": call.number} | fields))
    receiver = engine.nested._tasks.get((worker.id, task))
    return None if receiver is None else receiver.outstanding_call


def run(engine, child):
    """Have a worker start a task; return that worker and its far end."""
    worker = child.place.target
    far = engine.far(worker)
    far.start(child, engine.loop.now)
    far.frames()
    return worker, far


def test_task_runs_and_its_value_goes_to_the_worker_that_submitted_it_under_its_number(engine, parent):
    _, worker, far = parent
    child = submit(engine, parent, task=5)
    other, _ = run(engine, child)
    assert other is not worker
    engine.tell(other, Return(call=(child.number,), seconds=(0.1,), payload=b"value"))
    assert far.frames() == [Return(call=(5,), seconds=(0.0,), payload=b"value", size=(5,))]
    assert engine.nested._tasks == {}


def test_value_comes_with_changed_context_variables(engine, parent):
    child = submit(engine, parent)
    other, _ = run(engine, child)
    engine.tell(other, Return(call=(child.number,), seconds=(0.1,), context=b"context", payload=b"value"))
    assert parent[2].frames() == [Return(call=(1,), seconds=(0.0,), context=b"context", payload=b"value", size=(5,))]


def test_exception_goes_to_the_worker_that_submitted_the_task(engine, parent):
    child = submit(engine, parent)
    other, _ = run(engine, child)
    engine.tell(other, Raise(call=child.number, payload=b"pickled"))
    assert parent[2].frames() == [Raise(call=1, payload=b"pickled")]


def test_options_of_a_task_are_those_that_it_was_submitted_with(engine, parent):
    asked = Options(timeout=2.5, retries=3, name="report", priority=4, retry_on=("builtins:ValueError",))
    child = submit(engine, parent, options=asked)
    options = child.options
    assert (options.timeout, options.retries, options.name, options.priority) == (2.5, 3, "report", 4)


@pytest.mark.parametrize("asked", [Options(timeout=-1.0), Options(require=("gpu>=none",))])
def test_options_that_make_no_sense_fail_that_task_alone(engine, parent, asked):
    assert submit(engine, parent, options=asked) is None
    (frame,) = parent[2].frames()
    assert (frame.__class__, frame.call) == (Raise, 1)
    assert isinstance(load_failure(frame.payload), ValueError)
    assert not engine.scheduler.has_waiting


def test_task_whose_payload_no_descriptor_was_left_for_fails_with_that_error(engine, parent):
    call, worker, far = parent
    frame = Submit(task=1, function=b"child", parent=call.number)
    frame.payload = OSError(24, "Too many open files")
    engine.nested.hear(worker, frame, None)
    engine.round()
    (frame,) = far.frames()
    assert load_failure(frame.payload).errno == 24


def test_task_of_a_broken_executor_fails_with_its_reason(engine, parent):
    call, worker, far = parent
    engine.nested.hear(worker, Submit(task=1, function=b"child", payload=b"", parent=call.number), ValueError("broken"))
    engine.round()
    (frame,) = far.frames()
    assert str(load_failure(frame.payload)) == "broken"


def test_task_that_waits_is_cancelled(engine, parent):
    _, worker, far = parent
    engine.submit(*(engine.call() for _ in range(100)))
    child = submit(engine, parent, task=1)
    if child.place is not None:  # it was sent ahead
        engine.scheduler.recall(child.place)
    engine.tell(worker, Cancel(call=1))
    assert far.frames(Raise) == [Raise(call=1, payload=b"")]
    assert child.state == "done"


def test_task_that_runs_is_cancelled_by_close_alone(engine, parent):
    _, worker, far = parent
    child = submit(engine, parent)
    other, _ = run(engine, child)
    engine.tell(worker, Cancel(call=1))
    assert (far.frames(Raise), engine.killed) == ([], [])
    engine.tell(worker, Close(call=1))
    assert far.frames(Raise) == [Raise(call=1, payload=b"")]
    assert (other.id, SIGTERM) in engine.killed


def test_coroutine_that_runs_is_cancelled_where_it_runs(engine, parent):
    _, worker, far = parent
    child = submit(engine, parent, lane=ASYNCIO)
    other, far_of_child = run(engine, child)
    engine.tell(worker, Close(call=1))
    assert far_of_child.frames(Cancel) == [Cancel(call=child.number)]
    assert far.frames(Raise) == []  # it ends after its clean-up
    engine.tell(other, Raise(call=child.number, payload=b"cancelled"))
    assert far.frames(Raise) == [Raise(call=1, payload=b"cancelled")]


def test_command_for_a_task_that_is_over_goes_nowhere(engine, parent):
    _, worker, far = parent
    for frame in (Cancel(call=9), Close(call=9), Next(call=9)):
        engine.tell(worker, frame)
    assert far.frames() == []


def test_stream_is_pulled_and_its_items_come_under_the_tasks_number(engine, parent):
    _, worker, far = parent
    child = submit(engine, parent, task=5, lane=THREAD)
    other, far_of_child = run(engine, child)
    engine.tell(other, Started(call=(child.number,)))
    assert far.frames(Started) == [Started(call=(5,))]
    engine.tell(worker, Next(call=5))
    assert far_of_child.frames(Next) == [Next(call=child.number)]
    engine.tell(other, Yield(call=child.number, payload=b"item"))
    assert far.frames(Yield) == [Yield(call=5, payload=b"item")]
    engine.tell(worker, Close(call=5))
    assert far_of_child.frames(Close) == [Close(call=child.number)]


def test_stream_whose_item_no_descriptor_was_left_for_fails_and_is_cancelled(engine, parent):
    child = submit(engine, parent, lane=THREAD)
    other, far_of_child = run(engine, child)
    engine.tell(other, Started(call=(child.number,)))
    parent[2].frames()
    frame = Yield(call=child.number)
    frame.payload = OSError(24, "Too many open files")
    child.receiver.deliver_item(child, frame)
    engine.round()
    frames = [*parent[2].frames(), *far_of_child.frames()]  # one worker may be both
    assert Cancel(call=child.number) in frames
    (frame,) = (frame for frame in frames if frame.__class__ is Raise)
    assert load_failure(frame.payload).errno == 24


def test_stream_is_open_for_the_shutdown_only_when_the_task_that_opened_it_has_ended(engine, parent):
    call, worker, _ = parent
    child = submit(engine, parent, lane=THREAD)
    assert not child.receiver.is_open
    other, _ = run(engine, child)
    engine.tell(other, Started(call=(child.number,)))
    assert not child.receiver.is_open
    engine.tell(worker, Return(call=(call.number,), seconds=(0.1,), payload=b"value"))
    assert child.receiver.is_open


def test_tasks_of_a_worker_that_died_are_ended(engine, parent):
    _, worker, _ = parent
    running = submit(engine, parent, task=1)
    other, _ = run(engine, running)
    engine.report((EXITED, worker.id, -SIGTERM))
    assert engine.nested._tasks == {}
    assert (other.id, SIGTERM) in engine.killed


def test_tasks_of_a_call_that_was_ended_are_ended_and_others_are_not(make_engine):
    engine = make_engine(limit=3)
    one, other = engine.running("one"), engine.running("other")
    child_of_one = submit(engine, one, lane=ASYNCIO)
    run(engine, child_of_one)
    child_of_other = submit(engine, other, task=2, lane=ASYNCIO)
    run(engine, child_of_other)
    engine.nested.end_children(one[0])
    engine.round()
    cancelled = [frame.call for worker in engine.workers for frame in engine.far(worker).frames(Cancel)]
    assert cancelled == [child_of_one.number]


def test_nothing_is_sent_to_a_worker_that_is_dead(engine, parent):
    _, worker, _ = parent
    child = submit(engine, parent)
    other, _ = run(engine, child)
    worker.is_dead = True
    engine.tell(other, Return(call=(child.number,), seconds=(0.1,), payload=b"value"))
    worker.is_dead = False
    assert parent[2].frames() == []


def test_tasks_with_the_same_function_share_it(engine, parent):
    one, other = (submit(engine, parent, task=task) for task in (1, 2))
    assert one.function is other.function
    assert one.function.name == "a nested task"
    named = submit(engine, parent, task=3, function=b"another", name="named")
    assert named.function.name == "named"
    assert Start not in {frame.__class__ for frame in parent[2].frames()} or one.place is not None


def test_arguments_of_all_tasks_of_tasks_are_bounded_and_those_of_one_alone_are_not(engine, parent):
    engine.nested._limit = 10_000
    large = submit(engine, parent, task=1, payload=bytes(15_000))
    assert submit(engine, parent, task=2, payload=bytes(10)) is None
    [refused] = parent[2].frames()
    assert refused.call == 2
    assert "exceed the limit of 10000 bytes" in str(load_failure(refused.payload))
    other, _ = run(engine, large)
    engine.tell(other, Return(call=(large.number,), seconds=(0.1,), payload=b"value"))
    assert engine.nested.size == 0
    assert submit(engine, parent, task=3, payload=bytes(4000)) is not None
    assert submit(engine, parent, task=4, payload=bytes(3000)) is not None
    engine.nested.orphan(parent[1])
    assert engine.nested.size == 0


@pytest.mark.parametrize("field", ["function", "context"])
def test_functions_and_context_of_tasks_of_tasks_count_too_and_a_shared_function_once(engine, parent, field):
    engine.nested._limit = 10_000
    first = submit(engine, parent, task=1, **{field: b"f" * 7000})
    assert first is not None
    assert submit(engine, parent, task=2, **{field: b"g" * 7000}) is None
    same = submit(engine, parent, task=3, **{field: b"f" * 7000})
    assert (same is not None) is (field == "function")
    engine.nested.orphan(parent[1])
    assert engine.nested.size == len(engine.nested._functions) == 0


def test_outcomes_that_the_worker_of_a_task_does_not_read_are_bounded(engine, parent):
    def end(task):
        child = submit(engine, parent, task=task)
        other, _ = run(engine, child)
        engine.tell(other, Return(call=(child.number,), seconds=(0.1,), payload=bytes(120_000)))

    def read():
        found = []
        while parent[1]._out:
            found += parent[2].frames()
            parent[1].flush()
        return [frame.__class__ for frame in found + parent[2].frames()]

    engine.nested._limit = 1_000_000
    for task in range(1, 60):
        end(task)
    assert unread_by(parent[1]) <= 1_000_000
    kinds = read()
    assert (len(kinds), {*kinds}) == (59, {Return, Raise})
    end(99)
    assert read() == [Return]


def test_items_that_the_worker_of_a_task_does_not_read_are_bounded(engine, parent, monkeypatch):
    engine.nested._limit = 1_000_000
    child = submit(engine, parent, lane=THREAD)
    run(engine, child)
    cancelled = []
    monkeypatch.setattr(engine.nested, "cancel", cancelled.append)
    for _ in range(50):
        child.receiver.deliver_item(child, Yield(call=child.number, payload=bytes(120_000)))
        if cancelled:
            break
    assert cancelled == [child]
    assert unread_by(parent[1]) <= 1_000_000
    frames = []
    while parent[1]._out:
        frames += parent[2].frames()
        parent[1].flush()
    last = (frames + parent[2].frames())[-1]
    assert isinstance(load_failure(last.payload), MemoryError)


def test_tasks_without_arguments_are_bounded_too(engine, parent):
    engine.nested._limit = 10_000
    made = [submit(engine, parent, task=task) for task in range(1, 20)]
    assert 2 < sum(each is not None for each in made) < 12


def test_number_of_a_task_that_is_outstanding_cannot_be_used_again(engine, parent):
    for _ in range(2):
        submit(engine, parent, task=1)
    assert list(parent[1].log) == ["a Submit frame could not be handled: ValueError('task 1 is already outstanding')"]


# -- values -----------------------------------------------------------------------------------------------------------


def test_value_of_a_call_is_one_for_all_tasks_that_need_it(engine, parent):
    _, worker, _ = parent
    engine.tell(worker, Keep(value=7, payload=b"value"))
    first, second = (submit(engine, parent, task=task, payload=b"args", values=(7,)) for task in (1, 2))
    assert first.payload.payload == b"args"
    assert [value.payload for value in first.payload.values] == [b"value"]
    assert first.payload.values[0] is second.payload.values[0]
    other, _ = run(engine, first)
    assert other.has_sent.values == {first.payload.values[0].number: len(b"value")}


def test_value_that_was_dropped_stays_for_tasks_that_need_it(engine, parent):
    _, worker, _ = parent
    engine.tell(worker, Keep(value=7, payload=b"value"))
    child = submit(engine, parent, values=(7,))
    engine.tell(worker, Drop(value=(7, 8)))
    assert engine.nested._values == {}
    assert child.payload.values[0].payload == b"value"


def test_dropped_values_that_tasks_need_count_until_these_end(engine, parent):
    _, worker, far = parent
    engine.nested._limit = 10_000
    for number in range(1, 9):
        engine.tell(worker, Keep(value=number, payload=bytes(3000)))
        submit(engine, parent, task=number, values=(number,))
        engine.tell(worker, Drop(value=(number,)))
    assert len(engine.nested._tasks) == 1
    assert {frame.__class__ for frame in far.frames()} == {Raise}
    engine.nested.orphan(worker)
    assert engine.nested._tasks == {}


def test_number_of_values_is_bounded(engine, parent, monkeypatch):
    monkeypatch.setattr(nested, "_VALUES", 3)
    for number in range(4):
        engine.tell(parent[1], Keep(value=number))
    assert engine.killed == [(parent[1].id, SIGKILL)]


def test_values_of_a_worker_end_with_it(engine, parent):
    _, worker, _ = parent
    engine.tell(worker, Keep(value=7, payload=b"value"))
    assert engine.nested.size > 5
    engine.nested.orphan(worker)
    assert engine.nested._values == {}
    assert engine.nested.size == 0


@pytest.mark.parametrize("lack", ["room", "descriptors"])
def test_value_that_finds_no_room_fails_the_tasks_that_need_it_alone(engine, parent, lack):
    _, worker, far = parent
    engine.nested._limit = 10_000
    engine.tell(worker, Keep(value=6, payload=bytes(6000)))
    last = Keep(value=7, payload=bytes(6000))
    if lack == "descriptors":
        last.payload = OSError("no descriptors")
    engine.nested.hear(worker, last, None)
    assert submit(engine, parent, task=1, values=(6, 7)) is None
    (refused,) = far.frames()
    assert lack in str(load_failure(refused.payload)).replace("exceed the limit", "room")
    assert submit(engine, parent, task=2, values=(6,)) is not None
    engine.tell(worker, Drop(value=(6, 7)))
    assert engine.nested._values == {}


def test_value_that_was_never_sent_ends_the_worker_that_names_it(engine, parent):
    assert submit(engine, parent, values=(7,)) is None
    assert engine.killed == [(parent[1].id, SIGKILL)]


def test_engine_that_has_values_is_collected_with_them(make_engine):
    engine = make_engine()
    _, worker, _ = engine.running()
    engine.tell(worker, Keep(value=7, payload=b"value"))
    value = weakref.ref(engine.nested._values[worker.id, 7])
    about = weakref.ref(engine.nested)
    engine.nested = engine.dispatcher.nested = engine.outcomes._nested = engine.supervisor.nested = None
    gc.collect()
    assert about() is value() is None
