import pytest

from tests.mesh.server.answering import Outbox, stopped_clock
from woolexec.core.task_stack import TaskStack
from woolexec.mesh.server import inspections
from woolexec.mesh.server.acceptor import is_of_user
from woolexec.mesh.server.inspections import NOT_ALLOWED, Inspections
from woolexec.mesh.server.status import StatusReports
from woolexec.wire.frames import Inspect


def task(name, seconds=1.0):
    return TaskStack(1, name, seconds, "h", 2, "stack")


class Engine:
    """Answers when the test says so."""

    def __init__(self):
        self.asked, self.links = [], self

    def inspect(self, then, seconds, request):
        self.asked.append((then, seconds, request))

    def wake(self):
        pass


@pytest.fixture
def make(monkeypatch):
    clock = stopped_clock(inspections, monkeypatch)

    def make(everybody=None):
        engine, outbox = Engine(), Outbox()
        reports = everybody and StatusReports(everybody, None)
        return Inspections(engine, outbox, reports).handlers[Inspect], engine, outbox, clock

    return make


def test_client_is_told_of_its_own_tasks(make):
    ask, engine, outbox, _ = make()
    ask(Inspect(request=5, seconds=1.5))
    ((then, seconds, request),) = engine.asked
    assert (seconds, request) == (1.5, 5)
    then([task("short", 1.0), task("long", 2.0)])

    (answer,) = outbox
    assert answer.request == 5
    assert answer.name == ("long", "short")
    assert answer.client == ("", "")


def test_client_that_is_no_operator_sees_nothing_of_others(make):
    ask, engine, outbox, _ = make()
    ask(Inspect(request=5, seconds=1.0, all=True))

    (answer,) = outbox
    assert (answer.request, answer.refused, answer.call) == (5, NOT_ALLOWED, ())
    assert engine.asked == []


def test_operator_sees_the_tasks_of_all_clients_and_whose_they_are(make):
    one, other = Engine(), Engine()
    ask, engine, outbox, _ = make(lambda: [(one, "first"), (other, "second")])
    ask(Inspect(request=5, seconds=1.0, all=True))
    one.asked[0][0]([task("a", 1.0)])
    assert outbox == []
    other.asked[0][0]([task("b", 2.0)])

    (answer,) = outbox
    assert (answer.name, answer.client) == (("b", "a"), ("second", "first"))
    assert engine.asked == []


def test_operator_of_a_peer_without_clients_gets_an_answer(make):
    ask, _, outbox, _ = make(list)
    ask(Inspect(request=5, seconds=1.0, all=True))

    assert [answer.request for answer in outbox] == [5]


def test_those_who_ask_often_get_one_answer_in_a_tenth_of_a_second(make):
    ask, engine, outbox, clock = make()
    for request in range(1, 100):
        ask(Inspect(request=request, seconds=1.0))
    assert len(engine.asked) == 1
    engine.asked[0][0]([task("a")])
    assert [answer.request for answer in outbox] == list(range(1, 17))

    ask(Inspect(request=200, seconds=1.0))
    assert len(engine.asked) == 1
    assert outbox[-1].request == 200
    clock.now += 0.2
    ask(Inspect(request=201, seconds=1.0))
    assert len(engine.asked) == 2


@pytest.mark.parametrize(("seconds", "taken"), [(0.0, 0.01), (-5.0, 0.01), (1e9, 60.0)])
def test_time_for_an_answer_is_bounded(make, seconds, taken):
    ask, engine, _, _ = make()
    ask(Inspect(request=1, seconds=seconds))

    assert engine.asked[0][1] == taken


def test_user_of_the_peer_is_known_by_its_unix_socket():
    assert is_of_user("unix:")
    assert not is_of_user("ipv4:127.0.0.1:5000")
    assert not is_of_user("ipv6:%5B::1%5D:5000")
