"""How calls that lack values reach the engine's thread; its loop runs only when the test tells it to."""

import inspect
from collections import deque

import pytest

from tests.engine.fake_workers import Receiver
from woolexec.core.call import Call, Chunk, Function
from woolexec.core.held import Held
from woolexec.core.ready_queue import ReadyQueue
from woolexec.engine.inputs import Inputs
from woolexec.engine.sent_values import SentValues

FUNCTION = Function(b"f", "f")


class FakeLoop:
    thread = None
    has_begun = True

    def __init__(self):
        self.inbox = deque()
        self.stopped = False
        self.told = 0

    def tell(self, piece):
        self.told += 1
        self.inbox.append(piece)

    def run(self):
        while self.inbox:
            self.inbox.popleft()()


class FakeScheduler:
    def __init__(self):
        self.main = self
        self.queue = ReadyQueue()
        self.held = Held(self.queue, self.queue.add)


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def scheduler():
    return FakeScheduler()


@pytest.fixture
def inputs(loop, scheduler):
    return Inputs(loop, scheduler, SentValues(loop.tell, set()))


def test_call_is_queued_when_it_has_its_values(inputs, loop, scheduler):
    call = Call(FUNCTION, None, Receiver())
    inputs.hold(call)
    loop.run()
    assert scheduler.queue.head() is None

    inputs.release(call, b"arguments")
    loop.run()
    assert scheduler.queue.head() is call


def test_call_can_be_cancelled_before_the_engine_has_seen_it(inputs, loop, scheduler):
    call = Call(FUNCTION, None, Receiver())
    inputs.hold(call)
    assert scheduler.queue.cancel(call)
    inputs.release(call, b"arguments")
    loop.run()
    assert scheduler.queue.head() is None
    assert not scheduler.held


def test_failures_one_after_the_other_are_no_recursion(inputs, loop):
    depths = []

    class Next(Receiver):
        def deliver_failure(self, call, payload):
            depths.append(len(inspect.stack(0)))
            if len(depths) < len(calls):
                inputs.drop(calls[len(depths)], payload)

    calls = [Call(FUNCTION, None, Next()) for _ in range(10)]
    for call in calls:
        inputs.hold(call)
    inputs.drop(calls[0], ValueError())
    loop.run()
    assert len(depths) == len(calls)
    assert len(set(depths)) == 1


@pytest.mark.parametrize("is_chunk", [False, True])
def test_what_comes_after_the_engines_end_is_refused(inputs, loop, is_chunk):
    loop.stopped = True
    with pytest.raises(RuntimeError, match="after shutdown"):
        inputs.hold(Chunk(FUNCTION, None, 1, Receiver()) if is_chunk else Call(FUNCTION, None, Receiver()))


def test_held_call_needs_nobody_awake(inputs, loop):
    inputs.hold(Call(FUNCTION, None, Receiver()))
    assert loop.told == 0
