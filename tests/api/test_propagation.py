"""Context variables that travel with tasks, and the information that a task has about itself."""

import contextvars
import subprocess
import sys
import threading
from contextvars import ContextVar

import anyio
import pytest

from tests.aio import stream_tasks as tasks
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, TaskInfo, current_task, propagate

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture(params=["", "_async"], ids=["plain", "async"])
def kind(request):
    """Find the function of this name, of one kind."""
    return lambda name: getattr(tasks, name + request.param)


@pytest.fixture(autouse=True)
def _own_context():
    """Leave the variables as they were: tests run in one context."""
    tokens = [(var, var.set(var.get())) for var in (tasks.color, tasks.size, tasks.private)]
    yield
    for var, token in tokens:
        var.reset(token)


@pytest.fixture
def painted():
    """Values that are to arrive."""
    tasks.color.set("red")
    tasks.size.set(7)
    tasks.private.set("mine")
    return "red", 7, "none"


# -- what goes --------------------------------------------------------------------------------------------------------


def test_values_go_with_submit(kind, painted):
    with shared(1) as pool:
        assert pool.submit(kind("colors")).result() == painted


def test_values_go_with_map(kind, painted):
    with shared(1) as pool:
        assert list(pool.map(kind("colors"), range(50))) == [painted] * 50


def test_values_go_with_run(run, kind, painted):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(kind("colors")) == painted

    run(body)


def test_values_go_with_map_async(run, kind, painted):
    async def body():
        async with shared(1) as pool:
            assert [found async for found in pool.map_async(kind("colors"), range(50))] == [painted] * 50

    run(body)


@pytest.mark.parametrize("prefetch", [0, 7])
def test_values_go_with_a_stream(run, kind, painted, prefetch):
    async def body():
        async with (
            shared(1) as pool,
            pool.stream(kind("color_stream"), 20, prefetch=prefetch) as stream,
        ):
            assert [found async for found in stream] == ["red"] * 20

    run(body)


def test_values_go_with_run_on_all(run, kind, painted):
    async def body():
        async with shared(2) as pool:
            found = await pool.run_on_all_async(kind("colors"))
            assert [future.result() for future in found.values()] == [painted] * 2

    run(body)


def test_values_go_into_nested_tasks(run, kind, painted):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(kind("nested_colors")) == painted

    run(body)


def test_values_go_into_the_streams_and_maps_of_tasks(run, painted):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.streamed, tasks.color_stream_async, 2) == ["red"] * 2
            assert await pool.run(tasks.streamed, tasks.color_stream, 2) == ["red"] * 2
            assert await pool.run(tasks.mapped, tasks.colors_async, range(2)) == [painted] * 2

    run(body)


def test_value_is_the_one_at_submit():
    with shared(1) as pool:
        futures = []
        for n in range(20):
            tasks.color.set(f"color {n}")
            futures.append(pool.submit(tasks.colors))
        assert [future.result()[0] for future in futures] == [f"color {n}" for n in range(20)]


def test_value_does_not_stay_in_the_worker(kind):
    with shared(1) as pool:
        context = contextvars.copy_context()
        context.run(tasks.color.set, "red")
        assert context.run(pool.submit, kind("colors")).result()[0] == "red"
        assert pool.submit(kind("colors")).result()[0] == "none"


def test_what_a_task_sets_does_not_stay_in_the_worker(run, kind):
    async def body():
        async with shared(1) as pool:
            assert await pool.run(tasks.paint, "blue") == "blue"
            assert await pool.run(tasks.paint_plainly, "blue") == "blue"
            assert (await pool.run(kind("colors")))[0] == "none"

    run(body)


def test_concurrent_coroutines_do_not_see_each_others_values(run, tmp_path):
    values = [f"color-{n}" for n in range(20)]
    found = []

    async def one(pool, value):
        found.append(await pool.run(tasks.meet, value, str(tmp_path / "met"), len(values)))

    async def body():
        async with shared(1) as pool, anyio.create_task_group() as group:
            for value in values:
                group.start_soon(one, pool, value)

    run(body)
    assert sorted(value for value, _ in found) == sorted(values)
    assert len({pid for _, pid in found}) == 1


def test_value_that_does_not_pickle_fails_the_task():
    tasks.color.set(threading.Lock())
    with shared(1) as pool:
        assert isinstance(pool.submit(tasks.colors).exception(), TypeError)


# -- names ------------------------------------------------------------------------------------------------------------


def test_propagate_gives_the_variable():
    var = ContextVar("tests_given")
    assert propagate(var) is var


@pytest.mark.parametrize("thing", ["name", None, ContextVar])
def test_propagating_anything_else_is_a_type_error(thing):
    with pytest.raises(TypeError, match="context variable"):
        propagate(thing)


def test_variable_that_the_workers_module_does_not_know_travels_on():
    """A variable of the caller alone reaches what the worker's tasks submit."""
    script = """
from contextvars import ContextVar
from woolexec import PeerPoolExecutor, current_executor, propagate

{name} = propagate(ContextVar("user", default="nobody"){given})

def who():
    return {name}.get()

def nested():
    return current_executor().submit(who).result()

with PeerPoolExecutor(1) as pool:
    {name}.set("ada")
    print(pool.submit(who).result(), pool.submit(nested).result(), *pool.map(lambda _: {name}.get(), [1, 2]))
"""
    for given in ("", ", name='given'"):
        done = subprocess.run(
            [sys.executable, "-c", script.format(name="user", given=given)], capture_output=True, text=True, timeout=30
        )
        assert (done.stdout, done.stderr) == ("ada ada ada ada\n", "")


# -- what comes back --------------------------------------------------------------------------------------------------


def test_changes_of_a_coroutine_come_back_if_asked_for(run):
    async def body():
        async with shared(1) as pool:
            await pool.run(tasks.paint, "green")
            assert tasks.color.get() == "none"
            await pool.with_options(context_back=True).run(tasks.paint, "green")
            assert tasks.color.get() == "green"

    run(body)


def test_what_was_not_changed_does_not_come_back(run):
    async def body():
        async with shared(1) as pool, anyio.create_task_group() as group:
            tasks.size.set(1)
            view = pool.with_options(context_back=True)
            tasks.color.set("red")

            async def one():
                await view.run(tasks.paint, "blue")
                assert (tasks.color.get(), tasks.size.get()) == ("blue", 1)

            group.start_soon(one)

    run(body)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_changes_of_a_stream_come_back_with_each_item(run, kind, prefetch):
    async def body():
        async with (
            shared(1) as pool,
            pool.with_options(context_back=True).stream(
                kind("painting"), ["red", "green", "blue"], prefetch=prefetch
            ) as stream,
        ):
            seen = [(item, tasks.color.get()) async for item in stream]
            assert [item for item, _ in seen] == ["red", "green", "blue"]
            if not prefetch:
                assert [color for _, color in seen] == ["red", "green", "blue"]
            assert tasks.color.get() == "blue"

    run(body)


def test_changes_of_a_stream_come_back_to_a_plain_loop(kind):
    with (
        shared(1) as pool,
        pool.with_options(context_back=True).stream(kind("painting"), ["red", "green", "blue"]) as stream,
    ):
        assert [(item, tasks.color.get()) for item in stream] == [(color, color) for color in ("red", "green", "blue")]


def test_changes_of_a_nested_task_come_back_through_all(run):
    async def body():
        async with shared(1) as pool:
            await pool.with_options(context_back=True).run(tasks.paint_in_a_child, "violet")
            assert tasks.color.get() == "violet"

    run(body)


# -- what a task knows of itself --------------------------------------------------------------------------------------


def test_there_is_no_current_task_outside():
    assert current_task() is None


def test_task_knows_its_name_and_attempt(run, kind):
    async def body():
        async with shared(1) as pool:
            first, second = await pool.run(kind("info")), await pool.run(kind("info"))
            assert isinstance(first, TaskInfo)
            assert (first.name, first.attempt, first.parent) == (kind("info").__name__, 1, None)
            assert first.id != second.id

    run(body)


def test_task_knows_the_name_that_it_was_given(run, kind):
    async def body():
        async with shared(1) as pool:
            assert (await pool.with_options(name="nap").run(kind("info"))).name == "nap"

    run(body)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_stream_is_one_task(run, kind, prefetch):
    async def body():
        async with shared(1) as pool, pool.stream(kind("info_stream"), prefetch=prefetch) as stream:
            first, second = [info async for info in stream]
            assert first == second
            assert first.name == kind("info_stream").__name__

    run(body)


def test_items_of_a_map_know_their_task(run, kind):
    async def body():
        async with shared(1) as pool:
            found = [info async for info in pool.map_async(kind("info_of"), range(5))]
            assert {(info.name, info.attempt, info.parent) for info in found} == {(kind("info_of").__name__, 1, None)}

    run(body)


def test_attempts_are_counted(run, kind, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            stubborn = pool.with_options(retries=2, retry_on=OSError)
            assert (await stubborn.run(kind("third_time"), str(tmp_path / "tries"))).attempt == 3

    run(body)


def test_nested_tasks_know_their_parents(run, kind):
    async def body():
        async with shared(1) as pool:
            first, second, third = await pool.run(kind("family"))
            assert (first.parent, second.parent, third.parent) == (None, first.id, second.id)
            assert len({first.id, second.id, third.id}) == 3

    run(body)
