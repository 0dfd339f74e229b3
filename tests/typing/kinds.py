"""
How type checkers treat each kind of function, in each way to run it: as at run time, or an error.

``make types`` runs mypy and pyright over it, for both of which an ignored error that is none is an error.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextvars import ContextVar
from typing import Any, assert_type

from woolexec import AsyncMap, PeerPoolExecutor, Stream, TaskInfo, current_executor, current_task, propagate, routine
from woolexec.api.pool_executor import PoolExecutor


def plain(text: str, times: int = 1) -> int:
    return len(text) * times


async def coroutine(number: int) -> str:
    return str(number)


def generator(stop: int) -> Generator[int, str, bool]:
    yield from range(stop)
    return True


def iterator(stop: int) -> Iterator[int]:
    yield from range(stop)


async def async_generator(stop: int) -> AsyncGenerator[bytes, None]:
    yield bytes(stop)


async def async_iterator(stop: int) -> AsyncIterator[bytes]:
    yield bytes(stop)


def nothing() -> None:
    pass


def untyped(x: Any) -> Any:
    return x


def submit(pool: PeerPoolExecutor) -> None:
    assert_type(pool.submit(plain, "a", times=2).result(), int)
    assert_type(pool.submit(coroutine, 1).result(), str)
    assert_type(pool.submit(generator, 3).result(), Stream[int])
    assert_type(pool.submit(iterator, 3).result(), Stream[int])
    assert_type(pool.submit(async_generator, 3).result(), Stream[bytes])
    assert_type(pool.submit(async_iterator, 3).result(), Stream[bytes])
    assert_type(pool.submit(nothing).exception(), BaseException | None)
    assert_type(pool.submit(list[int], [1]).result(), list[int])
    pool.submit(lambda: 1).result()
    pool.submit(untyped, 1).cancel(force=True)


def submitting_what_does_not_fit_is_an_error(pool: PeerPoolExecutor) -> None:
    pool.submit()  # type: ignore[call-overload]
    pool.submit(5)  # type: ignore[call-overload]
    pool.submit(plain)  # type: ignore[call-overload]
    pool.submit(plain, 1)  # type: ignore[call-overload]
    pool.submit(plain, "a", beside=1)  # type: ignore[call-arg, arg-type]
    pool.submit(coroutine, "1")  # type: ignore[call-overload]
    pool.submit(generator, "1")  # type: ignore[call-overload]
    pool.submit(async_generator, stop="1")  # type: ignore[call-overload]


async def run(pool: PeerPoolExecutor) -> None:
    assert_type(await pool.run(plain, "a"), int)
    assert_type(await pool.run(coroutine, 1), str)
    assert_type(await pool.run(generator, 3), Stream[int])
    assert_type(await pool.run(async_iterator, 3), Stream[bytes])
    assert_type(await pool.submit(coroutine, 1), str)
    assert_type(await pool.submit(generator, 3), Stream[int])
    await pool.run(plain, 1)  # type: ignore[call-overload]
    await pool.run(coroutine)  # type: ignore[call-overload]
    await pool.run(async_generator, "1")  # type: ignore[call-overload]


async def stream(pool: PeerPoolExecutor) -> None:
    with pool.stream(generator, 3) as items:
        assert_type(items, Stream[int])
        assert_type(next(items), int)
        assert_type(items.send("x"), int)
    async with pool.stream(async_iterator, stop=3) as others:
        assert_type([item async for item in others], list[bytes])
    async with pool.stream(iterator, 3, prefetch=8) as numbers:
        assert_type(numbers, Stream[int])
    pool.stream(plain, "a")  # type: ignore[call-overload]
    pool.stream(coroutine, 1)  # type: ignore[call-overload]
    pool.stream(generator, "3")  # type: ignore[call-overload]
    pool.stream(generator, 3, prefetch="8")  # type: ignore[call-arg]


def sync_map(pool: PeerPoolExecutor) -> None:
    assert_type(pool.map(plain, ["a"]), Generator[int, None, None])
    assert_type(pool.map(coroutine, [1]), Generator[str, None, None])
    assert_type(pool.map(generator, [1]), Generator[Stream[int], None, None])
    assert_type(pool.map(async_iterator, [1]), Generator[Stream[bytes], None, None])
    assert_type(pool.map(plain, ["a"], return_exceptions=True), Generator[int | BaseException, None, None])
    assert_type(pool.map(iterator, [1], return_exceptions=True), Generator[Stream[int] | BaseException, None, None])
    pool.map(plain, 5)  # type: ignore[call-overload]
    pool.map(plain, ["a"], chunksize="2")  # type: ignore[call-overload]
    pool.map(plain, ["a"], chunk=2)  # type: ignore[call-overload]


async def source() -> AsyncIterator[str]:
    yield "a"


async def async_map(pool: PeerPoolExecutor) -> None:
    assert_type(pool.map_async(plain, ["a"]), AsyncMap[int])
    assert_type(pool.map_async(plain, source(), [1, 2]), AsyncMap[int])
    assert_type(pool.map_async(coroutine, [1], ordered=False), AsyncMap[str])
    assert_type(pool.map_async(iterator, [1]), AsyncMap[Stream[int]])
    assert_type(pool.map_async(async_generator, [1]), AsyncMap[Stream[bytes]])
    assert_type(pool.map_async(plain, ["a"], return_exceptions=True), AsyncMap[int | BaseException])
    assert_type(pool.map_async(coroutine, [1], return_exceptions=True), AsyncMap[str | BaseException])
    assert_type(pool.map_async(generator, [1], return_exceptions=True), AsyncMap[Stream[int] | BaseException])
    assert_type([number async for number in pool.map_async(plain, source())], list[int])
    async with pool.map_async(coroutine, [1]) as results:
        assert_type(results, AsyncMap[str])
    pool.map_async(plain, 5)  # type: ignore[call-overload]
    pool.map_async(plain, ["a"], timeout="3")  # type: ignore[call-overload]


async def run_on_all(pool: PeerPoolExecutor) -> None:
    for future in pool.run_on_all(plain, "a").values():
        assert_type(future.result(), int)
    for awaited in (await pool.run_on_all_async(coroutine, 1)).values():
        assert_type(awaited.result(), str)
    pool.run_on_all(plain, 1)  # type: ignore[call-overload]
    await pool.run_on_all_async(coroutine)  # type: ignore[call-overload]


async def views(pool: PeerPoolExecutor) -> None:
    view = pool.with_options(timeout=1, retries=2, retry_on=(OSError, LookupError), require={"gpu": 1, "zone": "b"})
    assert_type(view.submit(coroutine, 1).result(), str)
    assert_type(await view.run(generator, 1), Stream[int])
    assert_type(view.with_options().map_async(coroutine, [1]), AsyncMap[str])
    assert_type(view.run_on_all(coroutine, 1)[1].result(), str)
    view.submit(plain, 1)  # type: ignore[call-overload]
    pool.with_options(timeout="3")  # type: ignore[arg-type]
    pool.with_options(retry_on="OSError")  # type: ignore[arg-type]
    pool.with_options(require="gpu")  # type: ignore[arg-type]
    pool.with_options(priority="high")  # type: ignore[arg-type]


async def the_pool_as_a_task_sees_it() -> None:
    pool = current_executor()
    assert_type(pool, PoolExecutor)
    assert_type(pool.submit(coroutine, 1).result(), str)
    assert_type(await pool.run(iterator, 1), Stream[int])
    assert_type(pool.map(plain, ["a"]), Generator[int, None, None])
    assert_type(pool.map_async(coroutine, [1]), AsyncMap[str])
    async with pool.stream(async_generator, 1) as items:
        assert_type(items, Stream[bytes])
    assert_type(pool.with_options(timeout=3, name="n").submit(plain, "a").result(), int)
    pool.submit(plain, 1)  # type: ignore[call-overload]
    pool.run_on_all(plain, "a")  # type: ignore[attr-defined]
    pool.with_options(tries=3)  # type: ignore[call-arg]
    pool.with_options(timeout="3")  # type: ignore[arg-type]
    assert_type(current_task(), TaskInfo | None)


@routine
async def routine_of(number: int) -> str:
    return str(number)


@routine(local=True)
async def routine_that_yields(stop: int) -> AsyncGenerator[int, None]:
    yield stop


class Methods:
    @routine
    async def method(self, number: int) -> str:
        return str(number)

    @classmethod
    @routine
    async def of_class(cls, number: int) -> str:
        return str(number)

    @routine
    @staticmethod
    async def static(number: int) -> str:
        return str(number)


async def routines() -> None:
    assert_type(await routine_of(1), str)
    assert_type([item async for item in routine_that_yields(1)], list[int])
    assert_type(await Methods().method(1), str)
    assert_type(await Methods.of_class(1), str)
    assert_type(await Methods.static(1), str)
    await routine_of("1")  # type: ignore[arg-type]
    await Methods().method("1")  # type: ignore[arg-type]
    routine(plain)  # type: ignore[type-var]
    routine(generator)  # type: ignore[type-var]


def context_variables() -> None:
    assert_type(propagate(ContextVar[int]("a")), ContextVar[int])
    propagate(5)  # type: ignore[arg-type]


def constructors() -> None:
    PeerPoolExecutor(4, None, plain, ("a",), max_tasks_per_child=3, peers=["a:1", "lan://"], ship="pkg")
    PeerPoolExecutor(4, max_memory_per_child="1 GiB", memory_limit=2 << 30, idle_timeout=60, min_workers=1)
    PeerPoolExecutor(4, finalizer=lambda: None, environment={"A": "1"}, resources={"gpu": 2}, max_outstanding=9)
    PeerPoolExecutor(environment={"A": 1})  # type: ignore[dict-item]
    PeerPoolExecutor(max_workers="4")  # type: ignore[arg-type]
    PeerPoolExecutor(peers=7437)  # type: ignore[arg-type]
    PeerPoolExecutor(initargs=5)  # type: ignore[arg-type]
    PeerPoolExecutor(initializer=5)  # type: ignore[arg-type]
    PeerPoolExecutor(credentials="token")  # type: ignore[arg-type]
    PeerPoolExecutor(ship=3)  # type: ignore[arg-type]
    PeerPoolExecutor(workers=3)  # type: ignore[call-arg]


def what_is_not_known_stays_so(pool: PeerPoolExecutor, fn: Any) -> None:
    pool.submit(fn, 1, x=2).result().whatever()
    pool.submit(fn).cancel(force=True)
