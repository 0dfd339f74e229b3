"""What a checker makes of a user's code: ``make types`` runs mypy over it. It is never executed."""

from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, assert_type

from woolexec import Actor, PeerPoolExecutor, TaskProgress, WorkerLostError, as_pool, bar, progress, routine
from woolexec.futures.call_future import CallFuture


def repeat(text: str, times: int, *, between: str = "") -> str:
    return between.join([text] * times)


def length(text: str) -> int:
    return len(text)


async def double(number: int) -> int:
    return 2 * number


async def futures_are_awaited(pool: PeerPoolExecutor) -> None:
    assert_type(await pool.submit(length, "a"), int)


def values_keep_their_types(pool: PeerPoolExecutor) -> None:
    assert_type(pool.put("a").result(), str)
    assert_type(pool.with_options(timeout=1.0).put([1]).result(), list[int])


def what_tasks_say_has_types(pool: PeerPoolExecutor) -> None:
    def hear(report: TaskProgress) -> None:
        assert_type((report.done, report.total, report.text), tuple[float, float | None, str])

    assert_type(pool.with_options(on_progress=hear).submit(length, "a").result(), int)
    assert_type(progress(1, 2, "text"), None)
    PeerPoolExecutor(output="caller", prefix="{name}: ")
    PeerPoolExecutor(output=None, prefix=None)


def a_bar_yields_what_its_source_yields(pool: PeerPoolExecutor) -> None:
    assert_type(bar(pool.map(length, ["a"]), 1, "text"), Generator[int, None, None])
    assert_type(bar([pool.submit(length, "a")]), Generator[CallFuture[int], None, None])
    assert_type(bar(pool.map_async(length, ["a"]), total=1), AsyncGenerator[int, None])


def it_is_an_executor(pool: PeerPoolExecutor) -> Executor:
    return pool


def results_have_the_types_of_the_function(pool: PeerPoolExecutor) -> None:
    future: Future[str] = pool.submit(repeat, "a", 3, between="-")
    assert_type(future.result(), str)
    assert_type(pool.map(length, ["a", "b"]), Generator[int, None, None])
    assert_type(pool.map(length, ["a", "b"], ordered=False), Generator[int, None, None])
    assert_type(pool.map(length, ["a"], return_exceptions=True), Generator[int | BaseException, None, None])
    assert_type(pool.map(double, [1, 2]), Generator[int, None, None])
    assert_type(pool.map(double, [1], return_exceptions=True), Generator[int | BaseException, None, None])
    with pool as same:
        assert_type(same.submit(length, "a").result(), int)


def views_are_typed_as_the_pool_is(pool: PeerPoolExecutor) -> None:
    view = pool.with_options(timeout=1.0, retries=2, retry_on=(OSError,), idempotent=True, name="a name")
    assert_type(view.submit(length, "a").result(), int)


def wrong_arguments_are_errors(pool: PeerPoolExecutor) -> None:
    pool.submit(repeat, "a", "3")  # type: ignore[call-overload]
    pool.submit(repeat, "a", 3, beside="-")  # type: ignore[call-arg, arg-type]
    pool.with_options(tries=3)  # type: ignore[call-arg]


def a_running_call_can_be_ended(pool: PeerPoolExecutor) -> bool:
    return pool.submit(length, "a").cancel(force=True)


def a_lost_worker_is_told_in_full(error: WorkerLostError) -> BrokenProcessPool:
    assert_type(error.pid, int | None)
    assert_type(error.exitcode, int | None)
    return error


@routine
async def routine_of(number: int) -> str:
    return str(number)


async def awaited_values_have_the_types_of_the_function(pool: PeerPoolExecutor) -> None:
    assert_type(await pool.run(length, "a"), int)
    assert_type(await pool.run(double, 3), int)
    assert_type(await routine_of(1), str)
    await pool.run(double, "3")  # type: ignore[call-overload]
    async with pool as same:
        assert_type(same, PeerPoolExecutor)


class Counter:
    def __init__(self, value: int) -> None:
        self.value = value

    def add(self, number: int) -> int:
        return self.value + number

    async def add_later(self, number: int) -> int:
        return self.add(number)

    def count(self, times: int) -> Generator[int, None, None]:
        yield from range(times)


def graphs_have_futures_by_key(pool: PeerPoolExecutor) -> None:
    graph = {"a": 1, "b": (length, "a")}
    assert_type(pool.submit_graph(graph, ["b"])["b"].result(), Any)
    pool.with_options(timeout=1.0).get(graph, ["a", ["b"]])
    pool.submit_graph([1, 2])  # type: ignore[arg-type]


def methods_of_an_actor_have_their_types(pool: PeerPoolExecutor) -> None:
    counter = pool.actor(Counter, 10)
    assert_type(counter, Actor[Counter])
    assert_type(counter.submit(Counter.add, 5).result(), int)
    assert_type(counter.submit(Counter.add_later, 5).result(), int)
    assert_type(list(counter.map(Counter.add, [1, 2])), list[int])
    with counter.stream(Counter.count, 3) as items:
        assert_type(next(items), int)
    assert_type(counter.with_options(timeout=1.0).submit(Counter.add, 5).result(), int)
    counter.submit(Counter.add, "5")  # type: ignore[call-overload]
    counter.submit(length, "a")  # type: ignore[call-overload]
    pool.actor(Counter, "10")  # type: ignore[arg-type]


async def methods_of_an_actor_are_awaited(pool: PeerPoolExecutor) -> None:
    async with pool.actor(Counter, 10) as counter:
        assert_type(await counter.run(Counter.add, 5), int)
        assert_type(await counter.run(Counter.add_later, 5), int)
        assert_type([item async for item in counter.map_async(Counter.add, [1])], list[int])


def pools_of_multiprocessing_keep_types(executor: PeerPoolExecutor) -> None:
    pool = as_pool(executor.with_options(timeout=1.0))
    assert_type(pool.map(length, ["a", "b"]), list[int])
    assert_type(pool.starmap(repeat, [("a", 2)]), list[str])
    assert_type(pool.apply(length, ("a",)), int)
    assert_type(pool.apply_async(length, ("a",)).get(timeout=1.0), int)
    assert_type(pool.map_async(length, ["a"], callback=print).get(), list[int])
    assert_type(next(pool.imap(length, ["a"])), int)
    assert_type(pool.imap_unordered(length, ["a"], 2).next(1.0), int)
    as_pool(3)  # type: ignore[arg-type]
