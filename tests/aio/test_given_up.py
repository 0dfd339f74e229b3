"""Abandoned calls that have not ended yet: their outcomes are dropped."""

import itertools

import anyio
import pytest

from woolexec import PeerPoolExecutor

from . import tasks

pytestmark = pytest.mark.matrix


@pytest.mark.slow
@pytest.mark.parametrize("sync", [False, True])
def test_timeout_of_a_mapped_coroutine_is_tried_again_and_is_its_items_alone(run, sync):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            await pool.run(tasks.nap, 0)  # so that no import counts
            view = pool.with_options(timeout=1, retries=1, retry_on=TimeoutError)
            if sync:
                results = view.map(tasks.nap, [0.01, 0.02, 60])
                assert [next(results) for _ in range(2)] == [0.01, 0.02]
                with pytest.raises(TimeoutError):
                    next(results)
                return
            items = [x async for x in view.map_async(tasks.nap, [0.01, 60, 0.02], return_exceptions=True)]
            assert items[::2] == [0.01, 0.02]
            assert isinstance(items[1], TimeoutError)

    run(body)


@pytest.mark.slow
def test_coroutine_that_was_cancelled_is_not_touched_by_its_timeout(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            await pool.run(tasks.nap, 0)
            view = pool.with_options(timeout=1, retries=1, retry_on=TimeoutError)
            async with anyio.create_task_group() as group:
                group.start_soon(view.run, tasks.note_and_clean_up_slowly, tmp_path / "starts")
                await tasks.there(tmp_path / "starts")
                group.cancel_scope.cancel()
            assert await pool.run(abs, -1) == 1
            assert (tmp_path / "starts").read_text() == "x"

    run(body)


def test_coroutine_that_was_cancelled_is_not_started_again(run, tmp_path):
    async def body():
        path = tmp_path / "starts"
        async with PeerPoolExecutor(1) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(
                    pool.with_options(retries=2, retry_on=OSError).run, tasks.note_and_clean_up_badly, path
                )
                await tasks.there(path)
                group.cancel_scope.cancel()
            assert await pool.run(abs, -1) == 1
        assert path.read_text() == "x"

    run(body)


@pytest.mark.slow
def test_coroutine_that_ran_too_long_is_started_as_often_as_it_may_be(run, tmp_path):
    async def body():
        path = tmp_path / "starts"
        async with PeerPoolExecutor(1) as pool:
            await pool.run(tasks.nap, 0)
            view = pool.with_options(timeout=1, retries=1, retry_on=(OSError, TimeoutError))
            with pytest.raises(TimeoutError):
                await view.run(tasks.note_and_clean_up_badly, path)
        assert path.read_text() == "xx"

    run(body)


@pytest.mark.parametrize("fn", [tasks.square, tasks.add])
@pytest.mark.parametrize("ordered", [True, False])
def test_map_that_another_task_closes_ends_for_its_reader(run, fn, ordered):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            items = pool.map_async(fn, itertools.count(), ordered=ordered, buffersize=2, chunksize=1)

            async def read():
                async for _ in items:
                    pass

            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.sleep(0.1)
                await items.aclose()

    run(body)


# -- beside a plain call that is ended ---------------------------------------------------------------------------------


def test_stream_beside_a_call_that_is_ended_can_be_pulled_to_its_end(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            stream = await pool.run(tasks.numbers)
            first = await anext(stream)
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, tasks.block, tmp_path / "it")
                await tasks.there(tmp_path / "it-began")
                group.cancel_scope.cancel()
            assert [first] + [item async for item in stream] == [0, 1, 2]

    run(body)


def test_coroutine_beside_a_call_that_is_ended_gets_its_child(run, tmp_path):
    async def body():
        values = []
        async with PeerPoolExecutor(1) as pool, anyio.create_task_group() as group:

            async def ask():
                values.append(await pool.run(tasks.ask_for_a_child, tmp_path / "asked"))

            group.start_soon(ask)
            await tasks.there(tmp_path / "asked")
            with pytest.raises(TimeoutError):
                await pool.with_options(timeout=0.1).run(tasks.block, tmp_path / "it")
        assert values == [7]

    run(body)
