"""What the answer to a client's call sends over the link."""

from concurrent.futures import CancelledError

import pytest

from woolexec.core.call import Call, Function
from woolexec.mesh.server import answer
from woolexec.mesh.server.answer import Answer
from woolexec.wire.exceptions import load_failure
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Log, Raise, Return, Started, Yield


class Untold(set):
    """The numbers of calls that are not reported as started."""

    forget = set.discard


class Session:
    """A session that keeps what is sent to its client, and how each call ended."""

    def __init__(self, *outstanding):
        self.outbox = self
        self.outstanding = set(outstanding)
        self.untold = Untold(outstanding)
        self.sent, self.ends, self.logged, self.cancelled = [], [], [], []

    def put(self, frames, number=0):
        self.sent += [(frame, getattr(frame, "payload", b""), number) for frame in decode(frames)]

    def put_frame(self, number, frame, payload):
        self.sent.append((frame, payload, number))

    def forget(self, number, outcome):
        if number not in self.outstanding:
            return False
        self.outstanding.remove(number)
        self.ends.append(outcome)
        return True

    def end_stream(self, call):
        self.cancelled.append(call)

    def log(self, frame):
        self.logged.append(frame)


@pytest.fixture
def session():
    return Session(7)


@pytest.fixture
def made(session):
    """An answer to the client's call 7, and the call that runs for it here."""
    made = Answer(session, 7)
    made.outstanding_call = Call(Function(b"", "f"), b"", made)
    made.outstanding_call.function.seconds = made.outstanding_call.cost = 0.25
    return made


def test_value_is_sent_under_the_clients_number_with_the_mean_run_time(session, made):
    made.deliver(made.outstanding_call, b"value")
    ((frame, payload, number),) = session.sent
    assert (frame.__class__, *frame.call, bytes(payload), number) == (Return, 7, b"value", 7)
    assert frame.seconds == (0.25,)
    assert session.ends == ["returned"]


def test_number_of_items_that_raised_is_sent_with_the_values(session, made):
    made.raised = 3
    made.deliver(made.outstanding_call, b"values")
    assert (session.sent[0][0].raised, session.sent[0][0].seconds) == (3, (0.25,))


def test_value_with_changed_context_variables_is_sent_with_them(session, made):
    made.deliver_context(made.outstanding_call, b"context", b"value")
    ((frame, payload, _),) = session.sent
    assert (frame.call, frame.context, payload) == ((7,), b"context", b"value")


def test_large_value_is_passed_on_as_it_is(session, made):
    large = object()
    made.deliver(made.outstanding_call, large)
    assert session.sent[0][1] is large


def test_second_outcome_of_a_call_is_not_sent(session, made):
    call = made.outstanding_call
    made.deliver(call, b"value")
    made.deliver(call, b"value")
    made.deliver_context(call, b"", object())
    made.deliver_failure(call, None)
    assert len(session.sent) == 1
    assert session.ends == ["returned"]


def test_exception_of_a_task_is_passed_on_with_its_classes(session, made):
    made.types = ("builtins:ValueError", "builtins:Exception")
    made.deliver_failure(made.outstanding_call, b"pickled")
    ((frame, payload, _),) = session.sent
    assert (frame.__class__, frame.call, payload) == (Raise, 7, b"pickled")
    assert frame.type == made.types
    assert session.ends == ["raised builtins:ValueError"]


def test_exception_of_this_process_is_pickled_and_its_classes_are_named(session, made):
    made.deliver_failure(made.outstanding_call, OSError(24, "Too many open files"))
    ((frame, payload, _),) = session.sent
    assert frame.type[0] == "builtins:OSError"
    assert isinstance(load_failure(payload), OSError)
    assert session.ends == ["raised builtins:OSError"]


def test_cancelled_call_raises_cancelled_error_and_is_recorded_as_cancelled(session, made):
    made.deliver_failure(made.outstanding_call, None)
    ((frame, payload, _),) = session.sent
    assert isinstance(load_failure(payload), CancelledError)
    assert frame.type[0].endswith(":CancelledError")
    assert session.ends == ["cancelled"]


def test_start_of_a_stream_is_reported_and_the_call_is_no_longer_untold(session, made):
    made.deliver_start(made.outstanding_call)
    ((frame, *_),) = session.sent
    assert (frame.__class__, frame.call, frame.open) == (Started, (7,), True)
    assert session.untold == set()
    assert session.ends == []


@pytest.mark.parametrize(("count", "context"), [(0, b""), (3, b""), (0, b"context")])
def test_items_are_sent_under_the_clients_number(session, made, count, context):
    made.deliver_item(made.outstanding_call, Yield(call=99, count=count, context=context, payload=b"items"))
    ((frame, payload, number),) = session.sent
    assert (frame.__class__, frame.call, frame.count, frame.context) == (Yield, 7, count, context)
    assert (bytes(payload), number) == (b"items", 7)
    assert session.ends == []


def test_item_for_which_no_descriptor_was_left_ends_the_stream(session, made):
    made.deliver_item(made.outstanding_call, Yield(call=99, payload=OSError(24, "Too many open files")))
    ((frame, *_),) = session.sent
    assert frame.__class__ is Raise
    assert session.ends == ["raised builtins:OSError"]
    assert session.cancelled == [made.outstanding_call]


def test_logging_record_goes_to_the_session(session, made):
    frame = Log(record=b"record")
    made.deliver_log(frame)
    assert session.logged == [frame]


def test_call_that_was_seen_running_started_then(made, monkeypatch):
    monkeypatch.setattr(answer, "time", lambda: 100.0)
    made.note_start()
    assert made.started_by(200.0, "returned") == 100.0


def test_call_that_was_over_before_it_was_seen_started_its_run_time_before_the_end(made):
    assert made.started_by(200.0, "returned") == 199.75


def test_call_that_was_cancelled_before_it_was_seen_never_started(made):
    assert made.started_by(200.0, "cancelled") is None
