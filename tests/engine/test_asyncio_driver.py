"""Rounds of an engine in an asyncio event loop, concurrently with a guest."""

import asyncio
import os
from time import monotonic

import pytest

from woolexec.engine import asyncio_driver
from woolexec.engine.asyncio_driver import run
from woolexec.engine.event_loop import Loop as EventLoop
from woolexec.engine.selector import Selector


class Loop:
    """The part of an engine's loop that is driven: a descriptor, a timer, and a count of both."""

    def __init__(self):
        self.watched = self
        self._ends = os.pipe()
        self.heard = 0
        self.times = []

    def fileno(self):
        return self._ends[0]

    def make_ready(self):
        os.write(self._ends[1], b"x")

    def hear(self, timeout):
        assert timeout == 0.0
        self.heard += 1
        os.set_blocking(self._ends[0], False)
        try:
            os.read(self._ends[0], 100)
        except BlockingIOError:
            pass

    def due(self):
        return self.times.pop(0) if self.times else None

    def close(self):
        for end in self._ends:
            os.close(end)


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


async def wait(_make=None):
    await asyncio.Event().wait()


def steps(count):
    """Return a step that is the last one after `count` rounds, and the list of rounds."""
    made = []

    def step():
        made.append(None)
        return len(made) < count

    return step, made


def test_first_round_needs_nothing_to_begin(loop):
    step, made = steps(1)
    run(step, loop, wait)
    assert (len(made), loop.heard) == (1, 0)


def test_descriptor_that_is_ready_makes_a_round(loop):
    step, made = steps(2)
    loop.make_ready()
    run(step, loop, wait)
    assert (len(made), loop.heard) == (2, 1)


def test_timer_that_is_due_makes_a_round(loop):
    loop.times = [monotonic() + 0.001, monotonic() + 0.002]
    step, made = steps(3)
    run(step, loop, wait)
    assert (len(made), loop.heard) == (3, 2)


def test_earlier_timer_replaces_a_later_one(loop):
    loop.times = [monotonic() + 1000.0, monotonic() + 0.001]
    step, made = steps(3)

    async def guest(make):
        await asyncio.sleep(0)
        make()
        await wait()

    run(step, loop, guest)
    assert (len(made), loop.heard) == (3, 1)


def test_timer_that_stays_the_first_is_set_once(loop):
    loop.times = [monotonic() + 1000.0] * 20
    step, made = steps(10)
    set_at = []

    async def guest(make):
        own = asyncio.get_running_loop()
        set_timer = own.call_at
        own.call_at = lambda when, *rest, **more: (set_at.append(when), set_timer(when, *rest, **more))[1]
        await asyncio.sleep(0)
        for _ in range(8):
            make()
        assert len(set_at) <= 1
        own.call_at = set_timer
        make()
        await wait()

    run(step, loop, guest)
    assert len(made) == 10


def test_guest_that_has_brought_something_makes_a_round_at_once(loop):
    step, made = steps(2)
    seen = []

    async def guest(make):
        await asyncio.sleep(0)
        make()
        seen.append(len(made))
        await wait()

    run(step, loop, guest)
    assert seen == [2]
    assert loop.heard == 0


def test_guest_is_cancelled_at_the_end_and_may_clean_up(loop):
    seen = []

    async def guest(make):
        try:
            await wait()
        finally:
            await asyncio.sleep(0)
            seen.append("clean")

    run(steps(1)[0], loop, guest)
    assert seen == ["clean"]


def test_guest_that_takes_no_cancellation_is_given_up(loop, monkeypatch):
    monkeypatch.setattr(asyncio_driver, "_PATIENCE", 0.001)
    cancelled = []
    allowed = asyncio_driver._TRIES

    async def guest(make):
        while len(cancelled) < allowed:
            try:
                await wait()
            except asyncio.CancelledError:
                cancelled.append(None)

    run(steps(1)[0], loop, guest)
    assert len(cancelled) == allowed


def test_exception_of_the_guest_ends_the_engine(loop):
    async def guest(make):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(steps(100)[0], loop, guest)


def test_rounds_go_on_after_a_guest_that_has_nothing_more_to_do(loop):
    step, made = steps(3)

    async def guest(make):
        asyncio.get_running_loop().call_later(0.01, make)
        asyncio.get_running_loop().call_later(0.02, make)

    run(step, loop, guest)
    assert len(made) == 3


@pytest.mark.parametrize("when", [1, 2])
def test_exception_of_a_round_is_raised_and_the_guest_ends(loop, when):
    made, ended = [], []

    def step():
        made.append(None)
        if len(made) == when:
            raise ZeroDivisionError
        return True

    async def guest(make):
        try:
            await asyncio.sleep(0)
            make()
            await wait()
        finally:
            ended.append(None)

    with pytest.raises(ZeroDivisionError):
        run(step, loop, guest)
    assert len(made) == when
    assert ended


def test_no_round_is_made_after_the_last_one(loop):
    step, made = steps(1)

    async def guest(make):
        try:
            await wait()
        finally:
            make()

    run(step, loop, guest)
    assert len(made) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # policies are deprecated from Python 3.14 on
def test_event_loop_policy_of_the_program_is_not_used(loop):
    class Policy(asyncio.DefaultEventLoopPolicy):
        """Makes no event loops."""

        def new_event_loop(self):
            raise AssertionError("the program's own event loops are for the program")

    seen = []

    async def guest(make):
        seen.append(type(asyncio.get_running_loop()))
        await wait()

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        run(steps(2)[0], loop, lambda make: _then(make, guest))
    finally:
        asyncio.set_event_loop_policy(before)
    assert issubclass(seen[0], asyncio.SelectorEventLoop)


async def _then(make, guest):
    asyncio.get_running_loop().call_soon(make)
    await guest(make)


class Contexts(list):
    """An event loop that keeps what its default handler is told."""

    def default_exception_handler(self, context):
        self.append(context)


def test_one_harmless_error_of_grpc_is_ignored_and_others_are_not():
    loop = Contexts()
    harmless = {"exception": RuntimeError("closed"), "handle": "<Handle PollerCompletionQueue._handle_events>"}
    asyncio_driver._pass_over(loop, harmless)
    assert loop == []
    for context in (
        {**harmless, "exception": ValueError()},
        {**harmless, "handle": "<Handle other>"},
        {"message": "x"},
    ):
        asyncio_driver._pass_over(loop, context)
        assert loop[-1] is context


def test_timer_that_is_set_between_two_rounds_is_on_time():
    loop = EventLoop(lambda about: True)
    loop.watched = Selector()
    rang = []

    async def guest(_make):
        await asyncio.sleep(0.01)  # the rounds sleep now, with nothing to do
        loop.after(0.01, lambda: rang.append(True))
        await asyncio.sleep(30)

    def step():
        return not rang

    run(step, loop, guest)
    assert rang
    loop.after(0.0, rang.clear)  # the event loop is gone
    loop.watched.close()
