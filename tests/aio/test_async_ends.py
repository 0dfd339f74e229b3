"""How maps, streams, blocks and nested tasks end when a block is left early, or an exception is raised."""

import itertools
import time

import anyio
import pytest

from tests.faults.tasks import SOON
from tests.marks import slow
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, propagate

from . import stream_tasks as tasks

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


def test_leaving_a_map_of_streams_closes_those_that_nobody_was_given(run, tmp_path):
    async def body():
        with anyio.fail_after(SOON):
            async with PeerPoolExecutor(2) as pool, pool.map_async(tasks.count_async, range(1, 6)) as streams:
                stream = await anext(streams)
                assert [item async for item in stream] == [0]

    run(body)


def test_what_the_source_raises_when_it_is_closed_is_the_leavers(run):
    async def source():
        try:
            for n in itertools.count():
                yield n
        finally:
            raise LookupError("in finally")

    async def body():
        async with shared(1) as pool:
            with pytest.raises(LookupError, match="in finally"):
                async with pool.map_async(abs, source(), buffersize=4) as results:
                    await anext(results)
            assert await pool.run(abs, -1) == 1

    run(body)


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [Odd(), GeneratorExit()], ids=["of its own", "GeneratorExit"])
def test_whatever_the_source_raises_comes_behind_the_results(run, error):
    async def source():
        yield -1
        raise error

    async def body():
        got = []
        async with shared(1) as pool:
            with pytest.raises(type(error)):
                async for value in pool.map_async(abs, source()):
                    got.append(value)
        assert got == [1]

    run(body)


@pytest.mark.parametrize("prefetch", [0, 64, *slow(1, 2)])
def test_items_that_do_not_unpickle_cost_no_other(run, prefetch):
    async def body():
        got = []
        async with shared(1) as pool, pool.stream(tasks.some_unloadable, prefetch=prefetch) as stream:
            with anyio.fail_after(SOON):
                while True:
                    try:
                        got.append(await anext(stream))
                    except ValueError:
                        got.append("bad")
                    except StopAsyncIteration:
                        break
        assert got == [0, 1, "bad", 3, 4, "bad", 6, 7]

    run(body)


def test_second_reader_of_a_map_is_refused(run):
    async def body():
        refused = []

        async def read(results):
            try:
                async for _ in results:
                    pass
            except RuntimeError as exc:
                refused.append(exc)

        async with PeerPoolExecutor(1) as pool:
            results = pool.map_async(time.sleep, [0.05] * 4, chunksize=1)
            with anyio.fail_after(SOON):
                async with anyio.create_task_group() as group:
                    group.start_soon(read, results)
                    group.start_soon(read, results)
        assert len(refused) == 1

    run(body)


def test_stream_that_never_runs_dry_can_be_cancelled(run):
    async def body():
        async with PeerPoolExecutor(1) as pool, pool.stream(tasks.count_async, 10**9, prefetch=64) as stream:
            with anyio.move_on_after(0.5) as scope:
                async for n in stream:
                    time.sleep(0.0005)  # noqa: ASYNC251  # so that items are there before they are asked for
                    assert n < 40_000  # twenty seconds
            assert scope.cancelled_caught

    run(body)


@pytest.mark.parametrize("how", ["run", "grandchild", "stream", "map"])
def test_children_end_with_a_cancelled_parent_of_any_kind(run, tmp_path, how):
    async def start(pool):
        if how == "run":
            await pool.run(tasks.parent_of, tmp_path)
        elif how == "grandchild":
            await pool.run(tasks.run_nested, tasks.parent_of, tmp_path)
        elif how == "stream":
            async with pool.stream(tasks.stream_parent_of, tmp_path) as stream:
                async for _ in stream:
                    pass
        else:
            async with pool.map_async(tasks.parent_of, [tmp_path]) as results:
                await anext(results)

    async def body():
        async with PeerPoolExecutor(2) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(start, pool)
                await tasks.until((tmp_path / "child").exists)
                group.cancel_scope.cancel()
            await tasks.until((tmp_path / "child-ended").exists)

    run(body)


def test_calls_of_a_map_are_cancelled_before_its_source_is_closed(run, tmp_path):
    async def source():
        try:
            for n in itertools.count():
                yield tmp_path / str(n)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)

    async def body():
        pool = PeerPoolExecutor(1)
        async with pool, pool.map_async(tasks.touch_slowly, source(), buffersize=100, chunksize=1) as results:
            await anext(results)
            before = len(list(tmp_path.iterdir()))
        assert len(list(tmp_path.iterdir())) <= before + 3

    run(body)


def test_map_ends_when_the_pool_has_been_shut_down(run):
    async def body():
        pool = PeerPoolExecutor(1)
        with anyio.fail_after(SOON), pytest.raises(RuntimeError, match="after shutdown"):
            async for n in pool.map_async(abs, itertools.count()):
                if n == 10:
                    pool.shutdown(wait=False)

    run(body)


def test_end_of_the_block_can_be_cancelled(run):
    async def body():
        with anyio.move_on_after(0.3) as scope:
            async with PeerPoolExecutor(1) as pool:
                pool.submit(time.sleep, 1000)
        assert scope.cancelled_caught

    run(body)


def test_default_of_a_variable_that_came_with_a_value_first(run):
    async def body():
        async with shared(1) as pool:
            token = user.set("ann")
            assert await pool.run(abs, -1) == 1
            user.reset(token)
            assert await pool.run(lambda: user.get()) == "nobody"

    run(body)


user = propagate(tasks.ContextVar("user-of-ends", default="nobody"))


def test_view_and_nested_executor_are_asynchronous_blocks(run):
    async def body():
        async with PeerPoolExecutor(1).with_options(retries=1) as view:
            assert await view.run(tasks.in_block) == 1

    run(body)


def test_exception_class_is_thrown_as_an_instance():
    with shared(1) as pool, pool.stream(tasks.count, 3) as stream:
        next(stream)
        with pytest.raises(KeyError):
            stream.throw(KeyError)


def test_map_of_a_lambda_that_gives_coroutines():
    with shared(1) as pool:
        assert list(pool.map(lambda x: tasks.double_async(x), range(3))) == [0, 2, 4]
