import asyncio
import gc
import os
import threading
import time
from pathlib import Path

import anyio
import pytest

from tests.aio import tasks
from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, WorkerLostError

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


@pytest.mark.parametrize("fn", [tasks.square, lambda x: x * x, abs])
def test_plain_function_gives_its_value(run, fn):
    async def body():
        async with shared(2) as pool:
            assert await pool.run(fn, 1) == 1

    run(body)


def test_coroutine_function_gives_its_value(run):
    async def body():
        async with shared(2) as pool:
            assert await pool.run(tasks.add, 1, y=2) == 3

    run(body)


@pytest.mark.parametrize("fn", [tasks.square, tasks.add])
def test_many_run_at_once(run, fn):
    values = []

    async def one(pool, x):
        values.append(await pool.run(fn, x))

    async def body():
        async with shared(2) as pool, anyio.create_task_group() as group:
            for x in range(500):
                group.start_soon(one, pool, x)

    run(body)
    assert sorted(values) == sorted(map(tasks.square, range(500)) if fn is tasks.square else range(500))


def test_thousand_coroutines_run_at_once_in_one_worker(run, tmp_path):
    pids = set()

    async def one(pool):
        pids.add(await pool.run(tasks.many_at_once, tmp_path / "here", 1000))

    async def body():
        async with PeerPoolExecutor(1) as pool, anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(one, pool)

    run(body)
    assert len(pids) == 1


def test_no_more_coroutines_than_allowed_run_at_once(run, tmp_path):
    async def body():
        here = tmp_path / "here"
        here.touch()
        async with PeerPoolExecutor(1, max_coroutines=2) as pool, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(pool.run, tasks.many_at_once, here, 3)
            await tasks.until(lambda: len(here.read_text()) == 2)
            await pool.run(abs, -1)  # so the third has passed the engine
            assert pool._engine.counts == {"queued": 1, "outstanding": 2, "workers": 1}
            assert len(here.read_text()) == 2
            group.cancel_scope.cancel()

    run(body)


@pytest.mark.parametrize("error", [ValueError("v"), KeyError("k"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exception_arrives_as_itself_with_the_remote_traceback(run, error):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(type(error)) as caught:
                await pool.run(tasks.raise_, error)
            assert "in raise_" in str(caught.value.__cause__)
            assert await pool.run(tasks.add, 1, 1) == 2

    run(body)


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration()])
def test_exception_that_ends_an_iteration_arrives_as_python_shows_it(run, error):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(RuntimeError if isinstance(error, StopIteration) else StopAsyncIteration):
                await pool.run(tasks.raise_, error)

    run(body)


def test_argument_that_does_not_load_fails_its_call_only(run):
    async def body():
        async with shared(1) as pool:
            with pytest.raises(RuntimeError, match="does not load"):
                await pool.run(tasks.add, tasks.Unloadable())
            assert await pool.run(tasks.add, 1, 1) == 2

    run(body)


def test_result_that_does_not_pickle_fails_its_call_only(run):
    async def lock():
        return threading.Lock()

    async def body():
        async with shared(1) as pool:
            with pytest.raises(TypeError, match="pickle"):
                await pool.run(lock)
            assert await pool.run(tasks.add, 1, 1) == 2

    run(body)


@pytest.mark.parametrize("fn", [tasks.kill, tasks.kill_async])
def test_lost_worker_fails_its_calls_only(run, fn):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            with pytest.raises(WorkerLostError, match="SIGKILL"):
                await pool.run(fn)
            assert await pool.run(tasks.square, 3) == 9

    run(body)


# -- cancelling ------------------------------------------------------------------------------------------------------


def test_cancelled_coroutine_is_cancelled_in_its_worker_and_cleans_up(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, tasks.clean_up_slowly, tmp_path / "it")
                await tasks.there(tmp_path / "it-began")
                group.cancel_scope.cancel()
            assert (tmp_path / "it-ended").exists()

    run(body)


def test_cancelled_call_that_waits_never_starts(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            busy = pool.submit(tasks.wait_for_file, tmp_path / "go")
            with anyio.move_on_after(0.05):
                await pool.run(tasks.note, tmp_path / "started")
            (tmp_path / "go").touch()
            await tasks.until(busy.done)
            await pool.run(tasks.square, 1)
        assert not (tmp_path / "started").exists()

    run(body)


def test_cancelled_call_that_runs_is_ended_with_its_worker(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, tasks.block, tmp_path / "it")
                await tasks.there(tmp_path / "it-began")
                group.cancel_scope.cancel()
            assert await pool.run(tasks.square, 2) == 4

    run(body)
    pid = int((tmp_path / "it-began").read_text())
    assert eventually(lambda: not os.path.exists(f"/proc/{pid}"))


def test_abandoned_call_runs_on(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            view = pool.with_options(abandon_on_cancel=True)
            pid = await pool.run(os.getpid)
            with anyio.move_on_after(0.1):
                await view.run(tasks.wait_for_file, tmp_path / "go")
            (tmp_path / "go").touch()
            assert await pool.run(os.getpid) == pid

    run(body)


def test_timeout_of_a_coroutine_cancels_it(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            pid = await pool.run(os.getpid)
            await pool.run(tasks.add, 1)  # so that no import counts
            with pytest.raises(TimeoutError, match="wait_for_ever ran longer"):
                await pool.with_options(timeout=0.8).run(tasks.wait_for_ever, tmp_path / "it")
            await tasks.there(tmp_path / "it-ended")
            assert await pool.run(os.getpid) == pid

    run(body)


@pytest.mark.slow
def test_timed_out_coroutine_is_tried_again(run, tmp_path):
    async def body():
        async with shared(1) as pool:
            await pool.run(tasks.add, 1)  # so that no import counts
            view = pool.with_options(timeout=0.8, retries=2, retry_on=TimeoutError)
            with pytest.raises(TimeoutError):
                await view.run(tasks.wait_for_ever, tmp_path / "it")

    run(body)
    assert len((tmp_path / "it-began").read_text()) == 3


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_loop_is_never_blocked(run, tmp_path):
    """A task that ticks goes on while the pool starts, works, and ends."""
    ticks = []

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await anyio.sleep(0.001)

    async def body():
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            async with PeerPoolExecutor(2) as pool:
                await pool.run(tasks.square, 1)
                pool.submit(tasks.wait_for_file, tmp_path / "go")
                await anyio.sleep(0.05)
                group.start_soon(let_go)
            left = len(ticks)
            assert left > entered[0] + 10, "the block was left while the last call ran"
            group.cancel_scope.cancel()

    entered = []

    async def let_go():
        entered.append(len(ticks))
        await anyio.sleep(0.1)
        (tmp_path / "go").touch()

    run(body)


def test_cancelled_block_cancels_what_runs_in_it(run, tmp_path):
    async def body():
        with anyio.move_on_after(0.2) as scope:
            async with PeerPoolExecutor(1) as pool:
                pool.submit(tasks.block, tmp_path / "it")
                pool.submit(tasks.wait_for_ever, tmp_path / "other")
                await anyio.sleep(1000)
        assert scope.cancelled_caught

    started = time.monotonic()
    run(body)
    assert time.monotonic() - started < SOON


@pytest.mark.slow
def test_blocked_loop_is_warned_of_and_plain_calls_go_on(run, caplog):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            await pool.run(tasks.add, 1)
            future = pool.submit(tasks.block_the_loop, 2.5)
            assert await pool.run(tasks.square, 3) == 9
            assert not future.done()
            await tasks.until(lambda: "a coroutine has blocked" in caplog.text)
        assert "block_the_loop" in caplog.text

    run(body)


def test_blocking_call_does_not_hold_up_a_coroutine(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            busy = pool.submit(tasks.wait_for_file, tmp_path / "go")
            await tasks.until(busy.running)
            with anyio.fail_after(SOON):
                assert await pool.run(tasks.add, 1, 2) == 3  # the first that this worker has seen
                assert await pool.run(tasks.add, 3, 4) == 7
            (tmp_path / "go").touch()

    run(body)


def test_two_loops_in_two_threads_share_a_pool(run):
    results = []

    async def body(pool, start):
        for x in range(start, start + 50):
            results.append(await pool.run(tasks.add, x, 1))

    with shared(2) as pool:
        threads = [threading.Thread(target=run, args=(body, pool, start)) for start in (0, 1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    assert sorted(results) == [*range(1, 51), *range(1001, 1051)]


def test_loop_that_is_closed_with_calls_outstanding_hurts_nobody(tmp_path):
    with PeerPoolExecutor(1) as pool:
        loop = asyncio.new_event_loop()
        task = loop.create_task(pool.with_options(abandon_on_cancel=True).run(tasks.wait_for_file, tmp_path / "go"))
        loop.run_until_complete(asyncio.sleep(0.05))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        future = asyncio.wrap_future(pool.submit(tasks.wait_for_file, tmp_path / "go"), loop=loop)
        loop.close()
        del future, task
        gc.collect()
        (tmp_path / "go").touch()
        assert pool.submit(tasks.square, 2).result(SOON) == 4


def test_outside_of_a_loop_run_says_so():
    with shared(1) as pool:
        coroutine = pool.run(tasks.square, 1)
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)
            coroutine.send(None)


# -- beside the other faces --------------------------------------------------------------------------------------------


def test_coroutine_functions_may_be_submitted_and_mapped():
    with shared(2) as pool:
        assert pool.submit(tasks.add, 1, 2).result(SOON) == 3
        assert list(pool.map(tasks.add, range(50), range(50))) == list(range(0, 100, 2))


def test_error_in_a_mapped_coroutine_does_not_lose_the_results_before_it():
    with shared(2) as pool:
        results = pool.map(tasks.fail_at_async, range(10), [5] * 10)
        assert [next(results) for _ in range(5)] == list(range(5))
        with pytest.raises(ValueError, match="5"):
            next(results)


def test_coroutine_of_a_plain_function_is_run():
    with shared(1) as pool:
        assert pool.submit(lambda: tasks.add(1, 2)).result(SOON) == 3
        with pytest.raises(ValueError, match="x"):
            pool.submit(lambda: tasks.raise_(ValueError("x"))).result(SOON)


def test_started_coroutine_is_cancelled_by_force_alone(tmp_path):
    with shared(1) as pool:
        future = pool.submit(tasks.wait_for_ever, tmp_path / "it")
        assert eventually((tmp_path / "it-began").exists)
        assert future.running()
        assert not future.cancel()
        assert future.cancel(force=True)
        assert future.cancelled()
        assert eventually((tmp_path / "it-ended").exists)


def test_coroutine_may_end_before_its_worker_is_ended_for_another_call(tmp_path):
    with PeerPoolExecutor(1) as pool:
        pid = pool.submit(os.getpid).result(SOON)
        waiting = pool.submit(tasks.many_at_once, tmp_path / "here", 2)
        stuck = pool.submit(tasks.block, tmp_path / "it")
        assert eventually(lambda: (tmp_path / "here").exists() and (tmp_path / "it-began").exists())
        assert stuck.cancel(force=True)
        assert not waiting.done()
        tasks.note(tmp_path / "here")
        assert waiting.result(SOON) == pid
        assert pool.submit(os.getpid).result(SOON) != pid


@pytest.mark.slow
def test_worker_is_ended_for_another_call_though_a_coroutine_does_not_end(tmp_path):
    with PeerPoolExecutor(1) as pool:
        endless = pool.submit(tasks.wait_for_ever, tmp_path / "other")
        stuck = pool.submit(tasks.block, tmp_path / "it")
        assert eventually(lambda: (tmp_path / "other-began").exists() and (tmp_path / "it-began").exists())
        assert stuck.cancel(force=True)
        with pytest.raises(WorkerLostError, match="was ended"):
            endless.result(SOON)


def test_shutdown_waits_for_coroutines(tmp_path):
    pool = PeerPoolExecutor(1)
    future = pool.submit(tasks.many_at_once, tmp_path / "here", 1)
    pool.shutdown(wait=True)
    assert future.done()


def test_run_on_all_runs_once_on_every_worker(run):
    async def body():
        async with PeerPoolExecutor(3) as pool:
            for fn in (os.getpid, own_pid):
                outcomes = await pool.run_on_all_async(fn)
                assert len(outcomes) == 3
                assert all(future.result() == pid for pid, future in outcomes.items())

    async def own_pid():
        return os.getpid()

    run(body)


def test_run_on_all_of_a_coroutine_runs_beside_the_coroutines_that_workers_run(tmp_path):
    async def wait():
        while not (tmp_path / "go").exists():  # noqa: ASYNC110  # this process makes it
            await asyncio.sleep(0.01)

    async def own_pid():
        return os.getpid()

    with PeerPoolExecutor(2) as pool:
        waiting = [pool.submit(wait) for _ in range(4)]
        assert eventually(lambda: all(future.running() for future in waiting))
        outcomes = pool.run_on_all(own_pid)
        assert {future.result(SOON) for future in outcomes.values()} == {*outcomes}
        assert not any(future.done() for future in waiting)
        (tmp_path / "go").touch()


def test_run_on_all_gives_the_outcome_of_each_worker(tmp_path):
    def first_fails():
        try:
            Path(tmp_path, "first").touch(exist_ok=False)
        except FileExistsError:
            return "well"
        raise ValueError("first")

    with PeerPoolExecutor(3) as pool:
        outcomes = pool.run_on_all(first_fails)
        assert sorted(str(future.exception() or future.result()) for future in outcomes.values()) == [
            "first",
            "well",
            "well",
        ]


def test_run_on_all_waits_for_workers_that_are_busy(tmp_path):
    with PeerPoolExecutor(2) as pool:
        busy = [pool.submit(tasks.wait_for_file, tmp_path / "go") for _ in range(2)]
        assert eventually(lambda: all(future.running() for future in busy))
        later = [pool.submit(tasks.square, 1) for _ in range(20)]
        threading.Timer(0.1, (tmp_path / "go").touch).start()
        outcomes = pool.run_on_all(os.getpid)
        assert set(outcomes) == {future.result() for future in busy}
        assert [future.result(SOON) for future in later] == [1] * 20


def test_run_on_all_reports_a_worker_that_died():
    with PeerPoolExecutor(2) as pool:
        outcomes = pool.run_on_all(tasks.kill)
        assert [type(future.exception(SOON)) for future in outcomes.values()] == [WorkerLostError] * 2
        assert pool.submit(tasks.square, 2).result(SOON) == 4


def test_keyboard_interrupt_in_asyncio_run_ends_what_runs(tmp_path):
    import signal
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, time, os\n"
        "from woolexec import PeerPoolExecutor\n"
        "async def main():\n"
        "    async with PeerPoolExecutor(2) as pool:\n"
        "        tasks = [asyncio.ensure_future(pool.run(time.sleep, 1000)), asyncio.ensure_future(pool.run(nap))]\n"
        "        await pool.run(abs, 1)\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.gather(*tasks)\n"
        "async def nap(): await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=SOON)
    assert err.count("Traceback") <= 2, err  # asyncio's own
    assert child.returncode in (-signal.SIGINT, 130)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_coroutines_clean_up_when_the_caller_dies(tmp_path, number):
    import signal
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from tests.aio import tasks\n"
        "from woolexec import PeerPoolExecutor\n"
        "pool = PeerPoolExecutor(2)\n"
        "futures = [pool.submit(tasks.wait_for_ever, sys.argv[1]), pool.submit(time.sleep, 1000)]\n"
        "print('ready', flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, script, tmp_path / "it"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout.readline() == "ready\n"
        assert eventually((tmp_path / "it-began").exists)
        child.send_signal(getattr(signal, number))
    assert eventually((tmp_path / "it-ended").exists)
