"""Streams: both kinds of generators, through both interfaces."""

import gc
import os
import pickle
import threading
import time
from contextlib import AsyncExitStack

import anyio
import numpy as np
import pytest

from tests.aio import stream_tasks as tasks
from tests.aio.faces import FACES, Ended
from tests.faults.tasks import SOON, eventually, note, notes
from tests.marks import slow
from woolexec import PeerPoolExecutor, RemoteError, RemoteTraceback, Stream, WorkerLostError

pytestmark = pytest.mark.matrix

PREFETCHES = [0, 1, 7, 1_000]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request):
    """How streams are pulled."""
    return request.param


@pytest.fixture(params=["", "_async"], ids=["generator", "async_generator"])
def kind(request):
    """Find the generator function of this name, of one kind."""
    return lambda name: getattr(tasks, name + request.param)


@pytest.fixture(scope="module")
def pool():
    """One pool and one worker for most of them: what one stream does may harm no other."""
    with PeerPoolExecutor(1) as pool:
        future = pool.submit(abs, -1)
        future.add_done_callback(lambda _: None)  # its thread stays: it is no test's leak
        future.result(SOON)
        yield pool


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "journal")


def wait_until(condition):
    assert eventually(condition)


async def there(path):
    await tasks.until(path.exists)


# -- items ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", PREFETCHES)
@pytest.mark.parametrize("n", [0, 1, 300])
def test_items_come_in_order_and_whole(face, pool, kind, prefetch, n):
    async def body(pool):
        async with face.open(pool, kind("count"), n, prefetch=prefetch) as stream:
            assert await face.all(stream) == list(range(n))

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", PREFETCHES)
def test_the_end_comes_after_the_last_item_and_stays(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("count"), 3, prefetch=prefetch) as stream:
            assert [await face.next(stream) for _ in range(3)] == [0, 1, 2]
            for _ in range(3):
                with pytest.raises(Ended):
                    await face.next(stream)

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 3])
def test_body_begins_at_the_first_pull(face, pool, kind, journal, prefetch):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 5, prefetch=prefetch) as stream:
            assert pool.submit(abs, -1).result() == 1
            assert notes(journal) == []
            await face.next(stream)
            assert notes(journal)[0] == "0"

    face.run(body, pool)


def test_generator_is_suspended_between_pulls(face, pool, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 9) as stream:
            for taken in range(1, 5):
                await face.next(stream)
                assert pool.submit(abs, -1).result() == 1
                assert len(notes(journal)) == taken

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [1, 2, 7, 64])
def test_generator_runs_ahead_by_at_most_prefetch_items(face, pool, kind, journal, prefetch):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 1_000, prefetch=prefetch) as stream:
            for taken in range(1, 200):
                await face.next(stream)
                assert taken <= len(notes(journal)) <= taken + prefetch

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [2, 7, 64])
def test_generator_does_run_ahead(face, pool, kind, journal, prefetch):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 1_000, prefetch=prefetch) as stream:
            await face.next(stream)
            wait_until(lambda: len(notes(journal)) >= prefetch)

    face.run(body, pool)


def test_value_is_what_the_generator_returned(face, pool):
    async def body(pool):
        async with face.open(pool, tasks.returning, 2, {"sum": 1}) as stream:
            assert stream.value is None
            assert await face.all(stream) == [0, 1]
            assert stream.value == {"sum": 1}

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [1, 64])
def test_value_comes_with_prefetch_too(face, pool, prefetch):
    async def body(pool):
        async with face.open(pool, tasks.returning, 100, "value", prefetch=prefetch) as stream:
            await face.all(stream)
            assert stream.value == "value"

    face.run(body, pool)


def test_value_of_an_asynchronous_generator_is_none(face, pool):
    async def body(pool):
        async with face.open(pool, tasks.count_async, 2) as stream:
            await face.all(stream)
            assert stream.value is None

    face.run(body, pool)


def test_stop_iteration_carries_the_value(pool):
    with pool.stream(tasks.returning, 1, "value") as stream:
        next(stream)
        with pytest.raises(StopIteration) as stop:
            next(stream)
    assert stop.value.value == "value"


@pytest.mark.parametrize("prefetch", [0, 1, 16])
def test_slow_consumer_gets_all_of_a_fast_producer(face, pool, kind, prefetch):
    async def body(pool):
        items = []
        async with face.open(pool, kind("count"), 100, prefetch=prefetch) as stream:
            while len(items) < 100:
                items.append(await face.next(stream))
                time.sleep(0.001)  # noqa: ASYNC251  # slower than the producer
        assert items == list(range(100))

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 1, 16])
def test_fast_consumer_gets_all_of_a_slow_producer(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("paced"), 100, prefetch=prefetch) as stream:
            assert await face.all(stream) == list(range(100))

    face.run(body, pool)


# -- send, throw, close -----------------------------------------------------------------------------------------------


def test_what_is_sent_is_what_yield_gives(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            assert await face.next(stream) == "first"
            for value in [1, None, "text", [1, {2: 3}]]:
                assert await face.send(stream, value) == value

    face.run(body, pool)


def test_sending_none_is_a_pull(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("count"), 3) as stream:
            assert [await face.send(stream, None) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(Ended):
                await face.send(stream, None)

    face.run(body, pool)


def test_sending_a_value_before_the_first_pull_is_a_type_error(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            with pytest.raises(TypeError, match="just-started"):
                await face.send(stream, 1)

    face.run(body, pool)


def test_value_that_came_before_the_first_pull_leaves_the_generator_as_it_was(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            with pytest.raises(TypeError):
                await face.send(stream, 1)
            assert await face.next(stream) == "first"

    face.run(body, pool)


def test_value_that_does_not_pickle_is_the_senders_and_the_stream_goes_on(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            with pytest.raises(TypeError, match="pickle"):
                await face.send(stream, threading.Lock())
            assert await face.send(stream, 5) == 5

    face.run(body, pool)


def test_thrown_exception_is_raised_in_the_generator(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("stubborn")) as stream:
            await face.next(stream)
            caught = await face.throw(stream, ValueError("thrown", 3))
            assert (type(caught), caught.args) == (ValueError, ("thrown", 3))

    face.run(body, pool)


def test_thrown_exception_that_is_not_caught_comes_back(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            with pytest.raises(KeyError) as caught:
                await face.throw(stream, KeyError("thrown"))
            assert caught.value.args == ("thrown",)
            with pytest.raises(Ended):
                await face.next(stream)

    face.run(body, pool)


def test_exception_thrown_before_the_first_pull_comes_back(face, pool, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 3) as stream:
            with pytest.raises(ValueError, match="thrown"):
                await face.throw(stream, ValueError("thrown"))
        assert notes(journal) == []

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [1, 64])
def test_nothing_is_sent_or_thrown_into_a_stream_with_prefetch(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("count"), 5, prefetch=prefetch) as stream:
            await face.next(stream)
            with pytest.raises(RuntimeError, match="prefetch"):
                await face.send(stream, 1)
            with pytest.raises(RuntimeError, match="prefetch"):
                await face.throw(stream, ValueError())
            assert await face.all(stream) == [1, 2, 3, 4]

    face.run(body, pool)


def test_close_waits_until_the_generator_has_cleaned_up(face, pool, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 9) as stream:
            await face.next(stream)
            await face.close(stream)
            assert notes(journal) == ["0", "finally"]
            with pytest.raises(Ended):
                await face.next(stream)
            await face.close(stream)

    face.run(body, pool)


def test_what_cleaning_up_raises_is_the_closers(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("raising_at_close"), ValueError("at close")) as stream:
            await face.next(stream)
            with pytest.raises(ValueError, match="at close"):
                await face.close(stream)

    face.run(body, pool)


def test_generator_that_ignores_its_end_is_a_runtime_error(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("endless")) as stream:
            await face.next(stream)
            with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
                await face.close(stream)

    face.run(body, pool)


def test_stream_that_was_closed_before_the_first_pull_never_begins(face, pool, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 9):
            pass
        assert pool.submit(abs, -1).result() == 1
        assert notes(journal) == []

    face.run(body, pool)


# -- cleaning up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_finally_runs_when_the_block_is_left(face, pool, kind, journal, prefetch):
    async def body(pool):
        async with face.open(pool, kind("noting"), journal, 1_000, prefetch=prefetch) as stream:
            await face.next(stream)
        assert notes(journal)[-1] == "finally"

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 7])
def test_finally_runs_when_the_block_raises(face, pool, kind, journal, prefetch):
    async def body(pool):
        with pytest.raises(LookupError, match="mine"):
            async with face.open(pool, kind("noting"), journal, 1_000, prefetch=prefetch) as stream:
                await face.next(stream)
                raise LookupError("mine")
        assert notes(journal)[-1] == "finally"

    face.run(body, pool)


def test_finally_runs_when_a_loop_is_left(run, kind, journal):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            async with pool.stream(kind("noting"), journal, 9) as stream:
                async for item in stream:
                    if item == 3:
                        break
            assert notes(journal) == ["0", "1", "2", "3", "finally"]

    run(body)


@pytest.mark.parametrize("pulls", [0, 1])
def test_stream_that_nobody_holds_any_more_is_closed(face, pool, kind, journal, pulls):
    async def body(pool):
        stream = await face.start(pool, kind("noting"), journal, 9)
        for _ in range(pulls):
            await face.next(stream)
        del stream
        gc.collect()
        if pulls:
            wait_until(lambda: notes(journal)[-1] == "finally")

    face.run(body, pool)


def test_finally_runs_when_a_pull_is_cancelled(run, pool, tmp_path):
    async def body():
        async with pool.stream(tasks.held_async, tmp_path) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
            assert notes(tmp_path / "ended") == ["ended"]

    run(body)


def test_finally_runs_when_a_pull_takes_too_long(run, pool, tmp_path):
    async def body():
        async with pool.stream(tasks.held_async, tmp_path) as stream:
            with pytest.raises(TimeoutError), anyio.fail_after(0.3):
                await anext(stream)
            assert notes(tmp_path / "began") == ["began"]
            assert notes(tmp_path / "ended") == ["ended"]

    run(body)


@pytest.mark.parametrize("prefetch", [1, 7])
def test_finally_runs_when_a_pull_with_prefetch_is_cancelled(run, pool, tmp_path, prefetch):
    async def body():
        async with pool.stream(tasks.held_async, tmp_path, prefetch=prefetch) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
            assert notes(tmp_path / "ended") == ["ended"]

    run(body)


def test_finally_of_a_plain_generator_runs_when_its_code_lets_it(run, pool, tmp_path):
    async def body():
        async with pool.stream(tasks.held, tmp_path) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
                note(tmp_path / "open", "open")
            assert notes(tmp_path / "ended") == ["ended"]

    run(body)


def test_finally_runs_when_a_generator_that_shields_itself_is_cancelled(run, pool, tmp_path):
    async def body():
        async with pool.stream(tasks.shielded, tmp_path) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
                note(tmp_path / "open", "open")
            assert notes(tmp_path / "ended") == ["ended"]

    run(body)


def test_cancelled_pull_leaves_other_streams_alone(run, pool, tmp_path):
    async def body():
        async with (
            pool.stream(tasks.count_async, 5) as other,
            pool.stream(tasks.held_async, tmp_path) as stream,
        ):
            await anext(other)
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                group.cancel_scope.cancel()
            assert [item async for item in other] == [1, 2, 3, 4]

    run(body)


def test_stream_after_a_cancelled_pull_is_over(run, pool, tmp_path):
    async def body():
        async with pool.stream(tasks.held_async, tmp_path) as stream:
            with anyio.move_on_after(0.1):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    run(body)


def test_opening_that_is_cancelled_takes_no_place(run):
    async def body():
        async with PeerPoolExecutor(1, max_coroutines=1) as pool:
            async with pool.stream(tasks.count_async, 3) as first:
                with anyio.move_on_after(0.1) as scope:
                    await pool.stream(tasks.count_async, 3).__aenter__()
                assert scope.cancelled_caught
                assert [item async for item in first] == [0, 1, 2]
            async with pool.stream(tasks.count_async, 2) as third:
                assert [item async for item in third] == [0, 1]

    run(body)


# -- exceptions -------------------------------------------------------------------------------------------------------

ERRORS = [
    ValueError("reason", 3),
    KeyError("key"),
    OSError(2, "no file"),
    TimeoutError("late"),
    SystemExit(3),
    KeyboardInterrupt("now"),
    GeneratorExit("bye"),
    tasks.OwnBaseError("own"),
    ExceptionGroup("group", [ValueError(1), KeyError(2)]),
]


@pytest.mark.parametrize("prefetch", [0, 7])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exception_arrives_as_itself_behind_the_items(face, pool, kind, error, prefetch):
    async def body(pool):
        async with face.open(pool, kind("raising"), error, prefetch=prefetch) as stream:
            assert [await face.next(stream), await face.next(stream)] == [0, 1]
            with pytest.raises(BaseException) as caught:
                await face.next(stream)
            assert (type(caught.value), str(caught.value)) == (type(error), str(error))
            assert isinstance(caught.value.__cause__, RemoteTraceback)
            assert "in raising" in str(caught.value.__cause__)

    face.run(body, pool)


def test_stream_that_raised_is_over_and_the_worker_lives(face, pool, kind):
    async def body(pool):
        pid = pool.submit(os.getpid).result()
        async with face.open(pool, kind("raising"), SystemExit(3), 0) as stream:
            with pytest.raises(SystemExit):
                await face.next(stream)
            with pytest.raises(Ended):
                await face.next(stream)
        assert pool.submit(os.getpid).result() == pid

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 7])
def test_exception_that_does_not_pickle_arrives_as_remote_error(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("sulky"), prefetch=prefetch) as stream:
            await face.next(stream)
            with pytest.raises(RemoteError, match="sulky"):
                await face.next(stream)

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 7])
def test_stop_iteration_of_the_body_is_a_runtime_error(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("raising"), StopIteration(1), prefetch=prefetch) as stream:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await face.all(stream)

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 7])
def test_stop_async_iteration_of_the_body_does_not_end_the_iteration_in_silence(face, pool, kind, prefetch):
    async def body(pool):
        async with face.open(pool, kind("raising"), StopAsyncIteration(1), prefetch=prefetch) as stream:
            with pytest.raises((RuntimeError, StopAsyncIteration)):
                await face.all(stream)

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_item_that_does_not_pickle_fails_behind_those_before_it(face, pool, kind, journal, prefetch):
    async def body(pool):
        async with face.open(pool, kind("unpicklable"), journal, 3, prefetch=prefetch) as stream:
            assert [await face.next(stream) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(TypeError, match="pickle"):
                await face.next(stream)
        wait_until(lambda: notes(journal) == ["finally"])

    face.run(body, pool)


def test_item_that_does_not_unpickle_raises_at_its_pull(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("items"), "Unloadable") as stream:
            assert await face.next(stream) == 0
            with pytest.raises(ValueError, match="not loaded"):
                await face.next(stream)

    face.run(body, pool)


def test_argument_that_does_not_unpickle_fails_the_opening(face, pool, kind):
    async def body(pool):
        with pytest.raises(ValueError, match="not loaded"):
            async with face.open(pool, kind("raising"), tasks.Unloadable()):
                pass

    face.run(body, pool)


def test_argument_that_does_not_pickle_fails_the_opening(face, pool, kind):
    async def body(pool):
        with pytest.raises(TypeError, match="pickle"):
            async with face.open(pool, kind("raising"), threading.Lock()):
                pass

    face.run(body, pool)


def test_wrong_arguments_fail_the_opening(face, pool, kind):
    async def body(pool):
        with pytest.raises(TypeError, match="positional argument"):
            async with face.open(pool, kind("count"), 1, 2, 3):
                pass

    face.run(body, pool)


@pytest.mark.parametrize("fn", [abs, tasks.double, tasks.double_async])
def test_stream_of_another_function_is_a_type_error(face, pool, fn):
    async def body(pool):
        with pytest.raises(TypeError, match="not a generator function"):
            async with face.open(pool, fn, 1):
                pass

    face.run(body, pool)


def test_negative_prefetch_is_a_value_error(kind):
    with PeerPoolExecutor(1) as pool, pytest.raises(ValueError, match="prefetch"):
        pool.stream(kind("count"), 1, prefetch=-1)


# -- other ways to a stream -------------------------------------------------------------------------------------------


def test_submit_of_a_generator_function_gives_a_future_of_a_stream(kind):
    with PeerPoolExecutor(1) as pool:
        stream = pool.submit(kind("count"), 3).result(SOON)
        assert isinstance(stream, Stream)
        assert list(stream) == [0, 1, 2]


def test_run_of_a_generator_function_gives_a_stream(run, pool, kind):
    async def body():
        async with await pool.run(kind("count"), 3) as stream:
            assert [item async for item in stream] == [0, 1, 2]

    run(body)


def test_map_async_of_a_generator_function_gives_a_stream_for_each_item(run, kind):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            lists = []
            async for stream in pool.map_async(kind("count"), range(5)):
                async with stream:
                    lists.append([item async for item in stream])
            assert lists == [list(range(n)) for n in range(5)]

    run(body)


def test_map_of_a_generator_function_gives_a_stream_for_each_item(kind):
    with PeerPoolExecutor(2) as pool:
        assert [list(stream) for stream in pool.map(kind("count"), range(5))] == [list(range(n)) for n in range(5)]


def test_method_of_an_object_may_be_a_generator_function(face, pool, kind):
    async def body(pool):
        async with face.open(pool, getattr(tasks.Box(3), kind("items").__name__)) as stream:
            assert await face.all(stream) == [3, 3, 3]

    face.run(body, pool)


def test_closure_may_be_a_generator_function(face, pool):
    base = 10

    def above(n):
        for x in range(n):
            yield base + x

    async def body(pool):
        async with face.open(pool, above, 3) as stream:
            assert await face.all(stream) == [10, 11, 12]

    face.run(body, pool)


# -- limits and deaths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 7])
def test_timeout_ends_a_stream_that_is_pulled(face, pool, kind, prefetch):
    async def body(pool):
        timed = pool.with_options(timeout=0.3)
        with pytest.raises(TimeoutError, match="timeout"):  # on a busy machine it ends before it is pulled
            async with face.open(timed, kind("paced"), 100_000, prefetch=prefetch) as stream:
                await face.all(stream)

    face.run(body, pool)


def test_timeout_ends_a_stream_that_waits(face, pool, tmp_path):
    async def body(pool):
        async with face.open(pool.with_options(timeout=0.3), tasks.held_async, tmp_path) as stream:
            with pytest.raises(TimeoutError, match="timeout"):
                await face.next(stream)
        wait_until((tmp_path / "ended").exists)

    face.run(body, pool)


def test_timeout_of_a_plain_stream_that_blocks_does_not_wait_for_it(face, pool, tmp_path):
    async def body(pool):
        async with face.open(pool.with_options(timeout=0.3), tasks.held, tmp_path) as stream:
            with pytest.raises(TimeoutError, match="timeout"):
                await face.next(stream)
        note(tmp_path / "open", "open")
        wait_until((tmp_path / "ended").exists)

    face.run(body, pool)


def test_timeout_leaves_the_other_streams_of_the_worker_alone(face, pool, kind, journal):
    async def body(pool):
        async with face.open(pool, kind("count"), 5) as other:
            await face.next(other)
            async with face.open(pool.with_options(timeout=0.2), kind("noting"), journal, 9) as stream:
                await face.next(stream)
                wait_until(lambda: notes(journal)[-1] == "finally")
                with pytest.raises(TimeoutError):
                    await face.all(stream)
            assert await face.all(other) == [1, 2, 3, 4]

    face.run(body, pool)


def test_lost_worker_raises_behind_the_items(face, kind):
    async def body(pool):
        async with face.open(pool, kind("killed"), 3) as stream:
            assert [await face.next(stream) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(WorkerLostError) as caught:
                await face.next(stream)
            assert caught.value.exitcode == -9
        async with face.open(pool, kind("count"), 3) as stream:
            assert await face.all(stream) == [0, 1, 2]

    face.run_alone(body)


@pytest.mark.parametrize("prefetch", [64, *slow(1)])
def test_lost_worker_raises_with_prefetch_too(face, kind, prefetch):
    async def body(pool):
        items = []
        async with face.open(pool, kind("killed"), 20, prefetch=prefetch) as stream:
            with pytest.raises(WorkerLostError):
                while True:
                    items.append(await face.next(stream))
        assert items == list(range(len(items)))
        async with face.open(pool, kind("count"), 3, prefetch=prefetch) as stream:
            assert await face.all(stream) == [0, 1, 2]

    face.run_alone(body)


def test_worker_that_dies_between_pulls_is_noticed(face, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            with pytest.raises(WorkerLostError):
                pool.submit(os.kill, pool.submit(os.getpid).result(), 9).result()
            with pytest.raises(WorkerLostError):
                await face.send(stream, 1)

    face.run_alone(body)


def test_stream_of_a_lost_worker_closes_in_silence(face, kind):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            with pytest.raises(WorkerLostError):
                pool.submit(os.kill, pool.submit(os.getpid).result(), 9).result()
            await face.close(stream)

    face.run_alone(body)


# -- many, and large --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("face", "ending"),
    [
        (FACES[0], ""),
        (FACES[1], "_async"),
        *slow((FACES[0], "_async"), (FACES[1], ""), (FACES[2], ""), (FACES[2], "_async")),
    ],
    ids=lambda value: getattr(value, "name", value or "generator"),
)
def test_one_stalled_stream_does_not_hold_up_a_thousand_others(face, ending, tmp_path):
    def kind(name):
        return getattr(tasks, name + ending)

    async def body(pool):
        async with AsyncExitStack() as stack:
            stalled = await stack.enter_async_context(face.open(pool, kind("stalling"), tmp_path, prefetch=2))
            assert await face.next(stalled) == 0
            others = [await stack.enter_async_context(face.open(pool, kind("count"), 5)) for _ in range(1000)]
            for x in range(3):
                assert [await face.next(other) for other in others] == [x] * 1000
            note(tmp_path / "open", "open")
            assert await face.all(stalled) == [1]

    face.run_alone(body, workers=2)


def test_plain_calls_go_on_where_a_stream_blocks_the_loop_that_reads(run, tmp_path):
    # After so many pulls the worker has let the loop itself read what comes for it.
    async def body():
        async with PeerPoolExecutor(1) as pool, pool.stream(tasks.block_at, 50, tmp_path / "go") as stream:
            for _ in range(50):
                await stream.__anext__()
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                with anyio.fail_after(SOON):
                    assert [await pool.run(abs, -n) for n in range(100)] == list(range(100))
                (tmp_path / "go").touch()

    run(body)


def test_streams_of_one_worker_run_at_once(run, kind, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool, anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(consume, pool, kind("meeting"), str(tmp_path / "met"), 20, n)

    async def consume(pool, fn, *args):
        async with pool.stream(fn, *args) as stream:
            assert [item async for item in stream] == ["met"]

    run(body)


@pytest.mark.parametrize("length", [5_000, 100_000, 200_000, 1 << 20, 3 << 20])
def test_large_bytes_go_there_and_back(face, pool, kind, length):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            for n in range(3):
                value = bytes([n]) * length
                assert await face.send(stream, value) == value

    face.run(body, pool)


@pytest.mark.parametrize("length", [100, 10_000, 30_000, 250_000])
def test_arrays_go_there_and_back(face, pool, kind, length):
    async def body(pool):
        async with face.open(pool, kind("echo")) as stream:
            await face.next(stream)
            for n in range(3):
                value = np.arange(length, dtype=np.float64) + n
                back = await face.send(stream, value)
                assert np.array_equal(back, value)
                back[0] = 7  # it is writable, and nobody else's

    face.run(body, pool)


@pytest.mark.parametrize("prefetch", [0, 7])
@pytest.mark.parametrize("length", [100, 250_000])
def test_arrays_come_whole_at_any_prefetch(face, pool, kind, length, prefetch):
    async def body(pool):
        async with face.open(pool, kind("arrays"), length, 12, prefetch=prefetch) as stream:
            for n, item in enumerate(await face.all(stream)):
                assert np.array_equal(item, np.full(length, float(n)))
            assert n == 11

    face.run(body, pool)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_second_pull_at_once_is_a_runtime_error(run, pool, kind, tmp_path):
    async def body():
        async with pool.stream(kind("held"), tmp_path, 3) as stream:
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)
                await there(tmp_path / "began")
                for pull in (stream.__anext__, lambda: stream.asend(None), lambda: stream.athrow(ValueError())):
                    with pytest.raises(RuntimeError, match="pulled already"):
                        await pull()
                note(tmp_path / "open", "open")
            assert [item async for item in stream] == [1, 2]

    run(body)


def test_second_pull_in_another_thread_is_a_runtime_error(pool, kind, tmp_path):
    with pool.stream(kind("held"), tmp_path, 3) as stream:
        thread = threading.Thread(target=next, args=(stream,))
        thread.start()
        wait_until((tmp_path / "began").exists)
        for pull in (stream.__next__, lambda: stream.send(None), lambda: stream.throw(ValueError())):
            with pytest.raises(RuntimeError, match="pulled already"):
                pull()
        note(tmp_path / "open", "open")
        thread.join()
        assert list(stream) == [1, 2]


def test_stream_does_not_pickle(face, pool, kind):
    async def body(pool):
        async with face.open(pool, kind("count"), 2) as stream:
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(stream)
            assert isinstance(pool.submit(abs, stream).exception(SOON), TypeError)
            assert await face.all(stream) == [0, 1]

    face.run(body, pool)


def test_stream_after_shutdown_is_refused(face, kind):
    async def body(pool):
        pool.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="after shutdown"):
            async with face.open(pool, kind("count"), 2):
                pass

    face.run_alone(body)
