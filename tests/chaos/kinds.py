"""The kinds of calls of a run: how each is made, how often, and what it may end with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from tests.chaos import tasks
from tests.chaos.ledger import Expected
from woolexec import WorkerLostError

if TYPE_CHECKING:
    from tests.chaos.consumers import Consumers
    from woolexec import PeerPoolExecutor

LATE = 0.15
"""Seconds; the timeout of calls that take much longer."""

RETRIES = 6
MANY = 30
"""Number of retries of what must not be lost whatever dies."""


@dataclass(frozen=True, slots=True)
class Maker:
    """What is needed to make a call."""

    pool: PeerPoolExecutor
    consumers: Consumers
    dice: Random


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of call.

    :param weight: how often it is drawn, compared with others
    :param make: makes the call with this number; returns its future
    """

    weight: float
    make: Callable[[Maker, int], Future[Any]]
    expected: Expected


def _is_trebled(number: int, value: Any) -> bool:
    return bool(value == 3 * number)


def _is_true(number: int, value: Any) -> bool:
    return value is True


def _is_echoed(number: int, value: Any) -> bool:
    return bool(value[0] == number and value[1] == number.to_bytes(8) * (len(value[1]) // 8))


LONG = 30.0
"""Seconds that a call with a short timeout would take: longer than a peer is stopped, which cannot end it meanwhile."""


def _has_no_value(number: int, value: Any) -> bool:
    return False


def _large(maker: Maker, number: int) -> Future[Any]:
    return maker.pool.submit(tasks.echo, number, _data(maker, number))


def _data(maker: Maker, number: int) -> bytes:
    return number.to_bytes(8) * maker.dice.choice([1, 1_000, 25_000, 250_000])


def _put(maker: Maker, number: int) -> Future[Any]:
    value = maker.pool.put(_data(maker, number))
    maker.pool.submit(tasks.length, value)
    return maker.pool.submit(tasks.echo, number, value)


def _kept(maker: Maker, number: int) -> Future[Any]:
    return maker.pool.with_options(keep=True).submit(tasks.echo, number, _data(maker, number))


def _kept_input(maker: Maker, number: int) -> Future[Any]:
    kept = maker.pool.with_options(keep=True)
    data = kept.submit(bytes.__mul__, number.to_bytes(8), maker.dice.choice([1, 20_000, 250_000]))
    return maker.dice.choice([maker.pool, kept]).submit(tasks.echo, number, data)


def _map(maker: Maker, number: int) -> Future[Any]:
    # A map whose buffer is small waits once for each time that it is empty, behind all calls that were made before.
    most, buffer = maker.dice.choice([(400, None), (200, 50), (20, 5)])
    size, stop = maker.dice.randrange(1, most), maker.dice.random() < 0.2
    view = maker.pool.with_options(retries=MANY)

    def consume() -> bool:
        items = view.map(tasks.square, range(size), buffersize=buffer)
        return _are_squares(items, size, size // 2 if stop else None)

    return maker.consumers.run(consume)


def _are_squares(items: Generator[int], size: int, stop: int | None) -> bool:
    """Consume some or all items of a map, and compare them."""
    got = []
    for item in items:
        if len(got) == stop:
            break
        got.append(item)
    items.close()
    return got == [x * x for x in range(size if stop is None else stop)]


def _map_async(maker: Maker, number: int) -> Future[Any]:
    size, function = maker.dice.randrange(1, 200), maker.dice.choice([tasks.square, tasks.square_async])
    view = maker.pool.with_options(retries=MANY)

    async def consume() -> bool:
        async with view.map_async(function, range(size)) as items:
            return [item async for item in items] == [x * x for x in range(size)]

    return maker.consumers.start(consume)


def _gather(maker: Maker, number: int) -> Future[Any]:
    size = maker.dice.randrange(1, 60)

    async def consume() -> bool:
        runs = (maker.pool.run(tasks.square_async, x) for x in range(size))
        found = await asyncio.gather(*runs, return_exceptions=True)
        return all(value == x * x or type(value) is WorkerLostError for x, value in enumerate(found))

    return maker.consumers.start(consume)


def _stream(maker: Maker, number: int) -> Future[Any]:
    function = maker.dice.choice([tasks.count, tasks.count_async])
    size, prefetch, stop = maker.dice.randrange(1, 80), maker.dice.choice([0, 16]), maker.dice.random() < 0.3

    def consume() -> bool:
        with maker.pool.stream(function, number, size, prefetch=prefetch) as stream:
            got = []
            for item in stream:
                got.append(item)
                if stop and len(got) > size // 2:
                    break
            return got == list(range(len(got))) and (stop or len(got) == size)

    return maker.consumers.run(consume)


def _stream_async(maker: Maker, number: int) -> Future[Any]:
    function = maker.dice.choice([tasks.count, tasks.count_async])
    size, prefetch = maker.dice.randrange(1, 80), maker.dice.choice([0, 16])

    async def consume() -> bool:
        async with maker.pool.stream(function, number, size, prefetch=prefetch) as stream:
            return [item async for item in stream] == list(range(size))

    return maker.consumers.start(consume)


def _actor(maker: Maker, number: int) -> Future[Any]:
    method = maker.dice.choice([tasks.Tally.count, tasks.Tally.count_async])
    size, restarts = maker.dice.randrange(1, 60), maker.dice.choice([0, MANY])

    def consume() -> bool:
        with maker.pool.with_options(restarts=restarts).actor(tasks.Tally) as tally:
            found = [_outcome(future) for future in [tally.submit(method) for _ in range(size)]]
        if method is tasks.Tally.count_async:
            return _are_distinct(found)
        lives = [life for life, _ in found if life]
        return _are_in_order(found) and (restarts > 0 or found[: len(lives)] == [each for each in found if each[0]])

    return maker.consumers.run(consume)


def _actor_of_tasks(maker: Maker, number: int) -> Future[Any]:
    size, calls = maker.dice.randrange(1, 8), maker.dice.randrange(1, 20)

    def consume() -> bool:
        with maker.pool.with_options(restarts=MANY).actor(tasks.Tally) as tally:
            futures = [maker.pool.submit(tasks.count_there, tally, calls) for _ in range(size)]
            lists = [found for future in futures if (found := _outcome(future, lost=[]))]
        orders = [
            [count for life, count in found if life == one] for found in lists for one in {life for life, _ in found}
        ]
        return _are_distinct([each for found in lists for each in found]) and all(
            each == sorted(each) for each in orders
        )

    return maker.consumers.run(consume)


def _outcome(future: Future[Any], lost: Any = (b"", 0)) -> Any:
    """Return the value of a call; something else if it was lost."""
    try:
        return future.result()
    except WorkerLostError:
        return lost


def _are_in_order(found: list[tuple[bytes, int]]) -> bool:
    """Whether the calls of each life have the numbers 1, 2, 3 and so on, and no life comes back."""
    lives = list(dict.fromkeys(life for life, _ in found if life))
    wanted = [(one, number + 1) for one in lives for number in range(sum(life == one for life, _ in found))]
    return [each for each in found if each[0]] == wanted


def _are_distinct(found: list[tuple[bytes, int]]) -> bool:
    """Whether no two calls were the same one."""
    there = [each for each in found if each[0]]
    return len(set(there)) == len(there)


def _graph(maker: Maker, number: int) -> Future[Any]:
    size, graph, values = maker.dice.randrange(2, 60), {}, [number]
    graph["n", 0] = (tasks.total, number)
    for node in range(1, size):
        needed = maker.dice.sample(range(node), min(node, maker.dice.randrange(1, 4)))
        graph["n", node] = (tasks.total, node, *(("n", each) for each in needed))
        values.append(node + sum(values[each] for each in needed))
    futures = maker.pool.with_options(retries=MANY).submit_graph(graph)

    def consume() -> bool:
        return [futures["n", node].result() for node in range(size)] == values

    return maker.consumers.run(consume)


def _kind(
    name: str,
    weight: float,
    make: Callable[[Maker, int], Future[Any]],
    *errors: type[BaseException],
    starts: int = 1,
    is_right: Callable[[int, Any], bool] = _is_trebled,
) -> Kind:
    return Kind(weight, make, Expected(name, is_right, (WorkerLostError, *errors), starts))


KINDS = [
    _kind("value", 30, lambda m, n: m.pool.submit(tasks.treble, n)),
    _kind("nap", 10, lambda m, n: m.pool.submit(tasks.nap, n, m.dice.random() * 0.05)),
    _kind("error", 6, lambda m, n: m.pool.submit(tasks.boom, n), tasks.Boom, is_right=_has_no_value),
    _kind("large", 6, _large, is_right=_is_echoed),
    _kind("put", 2, _put, is_right=_is_echoed),
    _kind("kept", 2, _kept, is_right=_is_echoed),
    _kind("kept input", 4, _kept_input, is_right=_is_echoed),
    _kind("late", 3, lambda m, n: _late(m).submit(tasks.nap, n, LONG), TimeoutError, is_right=_has_no_value),
    _kind("retried", 8, lambda m, n: _retried(m).submit(tasks.nap, n, 0.01), starts=RETRIES + 1),
    _kind("exit", 1, lambda m, n: m.pool.submit(tasks.leave, n), is_right=_has_no_value),
    _kind(
        "unpicklable",
        2,
        lambda m, n: m.pool.submit(tasks.give_what_does_not_pickle, n),
        TypeError,
        is_right=_has_no_value,
    ),
    _kind("memory", 1, lambda m, n: m.pool.submit(tasks.use_too_much_memory, n), MemoryError, is_right=_has_no_value),
    _kind("child", 1, lambda m, n: m.pool.submit(tasks.leave_a_child, n)),
    _kind("closure", 4, lambda m, n: m.pool.submit(tasks.closure(m.dice.randrange(9)), n)),
    _kind("nested", 6, lambda m, n: m.pool.submit(tasks.nested, n, m.dice.randrange(3))),
    _kind("nested coroutine", 4, lambda m, n: m.pool.submit(tasks.nested_async, n)),
    _kind("coroutine", 12, lambda m, n: m.pool.submit(tasks.nap_async, n, m.dice.random() * 0.05)),
    _kind(
        "late coroutine",
        3,
        lambda m, n: _late(m).submit(tasks.nap_async, n, LONG),
        TimeoutError,
        is_right=_has_no_value,
    ),
    _kind("map", 2, _map, starts=0, is_right=_is_true),
    _kind("map_async", 2, _map_async, starts=0, is_right=_is_true),
    _kind("gather", 2, _gather, starts=0, is_right=_is_true),
    _kind("stream", 2, _stream, is_right=_is_true),
    _kind("asynchronous stream", 2, _stream_async, is_right=_is_true),
    _kind("actor", 2, _actor, starts=0, is_right=_is_true),
    _kind("actor of tasks", 1, _actor_of_tasks, starts=0, is_right=_is_true),
    _kind("task with an actor", 1, lambda m, n: m.pool.submit(tasks.with_actor, n, m.dice.randrange(9))),
    _kind("graph", 2, _graph, starts=0, is_right=_is_true),
]


def _late(maker: Maker) -> Executor:
    return maker.pool.with_options(timeout=LATE)


def _retried(maker: Maker) -> Executor:
    return maker.pool.with_options(retries=RETRIES)
