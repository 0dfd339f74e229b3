import itertools
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest

from tests.aio import stream_tasks, tasks
from tests.faults.tasks import SOON
from tests.memory import chunks, without_collector
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, Stream, WorkerLostError, current_executor
from woolexec.api import map_parts
from woolexec.api.map_async import Settings, _Flow

pytestmark = [pytest.mark.usefixtures("shared_pools"), pytest.mark.matrix]


async def counted(stop, pulled=None):
    """An asynchronous source that waits now and then."""
    for x in itertools.count() if stop is None else range(stop):
        if x % 7 == 0:
            await anyio.lowlevel.checkpoint()
        if pulled is not None:
            pulled.append(x)
        yield x


def noted(source, pulled):
    for x in source:
        pulled.append(x)
        yield x


async def collect(results):
    return [result async for result in results]


SOURCES = {"sync": range, "async": counted}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fn", [tasks.square, tasks.add], ids=["plain", "coroutine"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_every_item_gives_its_result(run, source, fn, ordered, chunksize):
    async def body():
        async with shared(2) as pool:
            results = await collect(pool.map_async(fn, SOURCES[source](500), ordered=ordered, chunksize=chunksize))
            expected = [x * x if fn is tasks.square else x for x in range(500)]
            assert (results if ordered else sorted(results)) == expected

    run(body)


def test_iterables_of_both_kinds_are_zipped(run):
    async def body():
        async with shared(2) as pool:
            assert await collect(pool.map_async(tasks.add, range(5), counted(None))) == [0, 2, 4, 6, 8]
            assert await collect(pool.map_async(tasks.add, counted(3), range(100))) == [0, 2, 4]
            assert await collect(pool.map_async(pow, range(4), [2] * 9)) == [0, 1, 4, 9]

    run(body)


def test_star_takes_the_arguments_apart(run):
    async def body():
        async with shared(2) as pool:
            pairs = [(x, 10) for x in range(5)]
            assert await collect(pool.map_async(tasks.add, pairs, star=True)) == [10, 11, 12, 13, 14]
            assert await collect(pool.map_async(pow, iter(pairs), star=True)) == [x**10 for x in range(5)]

    run(body)


@pytest.mark.parametrize("source", SOURCES)
def test_no_items_give_no_results(run, source):
    async def body():
        async with shared(1) as pool:
            assert await collect(pool.map_async(tasks.square, SOURCES[source](0))) == []

    run(body)


@pytest.mark.parametrize("endless", [itertools.count, lambda: counted(None)], ids=["sync", "async"])
def test_source_may_be_endless(run, endless):
    async def body():
        async with shared(2) as pool, pool.map_async(tasks.square, endless()) as results:
            async for result in results:
                if result > 10_000:
                    break
            assert result == 101 * 101

    run(body)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_more_than_the_buffer_is_taken_ahead(run, source, ordered):
    pulled = []

    async def body():
        async with shared(2) as pool:
            items = noted(range(300), pulled) if source == "sync" else counted(300, pulled)
            consumed = 0
            async with pool.map_async(tasks.slow_first, items, buffersize=20, ordered=ordered) as results:
                async for _ in results:
                    consumed += 1
                    assert len(pulled) <= consumed + 20
            assert consumed == 300

    run(body)


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_slow_first_item_does_not_let_the_source_be_swallowed(run, ordered, tmp_path):
    pulled = []

    def wait(x):
        if x == 0:
            tasks.wait_for_file(tmp_path / "go")
        return x

    async def body():
        async with (
            PeerPoolExecutor(2) as pool,
            pool.map_async(wait, noted(itertools.count(), pulled), ordered=ordered) as r,
        ):
            if not ordered:
                for _ in range(100):
                    await anext(r)
            with anyio.move_on_after(0.3):
                await anext(r) if ordered else await anyio.sleep(1)
            assert len(pulled) <= 1_000 + 101
            (tmp_path / "go").touch()

    run(body)


FUNCTIONS = {"plain": tasks.square, "coroutine": tasks.add, "generator": stream_tasks.count}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fn", FUNCTIONS)
def test_iterator_is_read_at_most_a_thousand_items_ahead(run, source, fn):
    """Its items may be gone from somewhere, and never be used."""

    async def body():
        async with shared(2) as pool:
            ways = [{}, {"ordered": False}, {"chunksize": 5_000}] if fn == "plain" else [{}]
            for how in ways:
                pulled = []
                items = noted(itertools.count(), pulled) if source == "sync" else counted(None, pulled)
                async with pool.map_async(FUNCTIONS[fn], items, **how) as results:
                    for given in range(1, 1_502):
                        await anext(results)
                        assert len(pulled) <= given + 1_000
                if source == "sync":
                    assert next(items) == len(pulled) - 1  # it was left where the map stopped

    run(body)


def test_iterator_is_read_at_most_a_thousand_items_ahead_in_a_task(run):
    async def task():
        pulled = []
        async for result in current_executor().map_async(tasks.square, noted(itertools.count(), pulled)):
            if result > 2_500:
                break
        return len(pulled)

    async def body():
        async with PeerPoolExecutor(1) as pool:
            assert await pool.run(task) <= 51 + 1_000

    run(body)


class Sized:
    """Iterable, with a length."""

    def __init__(self, iterator):
        self._iterator = iterator

    def __iter__(self):
        return self._iterator

    def __len__(self):
        return 10


class SizedIterator(Sized):
    def __next__(self):
        return next(self._iterator)


@pytest.mark.parametrize(
    ("iterables", "buffersize", "limit"),
    [
        ([[1]], None, 30_000),
        ([range(3), {1}, Sized(iter(()))], None, 30_000),
        ([iter([1])], None, 1_000),
        ([[1], (x for x in ())], None, 1_000),
        ([SizedIterator(iter(()))], None, 1_000),
        ([iter([1])], 5_000, 5_000),
        ([[1]], 5, 5),
    ],
)
def test_what_has_a_length_may_be_read_as_it_pays(iterables, buffersize, limit):
    settings = Settings(True, None, buffersize, False, None, False)

    assert _Flow(SimpleNamespace(ahead=30_000), tuple(iterables), settings).limit == limit


def test_unordered_gives_what_comes_first(run, tmp_path):
    def wait(x):
        if x == 0:
            tasks.wait_for_file(tmp_path / "go")
        return x

    async def body():
        async with shared(2) as pool:
            results = pool.map_async(wait, range(10), ordered=False, chunksize=1)
            first = [await anext(results) for _ in range(9)]
            (tmp_path / "go").touch()
            assert sorted(first) == list(range(1, 10))
            assert await anext(results) == 0

    run(body)


def test_source_is_pulled_while_tasks_run(run, tmp_path):
    async def source():
        yield 0
        yield 1
        (tmp_path / "go").touch()  # only when the first one runs can this be reached
        yield 2

    async def body():
        async with PeerPoolExecutor(1) as pool:
            paths = [tmp_path / "go"] * 3
            results = pool.map_async(lambda x, path: (tasks.wait_for_file(path), x)[1], source(), paths)
            assert await collect(results) == [0, 1, 2]

    run(body)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [tasks.fail_at, tasks.fail_at_async], ids=["plain", "coroutine"])
@pytest.mark.parametrize("chunksize", [None, 4])
def test_error_comes_in_its_turn_and_ends_the_map(run, fn, chunksize):
    async def body():
        async with shared(2) as pool:
            results = pool.map_async(fn, range(20), [5] * 20, chunksize=chunksize)
            assert [await anext(results) for _ in range(5)] == [0, 1, 2, 3, 4]
            with pytest.raises(ValueError, match="5") as caught:
                await anext(results)
            assert "in fail_at" in str(caught.value.__cause__)
            assert caught.value.__notes__ == ["item 5 of the map"]
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    run(body)


@pytest.mark.parametrize("fn", [tasks.fail_at, tasks.fail_at_async], ids=["plain", "coroutine"])
def test_errors_may_be_results(run, fn):
    async def body():
        async with shared(2) as pool:
            results = await collect(pool.map_async(fn, range(20), [5] * 20, return_exceptions=True))
            assert [x for x in results if isinstance(x, int)] == [x for x in range(20) if x != 5]
            assert isinstance(results[5], ValueError)
            assert results[5].__notes__ == ["item 5 of the map"]

    run(body)


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()])
def test_error_that_would_end_the_iteration_does_not(run, error):
    def fail(x):
        raise error

    async def body():
        async with shared(1) as pool:
            with pytest.raises(RuntimeError):
                await collect(pool.map_async(fail, range(3)))

    run(body)


@pytest.mark.parametrize("kind", SOURCES)
def test_error_of_the_source_comes_after_the_results_before_it(run, kind):
    def broken():
        yield 1
        yield 2
        raise KeyError("source")

    async def broken_async():
        for x in [1, 2]:
            yield x
        raise KeyError("source")

    async def body():
        async with PeerPoolExecutor(2) as pool:
            results = pool.map_async(tasks.square, broken() if kind == "sync" else broken_async())
            assert [await anext(results), await anext(results)] == [1, 4]
            with pytest.raises(KeyError, match="source"):
                await anext(results)

    run(body)


def test_item_that_does_not_pickle_fails_alone(run):
    async def body():
        async with shared(1) as pool:
            items = [1, (x for x in ()), 3]
            results = await collect(pool.map_async(str, items, return_exceptions=True))
            assert results[0] == "1"
            assert results[2] == "3"
            assert isinstance(results[1], TypeError)

    run(body)


def test_lost_worker_costs_the_items_that_it_ran(run):
    def die_at(x):
        if x == 10:
            tasks.kill()
        return x

    async def body():
        async with PeerPoolExecutor(2) as pool:
            results = await collect(pool.map_async(die_at, range(20), chunksize=1, return_exceptions=True))
            assert [x for x in results if isinstance(x, int)] == [x for x in range(20) if x != 10]
            assert isinstance(results[10], WorkerLostError)

    run(body)


@pytest.mark.slow
def test_timeout_counts_from_the_call_for_all(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                await collect(pool.map_async(tasks.wait_for_file, [tmp_path / "go"] * 2, timeout=0.2))
            assert time.monotonic() - started >= 0.2
            (tmp_path / "go").touch()

    run(body)


@pytest.mark.parametrize("size", [{"chunksize": 0}, {"buffersize": 0}])
def test_size_below_one_is_refused(size):
    with shared(1) as pool, pytest.raises(ValueError):
        pool.map_async(tasks.square, [1], **size)


def test_map_of_nothing_is_refused():
    with shared(1) as pool, pytest.raises(ValueError, match="needs at least one iterable"):
        pool.map_async(tasks.square)


# -- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_what_was_not_started_when_the_loop_is_left_never_is(run, source, tmp_path):
    def mark(x):
        if x:
            tasks.wait_for_file(tmp_path / "go")
            tasks.note(tmp_path / "ran")
        return x

    async def body():
        async with PeerPoolExecutor(1) as pool:
            async for _ in pool.map_async(mark, SOURCES[source](100), chunksize=1):
                break
            await tasks.until(lambda: pool._engine.counts["outstanding"] <= 1)
            (tmp_path / "go").touch()
            await pool.run(tasks.square, 1)
        ran = (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""
        assert len(ran) <= 1  # what the worker had begun with may have run; the other 98 may not

    run(body)


def test_leaving_the_block_waits_for_what_runs(run, tmp_path):
    def slow(x):
        if x:
            tasks.note(tmp_path / "began")
            time.sleep(0.3)
            tasks.note(tmp_path / "ended")
        return x

    async def body():
        async with PeerPoolExecutor(2) as pool:
            async with pool.map_async(slow, range(50), chunksize=1) as results:
                await anext(results)
                await tasks.there(tmp_path / "began")
            assert (tmp_path / "began").read_text() == (tmp_path / "ended").read_text()

    run(body)


def test_cancelled_consumer_cancels_the_coroutines_of_its_map(run, tmp_path):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            paths = [tmp_path / str(n) for n in range(3)]
            with anyio.move_on_after(SOON) as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(collect, pool.map_async(tasks.wait_for_ever, paths))
                    await tasks.there(*(tmp_path / f"{n}-began" for n in range(3)))
                    group.cancel_scope.cancel()
            assert not scope.cancelled_caught
            await tasks.there(*(tmp_path / f"{n}-ended" for n in range(3)))

    run(body)


def test_consumer_may_be_cancelled_while_the_source_waits(run):
    ended = []

    async def source():
        try:
            yield 1
            await anyio.sleep(1000)
        finally:
            ended.append(True)

    async def body():
        async with PeerPoolExecutor(1) as pool:
            results = pool.map_async(tasks.square, source())
            assert await anext(results) == 1
            with anyio.move_on_after(0.1) as scope:
                await anext(results)
            assert scope.cancelled_caught
        assert ended

    run(body)


def test_shutdown_in_the_middle_of_a_map_ends_it(run):
    async def body():
        async with PeerPoolExecutor(1) as pool:
            results = pool.map_async(tasks.square, itertools.count(), buffersize=4, chunksize=1)
            assert await anext(results) == 0
            pool.shutdown(wait=False, cancel_futures=True)
            with anyio.fail_after(SOON), pytest.raises((RuntimeError, CancelledError)):
                await collect(results)

    run(body)


# -- functions of other kinds ---------------------------------------------------------------------------------------


def test_generator_function_gives_a_stream_for_each_item(run):
    def up_to(n):
        yield from range(n)

    async def body():
        async with shared(2) as pool:
            lists = []
            async for stream in pool.map_async(up_to, range(4)):
                assert isinstance(stream, Stream)
                lists.append([x async for x in stream])
            assert lists == [[], [0], [0, 1], [0, 1, 2]]

    run(body)


def test_maps_may_be_chained(run):
    async def body():
        async with shared(2) as pool:
            squares = pool.map_async(tasks.square, counted(100))
            assert await collect(pool.map_async(tasks.add, squares, [1] * 100)) == [x * x + 1 for x in range(100)]

    run(body)


def test_items_are_let_go_when_their_results_were_taken(run):
    async def body():
        async with PeerPoolExecutor(2) as pool:
            with without_collector():
                before = len(chunks())  # of the shared pools
                assert await collect(pool.map_async(tasks.square, range(50), chunksize=1)) == [x * x for x in range(50)]
                assert len(chunks()) - before <= 4  # a worker knows its last one

    run(body)


def test_two_maps_share_a_pool(run):
    sums = []

    async def consume(pool, fn):
        sums.append(sum(await collect(pool.map_async(fn, range(200)))))

    async def body():
        async with shared(2) as pool, anyio.create_task_group() as group:
            group.start_soon(consume, pool, tasks.square)
            group.start_soon(consume, pool, tasks.add)

    run(body)
    assert sorted(sums) == [sum(range(200)), sum(x * x for x in range(200))]


@pytest.mark.slow
def test_items_of_a_map_of_coroutines_are_unpickled_once():
    with PeerPoolExecutor(1) as pool:
        seen = list(pool.map(tasks.counted, map(tasks.Counted, range(3000))))

    assert [number for number, _ in seen] == list(range(3000))
    assert max(made for _, made in seen) == 3000


def interrupted(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("return_exceptions", [True, False])
def test_ctrl_c_while_results_are_unpickled_is_no_failure_of_an_item(run, monkeypatch, return_exceptions):
    async def body():
        async with shared(1) as pool:
            results = pool.map_async(tasks.square, range(4), chunksize=2, return_exceptions=return_exceptions)
            monkeypatch.setattr(map_parts, "loads", interrupted)
            with pytest.raises(KeyboardInterrupt) as caught:
                await anext(results)
            assert not hasattr(caught.value, "__notes__")

    run(body)
