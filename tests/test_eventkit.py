"""A stage of an eventkit pipeline that runs in a pool, with the real package."""

import asyncio
import bz2

import pytest

from woolexec import PeerPoolExecutor

ev = pytest.importorskip("eventkit")


@pytest.fixture
def loop(monkeypatch):
    import eventkit.util

    import woolexec.eventkit

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monkeypatch.setattr(eventkit.util, "main_event_loop", loop)
    woolexec.eventkit.register()
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def square(number):
    return number * number


async def halve(number):
    return number / 2


def fail(number):
    raise ValueError(number)


def test_the_example_of_distex_runs(loop):
    with PeerPoolExecutor(2) as pool:
        data = [b"A" * 1000000] * 20
        pipe = ev.Sequence(data).poolmap(pool, bz2.compress).map(len).mean().last()
        assert pipe.run() == [len(bz2.compress(data[0]))]


def test_stages_follow_each_other_and_arguments_are_what_was_emitted_together(loop):
    with PeerPoolExecutor(2) as pool:
        assert ev.Sequence(range(5)).poolmap(pool, square).poolmap(pool, halve).run() == [0, 0.5, 2, 4.5, 8]
        pairs = ev.Sequence([(2, 3), (3, 2)]).star().poolmap(pool, pow, ordered=False)
        assert sorted(pairs.run()) == [8, 9]


def test_an_exception_goes_the_way_of_eventkit(loop):
    with PeerPoolExecutor(1) as pool, pytest.raises(ValueError, match="7"):
        ev.Sequence([7]).poolmap(pool, fail).run()
