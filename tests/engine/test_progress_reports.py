"""Which receivers get the progress of a task."""

from types import SimpleNamespace

import pytest

from woolexec.core.call import Call, Function, Relayed
from woolexec.engine.progress_reports import ProgressReports
from woolexec.options import TaskOptions
from woolexec.wire.frames import Progress


class Place:
    def __init__(self, call):
        self.outstanding = {call.number: call}

    def place_of(self, number):
        return self


class Client(Relayed):
    def __init__(self):
        self.heard = []

    def deliver_progress(self, frame):
        self.heard.append(frame.done)


class Submitter:
    def __init__(self):
        self.heard = []

    def deliver_progress(self, call, frame):
        self.heard.append(frame.done)


def call(receiver, **options):
    made = Call(Function(b"", "f"), b"", receiver, TaskOptions(**options))
    made.number = 7
    return made


@pytest.fixture
def reports():
    return ProgressReports(SimpleNamespace(run_user_code=lambda piece: piece(), clock=lambda: 100.0))


@pytest.mark.parametrize("kind", [Client, Submitter])
def test_client_and_submitting_task_are_told(reports, kind):
    told = kind()
    reports.hear(Place(call(told)), Progress(call=7, done=1.0))
    assert told.heard == [1.0]


def test_report_is_kept_with_the_call_and_passed_to_its_callback(reports):
    got = []
    mine = call(object(), on_progress=got.append, name="named")
    reports.hear(Place(mine), Progress(call=7, task=7, done=1.0, total=2.0, has_total=True))
    assert got == [mine.progress] == [(7, "named", 1, 2, "")]


def test_report_of_a_call_that_has_ended_is_dropped(reports):
    got = []
    reports.hear(Place(call(object(), on_progress=got.append)), Progress(call=8, done=1.0))
    assert got == []


def test_flood_of_reports_stops_here(reports):
    told = Client()
    for done in range(100):
        reports.hear(Place(call(told)), Progress(call=7, done=float(done)))
    assert told.heard == [0.0]
