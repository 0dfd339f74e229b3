"""Routines: where they run, and that they are called like any coroutine function."""

import inspect
import os

import anyio
import pytest

from tests.aio import stream_tasks as tasks
from tests.faults.tasks import notes
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, RemoteTraceback, routine

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


def test_routine_runs_in_the_pool_around_it(run):
    async def body():
        async with shared(1, current=True) as pool:
            assert await tasks.pid() == await pool.run(os.getpid) != os.getpid()

    run(body)


def test_routine_takes_and_gives_what_its_function_does(run):
    async def body():
        async with shared(1, current=True):
            assert await tasks.add(1, y=2) == 3
            assert await tasks.add([1], [2]) == [1, 2]

    run(body)


def test_routine_in_a_with_block_runs_in_that_pool(run):
    async def body():
        with shared(1, current=True) as pool:
            assert await tasks.pid() == await pool.run(os.getpid)

    run(body)


def test_routine_runs_in_the_innermost_pool(run):
    async def body():
        async with PeerPoolExecutor(1) as outer:
            async with PeerPoolExecutor(1) as inner:
                assert await tasks.pid() == await inner.run(os.getpid)
            assert await tasks.pid() == await outer.run(os.getpid)

    run(body)


def test_tasks_started_in_the_block_are_in_the_pool_too(run):
    async def body():
        found = []

        async def one():
            found.append(await tasks.pid())

        async with shared(1, current=True) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(one)
            assert found == [await pool.run(os.getpid)] * 5

    run(body)


async def all_pids():
    return [pid async for pid in tasks.pids(2)]


@pytest.mark.parametrize("call", [tasks.pid, all_pids])
def test_routine_outside_of_a_pool_is_a_runtime_error(run, call):
    async def body():
        with pytest.raises(RuntimeError, match="PeerPoolExecutor"):
            await call()
        async with shared(1, current=True):
            await call()
        with pytest.raises(RuntimeError, match="PeerPoolExecutor"):
            await call()

    run(body)


def test_local_routine_runs_in_place_outside_of_a_pool(run):
    async def body():
        assert await tasks.pid_local() == os.getpid()
        assert [pid async for pid in tasks.pids_local(2)] == [os.getpid()] * 2
        async with shared(1, current=True) as pool:
            there = await pool.run(os.getpid)
            assert await tasks.pid_local() == there
            assert [pid async for pid in tasks.pids_local(2)] == [there] * 2

    run(body)


def test_exception_of_a_routine_is_the_awaiters(run):
    async def body():
        async with shared(1, current=True):
            with pytest.raises(KeyError, match="reason") as caught:
                await tasks.failing(KeyError("reason"))
            assert isinstance(caught.value.__cause__, RemoteTraceback)

    run(body)


def test_routine_calls_routines(run):
    async def body():
        async with shared(1, current=True):
            assert await tasks.add_three(1, 2, 3) == 6
            assert [x async for x in tasks.sums(4)] == [0, 2, 4, 6]

    run(body)


def test_routine_of_a_worker_runs_in_the_pool_of_its_task(run):
    async def body():
        async with shared(1, current=True) as pool:
            assert await pool.run(tasks.pid) == await pool.run(os.getpid)
            assert await pool.run(tasks.add_three, 1, 2, 3) == 6

    run(body)


def test_routine_made_in_a_function_travels_by_value(run):
    base = 10

    @routine
    async def above(x):
        return base + x, os.getpid()

    async def body():
        async with shared(1, current=True) as pool:
            assert await above(1) == (11, await pool.run(os.getpid))

    run(body)


# -- generators -------------------------------------------------------------------------------------------------------


def test_generator_routine_runs_in_the_pool(run):
    async def body():
        async with shared(1, current=True) as pool:
            assert [pid async for pid in tasks.pids(3)] == [await pool.run(os.getpid)] * 3

    run(body)


def test_generator_routine_takes_what_is_sent_and_thrown(run, tmp_path):
    async def body():
        async with shared(1, current=True):
            agen = tasks.echoing(tmp_path / "journal")
            assert await agen.asend(None) == "first"
            assert await agen.asend("value") == "value"
            assert await anext(agen) is None
            assert str(await agen.athrow(ValueError("thrown"))) == "thrown"
            with pytest.raises(KeyError):
                await agen.athrow(KeyError("not caught"))
            with pytest.raises(StopAsyncIteration):
                await anext(agen)
            assert notes(tmp_path / "journal") == ["finally"]

    run(body)


def test_generator_routine_that_is_closed_cleans_up(run, tmp_path):
    async def body():
        async with shared(1, current=True):
            agen = tasks.echoing(tmp_path / "journal")
            await anext(agen)
            await agen.aclose()
            assert notes(tmp_path / "journal") == ["finally"]

    run(body)


# -- methods ----------------------------------------------------------------------------------------------------------


def test_self_travels_with_a_method(run):
    async def body():
        async with shared(1, current=True) as pool:
            account = tasks.Account(10)
            assert await account.plus(5) == (15, await pool.run(os.getpid))
            assert [x async for x in account.steps(3)] == [10, 11, 12]

    run(body)


@pytest.mark.parametrize("owner", [tasks.Account, tasks.Account(0)], ids=["class", "instance"])
@pytest.mark.parametrize("name", ["outer_class", "inner_class"])
def test_class_method_may_be_a_routine_in_either_order(run, owner, name):
    async def body():
        async with shared(1, current=True) as pool:
            assert await getattr(owner, name)(5) == ("Account", 5, await pool.run(os.getpid))

    run(body)


@pytest.mark.parametrize("owner", [tasks.Account, tasks.Account(0)], ids=["class", "instance"])
@pytest.mark.parametrize("name", ["outer_static", "inner_static"])
def test_static_method_may_be_a_routine_in_either_order(run, owner, name):
    async def body():
        async with shared(1, current=True) as pool:
            assert await getattr(owner, name)(5) == (5, await pool.run(os.getpid))

    run(body)


def test_class_method_of_a_subclass_gets_the_subclass(run):
    async def body():
        async with shared(1, current=True):
            assert (await tasks.Savings.outer_class(1))[0] == "Savings"
            assert (await tasks.Savings.inner_class(1))[0] == "Savings"
            assert (await tasks.Savings(3).plus(1))[0] == 1_004

    run(body)


# -- what it looks like -----------------------------------------------------------------------------------------------


def test_routine_looks_like_its_function():
    assert inspect.iscoroutinefunction(tasks.add)
    assert inspect.isasyncgenfunction(tasks.pids)
    assert tasks.add.__qualname__ == "add"
    assert list(inspect.signature(tasks.add).parameters) == ["x", "y"]


@pytest.mark.parametrize("fn", [abs, tasks.double, tasks.count, 3])
def test_routine_of_anything_else_is_a_type_error(fn):
    with pytest.raises(TypeError, match="async def"):
        routine(fn)
    with pytest.raises(TypeError, match="async def"):
        routine(local=True)(fn)
