"""``await pool.submit(...)``: a future can be awaited, on asyncio and on trio."""

import asyncio
import inspect
import threading
from concurrent.futures import CancelledError

import anyio
import pytest

from tests.aio import stream_tasks, tasks
from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, Stream, current_executor
from woolexec.futures.call_future import CallFuture

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


@pytest.mark.parametrize("fn", [tasks.square, tasks.add, lambda x: x * x], ids=["plain", "coroutine", "lambda"])
def test_awaiting_a_future_gives_its_value(run, fn):
    async def body():
        async with shared(1) as pool:
            future = pool.submit(fn, 1)
            assert inspect.isawaitable(future)
            assert await future == 1
            assert await future == 1  # again, now that it is done
            assert await pool.with_options(retries=1).submit(fn, 1) == 1

    run(body)


def test_awaiting_the_future_of_a_generator_function_gives_a_stream(run):
    async def body():
        async with shared(1) as pool, await pool.submit(stream_tasks.count, 3) as stream:
            assert isinstance(stream, Stream)
            assert [item async for item in stream] == [0, 1, 2]

    run(body)


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), KeyboardInterrupt()])
def test_what_the_task_raised_is_raised_where_its_future_is_awaited(run, error):
    async def body():
        async with shared(1) as pool:
            future = pool.submit(tasks.raise_, error)
            for _ in range(2):
                with pytest.raises(type(error)) as caught:
                    await future
                assert "in raise_" in str(caught.value.__cause__)

    run(body)


@pytest.mark.parametrize("fn", [stream_tasks.double, stream_tasks.double_async])
def test_future_of_a_nested_task_can_be_awaited(run, fn):
    async def parent():
        pool = current_executor()
        first, second = pool.submit(fn, 1), pool.with_options(name="second").submit(fn, 2)
        return await first + await second

    def plain_parent():
        async def main():
            return await current_executor().submit(fn, 3)

        return asyncio.run(main())

    async def body():
        async with PeerPoolExecutor(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.submit(parent) == 6
                assert await pool.submit(plain_parent) == 6

    run(body)


def test_several_tasks_of_several_loops_may_await_one_future(run, tmp_path):
    got = []

    async def one(future):
        got.append(await future)

    async def several(future):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one, future)

    with shared(1) as pool:
        future = pool.submit(tasks.wait_for_file, tmp_path / "go")
        threads = [threading.Thread(target=run, args=(several, future)) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(future.latch._sleepers) == 9)
        (tmp_path / "go").touch()
        for thread in threads:
            thread.join(SOON)
        assert got == [future.result()] * 9


def test_cancelled_await_cancels_a_task_that_waits_for_all_who_await_it(run, tmp_path):
    seen = []

    async def other(future):
        try:
            await future
        except CancelledError:
            seen.append("cancelled")

    async def body():
        async with shared(1) as pool:
            busy = pool.submit(tasks.wait_for_file, tmp_path / "go")
            future = pool.submit(tasks.note, tmp_path / "started")
            async with anyio.create_task_group() as group:
                group.start_soon(other, future)
                with anyio.move_on_after(0.05):
                    await future
                assert future.cancelled()
            assert seen == ["cancelled"]
            (tmp_path / "go").touch()
            await busy
        assert not (tmp_path / "started").exists()

    run(body)


def test_cancelled_await_cancels_a_coroutine_which_cleans_up(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            future = pool.submit(tasks.clean_up_slowly, tmp_path / "it")
            await tasks.there(tmp_path / "it-began")
            with anyio.move_on_after(0.05):
                await future
            assert (tmp_path / "it-ended").exists()

    run(body)


def test_cancelled_await_ends_a_plain_call_with_its_worker_as_run_does(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            future = pool.submit(tasks.block, tmp_path / "it")
            await tasks.there(tmp_path / "it-began")
            with anyio.move_on_after(0.05):
                await future
            assert future.cancelled()
            assert await pool.submit(tasks.square, 2) == 4

    run(body)


def test_cancelled_await_leaves_a_plain_call_alone_if_its_options_say_so(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            future = pool.with_options(abandon_on_cancel=True).submit(tasks.wait_for_file, tmp_path / "go")
            await tasks.until(future.running)
            with anyio.move_on_after(0.05):
                await future
            (tmp_path / "go").touch()
            await future

    run(body)


@pytest.mark.parametrize("abandon", [True, False])
def test_options_of_a_nested_task_say_what_a_cancelled_await_does(run, tmp_path, abandon):
    async def parent():
        future = current_executor().with_options(abandon_on_cancel=abandon).submit(tasks.wait_for_file, tmp_path / "go")
        await tasks.until((tmp_path / "began").exists)
        with anyio.move_on_after(0.05):
            await future
        (tmp_path / "go").touch()
        return None if future.cancelled() else await future

    def began():
        (tmp_path / "began").touch()

    async def body():
        async with PeerPoolExecutor(2) as pool:
            call = pool.submit(parent)
            await tasks.until(lambda: pool._engine.counts["outstanding"] == 2)
            await anyio.sleep(0.05)
            began()
            assert (await call is not None) is abandon

    run(body)


def test_tools_of_asyncio_take_futures_as_they_are(tmp_path):
    async def body():
        async with shared(2) as pool:
            assert await asyncio.gather(*(pool.submit(tasks.square, n) for n in range(5))) == [0, 1, 4, 9, 16]
            assert await asyncio.wait_for(pool.submit(tasks.square, 3), SOON) == 9
            future = pool.submit(tasks.wait_for_file, tmp_path / "go")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(future), 0.05)
            assert not future.cancelled()
            (tmp_path / "go").touch()
            await future

    asyncio.run(body())


def test_outside_of_a_loop_awaiting_says_so():
    future = CallFuture()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(future.__await__())
