"""How the engine handles the frames that workers send."""

import pytest

from tests.engine.fake_workers import StreamReceiver
from woolexec.core.call import ASYNCIO, THREAD, Relayed
from woolexec.platform.posix import SIGKILL
from woolexec.wire.frames import Broken, Log, Next, Raise, Recalled, Resume, Return, Started, Submit, Wait, Yield


def test_value_is_delivered_once(engine):
    call, worker, _ = engine.running()
    frame = Return(call=(call.number,), seconds=(0.5,), payload=b"value")
    engine.tell(worker, frame, frame)
    assert call.receiver.outcomes == [b"value"]
    assert call.function.seconds > 0.1  # it was 1e-4 before


def test_value_of_a_call_that_is_not_outstanding_is_ignored(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, Return(call=(call.number + 7,), seconds=(0.5,), payload=b"value"))
    assert call.receiver.outcomes == []


def test_value_with_context_variables_is_delivered_with_them(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, Return(call=(call.number,), seconds=(0.5,), context=b"context", payload=b"value"))
    assert call.receiver.outcomes == [(b"context", b"value")]


def test_value_for_which_no_descriptor_was_left_is_the_error_of_its_call(engine):
    call, worker, _ = engine.running()
    error = OSError(24, "Too many open files")
    engine.outcomes.returned(worker, call.number, 0.1, error)
    assert call.receiver.outcomes == [error]


def test_values_of_coroutines_are_found_in_the_lane(engine):
    call, worker, _ = engine.coroutine()
    engine.tell(worker, Return(call=(call.number,), seconds=(0.5,), payload=b"value"))
    assert call.receiver.outcomes == [b"value"]
    assert not worker.lane_place.outstanding


def test_exception_is_delivered_as_it_came(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, Raise(call=call.number, payload=b"pickled", type=("builtins:ValueError",)))
    assert call.receiver.outcomes == [b"pickled"]


def test_exception_that_the_options_name_is_tried_again_until_the_retries_are_used(engine):
    call, worker, far = engine.running(retries=1, retry_on=ValueError)
    failure = {"payload": b"pickled", "type": ("builtins:ValueError", "builtins:Exception")}
    engine.tell(worker, Raise(call=call.number, **failure))
    assert (call.receiver.outcomes, call.attempts) == ([], 2)
    far.start(call, engine.loop.now)
    engine.tell(worker, Raise(call=call.number, **failure))
    assert call.receiver.outcomes == [b"pickled"]


def test_receiver_that_passes_failures_on_knows_the_classes_first(engine):
    class Client(Relayed):
        """The receiver of a client's call."""

        def deliver_failure(self, call, payload):
            self.seen = self.types, payload

    receiver = Client()
    call, worker, _ = engine.running(receiver=receiver)
    engine.tell(worker, Raise(call=call.number, payload=b"pickled", type=("builtins:ValueError",)))
    assert receiver.seen == (("builtins:ValueError",), b"pickled")


@pytest.mark.parametrize("lane", [0, ASYNCIO])
def test_call_that_a_worker_declined_runs_again(engine, lane):
    first, call = engine.submit(engine.call(lane=lane), engine.call(lane=lane))
    place = first.place
    worker, far = place.target, engine.far(place.target)
    far.start(first, engine.loop.now)
    far.mark(call, engine.loop.now)  # it sees the recall only after that
    engine.scheduler.recall(place, since=call.number)
    assert call.state == "uncertain"
    number = call.number
    engine.tell(worker, Recalled(call=(call.number,), loop=bool(lane)))
    assert call.state == "sent"
    assert call.number > number
    assert place.recalling == 0


def test_waiting_call_lets_its_worker_run_its_tasks(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, Wait(call=call.number, serial=1))
    assert worker.waiting == [call.number]
    engine.tell(worker, Resume(call=call.number))
    assert worker.waiting == []


def test_waiting_call_that_stays_has_another_worker_started(engine):
    call, worker, _ = engine.running()
    assert not engine.scheduler.workforce.may_grow
    engine.tell(worker, Wait(call=call.number, stays=True))
    assert worker.waiting == []
    assert engine.scheduler.workforce.may_grow
    engine.tell(worker, Return(call=(call.number,), seconds=(0.5,), payload=b"value"))
    assert engine.scheduler.workforce.most == 1


def test_stream_is_told_its_start_and_its_items(engine):
    call, worker, _ = engine.running(lane=THREAD, receiver=StreamReceiver())
    engine.tell(worker, Started(call=(call.number,)))
    assert call.receiver.is_open
    engine.tell(worker, Yield(call=call.number, payload=b"1"), Yield(call=call.number, payload=b"2"))
    assert call.receiver.items == [b"1", b"2"]


def test_stream_whose_start_is_told_while_it_is_recalled_gets_its_commands(engine):
    call, worker, far = engine.running(lane=THREAD, receiver=StreamReceiver())
    call.move("doubt")
    engine.tell(worker, Started(call=(call.number,)))
    far.frames()
    engine.dispatcher.command(call, Next(call=call.number))
    worker.flush()
    assert far.frames() == [Next(call=call.number)]


def test_items_of_a_stream_that_is_over_are_ignored(engine):
    call, worker, _ = engine.running(lane=THREAD, receiver=StreamReceiver())
    engine.tell(worker, Raise(call=call.number, payload=b"end"), Yield(call=call.number, payload=b"1"))
    assert (call.receiver.outcomes, call.receiver.items) == ([b"end"], [])


def test_logging_record_goes_to_the_handlers_here_and_is_kept_for_the_error_of_a_lost_call(engine):
    engine.outcomes.handles_records = True
    call, worker, _ = engine.running()
    engine.tell(worker, Log(call=call.number, record=b"record", text="text"))
    assert engine.loop.records == [b"record"]
    assert list(worker.log) == ["text"]


def test_logging_record_that_no_client_has_asked_for_is_not_unpickled(engine):
    engine.outcomes.handles_records = False  # as at a peer
    call, worker, _ = engine.running()
    engine.tell(worker, Log(call=call.number, record=b"record", text="text"))
    assert engine.loop.records == []
    assert list(worker.log) == ["text"]


def test_logging_record_of_a_task_of_a_task_goes_to_the_client_of_the_first(make_engine):
    class Client(Relayed):
        """The receiver of a client's call."""

        def __init__(self):
            self.logged = []

        def deliver_log(self, frame):
            self.logged.append(frame.record)

    engine = make_engine(limit=2)
    client = Client()
    parent, *_ = engine.running(receiver=client)
    child = engine.submit(engine.call(parent=parent.number))
    engine.tell(child.place, Log(call=child.number, record=b"record", text="text"))
    assert client.logged == [b"record"]
    assert engine.loop.records == []


def test_task_that_is_said_to_have_submitted_itself_logs_like_any_other(make_engine):
    engine = make_engine(limit=2)
    engine.outcomes.handles_records = True
    parent, *_ = engine.running()
    child = engine.submit(engine.call(parent=parent.number + 1))
    assert child.parent == child.number
    engine.tell(child.place, Log(call=child.number, record=b"record"))
    assert engine.loop.records == [b"record"]


def test_of_a_dead_worker_only_what_its_calls_have_sent_is_handled(engine):
    call, worker, far = engine.running()
    far.say(Wait(call=call.number), Raise(call=call.number, payload=b"pickled"))
    assert engine.outcomes.read(worker, frozenset({Raise}))
    assert worker.waiting == []
    assert call.receiver.outcomes == [b"pickled"]
    assert not engine.outcomes.read(worker, frozenset({Raise}))


def test_initializer_that_raised_is_told_to_the_supervisor(make_engine):
    engine = make_engine(initializer=b"pickled")
    _, worker, _ = engine.running()
    engine.tell(worker, Broken(payload=b"pickled"))
    assert worker.stopping
    assert not worker.ready


def test_worker_that_reports_an_initializer_that_it_was_not_given_is_ended_and_nothing_is_unpickled(engine):
    _, worker, _ = engine.running()
    engine.tell(worker, Broken(payload=b"pickled"))
    assert engine.killed == [(worker.id, SIGKILL)]
    assert engine.loop.user_code == []


@pytest.mark.parametrize("frame", [Started(), Return(seconds=(0.1,)), Submit(lane=9)])
def test_worker_whose_frame_makes_no_sense_is_ended_and_the_engine_goes_on(engine, frame):
    _, worker, far = engine.running()
    far.say(frame)
    engine.dispatcher.hear(worker)
    assert engine.killed == [(worker.id, SIGKILL)]
    assert "could not be handled" in worker.log[-1]


def test_last_log_lines_of_a_worker_are_short(engine):
    call, worker, _ = engine.running()
    engine.tell(worker, Log(call=call.number, record=b"record", text="x" * 100_000))
    assert len(worker.log[-1]) < 20_000
