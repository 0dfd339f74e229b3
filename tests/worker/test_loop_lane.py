"""The behaviour that the lanes of asyncio and trio share."""

import asyncio
import threading

import anyio
import anyio.lowlevel
import pytest
import trio

from tests.worker.lanes import SOON, job, on_loop, running
from woolexec.wire.exceptions import SHUT, dump_failure, load_failure
from woolexec.wire.frames import Cancel, Close, Next, Raise, Return, Send, Started, Throw, Yield
from woolexec.wire.pickling import dumps_value
from woolexec.wire.unpickling import loads
from woolexec.worker.asyncio_lane import AsyncioLane
from woolexec.worker.loop_lane import FEW
from woolexec.worker.trio_lane import TrioLane


@pytest.fixture(params=[AsyncioLane, TrioLane])
def both(request, monkeypatch):
    with running(request.param, monkeypatch) as both:
        yield both


async def double(x):
    await anyio.lowlevel.checkpoint()
    return 2 * x


async def fail(x):
    raise LookupError(x)


async def sleep_forever(log=None):
    try:
        await anyio.sleep_forever()
    finally:
        if log is not None:
            log.set()


def test_values_and_exceptions_of_calls_are_sent_under_their_numbers(both):
    lane, engine = both
    lane.start(job(1, double, 21))
    back = engine.next()
    lane.start(job(2, fail, "why"))
    error = engine.next()

    assert (back.call, loads(back.payload)) == ((1,), 42)
    assert (error.call, repr(load_failure(error.payload))) == (2, "LookupError('why')")


def test_call_that_returns_no_awaitable_has_ended(both):
    lane, engine = both
    lane.start(job(1, len, "four"))

    assert loads(engine.next().payload) == 4
    assert on_loop(lane, lambda: dict(lane.tasks)) == {}


def test_function_that_cannot_be_unpickled_fails_its_call(both):
    lane, engine = both
    lane.start(job(1, ImportError("gone")))
    error = load_failure(engine.next().payload)

    assert str(error) == "gone"
    assert any("while unpickling the function" in note for note in error.__notes__)


@pytest.mark.parametrize("kind", [Cancel, Close])
def test_cancelled_call_cleans_up_before_its_outcome_is_sent(both, kind):
    lane, engine = both
    cleaned, begun = threading.Event(), threading.Event()

    async def wait():
        begun.set()
        await sleep_forever(cleaned)

    lane.start(job(1, wait))
    assert begun.wait(SOON)
    lane.control(kind(call=1))
    error = engine.next()

    assert cleaned.is_set()
    assert (type(error), error.call) == (Raise, 1)
    assert "Cancelled" in error.type[0]


def test_call_that_is_cancelled_before_it_begins_ends_at_its_first_wait_with_one_outcome(both):
    lane, engine = both
    begun = threading.Event()

    async def begin():
        await anyio.lowlevel.checkpoint()  # asyncio does not come this far
        begun.set()

    lane.put(lambda: (lane._begin(job(1, begin)), lane._control(Cancel(call=1))))
    error = engine.next()
    lane.finish(None)

    assert (type(error), error.call, begun.is_set(), engine.is_quiet) == (Raise, 1, False, True)


def test_command_for_a_call_that_has_ended_is_ignored(both):
    lane, engine = both
    lane.control(Cancel(call=7))
    lane.control(Next(call=7))
    lane.start(job(1, double, 1))

    assert engine.next().call == (1,)


def test_loop_is_woken_once_for_all_that_is_put_while_it_runs_something_else(both, monkeypatch):
    lane, _ = both
    wakes, go_on, begun = [], threading.Event(), threading.Event()
    wake = lane.wake
    monkeypatch.setattr(lane, "wake", lambda: (wakes.append(1), wake()))
    lane.put(lambda: (begun.set(), go_on.wait(SOON)))
    assert begun.wait(SOON)
    wakes.clear()
    for _ in range(100):
        lane.put(lambda: None)
    assert len(wakes) == 1
    go_on.set()


def test_frames_of_many_calls_that_end_together_are_sent_together(both):
    lane, engine = both
    count, begun, all_begun = 3 * FEW, [], threading.Event()
    event = on_loop(lane, {"asyncio": asyncio, "trio": trio}[lane.name].Event)

    async def wait(x):
        begun.append(x)
        if len(begun) == count:
            all_begun.set()
        await event.wait()
        return x

    for number in range(1, count + 1):
        lane.start(job(number, wait, number))
    assert all_begun.wait(SOON)
    lane.put(event.set)
    backs = [engine.next() for _ in range(count)]

    assert sorted(loads(back.payload) for back in backs) == list(range(1, count + 1))
    assert max(engine.bursts) > FEW


def test_finish_waits_for_calls_and_with_a_timeout_cancels_them(both):
    lane, engine = both
    lane.start(job(1, double, 1))
    lane.finish(None)
    assert type(engine.next()) is Return

    lane.start(job(2, sleep_forever))
    lane.start(job(3, sleep_forever))
    lane.finish(SOON)

    assert {engine.next().call, engine.next().call} == {2, 3}


def test_coroutine_that_is_run_for_a_thread_returns_and_raises_there_and_sends_nothing(both):
    lane, engine = both

    assert lane.run_for(job(1, None), double(4)) == 8
    with pytest.raises(LookupError, match="why"):
        lane.run_for(job(1, None), fail("why"))
    lane.finish(None)
    assert engine.is_quiet


async def echo(log):
    try:
        got = yield "first"
        while True:
            try:
                got = yield got
            except LookupError as exc:
                got = repr(exc)
    finally:
        log.append("closed")


def opened(lane, engine, function, *args):
    stream = job(1, lambda: function(*args))
    lane.start(stream)
    assert type(engine.next()) is Started


def test_stream_answers_each_command_with_one_frame(both):
    lane, engine = both
    log = []
    opened(lane, engine, echo, log)
    said = []
    for frame in (
        Next(call=1),
        Send(call=1, payload=dumps_value(7)),
        Throw(call=1, payload=dump_failure(LookupError("odd"))),
    ):
        lane.control(frame)
        said.append(loads(engine.next().payload))
    assert said == ["first", 7, "LookupError('odd')"]

    lane.control(Close(call=1))
    end = engine.next()
    assert (type(end), loads(end.payload), log) == (Return, None, ["closed"])


def test_stream_that_is_closed_by_a_shutdown_says_so_to_its_next_pull(both):
    lane, engine = both
    opened(lane, engine, echo, [])
    lane.control(Close(call=1, shutdown=True))

    assert str(load_failure(engine.next().payload)) == SHUT


def test_stream_ends_with_a_return_behind_its_items(both):
    async def two():
        yield 1
        yield 2

    lane, engine = both
    opened(lane, engine, two)
    lane.control(Next(call=1, credits=5))
    said = [engine.next()]
    while type(said[-1]) is Yield:
        said.append(engine.next())

    assert (type(said[-1]), sum(frame.count or 1 for frame in said[:-1])) == (Return, 2)


async def wait_for_ever():
    await anyio.sleep_forever()
    yield


def test_end_of_a_stream_that_comes_with_a_pull_does_not_wait_for_it(both):
    lane, engine = both
    opened(lane, engine, wait_for_ever)

    lane.put(lambda: (lane._control(Next(call=1)), lane._control(Close(call=1))))

    assert type(engine.next()) is Return
