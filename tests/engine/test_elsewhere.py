"""Requests of running calls to the process of the pool; the test acts as their worker and as the engine's client."""

import pytest

from tests.engine.test_nested import submit
from woolexec.core.call import LIFE
from woolexec.resources import Line
from woolexec.wire.frames import Cancel, Close, Keep, Return, Submit


@pytest.fixture
def engine(make_engine):
    return make_engine(limit=2)


@pytest.fixture
def parent(engine):
    """A call that runs, and asks; its worker and the far end of that."""
    return engine.running("parent")


ENDED = Return(call=(1,), seconds=(0.0,), size=(0,))
"""What a worker is told when its actor has ended."""


class Up:
    """The client of one link."""

    def __init__(self, hops=0):
        self.hops, self.passed, self.ended = hops, [], []
        self.target = self

    def pass_on(self, call, parent, **what):
        call.place = self
        self.passed.append((call, what))

    def end_actor(self, number, *, cancel):
        self.ended.append((number, cancel))


@pytest.fixture
def up(engine):
    """The client of the engine, to whom the calls of actors go."""
    up = Up()
    engine.nested.elsewhere.ups[up] = None
    yield up
    engine.nested.elsewhere.ups.clear()


def actors_of(engine):
    """Give the engine what makes actors; return them."""
    from woolexec.core.actor import Actor
    from woolexec.core.actors import Actors

    class Door:
        table = Actors(engine.scheduler, engine.dispatcher, lambda actor, call: LookupError("ended"), lambda life: None)

        def make(self, name, options, on_end):
            return Actor(self.table, name, restarts=0 if options is None else options.restarts, on_end=on_end)

        def line_up(self, life):
            life.line, life.is_plain = (life.line or Line())._replace(actor=self.table), False

    door = Door()
    engine.scheduler.actors = door.table
    engine.nested.elsewhere.actors = lambda: door
    return door.table


@pytest.fixture
def looked_up(engine, monkeypatch):
    """The names that are looked up in this program, with what to call with the answers."""
    seen = []
    monkeypatch.setattr(engine.nested.elsewhere, "look_up", lambda *args: seen.append(args))
    return seen


def test_question_for_a_name_is_answered_and_runs_nowhere(engine, parent, looked_up):
    engine.nested.on_first = lambda: pytest.fail("it is no task")
    submit(engine, parent, function=b"", main_name="job")
    ((name, tell),) = looked_up
    assert (name, engine.scheduler.has_waiting) == ("job", False)
    tell(b"pickle")
    engine.round()
    assert parent[2].frames() == [Return(call=(1,), seconds=(0.0,), payload=b"pickle", size=(6,))]
    assert engine.nested._tasks == {}


def test_question_of_a_call_that_was_ended_is_forgotten(engine, parent, looked_up):
    call, worker, _ = parent
    submit(engine, parent, function=b"", main_name="job")
    engine.nested.end_children(call)
    engine.nested.orphan(worker)
    assert engine.nested._tasks == {}
    ((_, tell),) = looked_up
    tell(b"pickle")
    engine.round()
    assert parent[2].frames() == []
    assert engine.nested.size == 0


def test_question_goes_to_the_client_that_is_nearest_to_who_can_answer(engine, parent, looked_up):
    ups = [Up(1), Up(0), Up(2)]
    engine.nested.elsewhere.ups.update(dict.fromkeys(ups))
    submit(engine, parent, function=b"", main_name="job")
    engine.nested.elsewhere.ups.clear()
    assert [[what for _, what in each.passed] for each in ups] == [[], [{"main_name": "job"}], []]
    assert looked_up == []


def test_actor_of_a_task_is_made_and_ends_with_its_handle(engine, parent):
    actors = actors_of(engine)
    submit(engine, parent, lane=LIFE, actor=b"key")
    (actor,) = actors.all
    assert actors.by_key[b"key"] is actor
    _, worker, far = parent
    engine.tell(worker, Cancel(call=1))
    assert actor.is_closed
    assert not actor.cancels
    actor.end()
    engine.round()
    assert far.frames() == [ENDED]
    assert engine.nested._tasks == {}


@pytest.mark.parametrize("gone", ["worker", "parent"])
def test_actor_of_a_task_ends_with_what_has_made_it(engine, parent, gone):
    actors = actors_of(engine)
    submit(engine, parent, lane=LIFE, actor=b"key")
    (actor,) = actors.all
    call, worker, _ = parent
    if gone == "worker":
        engine.nested.orphan(worker)
    else:
        engine.nested.end_children(call)
    assert actor.cancels
    actor.end()
    assert engine.nested._tasks == {}


def test_actor_that_has_ended_is_known_until_its_handle_is_gone(engine, parent):
    actors = actors_of(engine)
    submit(engine, parent, lane=LIFE, actor=b"key")
    _, worker, _ = parent
    next(iter(actors.all)).end(LookupError("no"))
    assert b"key" in actors.by_key  # so its calls say why
    assert engine.nested._tasks
    engine.tell(worker, Cancel(call=1))
    assert engine.nested._tasks == {}


def test_actor_that_cannot_be_begun_has_ended_for_that_reason(engine, parent):
    actors = actors_of(engine)
    engine.nested._limit = 1
    engine.tell(parent[1], Keep(value=7, payload=b"value"))
    submit(engine, parent, lane=LIFE, actor=b"key", payload=b"x" * 100)
    assert isinstance(actors.by_key[b"key"].failure, MemoryError)


def test_key_names_one_actor(engine, parent):
    actors_of(engine)
    submit(engine, parent, lane=LIFE, actor=b"key")
    call, worker, _ = parent
    with pytest.raises(ValueError, match="the key of another one"):
        engine.nested.submit(
            worker, Submit(task=2, function=b"child", parent=call.number, lane=LIFE, actor=b"key"), None
        )
    with pytest.raises(ValueError, match="no lane"):
        engine.nested.submit(worker, Submit(task=3, function=b"child", parent=call.number, lane=LIFE), None)


@pytest.mark.parametrize(("frame", "cancel"), [(Cancel(call=1), False), (Close(call=1), True)])
def test_actor_of_a_task_at_a_peer_is_the_matter_of_the_client(engine, parent, up, frame, cancel):
    life = submit(engine, parent, lane=LIFE, actor=b"key")
    assert up.passed == [(life, {"actor": b"key"})]
    engine.tell(parent[1], frame)
    assert up.ended == [(life.number, cancel)]
    assert parent[2].frames() == []
    life.receiver.deliver(life, b"")
    engine.round()
    assert parent[2].frames() == [ENDED]
    assert engine.nested._tasks == {}
