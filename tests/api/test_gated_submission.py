"""`max_outstanding` with real workers."""

import asyncio
import os
import signal
import threading
from concurrent.futures import wait

import pytest

from tests.faults import tasks
from tests.faults.tasks import SOON, eventually
from woolexec import PeerPoolExecutor, PoolFullError, current_executor


def unfinished(pool):
    return pool._submission.gate.count


def submit_many(count):
    pool = current_executor()
    return sum(future.result() for future in [pool.submit(abs, -1) for _ in range(count)])


def in_thread(function):
    """Run a function in a thread; return the thread and a list that has its outcome."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@pytest.fixture
def full(tmp_path):
    """A pool of one worker in which one task runs and another one waits, which is as many as there may be."""
    with PeerPoolExecutor(1, max_outstanding=2) as pool:
        held = pool.submit(tasks.hold, tmp_path)
        pool.submit(abs, -1)
        tasks.wait_held(tmp_path)
        yield pool
        tasks.release(tmp_path)
        wait([held], SOON)


def test_submit_waits_until_a_task_has_ended(full, tmp_path):
    thread, outcome = in_thread(lambda: full.submit(abs, -7).result(SOON))
    assert eventually(lambda: full._submission.gate._line)
    assert outcome == []
    tasks.release(tmp_path)
    thread.join(SOON)
    assert outcome == [7]
    assert eventually(lambda: unfinished(full) == 0)


def test_map_reads_no_more_items_than_may_be_unfinished(full, tmp_path):
    read = []

    def source():
        for number in range(20):
            read.append(number)
            yield number

    thread, outcome = in_thread(lambda: list(full.map(abs, source(), chunksize=1)))
    assert eventually(lambda: full._submission.gate._line)
    assert len(read) <= 2
    tasks.release(tmp_path)
    thread.join(SOON)
    assert outcome == [list(range(20))]
    assert eventually(lambda: unfinished(full) == 0)


def test_maps_of_all_kinds_give_all_results():
    with PeerPoolExecutor(2, max_outstanding=10) as pool:
        assert list(pool.map(abs, range(500))) == list(range(500))
        assert list(pool.map(abs, range(100), buffersize=3)) == list(range(100))
        assert sorted(pool.map(abs, range(100), ordered=False, chunksize=7)) == list(range(100))
        assert list(pool.map(tasks.double_beside, range(50))) == [2 * number for number in range(50)]
        assert eventually(lambda: unfinished(pool) == 0)


def test_map_that_is_closed_is_counted_no_more():
    with PeerPoolExecutor(1, max_outstanding=4) as pool:
        results = pool.map(abs, range(40), buffersize=4)
        assert next(results) == 0
        results.close()
        assert eventually(lambda: unfinished(pool) == 0)
        assert pool.submit(abs, -1).result(SOON) == 1


def test_event_loop_is_not_stopped(full, tmp_path):
    async def main():
        with pytest.raises(PoolFullError, match="max_outstanding=2"):
            full.submit(abs, -1)
        running = [asyncio.create_task(full.run(abs, -number)) for number in range(5)]
        mapped = asyncio.create_task(collect(full.map_async(abs, range(50))))
        read = asyncio.create_task(collect(full.map_async(abs, numbers(50))))
        await asyncio.sleep(0)
        tasks.release(tmp_path)
        assert await asyncio.gather(*running) == list(range(5))
        assert await mapped == await read == list(range(50))

    asyncio.run(main())
    assert eventually(lambda: unfinished(full) == 0)


def test_map_whose_items_are_results_of_the_same_pool_ends():
    async def main():
        with PeerPoolExecutor(1, max_outstanding=1) as pool:
            inner = pool.map_async(abs, pool.map_async(abs, range(20)))
            return await asyncio.wait_for(collect(pool.map_async(abs, run_each(pool, inner))), SOON)

    assert asyncio.run(main()) == list(range(20))


async def run_each(pool, items):
    async for item in items:
        yield await pool.run(abs, item)


class Interrupt(BaseException):
    """Stands for Ctrl-C, which ends a loop."""


def test_source_that_is_interrupted_leaves_no_item_counted():
    def source():
        yield 1
        raise Interrupt

    async def main():
        with PeerPoolExecutor(1, max_outstanding=8) as pool:
            with pytest.raises(Interrupt):
                await collect(pool.map_async(abs, source(), chunksize=4))
            assert eventually(lambda: unfinished(pool) == 0)

    asyncio.run(main())


async def collect(items):
    return [item async for item in items]


async def numbers(count):
    for number in range(count):
        yield number


def count_to(count):
    yield from range(count)


def test_streams_wait_as_well(full, tmp_path):
    async def main():
        opened = asyncio.create_task(first())
        await asyncio.sleep(0.01)
        assert not opened.done()
        tasks.release(tmp_path)
        assert await opened == 0

    async def first():
        async with full.stream(count_to, 3) as stream:
            return await anext(stream)

    asyncio.run(main())
    assert eventually(lambda: unfinished(full) == 0)


def test_run_that_is_cancelled_while_it_waits_is_counted_no_more(full, tmp_path):
    async def main():
        running = asyncio.create_task(full.run(abs, -1))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    tasks.release(tmp_path)
    assert eventually(lambda: unfinished(full) == 0)


def test_tasks_of_tasks_and_of_callbacks_never_wait():
    with PeerPoolExecutor(1, max_outstanding=1) as pool:
        made = []
        future = pool.submit(submit_many, 20)
        future.add_done_callback(lambda _: made.extend(pool.submit(abs, -number) for number in range(20)))
        assert future.result(SOON) == 20
        assert eventually(lambda: len(made) == 20)
        assert [each.result(SOON) for each in made] == list(range(20))


def test_calls_of_an_actor_wait_as_well():
    with PeerPoolExecutor(1, max_outstanding=2) as pool:
        actor = pool.actor(list)
        futures = [actor.submit(list.append, number) for number in range(20)]
        assert [future.result(SOON) for future in futures] == [None] * 20
        assert actor.submit(list.__len__).result(SOON) == 20


# -- who ends a wait -----------------------------------------------------------------------------------------------


def test_shutdown_ends_the_wait(full, tmp_path):
    thread, outcome = in_thread(lambda: full.submit(abs, -1))
    assert eventually(lambda: full._submission.gate._line)
    full.shutdown(wait=False)
    thread.join(SOON)
    assert isinstance(outcome[0], RuntimeError)
    assert "after shutdown" in str(outcome[0])


def test_killing_the_workers_ends_the_wait(full):
    thread, outcome = in_thread(lambda: full.submit(abs, -1))
    assert eventually(lambda: full._submission.gate._line)
    full.kill_workers()
    thread.join(SOON)
    assert isinstance(outcome[0], RuntimeError)


def test_broken_pool_ends_the_wait():
    with PeerPoolExecutor(1, max_outstanding=1, initializer=tasks.die) as pool:
        with pytest.raises(Exception, match="initializer"):
            for _ in range(100):
                pool.submit(abs, -1)


def test_interrupt_ends_the_wait(full, tmp_path):
    def interrupt():
        assert eventually(lambda: full._submission.gate._line)
        os.kill(os.getpid(), signal.SIGINT)

    thread, _ = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        full.submit(abs, -1)
    thread.join(SOON)
    tasks.release(tmp_path)
    assert eventually(lambda: unfinished(full) == 0)


def test_forked_child_does_not_wait(full):
    pid = os.fork()
    if pid == 0:
        try:
            full.submit(abs, -1)
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
