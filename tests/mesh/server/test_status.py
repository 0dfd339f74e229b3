import json

import pytest

from tests.mesh.server.answering import Outbox, stopped_clock
from woolexec.mesh.server import status
from woolexec.mesh.server.inspections import NOT_ALLOWED, Inspections
from woolexec.mesh.server.status import StatusReports
from woolexec.statistics import FunctionStatistics, Statistics, WorkerStatistics
from woolexec.wire.status_frames import Status


class Engine:
    """Counts how often it is looked at."""

    def __init__(self, **made):
        self.made, self.looks, self.links = Statistics(1.0, 2, "h", **made), 0, self

    def statistics(self):
        self.looks += 1
        return self.made

    def wake(self):
        pass


@pytest.fixture
def make(monkeypatch):
    clock = stopped_clock(status, monkeypatch)

    def make(*engines):
        todo = []
        reports = StatusReports(lambda: [(each, f"client{n}") for n, each in enumerate(engines)], todo.append)

        def run():
            while todo:
                todo.pop(0)()

        return reports, run, clock

    return make


def test_operators_are_told_of_all_clients(make):
    reports, run, _ = make(Engine(), Engine())
    outbox = Outbox()
    reports.ask(Engine(), outbox, Status(request=5))
    assert outbox == []  # not while an engine may act
    run()
    (answer,) = outbox
    assert (answer.request, answer.client, answer.left_out) == (5, ("client0", "client1"), 0)
    assert Statistics.from_dict(json.loads(answer.statistics[0])) == Engine().made


def test_clients_that_are_no_operators_are_told_nothing(make):
    engine = Engine()
    _, run, _ = make(engine)
    outbox = Outbox()
    Inspections(engine, outbox, None).handlers[Status](Status(request=5))
    run()
    (answer,) = outbox
    assert (answer.refused, answer.statistics, answer.client) == (NOT_ALLOWED, (), ())
    assert engine.looks == 0


def test_however_many_ask_engines_are_looked_at_ten_times_a_second(make):
    engine = Engine()
    reports, run, clock = make(engine)
    outbox = Outbox()
    for _ in range(1000):
        clock.now += 0.001
        reports.ask(Engine(), outbox, Status(request=1))
        run()
    assert len(outbox) == 1000
    assert engine.looks <= 10


def test_questions_that_wait_are_bounded(make):
    reports, run, _ = make()
    outbox = Outbox()
    for _ in range(1000):
        reports.ask(Engine(), outbox, Status(request=1))
    run()
    assert len(outbox) == status._WAITING


def test_an_answer_is_bounded(make):
    functions = tuple(FunctionStatistics("f" * 200) for _ in range(1000))
    workers = tuple(WorkerStatistics(1, "h", "idle") for _ in range(1000))
    reports, run, _ = make(*(Engine(functions=functions, workers=workers) for _ in range(40)))
    outbox = Outbox()
    reports.ask(Engine(), outbox, Status(request=1))
    run()
    (answer,) = outbox
    assert sum(map(len, answer.statistics)) <= status._SIZE
    assert 0 < len(answer.client) == len(answer.statistics) == 40 - answer.left_out
