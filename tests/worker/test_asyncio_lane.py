import asyncio
import socket
from contextvars import ContextVar

import pytest

from tests.worker.lanes import SOON, Engine, job, on_loop, running
from woolexec.wire.unpickling import loads
from woolexec.worker.asyncio_lane import AsyncioLane

word = ContextVar("word", default="unset")


@pytest.fixture
def both(monkeypatch):
    with running(AsyncioLane, monkeypatch) as both:
        yield both


class Reading:
    """Reads one byte at a time; its duty ends with a zero."""

    def __init__(self, sock):
        self._sock = sock
        self.engine = Engine()
        self.read = []

    def read_borrowed(self, lane):
        [byte] = self._sock.recv(1)
        self.read.append((byte, lane))
        self.engine._said.put(byte)
        return byte != 0


@pytest.fixture
def borrowed(both):
    """A lane that reads a socket, the other end of the socket, and what it has read."""
    lane, _ = both
    there, here = socket.socketpair()
    lane.reading = Reading(here)
    lane.borrow(here.fileno())
    yield lane, there, lane.reading
    on_loop(lane, lambda: lane._loop.remove_reader(here.fileno()))
    there.close()
    here.close()


def test_loop_reads_the_socket_that_it_has_borrowed(borrowed):
    lane, there, reading = borrowed
    for byte in (1, 2, 3):
        there.send(bytes([byte]))
        assert reading.engine.next() == byte

    on_loop(lane, lambda: None)
    assert reading.read == [(1, lane), (2, lane), (3, lane)]
    assert lane.heard == 3


@pytest.mark.parametrize("byte", [0, 1])
def test_loop_stops_reading_when_the_socket_is_given_back_or_its_duty_ends(borrowed, byte):
    lane, there, reading = borrowed
    there.send(bytes([byte]))
    assert reading.engine.next() == byte
    if byte:
        lane.give_back(reading._sock.fileno())

    assert on_loop(lane, lambda: lane._loop.remove_reader(reading._sock.fileno())) is False


def test_what_is_put_while_a_frame_is_read_runs_behind_it_without_a_wake_up(borrowed, monkeypatch):
    lane, there, reading = borrowed
    order, wakes = [], []
    monkeypatch.setattr(lane, "wake", lambda: wakes.append(1))

    def read_borrowed(_):
        lane.put(lambda: order.append("piece"))
        order.append("read")
        return Reading.read_borrowed(reading, lane)

    reading.read_borrowed = read_borrowed
    there.send(b"\1")
    assert reading.engine.next() == 1
    monkeypatch.undo()
    on_loop(lane, lambda: None)

    assert (order, wakes) == (["read", "piece"], [])


def test_waiter_may_be_woken_twice_and_after_it_was_cancelled(both):
    lane, engine = both

    async def wait():
        wake, waiting = lane.make_waiter()
        wake()
        wake()
        await waiting
        wake, waiting = lane.make_waiter()
        waiting.cancel()
        wake()
        return "awake"

    lane.start(job(1, wait))
    assert loads(engine.next().payload) == "awake"


def test_calls_run_on_one_loop_each_in_a_context_of_its_own(both):
    lane, engine = both

    async def look(value):
        before = word.get()
        word.set(value)
        await asyncio.sleep(0)
        return before, word.get(), asyncio.get_running_loop() is lane._loop

    lane.start(job(1, look, "a"))
    lane.start(job(2, look, "b"))
    seen = sorted(loads(engine.next().payload) for _ in range(2))
    assert seen == [("unset", "a", True), ("unset", "b", True)]


def test_cancelling_a_call_cancels_its_asyncio_task(both):
    lane, engine = both

    async def cancel_self():
        lane.cancel(1)
        try:
            await asyncio.sleep(SOON)
        except asyncio.CancelledError:
            return asyncio.current_task().cancelling()

    lane.start(job(1, cancel_self))
    assert loads(engine.next().payload) == 1
