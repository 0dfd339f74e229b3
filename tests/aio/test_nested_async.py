"""Nested tasks, at least one of which is asynchronous."""

import os

import anyio
import pytest

from tests.faults.tasks import SOON, eventually, is_gone, notes
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, WorkerLostError

from . import stream_tasks as tasks

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


@pytest.fixture(params=["", "_async"], ids=["generator", "async_generator"])
def kind(request):
    """Find the generator function of this name, of one kind."""
    return lambda name: getattr(tasks, name + request.param)


async def there(path):
    await tasks.until(path.exists)


# -- running ----------------------------------------------------------------------------------------------------------


def test_coroutine_runs_tasks_of_both_kinds(run):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.both_kinds, 3) == (6, 6)

    run(body)


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_async])
def test_plain_task_awaits_nested_tasks_in_a_loop_of_its_own(run, fn):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.through_asyncio, fn, 3) == 6
                assert await pool.run(tasks.through_asyncio, fn, 4) == 8

    run(body)


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_async])
def test_plain_task_wraps_the_future_of_a_nested_task_in_a_loop_of_its_own(run, fn):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.wrap_through_asyncio, fn, 3) == 6

    run(body)


def test_plain_tasks_that_all_wait_in_loops_of_their_own_get_workers_for_their_tasks():
    with PeerPoolExecutor(2) as pool:
        futures = [pool.submit(tasks.through_asyncio, tasks.double, n) for n in range(8)]
        assert [future.result(SOON) for future in futures] == [2 * n for n in range(8)]
        assert eventually(lambda: pool._engine.counts["workers"] <= 2)


@pytest.mark.slow
def test_recursion_through_loops_of_their_own_is_deeper_than_the_pool():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(tasks.recur_through_asyncio, 10).result(2 * SOON) == 10
        assert eventually(lambda: pool._engine.counts["workers"] <= 1)
        assert pool.submit(tasks.double, 1).result(SOON) == 2


def test_plain_task_whose_thread_waits_for_a_nested_task_gets_a_worker_for_that():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(tasks.through_thread, tasks.double, 3).result(SOON) == 6


def test_coroutine_that_a_plain_function_returned_awaits_a_nested_plain_task():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(lambda: tasks.run_nested(tasks.double, 3)).result(SOON) == 6


def test_callback_of_a_nested_future_may_wait_for_another():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(tasks.wait_in_callback, tasks.double, 3).result(SOON) == 6


@pytest.mark.slow
def test_worker_makes_one_event_loop_however_many_ask_for_it():
    for n in range(6):
        with PeerPoolExecutor(1) as pool:
            pool.submit(abs, -1).result(SOON)
            future = pool.submit(lambda: tasks.double_async(1))
            eventually(future.done, n / 500)
            with pool.stream(tasks.count_async, 3) as stream:
                assert list(stream) == [0, 1, 2]
            assert future.result(SOON) == 2
            assert pool.submit(tasks.threads_named, "woolexec-asyncio").result(SOON) == 1


def test_task_that_waited_in_a_loop_of_its_own_and_died_leaves_no_worker_too_many(tmp_path):
    with PeerPoolExecutor(1) as pool:
        for _ in range(3):
            with pytest.raises(WorkerLostError):
                pool.submit(tasks.die_after_asyncio).result(SOON)
        assert pool.submit(tasks.double, 1).result(SOON) == 2
        assert eventually(lambda: pool._engine.counts["workers"] <= 1)


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_async])
def test_callback_of_a_nested_future_is_called_while_its_task_waits_for_it(fn):
    with PeerPoolExecutor(2) as pool:
        assert pool.submit(tasks.call_back, fn, 3).result(SOON)


def test_plain_task_pulls_a_stream_in_a_loop_of_its_own(run, kind):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.stream_through_asyncio, kind("count"), 5) == [0, 1, 2, 3, 4]

    run(body)


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_async])
def test_plain_task_maps_in_a_loop_of_its_own(run, fn):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.map_through_asyncio, fn, range(20)) == [2 * x for x in range(20)]

    run(body)


@pytest.mark.parametrize("fn", [tasks.down, tasks.down_async])
def test_alternating_recursion_of_depth_200_ends_on_one_worker(run, fn):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(fn, 200) == 200

    run(body)


def test_a_thousand_coroutines_that_wait_for_each_other_finish_on_one_worker(run):
    async def body():
        async with PeerPoolExecutor(1, max_coroutines=10) as pool:
            assert await pool.run(tasks.deep, 1000) == 1000

    run(body)


@pytest.mark.parametrize("workers", [1, 2])
def test_recursive_coroutine_gives_its_value(run, workers):
    async def body():
        async with shared(workers) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.fib, 12) == 144

    run(body)


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_async])
@pytest.mark.parametrize("workers", [1, 2])
def test_coroutine_maps(run, fn, workers):
    async def body():
        async with shared(workers) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.mapped, fn, range(200)) == [2 * x for x in range(200)]

    run(body)


def test_pool_that_is_an_argument_arrives_as_the_pool_of_the_task(run):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.kind_of, pool) == ("NestedExecutor", 8)
            assert await pool.run(tasks.kind_of, pool.with_options(retries=1)) == ("NestedExecutor", 8)

    run(body)


def test_exception_of_a_nested_coroutine_comes_through_all(run):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(KeyError, match="deep"):
                await pool.run(tasks.failing_below, KeyError("deep"))

    run(body)


# -- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_coroutine_pulls_a_stream(run, kind, prefetch):
    async def body():
        async with shared(1) as pool:
            with anyio.fail_after(SOON):
                got = await pool.run(tasks.streamed, kind("count"), 100, prefetch=prefetch)
            assert got == list(range(100))

    run(body)


def test_stream_that_begins_before_its_opening_is_over_can_be_pulled(run, kind):
    async def body():
        async with shared(1) as pool:
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.streamed_with_an_early_answer, kind("count"), 3) == [0, 1, 2]

    run(body)


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_plain_task_pulls_a_stream(kind, prefetch):
    with shared(1) as pool:
        got = pool.submit(tasks.streamed_plainly, kind("count"), 100, prefetch=prefetch).result(SOON)
        assert got == (list(range(100)), None)


def test_value_of_a_nested_stream_arrives():
    with shared(1) as pool:
        assert pool.submit(tasks.streamed_plainly, tasks.returning, 2, "value").result(SOON) == ([0, 1], "value")


@pytest.mark.parametrize("length", [10, 5_000, 200_000, 1 << 20])
def test_nested_stream_takes_what_is_sent(run, length):
    async def body():
        async with shared(1) as pool:
            values = [bytes([n]) * length for n in range(3)]
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.conversation, values) == values

    run(body)


def test_nested_stream_that_is_left_cleans_up_at_once(run, kind, tmp_path):
    async def body():
        async with shared(1) as pool:
            item, seconds = await pool.run(tasks.first_of, kind("noting"), tmp_path / "journal", 9)
            assert (item, notes(tmp_path / "journal")) == (0, ["0", "finally"])
            assert seconds < SOON / 4  # closing waits for nothing

    run(body)


def test_nested_stream_that_a_plain_task_leaves_cleans_up_at_once(kind, tmp_path):
    with shared(1) as pool:
        item, seconds = pool.submit(tasks.first_of_plainly, kind("noting"), tmp_path / "journal", 9).result(SOON)
    assert (item, notes(tmp_path / "journal")) == (0, ["0", "finally"])
    assert seconds < SOON / 4  # closing waits for nothing


def test_what_closing_a_nested_stream_raises_is_the_closers(run, kind):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(ValueError, match="at close"):
                await pool.run(tasks.close_of, kind("raising_at_close"), ValueError("at close"))

    run(body)


def test_cancelled_pull_cancels_the_nested_stream(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.give_up_a_pull, tmp_path, tasks.held_async) == ["ended"]

    run(body)


def test_cancelled_pull_ends_the_nested_stream_though_its_task_goes_on(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            with anyio.fail_after(SOON):
                await pool.run(tasks.give_up_a_pull_and_wait, tmp_path, tasks.held_async)

    run(body)


def test_nested_stream_of_a_lost_worker_raises(run, kind):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            with pytest.raises(WorkerLostError):
                await pool.run(tasks.streamed, kind("killed"), 3)
            assert await pool.run(tasks.streamed, kind("count"), 3) == [0, 1, 2]

    run(body)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelled_coroutine_cancels_its_children(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, tasks.wait_in_a_child, tmp_path)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
            await there(tmp_path / "ended")
            assert await pool.run(tasks.double_async, 1) == 2

    run(body)


def test_cancelled_coroutine_ends_its_plain_children(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, tasks.wait_in_a_plain_child, tmp_path)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
            (pid,) = map(int, notes(tmp_path / "began"))
            assert eventually(lambda: is_gone(pid))
            assert await pool.run(tasks.double, 1) == 2

    run(body)


@pytest.mark.slow
def test_timeout_of_a_coroutine_cancels_its_children(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(TimeoutError):
                await pool.with_options(timeout=3).run(tasks.wait_in_a_child, tmp_path)
            await there(tmp_path / "ended")

    run(body)


def test_coroutine_that_gives_up_on_a_child_waits_for_its_end(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.give_up_on_a_child, tmp_path) == ["ended"]

    run(body)


def test_child_that_was_given_up_ends_though_its_parent_goes_on(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            with anyio.fail_after(SOON):
                await pool.run(tasks.give_up_on_a_child_and_wait, tmp_path)

    run(body)


def test_children_of_a_lost_worker_are_cancelled(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(2) as pool, anyio.create_task_group() as group:
            group.start_soon(lose, pool, tasks.children_everywhere, tmp_path)
            await tasks.until(lambda: len(notes(tmp_path / "began")) == 20)
            parent = int(notes(tmp_path / "parent")[0])
            elsewhere = [pid for pid in map(int, notes(tmp_path / "began")) if pid != parent]
            os.kill(parent, 9)
            await tasks.until(lambda: len(notes(tmp_path / "ended")) == len(elsewhere))
        assert elsewhere

    async def lose(pool, *args):
        with pytest.raises(WorkerLostError):
            await pool.run(*args)

    run(body)
