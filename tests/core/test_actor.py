"""An actor alone: its states, and the order of its calls."""

import pytest

from tests.core.parts import Actions, Receiver, make_call
from woolexec.core.actor import ALIVE, ENDED, STARTING, UNPLACED, Actor
from woolexec.core.actors import Actors
from woolexec.core.call import LIFE, Call, Function
from woolexec.core.scheduler import Scheduler
from woolexec.errors import ActorLostError, ProtocolError
from woolexec.resources import Line


class LacksValues:
    inputs = ()

    def __len__(self):
        return 0


@pytest.fixture
def actors():
    actions = Actions(startable=10)
    scheduler = actions.scheduler = Scheduler(actions, 2)
    scheduler.actors = Actors(scheduler, actions, lost, actions.end_life)
    return scheduler.actors


def lost(actor, call):
    return ActorLostError(actor.name)


def call_of(actor, parent=0, ancestor=0):
    call = make_call(parent=parent)
    call.line, call.ancestor = Line(actor=actor), ancestor
    return call


def queued(actor, **about):
    call = call_of(actor, **about)
    actor.main.queue.offer(call)
    actor.add(call)
    return call


def life_of(actor, actors, **line):
    life = Call(Function(b"", actor.name, LIFE), b"", actor)
    life.line, life.is_plain = Line(actor=actors, **line), False
    actors.queue.offer(life)
    actors.add(life)
    return life


def test_states_change_as_the_table_says(actors):
    actor = Actor(actors, "it")
    assert actor.state == UNPLACED
    for event, state in (("send", STARTING), ("lose", UNPLACED), ("send", STARTING), ("start", ALIVE), ("end", ENDED)):
        actor.move(event)
        assert actor.state == state
    with pytest.raises(ProtocolError, match="send is not allowed while it is ended"):
        actor.move("send")


def test_nested_calls_wait_in_line_as_others(actors):
    actor = Actor(actors, "it")
    calls = [queued(actor), queued(actor, parent=7), queued(actor, parent=7)]

    assert list(actor.drop_waiting()) == calls


def test_call_that_lacks_values_holds_up_those_behind_it(actors):
    actor = Actor(actors, "it")
    first = queued(actor)
    queued(actor)
    first.payload = LacksValues()

    assert actor.main.queue.head() is None
    assert not actor.main.queue.is_empty
    first.payload = b""
    assert actor.main.queue.head() is first


def test_calls_of_tasks_pass_one_that_lacks_values_and_keep_their_order(actors):
    actor = Actor(actors, "it")
    queue = actor.main.queue
    own = [queued(actor)]
    own[0].payload = LacksValues()
    nested = [queued(actor, parent=7), queued(actor, parent=8), queued(actor, parent=7)]
    own.append(queued(actor))

    assert queue.take(queue.head())
    queue.give_back(nested[0])  # as a worker gives back what it has not started
    for call in nested:
        assert queue.head() is call
        assert queue.take(call)
    assert queue.head() is None
    assert not queue._nested
    assert list(actor.drop_waiting()) == own


def test_call_of_a_task_that_did_not_pass_is_taken_once(actors):
    actor = Actor(actors, "it")
    queue = actor.main.queue
    calls = [queued(actor, parent=7), queued(actor), queued(actor, parent=8)]
    for call in calls:
        assert queue.head() is call
        assert queue.take(call)
    assert queue.head() is None
    assert not queue._nested


def test_oldest_call_of_a_waiting_method_is_taken_first(actors):
    actor = Actor(actors, "it")
    queued(actor)
    first, second = (queued(actor, parent=7, ancestor=5) for _ in range(2))

    assert actor.main.queue.ancestors_among([5, 6]) == [5]
    assert [actor.main.queue.take_child(5) for _ in range(3)] == [first, second, None]
    assert actor.main.queue.ancestors_among([6]) == []


def test_life_of_an_earlier_incarnation_is_ignored(actors):
    actor = Actor(actors, "it", restarts=1)
    old = life_of(actor, actors)
    actors.feed()
    actor.deliver_start(old)
    actor.deliver_failure(old, ActorLostError("gone"))
    new = actor.life
    actors.feed()

    assert new is not old
    actor.deliver_start(old)
    assert actor.state == STARTING
    actor.deliver_failure(old, ActorLostError("gone, said once more"))
    assert actor.state == STARTING
    actor.deliver_start(new)
    assert actor.state == ALIVE
    assert actor.restarts == 0


def test_end_fails_what_waits_and_all_that_comes(actors):
    ends = []
    actor = Actor(actors, "it", on_end=lambda: ends.append("end"))
    waiting = queued(actor)
    actor.end()
    late = queued(actor)
    actor.end()

    assert ends == ["end"]
    for call in (waiting, late):
        assert isinstance(call.receiver, Receiver)
        assert isinstance(call.receiver.failures[0], ActorLostError)


def test_value_of_a_life_ends_the_actor(actors):
    actor = Actor(actors, "it", restarts=3)
    life = life_of(actor, actors)
    actors.feed()
    actor.deliver(life, b"")

    assert actor.state == ENDED


class Value:
    is_away, is_pending, failure = True, False, None


class NeedsValue:
    def __init__(self, value):
        self.values = [value]

    def __len__(self):
        return 0


class Fetches:
    """Values that are fetched or made again, with what is called then."""

    def __init__(self):
        self.asked = []

    def bring(self, value, then):
        self.asked.append(("bring", value, then))

    def after(self, value, then):
        self.asked.append(("after", value, then))


def needing(actor, value):
    call = call_of(actor)
    call.payload = NeedsValue(value)
    actor.main.queue.offer(call)
    actor.add(call)
    return call


def at(actor, *, far):
    actor.target = type("Target", (), {"candidate": "peer" if far else None})()
    return actor


def test_value_that_is_away_is_fetched_once_for_an_actor_here_and_keeps_its_place(actors):
    actor, value, away = at(Actor(actors, "it"), far=False), Value(), Fetches()
    first, second = needing(actor, value), queued(actor)
    for _ in range(2):
        actor.look_at_values(away)
        assert actor.main.queue.head() is None
    ((how, what, then),) = away.asked
    assert (how, what) == ("bring", value)
    value.is_away = False
    then()
    actor.look_at_values(away)
    assert actor in actors.due
    assert actor.main.queue.head() is first
    assert actor.main.queue.take(first)
    assert actor.main.queue.head() is second


def test_peer_gets_it_from_the_other_and_waits_while_it_is_made_again(actors):
    actor, value, away = at(Actor(actors, "it"), far=True), Value(), Fetches()
    call = needing(actor, value)
    actor.look_at_values(away)
    assert actor.main.queue.head() is call
    value.is_pending = True
    actor.look_at_values(away)
    assert actor.main.queue.head() is None
    value.is_pending = False
    ((how, _, then),) = away.asked
    then()
    actor.look_at_values(away)
    assert how == "after"
    assert actor.main.queue.head() is call


def test_call_whose_value_is_lost_fails_and_holds_up_nothing(actors):
    actor, value, away = at(Actor(actors, "it"), far=True), Value(), Fetches()
    lost, other = needing(actor, value), queued(actor)
    value.failure = LookupError("gone")
    actor.look_at_values(away)
    assert lost.receiver.failures == [value.failure]
    assert actor.main.queue.head() is other
    assert not away.asked


@pytest.mark.parametrize("restarts", [0, 1])
def test_arguments_of_the_constructor_are_let_go_unless_it_may_run_again(actors, restarts):
    actor = Actor(actors, "it", restarts=restarts)
    life = Call(Function(b"", actor.name, LIFE), b"arguments", actor)
    life.line, life.is_plain = Line(actor=actors), False
    actors.queue.offer(life)
    actors.add(life)
    actors.feed()
    place = life.place
    assert place.size == len(b"arguments")
    actor.deliver_start(life)
    assert life.payload == (b"arguments" if restarts else b"")
    assert place.size == len(life.payload)
