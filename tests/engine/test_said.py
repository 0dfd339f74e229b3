"""Which task has printed something, and which receiver gets it."""

from types import SimpleNamespace

import pytest

from woolexec.core.call import ASYNCIO, LIFE, MAIN, Call, Function, Relayed
from woolexec.engine.said import Said
from woolexec.wire.frames import Output
from woolexec.wire.printed import STDOUT, Printed


class Client(Relayed):
    def __init__(self):
        self.heard = []

    def deliver_output(self, frame):
        self.heard.append(frame.text)


class Pipes:
    """Pipes in which there is what the test puts there."""

    descriptors = (3, 4)

    def __init__(self, *printed):
        self.printed, self.rest = list(printed), [Printed(None, STDOUT, b"rest\n")]
        self.is_closed = False

    def read(self, at_end):
        printed, self.printed = self.printed, []
        return printed

    def end_lines(self):
        rest, self.rest = self.rest, []
        return rest

    end = end_lines

    def close(self):
        self.is_closed = True


class Worker:
    def __init__(self, *calls, started=0):
        self.outstanding = {call.number: call for call in calls if call.function.lane == MAIN}
        self.lane_place = SimpleNamespace(
            outstanding={call.number: call for call in calls if call.function.lane != MAIN}
        )
        self.page = SimpleNamespace(started=started)
        self.known_pid = 4711
        self.pipes = None

    def place_of(self, number):
        return self.lane_place if number in self.lane_place.outstanding else self


def call(number, lane=MAIN, parent=0, receiver=None):
    made = Call(Function(b"", f"task{number}", lane), b"", receiver, parent=parent)
    made.number = number
    return made


@pytest.fixture
def loop():
    loop = SimpleNamespace(watched={})
    loop.watch_output = loop.watched.__setitem__
    loop.unwatch_output = lambda fd: loop.watched.pop(fd, None)
    return loop


@pytest.fixture
def calls():
    return {}


@pytest.fixture
def shown():
    return []


@pytest.fixture
def said(loop, calls, shown):
    said = Said(loop, lambda _: None, lambda call: calls.get(call.parent))
    said.show = lambda frame, outermost: shown.append((frame.name, frame.task, frame.pid, frame.text, outermost))
    return said


def test_record_is_of_its_call_and_shown_for_the_outermost_one(said, calls, shown):
    outer, inner = call(1), call(2, parent=1)
    calls[1] = outer
    worker = Worker(inner, started=2)
    worker.pipes = Pipes(Printed(2, STDOUT, b"inner\n"))
    said.read(worker)
    assert shown == [("task2", 2, 4711, b"inner\n", outer)]


def test_what_a_call_of_a_client_has_printed_goes_to_that_client(said, calls, shown):
    client = Client()
    calls[1] = call(1, receiver=client)
    worker = Worker(call(2, parent=1))
    worker.pipes = Pipes(Printed(2, STDOUT, b"inner\n"))
    said.read(worker)
    assert (client.heard, shown) == ([b"inner\n"], [])


def test_other_bytes_are_of_the_call_that_runs(said, shown):
    first, second = call(1), call(2)
    for calls, started, expected in (
        ([first, second], 2, first),
        ([second], 1, None),
        ([call(3, LIFE), call(4, ASYNCIO)], 0, 4),
        ([call(4, ASYNCIO), call(5, ASYNCIO)], 0, None),
    ):
        worker = Worker(*calls, started=started)
        worker.pipes = Pipes(Printed(None, STDOUT, b"raw\n"))
        said.read(worker)
        outermost = shown.pop()[-1]
        assert (outermost.number if expected == 4 else outermost) == expected


def test_line_without_end_is_complete_when_a_call_has_ended(said, shown):
    worker = Worker(call(1), started=1)
    worker.pipes = Pipes()
    said.read(worker)
    assert shown == []
    said.read(worker, is_end=True)
    assert [each[3] for each in shown] == [b"rest\n"]


def test_worker_has_pipes_only_if_what_it_prints_is_wanted(said, loop):
    worker = Worker()
    said.prepare(worker)
    said.watch(worker)
    assert worker.pipes is None
    assert loop.watched == {}
    said.end(worker)
    said.in_workers = True
    said.prepare(worker)
    assert worker.pipes is not None


def test_end_of_a_worker_is_the_end_of_its_pipes(said, loop, shown):
    worker = Worker(call(1), started=1)
    worker.pipes = pipes = Pipes(Printed(1, STDOUT, b"last\n"))
    said.watch(worker)
    assert set(loop.watched) == {3, 4}
    said.end(worker)
    assert [each[3] for each in shown] == [b"last\n", b"rest\n"]
    assert loop.watched == {}
    assert pipes.is_closed


def test_frame_of_a_peer_is_of_a_call_that_is_there(said, shown):
    mine = call(1)
    said.at_peers = True
    said.hear(Worker(mine), Output(call=1, stream=STDOUT, text=b"line\n", name="\x1b[2Jtask", task=9, pid=5))
    said.hear(Worker(mine), Output(call=8, stream=STDOUT, text=b"of no call\n"))
    said.hear(Worker(mine), Output(call=1, stream=7, text=b"to no stream\n"))
    assert shown == [("\\x1b[2Jtask", 9, 5, b"line\n", mine), ("", 0, 0, b"of no call\n", None)]


def test_peer_that_was_not_asked_is_not_heard(said, shown):
    said.hear(Worker(call(1)), Output(call=1, stream=STDOUT, text=b"line\n"))
    assert shown == []


def test_what_no_call_has_printed_goes_to_one_session_of_the_client(said):
    heard = []
    said.show = None
    said.clients[lambda frame: heard.append((1, frame.call))] = None
    said.clients[lambda frame: heard.append((2, frame.call))] = None
    worker = Worker()
    worker.pipes = Pipes(Printed(None, STDOUT, b"raw\n"))
    said.read(worker)
    assert heard == [(1, 0)]
