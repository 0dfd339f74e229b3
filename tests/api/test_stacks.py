"""The stacks of running tasks, reported by a pool with real workers."""

import asyncio
import collections
import itertools
import linecache
import os
import signal
import threading

import pytest
import trio

from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, Stacks, current_executor, current_task
from woolexec.api import stacks as api_stacks
from woolexec.engine import last_look

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture(autouse=True)
def tasks_end(tmp_path):
    """Let the tasks of a test that has failed go on: the pools are shared."""
    yield
    for here in tmp_path.glob("*-here"):
        here.with_name(here.name.removesuffix("-here")).touch()


def wait_in(folder, name="go"):
    (folder / f"{name}-here").write_text(str(current_task().id))
    assert eventually((folder / name).exists)
    return name


def wait_by_a_task_of_its_own(folder):
    return current_executor().submit(wait_in, folder, "below").result()


async def sleep_until(folder, name):
    (folder / f"{name}-here").touch()
    while not (folder / name).exists():  # noqa: ASYNC110  # what it waits for is in another process
        await asyncio.sleep(0.01)


async def wait_for_others(folder):
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep_until(folder, "one"), name="one")
        group.create_task(gather_two(folder), name="gatherer")


async def gather_two(folder):
    await asyncio.gather(sleep_until(folder, "two"), sleep_until(folder, "three"))


async def wait_in_trio(folder):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_in_trio, folder)


async def sleep_in_trio(folder):
    (folder / "trio-here").touch()
    while not (folder / "trio").exists():  # noqa: ASYNC110  # as above
        await trio.sleep(0.01)


def items(folder):
    yield 1
    yield wait_in(folder, "item")


async def items_async(folder):
    yield 1
    await sleep_until(folder, "item_async")
    yield 2


def keep_the_gil(folder):
    (folder / "held-here").touch()
    collections.deque(itertools.repeat(None), maxlen=0)


class Counter:
    def wait(self, folder):
        return wait_in(folder, "actor")


def begun(folder, *names):
    return eventually(lambda: all((folder / f"{name}-here").exists() for name in names))


def let_go(folder, *names):
    for name in names:
        (folder / name).touch()


def by_function(stacks):
    return {each.function: each for each in stacks}


def test_task_is_named_with_its_stack_and_goes_on(tmp_path):
    with shared(1) as pool:
        future = pool.submit(wait_in, tmp_path)
        assert begun(tmp_path, "go")

        (found,) = pool.stacks(SOON)

        assert [each.task for each in pool.with_options(name="of a view").stacks(SOON)] == [found.task]
        assert found.function == "wait_in"
        assert str(found.task) == (tmp_path / "go-here").read_text()
        assert found.pid in pool._processes
        assert found.seconds > 0
        assert (found.note, found.peer, found.client) == ("", "", "")
        lines = found.stack.split("\n")
        assert lines[0].startswith(f'  File "{__file__}", line ')
        assert lines[0].endswith(", in wait_in")
        assert lines[1] == '    assert eventually((folder / "go").exists)'.replace('"go"', "name")
        assert "sync_lane" not in found.stack
        let_go(tmp_path, "go")
        assert future.result() == "go"


def test_pool_without_tasks_has_no_stacks():
    with PeerPoolExecutor(1) as pool:
        assert pool.stacks(SOON) == Stacks()
        pool.submit(abs, -1).result()
        assert str(pool.stacks(SOON)) == "no task is running"
    assert pool.stacks(SOON) == ()


def test_call_that_waits_for_its_own_task_is_shown_below_that(tmp_path):
    with shared(1) as pool:
        future = pool.submit(wait_by_a_task_of_its_own, tmp_path)
        assert begun(tmp_path, "below")

        found = by_function(pool.stacks(SOON))

        assert found["wait_in"].stack.split("\n")[0].endswith(", in wait_in")
        lower = found["wait_by_a_task_of_its_own"].stack
        assert lower.split("\n")[0].endswith(", in wait_by_a_task_of_its_own")
        assert "in wait_in" not in lower
        let_go(tmp_path, "below")
        future.result()


def test_coroutine_is_shown_with_the_tasks_for_which_it_waits(tmp_path):
    with shared(1) as pool:
        future = pool.submit(wait_for_others, tmp_path)
        assert begun(tmp_path, "one", "two", "three")

        (found,) = pool.stacks(SOON)

        assert found.function == "wait_for_others"
        assert found.stack.split("\n")[0].endswith(", in wait_for_others")
        assert found.stack.count("  waits for ") == 4
        assert "  waits for one:" in found.stack
        assert found.stack.count(", in sleep_until") == 3
        let_go(tmp_path, "one", "two", "three")
        future.result()


def test_coroutine_of_trio_is_shown_with_its_nursery(tmp_path):
    with shared(1) as pool:
        future = pool.with_options(backend="trio").submit(wait_in_trio, tmp_path)
        assert begun(tmp_path, "trio")

        (found,) = pool.stacks(SOON)

        assert found.stack.split("\n")[0].endswith(", in wait_in_trio")
        assert "in sleep_in_trio" in found.stack
        let_go(tmp_path, "trio")
        future.result()


@pytest.mark.parametrize(("stream", "name"), [(items, "item"), (items_async, "item_async")])
def test_stream_is_shown_while_it_makes_an_item_and_not_while_nobody_pulls(tmp_path, stream, name):
    with shared(1) as pool, pool.submit(stream, tmp_path).result() as pulled:
        next(pulled)
        assert eventually(lambda: pool.stacks(SOON) == ())
        thread = threading.Thread(target=next, args=(pulled,))
        thread.start()
        assert begun(tmp_path, name)

        (found,) = pool.stacks(SOON)

        assert found.function == stream.__name__
        assert found.stack.split("\n")[0].endswith(f", in {stream.__name__}")
        assert "wait_in" in found.stack or "sleep_until" in found.stack
        let_go(tmp_path, name)
        thread.join()


def test_method_of_an_actor_is_shown_and_its_idle_object_is_not(tmp_path):
    with PeerPoolExecutor(1) as pool:
        counter = pool.actor(Counter)
        future = counter.submit(Counter.wait, tmp_path)
        assert begun(tmp_path, "actor")

        (found,) = pool.stacks(SOON)

        assert found.function == "Counter.wait"
        assert ", in Counter.wait" in found.stack
        let_go(tmp_path, "actor")
        future.result()
        assert pool.stacks(SOON) == ()


def test_tasks_that_run_longest_come_first(tmp_path):
    with shared(2) as pool:
        first = pool.submit(wait_in, tmp_path, "a")
        assert begun(tmp_path, "a")
        second = pool.submit(wait_in, tmp_path, "b")
        assert begun(tmp_path, "b")

        found = pool.stacks(SOON)

        assert [each.seconds for each in found] == sorted((each.seconds for each in found), reverse=True)
        assert len(found) == 2
        let_go(tmp_path, "a", "b")
        first.result(), second.result()


@pytest.mark.slow
@pytest.mark.linux
def test_c_code_that_keeps_the_gil_is_shown_all_the_same_and_coroutines_are_marked(tmp_path):
    with PeerPoolExecutor(1) as pool:
        try:
            pool.submit(sleep_until, tmp_path, "never")
            assert eventually(lambda: "in sleep\n" in str(pool.stacks(SOON)))
            pool.submit(keep_the_gil, tmp_path)
            assert begun(tmp_path, "held")

            found = by_function(pool.stacks(SOON))

            assert found["keep_the_gil"].stack.split("\n")[0].endswith(", in keep_the_gil")
            assert "in C code" in found["keep_the_gil"].note
            assert found["sleep_until"].stack == ""
            assert found["sleep_until"].note.startswith("GIL held")
        finally:
            pool.kill_workers()


@pytest.mark.linux
def test_worker_that_is_stopped_is_named_as_stopped(tmp_path):
    with shared(1) as pool:
        future = pool.submit(wait_in, tmp_path)
        assert begun(tmp_path, "go")
        (pid,) = pool._processes
        os.kill(pid, signal.SIGSTOP)
        try:
            assert eventually(lambda: "stopped by a signal" in pool.stacks(SOON)[0].note)
            assert pool.stacks(SOON)[0].stack == ""
        finally:
            os.kill(pid, signal.SIGCONT)
        let_go(tmp_path, "go")
        future.result()


def test_stacks_can_be_awaited_in_asyncio_and_in_trio(tmp_path):
    with shared(1) as pool:
        future = pool.submit(wait_in, tmp_path)
        assert begun(tmp_path, "go")

        async def ask():
            return await pool.stacks_async()

        for found in (asyncio.run(ask()), trio.run(ask)):
            assert [each.function for each in found] == ["wait_in"]
        let_go(tmp_path, "go")
        future.result()


def test_many_threads_may_ask_at_once(tmp_path):
    with shared(2) as pool:
        futures = [pool.submit(wait_in, tmp_path, name) for name in ("a", "b")]
        assert begun(tmp_path, "a", "b")
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(pool.stacks(SOON))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [len(each) for each in answers] == [2] * 8
        assert all(task.stack for each in answers for task in each)
        let_go(tmp_path, "a", "b")
        for future in futures:
            future.result()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), None])
def test_timeout_that_makes_no_sense_is_refused(timeout):
    with shared(1) as pool, pytest.raises(ValueError, match="timeout"):
        pool.stacks(timeout)


def test_timeout_may_be_longer_than_any_clock_can_tell():
    with shared(1) as pool:
        pool.submit(abs, -1).result()
        assert pool.stacks(1e300) == ()


async def start_coroutine():
    await asyncio.sleep(0)


async def sleep_long():
    await asyncio.sleep(3600)


def spin():
    while True:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("function", [spin, sleep_long])
def test_error_of_a_timeout_has_the_last_stack(function, monkeypatch):
    monkeypatch.setattr(last_look, "LONGEST", 30)  # seconds; a machine with other work answers late
    with PeerPoolExecutor(1) as pool, pytest.raises(TimeoutError) as caught:
        pool.submit(start_coroutine).result()  # what these tasks import is there
        pool.with_options(timeout=1.0).submit(function).result()

    (note,) = caught.value.__notes__
    assert note.startswith("its last stack, most recent call last:\n")
    assert note.split("\n")[1].endswith(f", in {function.__name__}")


def test_interrupt_says_where_some_of_the_tasks_were(tmp_path):
    names = ("a", "b", "c", "d", "e")
    with pytest.raises(KeyboardInterrupt) as caught, PeerPoolExecutor(1) as pool:
        for name in names:
            pool.submit(sleep_until, tmp_path, name)
        assert begun(tmp_path, *names)
        raise KeyboardInterrupt

    (note,) = caught.value.__notes__
    assert note.startswith("tasks that were interrupted:\n\nsleep_until (task ")
    assert note.count("in sleep_until\n") == 3
    assert note.endswith("\n\nand 2 more tasks")


def test_interrupt_of_a_pool_without_tasks_says_nothing():
    with pytest.raises(KeyboardInterrupt) as caught, PeerPoolExecutor(1):
        raise KeyboardInterrupt

    assert not hasattr(caught.value, "__notes__")


def test_only_files_of_code_are_read_for_the_lines_of_stacks(tmp_path, monkeypatch):
    source, pipe = tmp_path / "a.py", tmp_path / "pipe"
    source.write_text("value = 1\n")
    os.mkfifo(pipe)
    assert api_stacks._with_sources(f'  File "{source}", line 1, in f').endswith("    value = 1")
    for name in (pipe, "/dev/zero", tmp_path, "nothing\0"):
        assert "\n" not in api_stacks._with_sources(f'  File "{name}", line 1, in f')
    monkeypatch.setattr(api_stacks, "_LARGEST", 5)
    linecache.clearcache()
    assert "\n" not in api_stacks._with_sources(f'  File "{source}", line 1, in f')
