"""The rounds of an engine, and its end."""

import pytest

from woolexec import WorkerLostError
from woolexec.core.call import ASYNCIO
from woolexec.platform.posix import SIGINT, SIGKILL, SIGTERM
from woolexec.wire.frames import Recalled, Return, Stop
from woolexec.worker.records import EXITED


def returned(call, value=b"value"):
    return Return(call=(call.number,), seconds=(0.001,), payload=value)


def exit_all(engine):
    for worker in engine.workers:
        engine.report((EXITED, worker.id, 0))


def test_engine_that_is_shut_down_goes_on_until_all_calls_are_done(engine):
    engine.function().seconds = None  # so that no call is sent ahead
    first, *_ = calls = engine.submit(*(engine.call() for _ in range(3)))
    worker = first.place
    engine.rounds.shut(cancel=False)
    for call in calls:
        assert engine.round()
        engine.function().seconds = None
        engine.far(worker).start(call, engine.loop.now)
        engine.tell(worker, returned(call))
    assert engine.round()  # the worker has been told to stop, and has not ended
    assert Stop() in engine.far(worker).frames()
    exit_all(engine)
    assert not engine.round()
    assert [call.receiver.outcomes for call in calls] == [[b"value"]] * 3


def test_engine_does_not_end_while_calls_wait_for_a_place(make_engine):
    engine = make_engine(limit=0)
    engine.submit(engine.call())
    engine.rounds.shut(cancel=False)
    assert engine.round()


def test_engine_without_workers_ends_at_once(engine):
    engine.rounds.shut(cancel=False)
    assert not engine.round()


def test_shutdown_with_cancel_ends_what_waits_and_lets_finish_what_runs(engine):
    running, worker, _ = engine.running()
    waiting = [engine.call() for _ in range(3)]
    engine.submit(*waiting)
    engine.rounds.shut(cancel=True)
    assert [call.receiver.outcomes for call in waiting] == [[None]] * 3
    engine.tell(worker, returned(running))
    assert running.receiver.outcomes == [b"value"]


def test_shutdown_with_cancel_hands_out_what_the_standard_library_would_start(engine):
    calls = [engine.call() for _ in range(3)]
    for call in calls:
        engine.dispatcher.submit(call)
    engine.dispatcher.take_inbox()
    engine.rounds.shut(cancel=True, hand_out=True)
    assert [call.receiver.outcomes for call in calls] == [[], [None], [None]]


def test_engine_does_not_end_while_a_coroutine_runs(engine):
    coroutine, worker, _ = engine.coroutine()
    engine.rounds.shut(cancel=False)
    assert engine.round()
    assert not worker.stopping
    engine.tell(worker, returned(coroutine))
    assert worker.stopping


def test_engine_does_not_end_while_a_coroutine_waits_for_one_worker(engine):
    coroutine, worker, _ = engine.coroutine()
    engine.scheduler.recall(worker.lane_place)  # nothing is sent there until the worker has answered
    pinned = engine.call(lane=ASYNCIO)
    engine.scheduler.lanes.pin(worker.lane_place, pinned)
    engine.tell(worker, returned(coroutine))
    engine.rounds.shut(cancel=False)
    assert engine.round()
    assert not worker.stopping
    engine.tell(worker, Recalled(loop=True))
    engine.tell(worker, returned(pinned))
    assert pinned.receiver.outcomes == [b"value"]


def test_interrupt_cancels_what_waits_and_interrupts_what_runs(engine):
    _, worker, _ = engine.running()
    waiting = engine.submit(engine.call())
    engine.rounds.interrupt()
    assert waiting.receiver.outcomes == [None]
    assert (worker.id, SIGINT) in engine.killed


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL])
def test_ending_the_workers_fails_what_runs_and_all_that_follows(engine, number):
    running, worker, _ = engine.running()
    waiting = engine.submit(engine.call())
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    engine.far(worker).start(coroutine, engine.loop.now)
    engine.rounds.end_workers(number)
    assert waiting.receiver.outcomes == [None]
    for call in (running, coroutine):
        (error,) = call.receiver.outcomes
        assert isinstance(error, WorkerLostError)
        assert "terminate_workers or kill_workers" in str(error)
    assert (worker.id, number) in engine.killed
    assert engine.supervisor.broken is error
    assert engine.loop.user_code == []


def test_defect_of_the_engine_fails_every_call_and_is_raised(engine, monkeypatch):
    running, *_ = engine.running()
    queued = [engine.call() for _ in range(200)]
    engine.submit(*queued)
    inbox = engine.call()
    engine.dispatcher.submit(inbox)
    defect = ZeroDivisionError("a defect")

    def step():
        raise defect

    monkeypatch.setattr(engine.rounds, "step", step)
    with pytest.raises(ZeroDivisionError):
        engine.rounds.run()
    for call in (running, *queued, inbox):
        (error,) = call.receiver.outcomes
        assert str(error) == "the engine failed: ZeroDivisionError('a defect')"
        assert error.__cause__ is defect
    assert engine.supervisor.broken is error
    assert (engine.ends, engine.loop.stopped) == (1, True)


def test_run_sleeps_between_rounds_and_closes_all_at_the_end(engine, monkeypatch):
    slept = []

    def sleep():
        slept.append(len(engine.workers))
        if len(slept) == 2:
            engine.rounds.shut(cancel=True)
            exit_all(engine)

    engine.loop.sleep = sleep
    engine.running()
    engine.rounds.run()
    assert slept == [1, 1]
    assert engine.fork_server.is_closed
    assert (engine.ends, engine.loop.stopped, engine.workers) == (1, True, [])


def test_call_that_comes_while_the_engine_ends_is_refused(engine, monkeypatch):
    call = engine.call()
    monkeypatch.setattr(engine.supervisor, "close", lambda: engine.loop.inbox.append(call))
    engine.scheduler.main.queue.offer(call)
    engine.rounds.shut(cancel=False)
    engine.rounds.run()
    (error,) = call.receiver.outcomes
    assert str(error) == "cannot schedule new futures after shutdown"


def test_timer_is_current_as_long_as_its_call_is_outstanding(engine):
    call, worker, _ = engine.running()
    coroutine, *_ = engine.coroutine()
    is_current = engine.loop.is_current
    assert is_current((worker.id, call.number))
    assert is_current((worker.id, coroutine.number))
    engine.tell(worker, returned(call), returned(coroutine))
    assert not is_current((worker.id, call.number))
    assert not is_current((worker.id, coroutine.number))
    assert not is_current((worker.id + 1, call.number))
