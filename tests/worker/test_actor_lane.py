"""The object of an actor in its worker, and the functions that are bound to it."""

import pytest

from woolexec.core.call import LIFE
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Raise, Start, Started
from woolexec.wire.inputs import call_first
from woolexec.wire.pickling import dumps
from woolexec.worker import job as jobs
from woolexec.worker.actor_lane import ActorLane
from woolexec.worker.job import Job, Slot


class Thing:
    def __init__(self, size):
        self.size = size or 1 // size

    def grow(self, by=0):
        return self.size + by


class Main:
    """The main thread's lane: keeps what it is given."""

    def __init__(self):
        self.queue = []

    def enqueue(self, job):
        self.queue.append(job)


class Transport:
    def __init__(self):
        self.sent = []

    def send(self, frames, file=None, payload=b""):
        self.sent += decode(frames)


@pytest.fixture(autouse=True)
def _unbound():
    yield
    jobs.bind = None


def life(size):
    """Have an object made, as the main thread does it."""
    main, transport = Main(), Transport()
    lane = ActorLane(transport, None, main)
    lane.start(Job(7, Slot(dumps(Thing)), b"", Start(call=(7,), lane=LIFE)))
    (job,) = main.queue
    try:
        job.slot.get(job, transport)(size)
        job.succeed(transport, 0.0, dumps(None))
    except ZeroDivisionError as exc:
        job.fail(transport, 0.0, exc)
    return transport.sent[0]


def test_life_does_not_return_but_says_that_it_has_started():
    frame = life(5)

    assert isinstance(frame, Started)
    assert (frame.call, frame.open) == ((7,), True)


@pytest.mark.parametrize("size", [5, 0])
def test_what_the_constructor_has_printed_is_complete_before_others_use_the_object(size, monkeypatch):
    ended = []
    monkeypatch.setattr(jobs, "before_outcome", ended.append)
    life(size)

    assert ended == [7]


def test_functions_are_bound_to_the_object_from_then_on():
    life(5)
    job = Job(8, Slot(dumps(Thing.grow)), b"", Start(call=(8,)))

    assert job.slot.get(job, None)(by=2) == 7
    getter = Slot(dumps(getattr))
    assert getter.get(job, None)("size") == 5


def test_function_that_holds_futures_is_called_with_the_object_too():
    life(5)
    job = Job(8, Slot(dumps(call_first)), b"", Start(call=(8,)))

    assert job.slot.get(job, None)(Thing.grow, by=3) == 8


def test_constructor_that_raises_binds_nothing():
    frame = life(0)

    assert isinstance(frame, Raise)
    assert jobs.bind is None


def test_lane_waits_for_nothing_and_obeys_nothing():
    main = Main()
    lane = ActorLane(Transport(), None, main)
    lane.finish(None)
    lane.control(None)

    assert main.queue == []
