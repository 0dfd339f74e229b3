import asyncio
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from woolexec.worker.awaited import AsyncioTasks, TrioTasks, tasks_of
from woolexec.worker.stacks import _chain


async def sleep_forever():
    await asyncio.sleep(3600)


async def in_a_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep_forever(), name="child")


async def in_gather():
    await asyncio.gather(asyncio.create_task(sleep_forever(), name="child"))


async def in_wait():
    await asyncio.wait([asyncio.create_task(sleep_forever(), name="child")])


async def for_a_task():
    await asyncio.create_task(sleep_forever(), name="child")


@pytest.mark.parametrize("wait", [in_a_group, in_gather, in_wait, for_a_task])
def test_task_of_asyncio_is_found_by_the_one_that_waits_for_it(wait):
    async def main():
        task, other = asyncio.create_task(wait(), name="outer"), asyncio.create_task(sleep_forever(), name="other")
        lane = SimpleNamespace(name="asyncio", tasks={1: (None, task)})
        tasks = tasks_of(lane)
        assert tasks.task_of(1) is task
        assert tasks.task_of(2) is None
        for _ in range(5):
            await asyncio.sleep(0)
        frames = [frame for frame, _ in _chain(tasks.coroutine_of(task), [])]
        found = [tasks.name_of(each) for each in tasks.awaited_by(task, frames)]
        assert list(tasks.awaited_by(other, [])) == []
        task.cancel(), other.cancel()
        await asyncio.wait([task, other])
        assert tasks.task_of(1) is None
        return found

    assert asyncio.run(main()) == ["child"]


def test_tasks_of_asyncio_are_the_kind_for_its_lane():
    assert isinstance(tasks_of(SimpleNamespace(name="asyncio", tasks={})), AsyncioTasks)


def test_task_of_trio_is_found_by_the_number_of_its_call_and_its_nurseries_by_it():
    async def call(number):
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever, name="child")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, 7)
            await trio.testing.wait_all_tasks_blocked()
            tasks = tasks_of(SimpleNamespace(name="trio", nursery=nursery))
            assert isinstance(tasks, TrioTasks)
            task = tasks.task_of(7)
            assert tasks.task_of(8) is None
            assert tasks.coroutine_of(task).__name__ == "call"
            found = [tasks.name_of(each) for each in tasks.awaited_by(task, [])]
            nursery.cancel_scope.cancel()
        return found

    assert trio.run(main) == ["child"]
