"""How calls end before their outcome; the test decides what the workers do meanwhile."""

import pytest

from tests.engine.fake_workers import StreamReceiver
from woolexec.core.call import ASYNCIO, AT_ONCE, GENTLY, QUEUED, THREAD, UNCERTAIN, Chunk
from woolexec.engine import cancellation
from woolexec.engine.supervisor import GRACE
from woolexec.futures.latch import Latch
from woolexec.platform.posix import SIGKILL, SIGTERM, SIGURG
from woolexec.wire.frames import Cancel, Close, Raise, Recall, Recalled, Return, Stop
from woolexec.worker.records import EXITED, FORKED


def returned(call, value=b"value"):
    return Return(call=(call.number,), seconds=(0.001,), payload=value)


def cancel(engine, call, *, force=False):
    answers = []
    engine.cancellation.cancel(call, answers.append, force=force)
    engine.round()
    (answer,) = answers
    return answer


def die(engine, worker):
    engine.report((EXITED, worker.id, -SIGKILL))
    engine.round()


def signals(engine, number=SIGTERM):
    return [worker for worker, sent in engine.killed if sent == number]


# -- timeouts -------------------------------------------------------------------------------------------------------


def test_call_that_runs_longer_than_its_timeout_fails_and_its_worker_is_ended(engine):
    call, worker, far = engine.running(timeout=2.0)
    engine.loop.pass_time(1.9)
    assert call.receiver.outcomes == []
    engine.loop.pass_time(0.2)
    (error,) = call.receiver.outcomes
    assert isinstance(error, TimeoutError)
    assert str(error) == "f ran longer than its timeout of 2 s; its worker was ended"
    assert signals(engine) == [worker.id]
    engine.round()
    assert Stop() in far.frames()


def started_while_it_is_recalled(engine, **options):
    """Return a call that its worker has marked as started just before it could see that the call was recalled."""
    call = engine.submit(engine.call(**options))
    worker, far = call.place, engine.far(call.place)
    far.mark(call, engine.loop.now)
    engine.scheduler.recall(worker, since=call.number)
    assert call.state == UNCERTAIN
    return call, worker, far


def test_call_that_was_recalled_just_as_it_started_is_ended_in_time_although_its_worker_has_not_answered(engine):
    call, worker, far = started_while_it_is_recalled(engine, timeout=2.0)
    engine.scheduler.recall(worker, since=call.number + 1)
    far.run(call)  # it had looked before
    engine.loop.pass_time(2.1)
    (error,) = call.receiver.outcomes
    assert isinstance(error, TimeoutError)
    assert signals(engine) == [worker.id]


def test_call_that_was_recalled_just_as_it_started_is_cancelled_by_force(engine):
    call, worker, far = started_while_it_is_recalled(engine)
    far.run(call)
    assert cancel(engine, call, force=True)
    assert signals(engine) == [worker.id]


def test_worker_that_may_have_declined_a_call_is_not_ended_for_it(engine):
    call, worker, _ = started_while_it_is_recalled(engine, timeout=2.0)
    assert not cancel(engine, call, force=True)
    engine.loop.pass_time(2.1)
    assert signals(engine) == []
    engine.tell(worker, Recalled(call=(call.number,)))
    assert call.state == QUEUED


def test_timeout_counts_from_the_start_and_not_from_the_sending(engine):
    first, call = engine.submit(engine.call(), engine.call(timeout=2.0))
    worker = first.place
    far = engine.far(worker)
    far.start(first, engine.loop.now)
    engine.loop.pass_time(1.5)
    engine.tell(worker, returned(first))
    far.start(call, engine.loop.now)
    engine.loop.pass_time(1.5)
    assert call.receiver.outcomes == []
    engine.loop.pass_time(0.6)
    assert isinstance(call.receiver.outcomes[0], TimeoutError)


def test_outcome_that_is_on_the_way_when_the_timeout_expires_counts(engine):
    call, worker, far = engine.running(timeout=2.0)
    far.say(returned(call))
    engine.loop.pass_time(2.1)
    assert call.receiver.outcomes == [b"value"]
    assert signals(engine) == []
    assert worker.ready


def test_calls_behind_the_one_whose_timeout_expires_run_elsewhere(make_engine):
    engine = make_engine(limit=1)
    call, behind = engine.submit(engine.call(timeout=2.0), engine.call())
    worker = call.place
    engine.far(worker).start(call, engine.loop.now)
    engine.loop.pass_time(2.1)
    engine.round()
    assert behind.receiver.outcomes == []
    assert behind.place is not worker
    assert behind.place is not None


def test_next_call_of_the_worker_is_not_ended_in_place_of_one_that_was_just_over(engine):
    call, behind = engine.submit(engine.call(timeout=2.0), engine.call())
    worker = call.place
    far = engine.far(worker)
    far.start(call, engine.loop.now)
    far.say(returned(call))
    far.start(behind, engine.loop.now + 2.0)  # what the page says now is about this call
    engine.loop.pass_time(4.1)
    assert call.receiver.outcomes == [b"value"]
    assert signals(engine) == []
    far.say(returned(behind), Recalled(call=()))
    engine.hear(worker)
    assert behind.receiver.outcomes == [b"value"]


def test_call_whose_timeout_expires_is_tried_again_if_its_options_say_so(engine):
    call, worker, _ = engine.running(timeout=2.0, retries=1, retry_on=TimeoutError)
    engine.loop.pass_time(2.1)
    engine.round()
    assert call.receiver.outcomes == []
    assert call.place is not worker
    far = engine.far(call.place)
    far.start(call, engine.loop.now)
    engine.loop.pass_time(2.1)
    assert isinstance(call.receiver.outcomes[0], TimeoutError)


def test_coroutine_whose_timeout_expires_is_cancelled_and_its_worker_goes_on(engine):
    call, worker, far = engine.coroutine(timeout=2.0)
    receiver = call.receiver
    engine.loop.pass_time(2.1)
    engine.round()
    (error,) = receiver.outcomes
    assert str(error) == "f ran longer than its timeout of 2 s; it was cancelled"
    assert far.frames() == [Cancel(call=call.number)]
    assert signals(engine) == []
    engine.tell(worker, returned(call))  # it has swallowed the cancellation
    assert receiver.outcomes == [error]


@pytest.fixture
def stopped(monkeypatch):
    """The process ids of workers that a signal has stopped."""
    stopped = set()
    monkeypatch.setattr(cancellation, "is_stopped", stopped.__contains__)
    return stopped


def sent(engine, **options):
    """A call that is sent to a worker that has run another one, and is idle."""
    first, worker, far = engine.running()
    engine.tell(worker, returned(first))
    call = engine.submit(engine.call(**options))
    assert call.place is worker
    return call, worker, far


@pytest.mark.parametrize("timeout", [0.1, 4.0])
def test_call_that_an_idle_worker_does_not_start_runs_on_another_one(engine, timeout):
    call, worker, _ = sent(engine, timeout=timeout)
    engine.loop.pass_time(2 * timeout + max(timeout, 5.0) + 0.1)
    assert engine.killed == [(worker.id, SIGKILL)]
    die(engine, worker)
    assert call.receiver.outcomes == []
    assert call.place is not worker
    engine.far(call.place).start(call, engine.loop.now)
    engine.tell(call.place, returned(call))
    assert call.receiver.outcomes == [b"value"]


def test_worker_that_starts_a_call_late_is_not_ended(engine):
    call, worker, far = sent(engine, timeout=0.1)
    engine.loop.pass_time(4.0)
    far.start(call, engine.loop.now)
    engine.tell(worker, returned(call))
    engine.loop.pass_time(8.0)
    assert engine.killed == []


def test_call_that_is_started_late_has_its_timeout_from_then_on(engine):
    call, _, far = sent(engine, timeout=0.2)
    engine.loop.pass_time(0.3)
    far.start(call, engine.loop.now)
    engine.loop.pass_time(0.45)
    assert isinstance(call.receiver.outcomes[0], TimeoutError)


def test_call_behind_a_long_one_does_not_end_the_worker(engine):
    first, call = engine.submit(engine.call(), engine.call(timeout=0.1))
    worker = first.place
    engine.far(worker).start(first, engine.loop.now)
    engine.loop.pass_time(8.0)
    assert call.place is worker
    assert engine.killed == []


def test_new_worker_has_time_to_start_unless_it_is_stopped(engine, stopped):
    call = engine.submit(engine.call(timeout=0.1))
    worker = call.place
    engine.report((FORKED, worker.id, 4711))
    engine.loop.pass_time(8.0)
    assert engine.killed == []
    stopped.add(4711)
    engine.loop.pass_time(6.0)
    assert engine.killed == [(worker.id, SIGKILL)]


def test_coroutine_that_a_stopped_worker_does_not_start_runs_on_another_one(engine, stopped):
    call = engine.submit(engine.call(lane=ASYNCIO, timeout=0.1))
    worker = call.place.target
    engine.report((FORKED, worker.id, 4711))
    engine.loop.pass_time(8.0)
    assert engine.killed == []
    stopped.add(4711)
    engine.loop.pass_time(6.0)
    assert engine.killed == [(worker.id, SIGKILL)]
    die(engine, worker)
    assert call.receiver.outcomes == []
    assert call.place.target is not worker


def test_timeout_of_a_coroutine_counts_from_its_start(engine):
    call = engine.submit(engine.call(lane=ASYNCIO, timeout=2.0))
    engine.loop.pass_time(5.0)
    assert call.receiver.outcomes == []
    engine.far(call.place.target).start(call, engine.loop.now)
    receiver = call.receiver
    engine.loop.pass_time(1.9)
    assert receiver.outcomes == []
    engine.loop.pass_time(0.2)
    assert len(receiver.outcomes) == 1


# -- cancel ---------------------------------------------------------------------------------------------------------


def test_queued_call_is_cancelled(engine):
    engine.running()
    for _ in range(200):
        engine.dispatcher.submit(call := engine.call())
    assert cancel(engine, call)
    assert call.place is None
    assert not cancel(engine, call)


def test_call_that_was_sent_and_not_started_is_taken_back_and_never_runs(engine):
    first, call = engine.submit(engine.call(), engine.call())
    worker, far = first.place, engine.far(first.place)
    far.start(first, engine.loop.now)
    assert call.place is worker
    assert cancel(engine, call)
    assert far.start(engine.call(), 0.0) is True  # number 0, below the recall
    assert far.page.start(2) is False
    assert far.frames(Recall) == [Recall(call=2)]


def test_call_that_runs_is_not_cancelled_without_force(engine):
    call, *_ = engine.running()
    assert not cancel(engine, call)
    assert engine.killed == []


def test_call_that_runs_is_ended_by_force_with_its_worker(engine):
    call, worker, _ = engine.running()
    assert cancel(engine, call, force=True)
    assert signals(engine) == [worker.id]
    assert call.receiver.outcomes == []  # whoever cancels knows it
    engine.report((*_exited(), worker.id, -SIGTERM))
    assert call.receiver.outcomes == []


def _exited():
    from woolexec.worker.records import EXITED

    return (EXITED,)


def test_call_whose_value_has_just_come_is_not_cancelled_by_force(engine):
    call, _, far = engine.running()
    far.say(returned(call))
    assert not cancel(engine, call, force=True)
    assert call.receiver.outcomes == [b"value"]
    assert engine.killed == []


def test_worker_is_ended_only_after_its_coroutines_or_a_grace(engine):
    call, worker, far = engine.running()
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    far.start(coroutine, engine.loop.now)
    assert cancel(engine, call, force=True)
    engine.loop.pass_time(GRACE / 2)
    assert signals(engine) == []
    engine.tell(worker, returned(coroutine))
    engine.loop.pass_time(0.1)
    assert signals(engine) == [worker.id]
    assert coroutine.receiver.outcomes == [b"value"]


def test_coroutine_is_cancelled_by_force_in_its_worker(engine):
    call, _, far = engine.coroutine()
    assert not cancel(engine, call)
    assert cancel(engine, call, force=True)
    assert far.frames(Cancel) == [Cancel(call=call.number)]
    assert signals(engine) == []


# -- all of them ----------------------------------------------------------------------------------------------------


def test_all_that_waits_is_cancelled_and_what_runs_is_not(engine):
    running, _, _ = engine.running()
    waiting = [engine.call() for _ in range(5)]
    engine.submit(*waiting)
    engine.cancellation.cancel_waiting()
    assert [call.receiver.outcomes for call in waiting] == [[None]] * 5
    assert running.receiver.outcomes == []
    assert not engine.scheduler.has_waiting


def test_first_call_of_an_idle_worker_may_be_kept(engine):
    calls = engine.submit(*(engine.call() for _ in range(3)))
    engine.cancellation.cancel_waiting(keep_first=True)
    assert [call.receiver.outcomes for call in calls] == [[], [None], [None]]


def test_map_that_is_closed_sends_no_more_items_and_tells_when_none_runs(engine):
    chunk = Chunk(engine.function(), b"items", 100, receiver := engine.call().receiver, fixed=False)
    chunk.fixed = False
    engine.dispatcher.submit_chunk(chunk)
    engine.round()
    worker = engine.workers[0]
    (first, *_) = worker.outstanding.values()
    engine.far(worker).start(first, engine.loop.now)
    ended = Latch()
    engine.cancellation.cancel_chunks([chunk], ended)
    engine.round()
    assert not ended.is_open
    engine.loop.pass_time(1.0)
    assert not ended.is_open
    engine.tell(worker, Return(call=(first.number,), seconds=(0.001,), payload=b"value"))
    engine.loop.pass_time(1.0)
    assert ended.is_open
    assert list(worker.outstanding) == []
    assert receiver.outcomes[0] == b"value"


def test_coroutines_of_a_map_that_is_closed_are_cancelled(engine):
    chunk = Chunk(engine.function(lane=ASYNCIO), b"items", 1, receiver := engine.call().receiver)
    engine.dispatcher.submit_chunk(chunk)
    engine.round()
    worker = engine.workers[0]
    (call,) = worker.lane_place.outstanding.values()
    far = engine.far(worker)
    far.start(call, engine.loop.now)
    engine.cancellation.cancel_chunks([chunk])
    engine.round()
    assert far.frames(Cancel) == [Cancel(call=call.number)]
    assert receiver.outcomes == [None]


# -- streams at the end ---------------------------------------------------------------------------------------------


@pytest.fixture
def stream(engine):
    """An open stream of a plain generator."""
    call, _, far = engine.running(lane=THREAD, receiver=StreamReceiver())
    call.receiver.is_open = True
    return call, call.receiver, far


def test_open_stream_is_closed_at_once_when_nobody_pulls(engine, stream):
    call, receiver, far = stream
    engine.cancellation.close_streams()
    engine.round()
    assert receiver.shut == AT_ONCE
    assert far.frames(Close) == [Close(call=call.number, shutdown=True), Close(call=call.number)]


def test_pull_in_progress_gets_its_item_before_the_stream_is_closed(engine, stream):
    call, receiver, far = stream
    receiver.is_awaited = True
    engine.cancellation.close_streams()
    engine.loop.pass_time(5 * GRACE)
    engine.round()
    assert receiver.shut == GENTLY
    assert far.frames(Close) == [Close(call=call.number, shutdown=True)]
    receiver.is_awaited = False
    engine.loop.pass_time(0.1)
    engine.round()
    assert receiver.shut == AT_ONCE
    assert far.frames(Close) == [Close(call=call.number)]


def test_generator_that_does_not_end_is_left_behind_after_the_grace(engine, stream):
    _, receiver, _ = stream
    (worker,) = engine.workers
    engine.cancellation.close_streams()
    engine.loop.pass_time(GRACE / 2)
    assert (receiver.outcomes, engine.cancellation.is_busy(worker)) == ([], True)
    engine.loop.pass_time(GRACE)
    (error,) = receiver.outcomes
    assert isinstance(error, RuntimeError)
    assert not engine.cancellation.is_busy(worker)


def test_stream_that_is_opened_during_the_shutdown_is_closed_too(engine):
    engine.running()
    engine.cancellation.close_streams()
    call = engine.submit(engine.call(lane=THREAD, receiver=StreamReceiver()))
    far = engine.far(call.place.target)
    far.start(call, engine.loop.now)
    call.receiver.is_open = True
    engine.loop.pass_time(0.1)
    engine.round()
    assert call.receiver.shut == AT_ONCE
    assert len(far.frames(Close)) == 2


def test_stream_that_ends_in_time_is_not_left_behind(engine, stream):
    call, receiver, _ = stream
    (worker,) = engine.workers
    engine.cancellation.close_streams()
    engine.tell(worker, Raise(call=call.number, payload=b"closed"))
    engine.loop.pass_time(2 * GRACE)
    assert receiver.outcomes == [b"closed"]
    assert not engine.cancellation.is_busy(worker)
    assert signals(engine, SIGURG) == []
