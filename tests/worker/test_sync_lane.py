"""How long an idle worker polls for the next call before it sleeps, and the frames of a call that waits for others."""

import pickle
import sys
from types import SimpleNamespace

import pytest

from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Raise, Recall, Recalled, Resume, Return, Start, Wait
from woolexec.worker import sync_lane
from woolexec.worker.interrupts import Interrupts
from woolexec.worker.job import Job, Slot
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


class Waiting:
    """
    A call that waits for its own tasks, with a queue: two calls that were recalled, the mark, a task of its own.

    :param at: before which bytecode of the lane Ctrl-C comes
    """

    def __init__(self, at):
        self.left, self.came, self.was_between_calls = at, False, False
        self.is_interrupted = self.is_writing = self.is_busy_here = False
        self.up, self.said, self.raised = None, [], 0
        self.lane = SyncLane(self, self, self.receive, None)
        self.interrupts = Interrupts(self.lane, self, self)
        self.outer, self.slot = Job(1, None, None, Start()), Slot(pickle.dumps(abs))
        self.outer.payload = b""

    # -- the page, the transport and the reader -----------------------------------------------------------------------

    def start(self, number):
        return number > 3

    def send(self, frames, file=None, payload=b""):
        self.is_writing = True
        self.said.extend(decode(bytes(frames)))
        self.is_writing = False
        self.interrupt_again()

    def interrupt_again(self):
        if self.is_interrupted:
            self.is_interrupted = False
            self.interrupts.arrived()

    def receive(self, wait, timeout=None):
        raise AssertionError("everything is there")

    # -- Ctrl-C -------------------------------------------------------------------------------------------------------

    def trace(self, frame, event, arg):
        if frame.f_code.co_filename != sync_lane.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.came:
            self.left -= 1
            if self.left < 0 and not self.outer.ended:
                self.came, self.was_between_calls = True, self.lane.current.ended
                self.interrupts.arrived()
        return self.trace

    def run(self):
        for number in (2, 3):
            self.lane.enqueue(self.job(number))
        self.lane.recall(Recall(call=2, waiting=1))
        self.lane.enqueue(self.job(4))
        self.lane.current = self.outer
        sys._getframe().f_trace_opcodes = True  # Python 3.12 traces opcodes only if this was set before
        sys.settrace(self.trace)
        try:
            self.lane.wait_for(lambda: not self.lane._ready)
        except KeyboardInterrupt:
            self.raised += 1
        finally:
            sys.settrace(None)
        self.outer.ended = True
        self.lane.current = None
        while self.lane._ready:
            self.lane._step()

    def job(self, number):
        return Job(number, self.slot, pickle.dumps(((-number,), {})), Start())


def test_ctrl_c_at_any_moment_of_a_wait_costs_neither_a_mark_nor_a_call(monkeypatch):
    monkeypatch.setattr(sync_lane, "_stack_depth", lambda: 100)  # it looks at each frame of this test
    for at in range(10_000):
        waiting = Waiting(at)
        waiting.run()
        said = waiting.said
        [recalled] = [frame for frame in said if isinstance(frame, Recalled)]
        assert sorted(recalled.call) == [2, 3], at
        [ended] = [frame for frame in said if isinstance(frame, Return | Raise)]
        assert ended.call in {4, (4,)}, at
        if not waiting.came:
            break
        assert waiting.raised + isinstance(ended, Raise) + waiting.was_between_calls == 1, at
    assert at > 100
