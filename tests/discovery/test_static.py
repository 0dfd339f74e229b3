"""Peers at known addresses."""

import asyncio

from woolexec.discovery.base import Joined, Record
from woolexec.discovery.static import Static


def test_addresses_are_peers_each_once_in_their_order():
    static = Static(["b:1", "a:1", "b:1", "unix:/run/peer"])
    assert static.addresses == ("b:1", "a:1", "unix:/run/peer")
    assert static.count == 3
    assert str(static) == "b:1, a:1, unix:/run/peer"


def test_watcher_hears_of_all_at_once_and_then_waits():
    async def watch():
        events = Static(["a:1", "b:1"]).watch()
        heard = [await anext(events) for _ in range(2)]
        waiting = asyncio.ensure_future(anext(events))
        for _ in range(5):
            await asyncio.sleep(0)
        is_waiting = not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})
        return heard, is_waiting

    heard, is_waiting = asyncio.run(watch())
    assert heard == [Joined(Record("a:1", ("a:1",))), Joined(Record("b:1", ("b:1",)))]
    assert is_waiting


def test_every_watcher_hears_of_all():
    async def first(static):
        events = static.watch()
        heard = await anext(events)
        await events.aclose()
        return heard

    static = Static(["a:1"])
    assert asyncio.run(first(static)) == asyncio.run(first(static))
