"""Requests from a peer to its client."""

from types import SimpleNamespace

import pytest

from woolexec import ActorLostError, ProtocolError
from woolexec.core.call import Call, Function
from woolexec.core.group import Group
from woolexec.futures.call_future import Nobody
from woolexec.mesh.link.outbox import ABOVE
from woolexec.mesh.server import upward
from woolexec.mesh.server.upward import Upward
from woolexec.options import TaskOptions
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Cancel, Close, Return, Started, Submit, Yield


class Links:
    """What an engine offers to sessions, as far as it is needed here."""

    def __init__(self):
        self.ups, self.heard, self.group = {}, [], Group(iter(range(1, 100)).__next__)
        self.left = []

    def record(self, place, call):
        self.group.record(place, call, 0.0)

    def hear(self, target, frame):
        self.heard.append((target, frame))
        if isinstance(frame, Return):
            self.group.finish(target.lane_place, frame.call[0], 0.0)

    def leave_upward(self, client, error_of):
        self.left.append(error_of)


class Outbox:
    def __init__(self):
        self.frames, self.lines = [], []

    def put_frame(self, number, frame, payload, line=None):
        frame.payload = payload
        self.frames.append((number, frame))
        self.lines.append(number if line is None else line)

    def put(self, frames, line=0):
        self.frames += [(line, frame) for frame in decode(frames)]
        self.lines.append(line)


class Receiver:
    def __init__(self):
        self.failures, self.starts = [], 0

    def deliver_failure(self, call, payload):
        self.failures.append(payload)

    def deliver_start(self, call):
        self.starts += 1


@pytest.fixture
def way():
    return Upward(Links(), Outbox(), SimpleNamespace(), "a client")


def submit(way, options=None):
    call = Call(Function(b"function", "task"), b"payload", Receiver(), options)
    way.pass_on(call, 7, actor=b"key")
    return call


def test_call_goes_up_with_its_key_parent_and_options(way):
    call = submit(way, TaskOptions(retries=2))
    ((number, frame),) = way._outbox.frames

    assert isinstance(frame, Submit)
    assert number == ABOVE | call.number
    assert (frame.actor, frame.parent, frame.task, frame.options.retries) == (b"key", 7, call.number, 2)
    assert call.options is None  # nobody but the client retries


def test_question_goes_up_with_its_name(way):
    call = Call(Function(b"", "job"), b"", Receiver())
    way.pass_on(call, 7, main_name="job")
    ((_, frame),) = way._outbox.frames

    assert (frame.main_name, frame.parent, frame.task, frame.actor) == ("job", 7, call.number, b"")


def test_cancel_of_a_coroutine_closes_it(way):
    call = submit(way)
    way.send_command(Cancel(call=call.number))

    assert isinstance(way._outbox.frames[-1][1], Close)


def test_frames_of_one_actor_are_in_one_line_and_those_of_questions_in_their_own(way):
    call = submit(way)
    submit(way)
    way.send_command(Cancel(call=call.number))
    way.end_actor(call.number, cancel=True)
    question = Call(Function(b"", "job"), b"", Receiver())
    way.pass_on(question, 7, main_name="job")
    way.send_command(Cancel(call=question.number))

    assert way._outbox.lines == [b"key"] * 4 + [ABOVE | question.number] * 2


def test_call_that_nobody_waits_for_any_more_is_cancelled_in_the_line_of_its_actor(way):
    call = submit(way)
    call.receiver = Nobody()
    way.send_command(Cancel(call=call.number))

    assert way._outbox.lines == [b"key"] * 2


def test_number_of_a_call_that_has_ended_names_no_actor(way):
    call = submit(way)
    way.handlers[Yield](Yield(call=call.number))
    way.send_command(Cancel(call=call.number))
    way.handlers[Return](Return(call=(call.number,)))
    way.send_command(Cancel(call=call.number))

    assert way._outbox.lines == [b"key"] * 2 + [ABOVE | call.number]


def test_answers_are_handled_as_those_of_a_peer_and_starts_are_told(way):
    call = submit(way)
    way.handlers[Started](Started(call=(call.number,)))
    way.handlers[Return](Return(call=(call.number,)))

    assert call.receiver.starts == 1
    assert [(target, type(frame)) for target, frame in way._links.heard] == [(way, Return)]


def test_outcome_that_is_said_to_have_stayed_with_the_client_ends_the_link(way):
    call = submit(way)
    for number in (call.number, call.number + 1):
        with pytest.raises(ProtocolError, match="cannot keep"):
            way.handlers[Return](Return(call=(number,), kept=9))
    assert way._links.heard == []


def test_further_calls_fail_when_too_many_are_not_answered(way, monkeypatch):
    monkeypatch.setattr(upward, "_MOST", 2)
    calls = [submit(way) for _ in range(3)]

    assert [len(call.receiver.failures) for call in calls] == [0, 0, 1]
    assert isinstance(calls[2].receiver.failures[0], ActorLostError)


def test_end_of_the_link_fails_the_calls(way):
    call = submit(way)
    assert way in way._links.ups
    way.close()

    assert way not in way._links.ups
    assert isinstance(way._links.left[0](call), ActorLostError)
