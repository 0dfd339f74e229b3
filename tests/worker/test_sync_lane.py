"""How long an idle worker looks for the next call before it sleeps, and what a call that waits for others says."""

from types import SimpleNamespace

import pytest

from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Resume, Wait
from woolexec.worker import sync_lane
from woolexec.worker.sync_lane import SyncLane

LOOK = 0.00001


class Idle:
    """Calls that come after pauses, on a clock of their own; notes how often it was looked for each, and who slept."""

    def __init__(self, monkeypatch, pauses):
        self.now = 0.0
        self.pauses = list(pauses)
        self.arrival = self.pauses.pop(0)
        self.looks, self.slept = [0], [False]
        monkeypatch.setattr(sync_lane, "monotonic", lambda: self.now)
        with pytest.raises(EOFError):
            SyncLane(None, None, self.receive, None).run()

    def receive(self, wait):
        if wait:
            self.slept[-1] = True
            self.now = max(self.now, self.arrival)
        else:
            self.looks[-1] += 1
            self.now += LOOK
            if self.now < self.arrival:
                raise BlockingIOError
        if not self.pauses:
            raise EOFError
        self.arrival = self.now + self.pauses.pop(0)
        self.looks.append(0)
        self.slept.append(False)


def test_worker_looks_while_the_pauses_are_short(monkeypatch):
    idle = Idle(monkeypatch, [0.0001, 0.0001, 0.00015, 0.0002])
    assert idle.slept == [True, False, False, False]  # of the first nothing is known
    assert all(looks > 5 for looks in idle.looks[1:])


def test_worker_sleeps_at_once_after_a_long_pause(monkeypatch):
    idle = Idle(monkeypatch, [0.0001, 0.005, 0.0001, 0.0001])
    assert idle.slept[1:] == [True, True, False]
    assert idle.looks[2] == 0


def test_worker_gives_up_when_the_pause_is_twice_as_long_as_the_last(monkeypatch):
    idle = Idle(monkeypatch, [0.0001, 0.0001, 0.01])
    assert idle.slept[-1]
    assert 10 <= idle.looks[-1] <= 30


def test_worker_never_looks_for_longer_than_a_millisecond(monkeypatch):
    idle = Idle(monkeypatch, [0.0009, 0.0009, 0.1])
    assert idle.slept[-1]
    assert 80 <= idle.looks[-1] <= 110


def test_call_that_is_interrupted_while_it_says_that_it_waits_says_that_it_goes_on():
    said = []

    def send(data):
        said.extend(decode(data))
        if len(said) == 1:
            raise KeyboardInterrupt

    lane = SyncLane(SimpleNamespace(send=send), None, None, None)
    lane.current = SimpleNamespace(number=7)

    with pytest.raises(KeyboardInterrupt):
        lane.wait_for(lambda: False)

    assert said == [Wait(call=7, serial=1), Resume(call=7)]
