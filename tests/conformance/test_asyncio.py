"""The executor under an asyncio loop: run_in_executor, wrap_future, cancellation, several loops."""

import asyncio
import functools
import threading
from concurrent.futures.process import BrokenProcessPool

import pytest

from . import tasks
from .subject import IS_OURS, SOON, Subject


@pytest.fixture
def pool():
    with Subject(2) as executor:
        yield executor


def run(coroutine):
    async def bounded():
        return await asyncio.wait_for(coroutine, SOON)

    return asyncio.run(bounded())


def test_run_in_executor_returns_the_result(pool):
    async def main():
        return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 8)

    assert run(main()) == 256


def test_run_in_executor_raises_the_error_with_its_remote_traceback(pool):
    async def main():
        call = functools.partial(tasks.fail, text="lost")
        await asyncio.get_running_loop().run_in_executor(pool, call)

    with pytest.raises(RuntimeError, match="lost") as caught:
        run(main())
    assert "where it was raised" in str(caught.value.__cause__)


def test_many_calls_are_gathered_in_order(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, tasks.mul, n, n) for n in range(200)))

    assert run(main()) == [n * n for n in range(200)]


def test_loop_goes_on_while_a_call_runs(pool, tmp_path):
    async def main():
        held = asyncio.get_running_loop().run_in_executor(pool, tasks.hold, tmp_path)
        # Only a loop that turns gets here.
        await asyncio.sleep(0)
        tasks.release(tmp_path)
        return await held

    assert run(main()) == "held"


def test_as_completed_yields_the_quick_one_first(pool, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, tasks.hold, tmp_path), loop.run_in_executor(pool, tasks.mul, 6, 7)]
        seen = []
        for ended in asyncio.as_completed(calls):
            seen.append(await ended)
            tasks.release(tmp_path)
        return seen

    assert run(main()) == [42, "held"]


def test_cancelling_the_awaiting_task_cancels_a_call_that_waits(tmp_path):
    with Subject(1) as pool:

        async def main():
            loop = asyncio.get_running_loop()
            held = loop.run_in_executor(pool, tasks.hold, tmp_path)
            between = [loop.run_in_executor(pool, tasks.nap, 0) for _ in range(5)]
            waiting = pool.submit(tasks.hold, tmp_path, "never")
            task = asyncio.ensure_future(asyncio.wrap_future(waiting))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The cancel reaches the executor's future in the next turn of the loop.
            await asyncio.sleep(0)
            assert waiting.cancelled()
            tasks.release(tmp_path)
            await asyncio.gather(held, *between)

        run(main())
    assert not (tmp_path / "never").exists()


def test_timeout_around_a_call_that_runs_leaves_the_executor_whole(pool, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await loop.run_in_executor(pool, tasks.hold, tmp_path)
        tasks.release(tmp_path)
        return await loop.run_in_executor(pool, pow, 2, 8)

    assert run(main()) == 256


def test_lost_worker_is_an_error_of_its_call(pool):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(BrokenProcessPool):
            await loop.run_in_executor(pool, tasks.kill_self)
        if IS_OURS:
            assert await loop.run_in_executor(pool, pow, 2, 8) == 256

    run(main())


def test_callbacks_of_wrapped_futures_run_in_the_loop_thread(pool):
    async def main():
        seen = asyncio.get_running_loop().create_future()
        wrapped = asyncio.wrap_future(pool.submit(pow, 2, 8))
        wrapped.add_done_callback(lambda done: seen.set_result((threading.current_thread(), done.result())))
        return await seen

    assert run(main()) == (threading.current_thread(), 256)


def test_one_executor_serves_loops_in_several_threads(pool):
    answers = []

    def work(n):
        async def main():
            return await asyncio.get_running_loop().run_in_executor(pool, tasks.mul, n, 10)

        answers.append(run(main()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [0, 10, 20, 30]


def test_loop_that_ends_before_its_call_harms_nobody(pool, tmp_path):
    async def main():
        asyncio.get_running_loop().run_in_executor(pool, tasks.hold, tmp_path)

    run(main())
    tasks.release(tmp_path)
    assert pool.submit(pow, 2, 8).result(SOON) == 256


def test_run_in_executor_after_shutdown_raises(pool):
    pool.shutdown()

    async def main():
        await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 8)

    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        run(main())
