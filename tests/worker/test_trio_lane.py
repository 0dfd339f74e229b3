from contextvars import ContextVar

import pytest
import trio

from tests.worker.lanes import job, on_loop, running
from woolexec.wire.frames import Raise
from woolexec.wire.unpickling import loads
from woolexec.worker.trio_lane import TrioLane

word = ContextVar("word", default="unset")


@pytest.fixture
def both(monkeypatch):
    with running(TrioLane, monkeypatch) as both:
        yield both


def test_waiter_may_be_woken_before_and_after_it_is_awaited(both):
    lane, engine = both

    async def wait():
        wake, waiting = lane.make_waiter()
        wake()
        wake()
        await waiting
        wake()
        return "awake"

    lane.start(job(1, wait))
    assert loads(engine.next().payload) == "awake"


def test_calls_run_under_trio_each_in_a_context_of_its_own(both):
    lane, engine = both

    async def look(value):
        before = word.get()
        word.set(value)
        await trio.lowlevel.checkpoint()
        return before, word.get(), trio.lowlevel.current_trio_token() is lane._token

    lane.start(job(1, look, "a"))
    lane.start(job(2, look, "b"))
    seen = sorted(loads(engine.next().payload) for _ in range(2))
    assert seen == [("unset", "a", True), ("unset", "b", True)]


def test_call_that_is_cancelled_ends_alone(both):
    lane, engine = both

    async def wait(event):
        await event.wait()
        return "went on"

    events = on_loop(lane, lambda: [trio.Event(), trio.Event()])
    lane.start(job(1, lambda: wait(events[0])))
    lane.start(job(2, lambda: wait(events[1])))
    lane.put(lambda: lane.cancel(1))
    error = engine.next()
    lane.put(events[1].set)

    assert (type(error), error.call) == (Raise, 1)
    assert loads(engine.next().payload) == "went on"


def test_call_may_clean_up_behind_a_shield_after_it_was_cancelled(both):
    lane, engine = both

    async def clean_up():
        lane.cancel(1)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                lane.transport.bursts.append("clean")

    lane.start(job(1, clean_up))
    assert type(engine.next()) is Raise
    assert engine.bursts == ["clean"]


def test_exception_of_a_call_does_not_end_the_loop(both):
    lane, engine = both

    async def fail():
        raise BaseExceptionGroup("several", [KeyboardInterrupt(), LookupError()])

    lane.start(job(1, fail))
    assert type(engine.next()) is Raise
    assert on_loop(lane, lambda: "runs") == "runs"
