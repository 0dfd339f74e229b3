"""
Kept outcomes and the calls that need them, in many histories in which peers die, lose contact and come back.

The client's engine, its links and its futures are the real ones; the peers, and all that they send, are simulated.
``make test`` lives the first 50 of them, ``make test-slow`` the rest of 1,000; ``WOOLEXEC_SEEDS=10000`` makes that the
whole, and ``WOOLEXEC_SEED=1030`` lives one again.
"""

import asyncio
import contextlib
import gc
import os
import pickle
import random
import threading
from types import SimpleNamespace

import pytest

from tests.engine.fake_workers import Fake
from tests.marks import slow
from woolexec.api import inputs
from woolexec.api.inputs import hold
from woolexec.core.call import Call, Function
from woolexec.engine.inputs import Inputs
from woolexec.engine.links import Links
from woolexec.futures.call_future import CallFuture
from woolexec.mesh.client import link as link_module
from woolexec.mesh.client import link_values
from woolexec.mesh.client.link import Link
from woolexec.options import TaskOptions
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import (
    Cancel,
    Define,
    Drop,
    Fetch,
    Keep,
    Pull,
    Raise,
    Recall,
    Recalled,
    Return,
    Settings,
    Start,
    Started,
    encode,
)
from woolexec.wire.inputs import Unbound
from woolexec.wire.payload import attach
from woolexec.wire.pickling import dumps_arguments
from woolexec.wire.values import KEPT, Value
from woolexec.wire.wire_pb2 import Welcome

FEW = 50
SEEDS = int(os.environ.get("WOOLEXEC_SEEDS", "1000"))
ONLY = os.environ.get("WOOLEXEC_SEED")
SIZE = 1 << 20
"""What peers say that kept outcomes have; the pickles are small."""


class Outbox:
    """What a link writes; the peer reads it at once, and acts later."""

    passage = None

    def is_busy(self, line):
        return False

    def __init__(self, peer):
        self._peer = peer

    def put(self, frames, call=0):
        self._peer.inbox += decode(frames)

    def put_frame(self, call, frame, payload):
        attach(frame, payload, files=False)
        self.put(encode(frame))

    def hand_over(self, call, frame, payload):
        return False

    def withdraw(self, call):
        return False

    def flush(self):
        return True


class Peer:
    """A peer at the other end of a link."""

    def __init__(self, world, number):
        self.world, self.inbox, self.outbox = world, [], []
        self.values, self.keys = {}, {}
        self.waiting, self.running = {}, {}
        self.is_gone = False
        identity = f"{number:08}"
        shares = world.dice.random() < 0.9
        welcome = Welcome(identity=identity, host="host", workers=2, coroutines=10, room=1 << 50, shares=shares)
        self.link = Link(SimpleNamespace(links=world.links), f"10.0.0.1:{number}", welcome)
        self.address = f"10.0.0.1:{number}"
        self.link._outbox = self.link._code._outbox = Outbox(self)
        world.links.join(self.link)

    def say(self, *frames):
        self.outbox += frames

    def act(self, dice):
        """Do one of the things that there are to do; return False if there are none."""
        things = [self._read] * bool(self.inbox) + [self._send] * bool(self.outbox)
        things += [self._start] * bool(self._startable()) + [self._finish] * bool(self.running)
        if not things:
            return False
        dice.choice(things)(dice)
        return True

    def _read(self, dice):
        frame = self.inbox.pop(0)
        {
            Start: self._take,
            Define: lambda frame: None,
            Settings: lambda frame: None,
            Keep: self._keep,
            Drop: self._drop,
            Fetch: self._fetch,
            Pull: lambda frame: self._pull(frame, dice),
            Recall: self._recall,
            Cancel: self._cancel,
        }[frame.__class__](frame)

    def _send(self, dice):
        self.world.runner.run(self.link._hear(encode(self.outbox.pop(0)), lambda: None))

    def _startable(self):
        return [n for n, frame in self.waiting.items() if all(value in self.values for value in frame.values)]

    def _start(self, dice):
        number = dice.choice(self._startable())
        frame = self.waiting.pop(number)
        self.world.started(number, [self.values[value] for value in frame.values])
        self.running[number] = frame
        self.say(Started(call=(number,)))

    def _finish(self, dice):
        number, frame = self.running.popitem()
        task = self.world.task_of(number)
        body = pickle.dumps(task)
        if dice.random() < 0.03:
            self.say(Raise(call=number, seconds=0.001, payload=dump_failure(LookupError(task)), type=("builtins:x",)))
        elif frame.keep and dice.random() < 0.9:
            self.values[KEPT | number], self.keys[KEPT | number] = body, bytes(f"{self.address}/{number}", "ascii")
            self.say(Return(call=(number,), seconds=(0.001,), kept=SIZE, key=self.keys[KEPT | number]))
        else:
            self.say(Return(call=(number,), seconds=(0.001,), payload=body))

    def _take(self, frame):
        for number in frame.call:
            self.waiting[number] = frame

    def _keep(self, frame):
        self.values[frame.value] = bytes(frame.payload)
        if frame.share:
            self._offer(frame.value)

    def _drop(self, frame):
        for number in frame.value:
            self.values.pop(number, None)
            self.keys.pop(number, None)

    def _fetch(self, frame):
        for number in frame.value:
            if number in self.values:
                self.say(Keep(value=number, payload=self.values[number]))
            else:
                self.say(Drop(value=(number,)))

    def _pull(self, frame, dice):
        [other] = [peer for peer in self.world.all_peers if peer.address == frame.address]
        if other.is_gone or dice.random() < 0.3 or other.keys.get(frame.value) != frame.key:
            self.say(Drop(value=(frame.value,)))
        else:
            self.values[frame.value] = other.values[frame.value]
            self._offer(frame.value)

    def _offer(self, number):
        self.keys[number] = bytes(f"{self.address}/{number}", "ascii")
        self.say(Keep(value=number, key=self.keys[number]))

    def _recall(self, frame):
        given = [number for number in self.waiting if number >= frame.call]
        for number in given:
            del self.waiting[number]
        self.say(Recalled(call=tuple(given[::-1]), loop=frame.loop))

    def _cancel(self, frame):
        ended = self.waiting.pop(frame.call, None) or self.running.pop(frame.call, None)
        self.say(Recalled(call=(frame.call,) if ended else ()))


class World:
    """A client's engine, its peers, and the tasks of one history."""

    def __init__(self, monkeypatch, seed, runner):
        self.dice, self.runner = random.Random(seed), runner
        self.engine = Fake(monkeypatch, 0)
        self.engine.loop.has_begun, self.engine.loop.thread = True, threading.current_thread()
        self.engine.loop.forked = False
        self.links = Links(self.engine.rounds)
        self.inputs = Inputs(self.engine.loop, self.engine.scheduler, self.engine.dispatcher.values)
        self.all_peers, self.futures, self.calls, self.options = [], {}, {}, {}
        self.starts, self.later = {}, []
        monkeypatch.setattr(inputs, "LARGE", self.dice.choice([0, 1 << 17]))
        monkeypatch.setattr(link_values, "SHARED", 0)
        for _ in range(3):
            self.join()

    @property
    def peers(self):
        return [peer for peer in self.all_peers if not peer.is_gone]

    def join(self):
        self.all_peers.append(Peer(self, len(self.all_peers) + 1))

    # -- what futures ask of their owner --------------------------------------------------------------------------

    def run_elsewhere(self, piece):
        self.later.append(piece)

    # -- tasks ----------------------------------------------------------------------------------------------------

    def submit(self):
        task = len(self.calls) + 1
        live = [future for future in self.futures.values() if future is not None]
        needed = self.dice.sample(live, min(len(live), self.dice.choice([0, 1, 1, 2, 3])))
        options = {"keep": self.dice.random() < 0.8, "idempotent": self.dice.random() < 0.5}
        if self.dice.random() < 0.3:
            options["retries"] = 2
        self.options[task] = options
        payload = dumps_arguments((tuple(needed), {}), ("args", "kwargs"))
        future = self.futures[task] = CallFuture(self)
        function = Function(b"f", f"task {task}")
        function.seconds = 1e-3
        call = Call(function, payload, future, TaskOptions(**options))
        self.calls[task] = future.outstanding_call = call
        if not (payload.__class__ is Unbound and hold(call, self.inputs, call.name)):
            self.engine.dispatcher.submit(call)

    def put(self):
        task = len(self.calls) + 1
        future = self.futures[task] = CallFuture(self)
        future.share(Value(pickle.dumps(task)))
        self.calls[task] = None

    def task_of(self, number):
        """Return the task of the call with this number, whichever attempt it is."""
        for place in self.engine.scheduler.places:
            if number in place.outstanding:
                return int(place.outstanding[number].function.name.removeprefix("task "))
        return 0  # its link is gone

    def started(self, number, values):
        task = self.task_of(number)
        self.starts[task] = self.starts.get(task, 0) + 1
        for value in values:
            made = pickle.loads(value)
            assert made, "a task got a value of a call that nobody waited for"
            assert made < task, "a task got a value that is not among its inputs"

    def cancel(self):
        task = self.dice.choice([*self.futures])
        future, call = self.futures[task], self.calls[task]
        if future is None or future.done():
            return
        held = self.engine.scheduler.held
        if call in held:
            if self.engine.scheduler.main.queue.cancel(call):
                future._cancel()
        else:
            self.engine.cancellation.cancel(call, lambda ended: ended and future._cancel(), force=True)

    def kill(self):
        peer = self.dice.choice(self.peers)
        peer.is_gone = True
        if peer.outbox and self.dice.random() < 0.5:
            peer._send(self.dice)
        peer.link._broke("it was killed")
        self.join()

    def forget(self):
        self.futures[self.dice.choice([*self.futures])] = None
        gc.collect()

    def ask(self):
        future = self.futures[self.dice.choice([*self.futures])]
        if future is not None and future.kept is not None:
            future.kept.fetch()

    # -- time -----------------------------------------------------------------------------------------------------

    def step(self):
        acts = [peer for peer in self.peers if peer.inbox or peer.outbox or peer.waiting or peer.running]
        if self.later:
            self.later.pop(0)()
        did = bool(acts) and self.dice.choice(acts).act(self.dice)
        self.engine.loop.pass_time(0.01)
        self.engine.round()
        return did

    def run(self, steps):
        for _ in range(steps):
            draw = self.dice.random()
            if draw < 0.12:
                self.submit() if self.dice.random() < 0.8 else self.put()
            elif self.futures and draw < 0.15:
                self.cancel()
            elif draw < 0.16:
                self.kill()
            elif self.futures and draw < 0.19:
                self.forget()
            elif self.futures and draw < 0.24:
                self.ask()
            self.step()

    def settle(self):
        idle = 0
        for _ in range(20_000):
            idle = 0 if self.step() or self.later else idle + 1
            if idle > 50:
                return
        raise AssertionError("it goes on for ever")


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(link_module, "monotonic", lambda: 0.0)
    gc.collect()
    gc.freeze()  # collections are quick then, and happen where the history says
    gc.disable()
    with asyncio.Runner() as runner, contextlib.ExitStack() as last:

        def make(seed):
            last.close()  # collections would pass over the worlds before, too
            made = World(monkeypatch, seed, runner)
            last.callback(made.engine.close)
            return made

        yield make
    gc.enable()
    gc.unfreeze()


def check(world):
    """Every future has ended, right; nothing ran twice that must not; nothing is kept that nobody can ask for."""
    for task, future in world.futures.items():
        if future is not None:
            assert future.done(), f"task {task} has not ended"
            if future.kept is not None:
                future.kept.fetch()
    world.settle()
    for task, future in world.futures.items():
        if future is not None and not future.cancelled() and future.failure is None:
            assert future.result(0) == task
    for task, starts in world.starts.items():
        options = world.options.get(task, {})
        if not (options.get("idempotent") or options.get("retries")):
            assert starts == 1 or not task, f"task {task} was started {starts} times"
    world.futures.clear()
    world.calls.clear()
    future = None
    gc.collect()
    world.settle()
    assert [peer.values for peer in world.peers] == [{}] * len(world.peers)
    assert len(world.engine.dispatcher.values) == 0
    assert not world.engine.scheduler.held


@pytest.mark.timeout(240)  # beside others
@pytest.mark.parametrize("first", [0, *slow(*range(FEW, SEEDS, FEW))] if ONLY is None else [int(ONLY)])
def test_promises_hold_in_every_history(world, first):
    for seed in range(first, first + FEW) if ONLY is None else [first]:
        each = world(seed)
        each.run(150)
        each.settle()
        try:
            check(each)
        except AssertionError as exc:
            exc.add_note(f"seed {seed}")
            raise
