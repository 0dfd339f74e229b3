"""The stacks in the errors of calls that are ended; the test decides what the workers answer."""

import os

import pytest

from woolexec.core.call import ASYNCIO
from woolexec.engine.last_look import LONGEST
from woolexec.platform.posix import SIGTERM, SIGURG
from woolexec.wire.frames import Inspected, Return
from woolexec.worker.records import EXITED, FORKED

STACK = '  File "/a.py", line 1, in f'
NOTE = f"its last stack, most recent call last:\n{STACK}"


@pytest.fixture
def ready(engine):
    def ready(**options):
        call, worker, far = engine.running(timeout=2.0, **options)
        worker.pid = os.getpid()
        far.page.set_ready()
        return call, worker, far

    return ready


def answer(engine, far, call):
    area = far.page.stacks
    area.answer(area.asked, Inspected(call=(call.number,), stack=(STACK,)))
    engine.loop.pass_time(0.05)


def notes(call):
    (error,) = call.receiver.outcomes
    assert isinstance(error, TimeoutError)
    return getattr(error, "__notes__", [])


def test_call_is_ended_after_its_stack_was_taken(engine, ready):
    call, worker, far = ready()
    engine.loop.pass_time(1.9)
    assert engine.killed == []
    engine.loop.pass_time(0.101)
    assert engine.killed == [(worker.id, SIGURG)]
    assert call.receiver.outcomes == []
    answer(engine, far, call)

    assert notes(call) == [NOTE]
    assert (worker.id, SIGTERM) in engine.killed


def test_coroutine_is_cancelled_after_its_stack_was_taken(engine, ready):
    call, _, far = ready(lane=ASYNCIO)
    receiver = call.receiver
    engine.loop.pass_time(2.001)
    answer(engine, far, call)

    (error,) = receiver.outcomes
    assert error.__notes__ == [NOTE]


def test_worker_that_does_not_answer_is_ended_all_the_same(engine, ready):
    call, worker, _ = ready()
    engine.loop.pass_time(2.0 + LONGEST + 0.1)

    assert notes(call) == []
    assert (worker.id, SIGTERM) in engine.killed


def test_call_with_a_very_short_timeout_is_ended_at_once(engine):
    call, worker, far = engine.running(timeout=0.09)
    worker.pid = os.getpid()
    far.page.set_ready()
    engine.loop.pass_time(0.091)

    assert notes(call) == []
    assert engine.killed == [(worker.id, SIGTERM)]


def test_call_that_ends_while_it_is_looked_at_is_not_ended(engine, ready):
    call, worker, far = ready()
    engine.loop.pass_time(2.001)
    engine.tell(worker, Return(call=(call.number,), seconds=(2.0,), payload=b"value"))
    answer(engine, far, call)
    engine.loop.pass_time(1.0)

    assert call.receiver.outcomes == [b"value"]
    assert (worker.id, SIGTERM) not in engine.killed
    assert engine.cancellation.last_look._seen == {}


def test_error_of_a_dead_worker_has_the_stack_that_it_was_asked_for(engine, ready):
    call, worker, far = ready()
    engine.rounds.inspect(lambda _: None, 1.0, 1)
    answer(engine, far, call)
    engine.report((FORKED, worker.id, worker.pid), (EXITED, worker.id, 3))
    engine.round()

    (error,) = call.receiver.outcomes
    assert error.__notes__ == [f"its last stack (when it was asked for), most recent call last:\n{STACK}"]


def test_error_of_a_dead_worker_that_was_not_asked_has_none(engine, ready):
    call, worker, _ = ready()
    engine.report((FORKED, worker.id, worker.pid), (EXITED, worker.id, 3))
    engine.round()

    (error,) = call.receiver.outcomes
    assert not hasattr(error, "__notes__")
