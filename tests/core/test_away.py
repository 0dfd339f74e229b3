"""Calls that need values that are with peers."""

import pytest

from tests.engine.fake_workers import Receiver
from woolexec.core.away import Away
from woolexec.core.call import Call, Chunk, Function
from woolexec.core.held import line_up
from woolexec.core.offer import NOTHING
from woolexec.options import TaskOptions

FUNCTION = Function(b"f", "f")


class Value:
    def __init__(self, *, is_away=True, failure=None, is_pending=False):
        self.is_away, self.failure, self.is_pending = is_away, failure, is_pending


class Payload:
    def __init__(self, *values):
        self.values = values


class Peers:
    """The offer of some peers."""

    is_far = True

    def has(self, requirement):
        return True


@pytest.fixture
def away(queue, held):
    return Away([queue], held, lambda requirement: False)


def call(queue, *values, options=None, is_queued=True):
    made = Call(FUNCTION, Payload(*values), Receiver(), options)
    line_up(made)
    queue.offer(made)
    if is_queued:
        queue.add(made)
    return made


def test_workers_here_are_not_given_what_needs_a_value_that_is_away(queue):
    needy, plain = call(queue, Value()), call(queue, Value(is_away=False))
    assert queue.head(NOTHING) is plain
    assert queue.head(Peers()) in (needy, plain)
    assert plain.line is None


def test_other_options_of_the_line_stay(queue):
    made = call(queue, Value(), options=TaskOptions(priority=3))
    assert (made.line.priority, made.line.away) == (3, True)


def test_call_whose_values_have_come_is_for_everybody(queue, away):
    value = Value()
    made = call(queue, value)
    away.look()
    assert queue.head(NOTHING) is None
    value.is_away = False
    away.look()
    assert queue.head(NOTHING) is made


def test_call_that_needs_what_is_lost_fails_and_others_stay(queue, away):
    value, other = Value(), Value()
    lost, kept = [call(queue, value) for _ in range(3)], call(queue, other)
    value.failure = LookupError("gone")
    away.look()
    assert [made.receiver.outcomes for made in lost] == [[value.failure]] * 3
    assert kept.receiver.outcomes == []
    assert queue.head(Peers()) is kept


def test_call_that_comes_after_the_loss_fails(queue, away):
    made = call(queue, Value(failure=LookupError("gone")), is_queued=False)
    assert not away.may_queue(made)
    assert len(made.receiver.outcomes) == 1
    assert queue.head() is None


def test_cancelled_call_is_not_failed_as_well(queue, away):
    value = Value()
    made = call(queue, value)
    assert queue.cancel(made)
    value.failure = LookupError("gone")
    away.look()
    assert made.receiver.outcomes == []


def test_rest_of_a_map_fails(queue, away):
    value = Value()
    chunk = Chunk(FUNCTION, Payload(value), 5, Receiver())
    line_up(chunk)
    queue.add(chunk)
    chunk.cut(2)
    value.failure = LookupError("gone")
    away.look()
    assert chunk.receiver.outcomes == [value.failure]
    assert queue.head() is None


def test_call_whose_value_is_made_again_is_held_until_then(queue, held, away):
    value = Value()
    made = call(queue, value)
    value.is_pending = True
    away.look()
    assert queue.head() is None
    assert made in held
    value.is_pending = False
    away.made(value)
    assert queue.head(Peers()) is made
    assert queue.head(NOTHING) is None


def test_call_fails_when_its_value_could_not_be_made_again(queue, held, away):
    value = Value(is_pending=True)
    made = call(queue, value, is_queued=False)
    assert not away.may_queue(made)
    value.is_pending, value.failure = False, LookupError("gone")
    away.made(value)
    assert made.receiver.outcomes == [value.failure]
    assert not held


def test_call_that_is_held_can_be_cancelled(queue, held, away):
    value = Value(is_pending=True)
    made = call(queue, value)
    away.look()
    assert queue.cancel(made)
    value.is_pending = False
    away.made(value)
    assert queue.head() is None


def test_value_is_fetched_for_a_call_that_only_workers_here_can_run(queue, held):
    value, fetched = Value(), []
    away = Away([queue], held, lambda requirement: requirement is not None)
    away.bring = lambda value, then: fetched.append((value, then))
    other = call(queue, value)
    made = call(queue, value, options=TaskOptions(require={"gpu": 1}))
    away.look()
    assert [each for each, _ in fetched] == [value]
    assert queue.head(Peers()) is other
    assert made in held
    value.is_away = False
    fetched[0][1]()
    assert made not in held
    assert made.line.requirement is not None
    assert not made.line.away
