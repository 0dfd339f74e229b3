"""How calls get from other threads to the workers, and what the dispatcher does for the scheduler."""

import weakref

import pytest

from tests.engine.fake_workers import Receiver
from woolexec.core.balance import REST
from woolexec.core.call import ASYNCIO, Call, Chunk, Function
from woolexec.engine import dispatcher
from woolexec.engine.dispatcher import AFTER_SHUTDOWN, OPENING
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGKILL, SIGURG
from woolexec.wire.frames import Cancel, Close, Define, Recall, Return, Start, Stop, Submit
from woolexec.wire.payload import APART


def returned(call, value=b"value", seconds=0.001):
    return Return(call=(call.number,), seconds=(seconds,), payload=value)


# -- from other threads ---------------------------------------------------------------------------------------------


def test_engine_is_woken_only_for_a_call_that_a_worker_could_take_now(engine):
    engine.running()
    woken = engine.loop.woken
    engine.dispatcher.submit(engine.call())
    engine.dispatcher.submit(engine.call())
    assert engine.loop.woken == woken
    engine.dispatcher.submit(engine.call(lane=ASYNCIO))  # it needs no idle main thread
    assert engine.loop.woken == woken + 1


def test_burst_wakes_the_engine_once(make_engine):
    engine = make_engine(limit=4)
    for _ in range(10):
        engine.dispatcher.submit(engine.call())
    assert engine.loop.woken == 1
    engine.round()
    assert len(engine.workers) == 4


def test_engine_is_woken_again_when_an_outcome_has_made_a_worker_idle(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, returned(call))
    woken = engine.loop.woken
    engine.dispatcher.submit(engine.call())
    assert engine.loop.woken == woken + 1


def test_call_for_which_the_engine_cannot_start_is_not_kept_and_the_next_one_tries_again(engine, monkeypatch):
    def wake():
        raise RuntimeError("can't start new thread")

    for submit, entry in (
        (engine.dispatcher.submit, engine.call()),
        (engine.dispatcher.submit_chunk, Chunk(engine.function(), b"", 3, None)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(engine.loop, "wake", wake)
            with pytest.raises(RuntimeError, match="can't start"):
                submit(entry)
        assert not engine.loop.inbox
    engine.dispatcher.submit(engine.call())
    assert engine.loop.woken == 1


def test_call_after_the_end_is_refused(engine):
    engine.loop.stopped = True
    call = engine.call()
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        engine.dispatcher.submit(call)
    with pytest.raises(RuntimeError, match=AFTER_SHUTDOWN):
        engine.dispatcher.submit_chunk(Chunk(engine.function(), b"", 3, Receiver()))
    engine.dispatcher.refuse_late()
    assert call.receiver.outcomes == []  # whoever submitted it has the error


def test_what_was_submitted_just_before_the_end_fails_and_requests_are_answered(engine):
    call, parts, asked = engine.call(), engine.call().receiver, []
    engine.dispatcher.submit(call)
    engine.dispatcher.submit_chunk(Chunk(engine.function(), b"", 3, parts))
    engine.loop.tell(lambda: asked.append("answered"))
    engine.loop.stopped = True
    engine.dispatcher.refuse_late()
    for receiver in (call.receiver, parts):
        (error,) = receiver.outcomes
        assert str(error) == AFTER_SHUTDOWN
    assert asked == ["answered"]


def test_calls_are_queued_in_the_order_in_which_they_were_submitted(engine):
    calls = engine.submit(*(engine.call(name) for name in "abc"))
    far = engine.far(engine.workers[0])
    assert [call.number for call in calls if call.number] == [
        call for start in far.frames(Start) for call in start.call
    ]
    assert calls[0].number == 1


def test_function_with_the_same_pickle_and_lane_is_one_function(engine):
    intern = engine.dispatcher.intern
    assert intern(b"f", "f") is intern(b"f", "g")
    assert intern(b"f", "f") is not intern(b"g", "f")
    assert intern(b"f", "f") is not intern(b"f", "f", ASYNCIO)
    large = memoryview(b"f")
    assert intern(large, "f") is not intern(large, "f")


def test_large_function_is_known_as_long_as_somebody_has_it(engine):
    payload = bytes(1 << 16)
    function = engine.dispatcher.intern(payload, "f")
    assert engine.dispatcher.intern(bytes(1 << 16), "f") is function
    about = weakref.ref(function)
    del function
    assert about() is None


# -- to and from workers --------------------------------------------------------------------------------------------


def test_outcome_is_delivered_and_the_worker_gets_the_next_call(engine):
    first, second = engine.submit(engine.call("a"), engine.call("b"))
    worker = first.place
    far = engine.far(worker)
    far.start(first, engine.loop.now)
    engine.tell(worker, returned(first))
    assert first.receiver.outcomes == [b"value"]
    assert second.place is worker
    assert second.number in {number for start in far.frames(Start) for number in start.call}


def test_worker_that_has_run_as_many_calls_as_it_may_is_dismissed(make_engine):
    engine = make_engine(calls_limit=1)
    call, worker, far = engine.running()
    engine.tell(worker, returned(call))
    assert worker.stopping
    assert far.frames() == [Stop()]
    following = engine.submit(engine.call())
    assert following.place is not worker


def test_worker_whose_stream_has_ended_is_killed_and_sent_nothing_more(engine):
    _, worker, far = engine.running()
    far.hang_up()
    assert engine.hear(worker) is False
    assert (worker.is_dead, worker.ready, worker.lane_place.ready) == (True, False, False)
    assert engine.killed == [(worker.id, SIGKILL)]


def test_worker_that_sends_what_is_no_frame_is_killed_and_the_reason_is_kept(engine):
    _, worker, far = engine.running()
    far.sock.sendall((3).to_bytes(4, "little") + b"\xff\xff\xff")
    assert engine.hear(worker) is False
    assert engine.killed == [(worker.id, SIGKILL)]
    assert len(worker.log) == 1


def test_worker_that_sends_a_frame_of_another_role_is_killed(engine):
    _, worker, far = engine.running()
    far.say(Start(function=0, call=(1,)))
    engine.hear(worker)
    assert engine.killed == [(worker.id, SIGKILL)]
    assert "Start" in worker.log[0]


def test_frames_that_the_socket_cannot_take_are_written_when_it_can(engine):
    size = max(8 << 20, APART)
    call = engine.submit(engine.call(payload=b"x" * size))
    worker = call.place
    fd = worker.sock.fileno()
    assert engine.loop.writing == {fd}
    far, frames = engine.far(worker), []
    for _ in range(1000):
        frames += far.frames()
        if not engine.loop.writing:
            break
        engine.loop.acts[fd]()
    frames += far.frames()
    define, start = frames
    assert (define.__class__, start.__class__, len(start.payload)) == (Define, Start, size)
    far.start(call, engine.loop.now)
    engine.tell(worker, returned(call))  # it reads again
    assert call.receiver.outcomes == [b"value"]


def test_targets_that_close_themselves_in_a_flush_leave_the_others_to_it(engine):
    due, flushed = engine.dispatcher.due, []

    class Closing:
        """As an outbox whose write has failed."""

        def flush(self):
            due.discard(self)
            flushed.append(self)
            return True

    targets = {Closing() for _ in range(10)}
    due.update(targets)
    engine.dispatcher.flush()
    assert not due
    assert set(flushed) == targets
    assert len(flushed) == len(targets)


def test_call_of_a_lane_interrupts_a_busy_main_thread_to_read_it(engine):
    _, worker, far = engine.running()
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    assert coroutine.place is worker.lane_place
    assert engine.killed == [(worker.id, SIGURG)]
    assert [start.call for start in far.frames(Start)] == [(coroutine.number,)]  # before the signal


def test_main_thread_is_interrupted_again_and_again_until_the_call_of_a_lane_has_started(engine):
    _, _, far = engine.running()
    coroutine = engine.submit(engine.call(lane=ASYNCIO))
    for count in range(1, 5):
        assert len(engine.killed) == count
        engine.loop.pass_time(OPENING)
    far.start(coroutine, engine.loop.now)
    engine.loop.pass_time(3 * OPENING)
    count = len(engine.killed)
    engine.loop.pass_time(20 * OPENING)
    assert len(engine.killed) == count


@pytest.mark.parametrize("state", ["idle", "reads", "dead"])
def test_worker_that_reads_by_itself_is_not_interrupted(engine, state):
    call, worker, far = engine.running()
    if state == "idle":
        engine.tell(worker, returned(call))
    elif state == "reads":
        far.page.set_open(1)
    else:
        worker.is_dead = True
        engine.loop.remove(worker.sock.fileno())
    worker.lane_place.sent(engine.call(lane=ASYNCIO), 99, 0.0, 0)
    engine.dispatcher.interrupt_reader(worker)
    assert (worker.id, SIGURG) not in engine.killed


def test_command_goes_to_the_place_of_its_call(engine):
    coroutine, _, far = engine.coroutine()
    engine.dispatcher.command(coroutine, Close(call=coroutine.number))
    engine.dispatcher.flush()
    assert far.frames() == [Close(call=coroutine.number)]


def test_command_for_a_call_that_is_over_or_queued_goes_nowhere(engine):
    coroutine, worker, far = engine.coroutine()
    engine.tell(worker, returned(coroutine))
    for call in (coroutine, engine.call(lane=ASYNCIO)):
        engine.dispatcher.command(call, Close(call=1))
    engine.dispatcher.flush()
    assert far.frames() == []


@pytest.mark.parametrize("comes_back", [False, True])
def test_recalled_coroutine_is_cancelled_when_its_place_has_answered(engine, comes_back):
    coroutine, worker, far = engine.coroutine()
    coroutine.move("doubt")
    engine.dispatcher.command(coroutine, Cancel(call=coroutine.number))
    engine.loop.pass_time(REST)
    engine.dispatcher.flush()
    assert far.frames(Cancel) == []
    if comes_back:
        engine.scheduler.lanes.withdraw(worker.lane_place, [coroutine.number])
    else:
        coroutine.move("start")
    engine.loop.pass_time(REST)
    engine.dispatcher.flush()
    assert far.frames(Cancel) == ([] if comes_back else [Cancel(call=coroutine.number)])
    assert coroutine.receiver.outcomes == ([None] if comes_back else [])


def test_cancelling_a_coroutine_ends_its_tasks(engine):
    coroutine, worker, far = engine.coroutine()
    for n in range(10):  # more than the worker takes at once
        far.say(Submit(task=n + 1, function=b"child", payload=b"", parent=coroutine.number))
    engine.hear(worker)
    engine.dispatcher.command(coroutine, Cancel(call=coroutine.number))
    engine.round()
    assert not engine.scheduler.has_waiting


def test_mark_of_a_recall_is_sent_behind_the_calls(engine):
    call, *_ = engine.submit(*(engine.call() for _ in range(3)))
    worker = call.place
    engine.scheduler.recall(worker)
    engine.dispatcher.flush()
    kinds = [frame.__class__ for frame in engine.far(worker).frames()]
    assert kinds[-1] is Recall
    assert kinds.count(Recall) == 1


# -- permits --------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle(make_engine):
    """An engine with one idle worker, which has a permit and the function `f`."""
    engine = make_engine(permits=True)
    call, worker, _ = engine.running()
    engine.tell(worker, returned(call))
    if not worker.has_permit:
        pytest.skip("this interpreter has no permits")
    return engine


def test_call_is_written_to_an_idle_worker_without_the_engine(idle):
    worker, woken = idle.workers[0], idle.loop.woken
    call = idle.call()
    idle.dispatcher.submit(call)
    assert (len(idle.loop.inbox), idle.loop.woken) == (0, woken)
    (start,) = idle.far(worker).frames()
    assert (start.__class__, bytes(start.payload)) == (Start, b"args")
    assert not idle.dispatcher.is_running(call)
    idle.far(worker).page.start(start.call[0])
    assert idle.dispatcher.is_running(call)


def test_outcome_of_a_call_that_was_written_directly_is_delivered(idle):
    worker, call = idle.workers[0], idle.call()
    idle.dispatcher.submit(call)
    (start,) = idle.far(worker).frames()
    idle.tell(worker, Return(call=start.call, seconds=(0.001,), payload=b"value"))
    assert call.receiver.outcomes == [b"value"]


def test_call_is_not_written_directly_past_what_is_in_the_inbox(idle):
    before, call = idle.call("unknown"), idle.call()
    idle.dispatcher.submit(before)
    idle.dispatcher.submit(call)
    assert list(idle.loop.inbox) == [before, call]


@pytest.mark.parametrize("kind", ["options", "lane", "unknown function", "large"])
def test_other_calls_go_through_the_inbox(idle, kind):
    call = {
        "options": lambda: idle.call(name="f", retries=1),
        "lane": lambda: idle.call(lane=ASYNCIO),
        "unknown function": lambda: Call(Function(b"g", "g"), b"", None),
        "large": lambda: idle.call(payload=b"x" * (1 << 20)),
    }[kind]()
    idle.dispatcher.submit(call)
    assert list(idle.loop.inbox) == [call]


def test_permit_is_revoked_before_a_call_from_the_inbox_is_sent(idle):
    worker, direct, queued = idle.workers[0], idle.call(), idle.call(retries=1)
    idle.dispatcher.submit(direct)
    idle.submit(queued)
    assert not worker.has_permit
    assert list(worker.outstanding.values()) == [direct, queued]
    assert direct.number < queued.number


def test_protocol_error_names_a_frame_that_links_may_not_send(engine):
    with pytest.raises(ProtocolError, match="Start"):
        engine.outcomes.hear_link(None, Start())


def test_functions_that_are_remembered_are_bounded(engine):
    first = engine.dispatcher.intern(b"0", "f")
    for n in range(1, 2 * dispatcher._FUNCTIONS_LIMIT):
        engine.dispatcher.intern(b"%d" % n, "f")
    assert engine.dispatcher.intern(b"0", "f") is not first


def test_what_a_worker_has_sent_at_once_is_handled_in_several_turns(engine):
    call, worker, far = engine.running()
    far.say(*[Submit(task=task, function=b"f", parent=call.number) for task in range(1000)])
    engine.dispatcher.hear(worker)
    assert len(engine.nested._tasks) == 256
    engine.loop.pass_time(0.001)
    assert len(engine.nested._tasks) == 1000
