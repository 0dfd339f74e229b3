"""Coroutines, streams, options and context through a peer: as on one machine."""

import asyncio
import os
import time
from contextlib import closing

import numpy as np
import pytest

from tests.mesh.conftest import PATIENCE, eventually
from tests.mesh.tasks import (
    add,
    arrays,
    changes_word,
    count,
    count_async,
    echo,
    raise_async,
    says_word,
    wait_for_ever,
    word,
)
from woolexec import WorkerLostError, current_executor, current_task
from woolexec.mesh.server import start_reports

pytestmark = pytest.mark.matrix


def test_coroutines_run_at_once(pool):
    futures = [pool.submit(add, n, y=1) for n in range(1000)]
    assert [future.result(PATIENCE) for future in futures] == list(range(1, 1001))


def test_coroutine_that_raises_raises_here(pool):
    with pytest.raises(LookupError, match="nothing") as caught:
        pool.submit(raise_async, "nothing").result(PATIENCE)
    assert "in raise_async" in str(caught.value.__cause__)


def test_coroutine_is_cancelled_where_it_runs(pool, tmp_path):
    future = pool.submit(wait_for_ever, tmp_path / "it")
    eventually((tmp_path / "it").exists)
    assert future.cancel(force=True)
    eventually((tmp_path / "it.ended").exists)
    assert pool.submit(add, 1, 2).result(PATIENCE) == 3


def test_awaiting_that_is_cancelled_cancels_the_coroutine(pool, tmp_path):
    async def main():
        task = asyncio.create_task(pool.run(wait_for_ever, tmp_path / "it"))
        await asyncio.to_thread(eventually, (tmp_path / "it").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (tmp_path / "it.ended").exists()

    assert asyncio.run(main())


@pytest.mark.parametrize("fn", [count, count_async])
@pytest.mark.parametrize("prefetch", [0, 1, 64])
def test_stream_gives_its_items(pool, fn, prefetch):
    with pool.stream(fn, 200, prefetch=prefetch) as items:
        assert list(items) == list(range(200))
        assert items.value == ("done" if fn is count else None)


def test_stream_takes_values_and_exceptions_and_cleans_up(pool, tmp_path):
    with pool.stream(echo, tmp_path / "closed") as items:
        assert next(items) is None
        assert items.send("a") == "a"
        assert items.send(b"x" * 300_000) == b"x" * 300_000
        assert items.send(np.arange(50_000)).sum() == sum(range(50_000))
        assert items.throw(ValueError("b")) == "caught b"
    assert (tmp_path / "closed").exists()


def test_large_items_come_whole(pool):
    with pool.stream(arrays, 5, prefetch=2) as items:
        assert [int(item[-1]) for item in items] == list(range(5))


def test_map_async_goes_through_the_peer(pool):
    async def main():
        plain = [x async for x in pool.map_async(abs, range(-500, 0))]
        coroutines = [x async for x in pool.map_async(add, range(500))]
        return plain, coroutines

    plain, coroutines = asyncio.run(main())
    assert plain == list(range(500, 0, -1))
    assert coroutines == list(range(500))


def test_timeout_ends_a_plain_call_there(pool):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"sleep ran longer than its timeout of 0\.3 s"):
        pool.with_options(timeout=0.3).submit(time.sleep, 60).result(PATIENCE)
    assert time.monotonic() - start < PATIENCE
    assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_timeout_ends_a_coroutine_there(pool, tmp_path):
    with pytest.raises(TimeoutError, match="1 s"):
        pool.with_options(timeout=1).submit(wait_for_ever, tmp_path / "it").result(PATIENCE)
    eventually((tmp_path / "it.ended").exists)


def test_timeout_is_tried_again(pool, tmp_path):
    def slow_at_first():
        try:
            (tmp_path / "been here").touch(exist_ok=False)
        except FileExistsError:
            return "quick"
        return time.sleep(60)

    timed = pool.with_options(timeout=0.5, retries=1, retry_on=TimeoutError)
    assert timed.submit(slow_at_first).result(PATIENCE) == "quick"


def test_error_names_the_function(pool):
    def ends_badly():
        os._exit(3)

    with pytest.raises(WorkerLostError, match=r"exited with code 3 while running .*ends_badly"):
        pool.submit(ends_badly).result(PATIENCE)


def test_context_goes_along_and_comes_back(pool):
    async def main():
        word.set("given")
        there = await pool.run(says_word)
        await pool.with_options(context_back=True).run(changes_word)
        return there, word.get()

    assert asyncio.run(main()) == ("given", "changed")


def test_nested_tasks_stay_with_the_peer(pool, peer):
    def outer():
        inner = current_executor()
        return [future.result() for future in [inner.submit(os.getpid) for _ in range(5)]], current_task().name

    pids, name = pool.with_options(name="outer").submit(outer).result(PATIENCE)
    assert set(pids) <= set(peer.engine.pids)
    assert name == "outer"


def test_nested_stream_is_pulled_there(pool):
    def total(n):
        with current_executor().stream(count, n) as items:
            return sum(items)

    assert pool.submit(total, 50).result(PATIENCE) == sum(range(50))


def test_map_of_generators_gives_streams(pool):
    streams = list(pool.map(count, [2, 3]))
    assert [list(stream) for stream in streams] == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize("look", [start_reports._LOOK, 0.5], ids=["reported", "not reported yet"])
def test_closing_a_map_of_coroutines_cancels_them(pool, tmp_path, monkeypatch, look):
    monkeypatch.setattr(start_reports, "_LOOK", look)

    async def task(path):
        if path is not None:
            await wait_for_ever(path)

    with closing(pool.map(task, [None, tmp_path / "a", tmp_path / "b"])) as results:
        next(results)
        eventually(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    eventually(lambda: (tmp_path / "a.ended").exists() and (tmp_path / "b.ended").exists())
