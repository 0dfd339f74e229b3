"""Lanes in the test's own process, with the test in the engine's place."""

import queue
import threading
from contextlib import contextmanager
from types import SimpleNamespace

from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Start
from woolexec.wire.payload import Parts
from woolexec.wire.pickling import dumps_call
from woolexec.worker.job import Job
from woolexec.worker.loop_lane import LoopLane

SOON = 20


class Engine:
    """Takes the frames that a lane sends."""

    def __init__(self):
        self._said = queue.SimpleQueue()
        self.bursts = []
        """Numbers of frames that were sent together."""

    def send(self, frames, file=None, payload=b""):
        assert file is None
        rest = b"".join(payload.parts) if isinstance(payload, Parts) else bytes(payload)
        for frame in decode(bytes(frames) + rest):
            self._said.put(frame)

    def send_all(self, several):
        self.bursts.append(len(several))
        for frames in several:
            self.send(frames)

    def next(self):
        return self._said.get(timeout=SOON)

    @property
    def is_quiet(self):
        return self._said.empty()


class NoStacks:
    """Where nobody looks for the threads of lanes."""

    def note_thread(self, _number, _thread):
        return -1

    def forget_thread(self, place):
        assert place == -1


class Reading:
    """Reads nothing."""

    page = SimpleNamespace(stacks=NoStacks())


class Slot:
    """A function that needs no unpickling."""

    setup = None

    def __init__(self, function):
        self.function = function

    def get(self, _job, _transport):
        if isinstance(self.function, Exception):
            raise self.function
        return self.function


def job(number, function, *args, **fields):
    """Make a call; a function that is an exception cannot be unpickled."""
    return Job(number, Slot(function), dumps_call(args, {}), Start(function=0, call=(number,), **fields))


@contextmanager
def running(make, monkeypatch):
    """Run a lane that is an event loop, without its watch, whose thread never ends."""
    monkeypatch.setattr(LoopLane, "_watch", lambda _: None)
    engine = Engine()
    lane = make(engine, Reading())
    on_loop(lane, lambda: None)
    thread = next(each for each in threading.enumerate() if each.ident == lane.ident)
    try:
        yield lane, engine
    finally:
        lane.finish(SOON)
        if lane.name == "asyncio":
            lane.put(lane._loop.stop)
        else:
            lane.put(lane.nursery.cancel_scope.cancel)
        thread.join(SOON)
        if lane.name == "asyncio":
            lane._loop.close()


def on_loop(lane, piece):
    """Call a function in the loop's thread; return what it returned."""
    outcome = queue.SimpleQueue()
    lane.put(lambda: outcome.put(piece()))
    return outcome.get(timeout=SOON)
