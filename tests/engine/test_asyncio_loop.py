"""The event loop of an engine's thread: its differences from asyncio's."""

import asyncio
import socket

import pytest

from woolexec.engine.asyncio_loop import EventLoop


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def run():
    """Run a coroutine in the event loop."""
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        yield runner.run


def test_task_that_a_descriptor_wakes_runs_before_the_next_is_looked_for(run, pair):
    here, there = pair
    seen = []

    async def main():
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        async def wait():
            await ready.wait()
            seen.append("task")

        task = loop.create_task(wait())
        await asyncio.sleep(0)
        loop.add_reader(here, lambda: (here.recv(1), ready.set(), loop.call_soon(seen.append, "after")))
        there.send(b"x")
        select = loop._selector.select
        loop._selector.select = lambda timeout: (seen.append("select"), select(timeout))[1]
        await task
        loop._selector.select = select
        loop.remove_reader(here)

    run(main())
    assert seen[: seen.index("task")].count("select") == 1


def test_callback_that_another_one_removes_does_not_run(run):
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context))
        over = loop.create_future()

        def hear(mine, others):
            seen.append(mine)
            for each in (mine, others):
                loop.remove_reader(each)
            over.set_result(None)

        for (here, there), (other, _) in zip(pairs, reversed(pairs), strict=True):
            loop.add_reader(here, hear, here, other)
            there.send(b"x")
        await over
        await asyncio.sleep(0)

    run(main())
    assert len(seen) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_reader_that_took_the_number_of_a_removed_one_is_kept(run):
    """The removed one was found ready together with what removed it."""
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def hear(mine, others):
            seen.append("first")
            loop.remove_reader(mine)
            loop.remove_reader(others)
            loop.add_reader(others, lambda: (loop.remove_reader(others), over.set_result(None)))

        ends = [pair[0].fileno() for pair in pairs]
        loop.add_reader(ends[0], hear, *ends)
        loop.add_reader(ends[1], hear, *reversed(ends))
        for _, there in pairs:
            there.send(b"x")
        await asyncio.wait_for(over, 20)

    run(main())
    assert seen == ["first"]
    for pair in pairs:
        for end in pair:
            end.close()


def test_callback_that_writes_runs_and_one_that_raises_is_reported(run, pair):
    here, _ = pair
    reported = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        over = loop.create_future()

        def write():
            loop.remove_writer(here)
            over.set_result(None)
            raise ZeroDivisionError

        loop.add_writer(here, write)
        await over

    run(main())
    assert [type(exc) for exc in reported] == [ZeroDivisionError]
