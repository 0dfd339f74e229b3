"""The asynchronous face, under asyncio: what a loop gets out of a pool, and out of the stdlib's through the loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.bench import work
from tests.bench.contenders import ExecutorPool, FirstResult
from tests.bench.goals import Figure, Goal

from .start import in_fresh_program
from .workload import Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.bench.contenders import Contender

NAP = 0.1
IMPORTS = "import asyncio; from woolexec import PeerPoolExecutor"
FIRST_RESULTS = {
    "woolexec": ("first_result_aio", FirstResult(IMPORTS, "PeerPoolExecutor(2)", "pool.run(abs, -1)")),
    "woolexec-sync": ("first_result", FirstResult(IMPORTS, "PeerPoolExecutor(2)")),
}


def gather_executor(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Gather a burst through the loop's own `run_in_executor`, whoever the executor is."""
    return gather_rate(contender, workers, tasks, through_loop)


def gather_run(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Gather a burst through the executor's own `run`, or through the loop where it has none."""
    return gather_rate(contender, workers, tasks, through_face)


def gather_rate(contender: Contender, workers: int, tasks: int, door: Callable[[Any], Any]) -> Sample:
    """Time a burst in a warm pool that has seen a tenth of it before."""

    async def burst(executor: Any, count: int) -> list[int]:
        run = door(executor)
        return await asyncio.gather(*[run(work.same, number) for number in range(count)])

    return rate(contender, workers, tasks, burst)


def map_rate(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Map over a range: `map_async` where there is one, else the plain `map`, which holds the loop up."""

    async def burst(executor: Any, count: int) -> list[int]:
        if hasattr(executor, "map_async"):
            return [value async for value in executor.map_async(work.same, range(count))]
        return list(executor.map(work.same, range(count)))

    return rate(contender, workers, tasks, burst)


def rate(contender: Contender, workers: int, tasks: int, burst: Callable[[Any, int], Awaitable[list[int]]]) -> Sample:
    """Time a burst in a warm pool, inside a loop that has seen a tenth of it before."""

    async def measured(executor: Any) -> tuple[float, list[int]]:
        await burst(executor, max(1, tasks // 10))
        return await timed_async(burst, executor, tasks)

    with warm_executor(contender, workers) as executor:
        took, results = asyncio.run(measured(executor))
    if results != list(range(tasks)):
        raise RuntimeError("the results are not the arguments in order")
    return {"rate": tasks / took}


def round_trips(contender: Contender, *, workers: int, trips: int) -> Sample:
    """Await one, then the next; microseconds."""

    async def measured(executor: Any) -> list[float]:
        run = through_face(executor)
        took: list[float] = []
        for trip in range(trips // 10 + trips):
            if trip == trips // 10:
                took.clear()
                gc.collect()
            begun = time.perf_counter()
            await run(work.same, 1)
            took.append(time.perf_counter() - begun)
        return took

    with warm_executor(contender, workers) as executor:
        return {"p50": statistics.median(asyncio.run(measured(executor))) * 1e6}


def stream_rates(contender: Contender, *, workers: int, items: int, prefetch: int, steps: int) -> Sample:
    """Pull an asynchronous generator ahead, then another in lockstep; from opening the stream to its end."""

    async def pull(executor: Any, count: int, ahead: int) -> list[int]:
        async with executor.stream(work.count_up, count, prefetch=ahead) as stream:
            return [number async for number in stream]

    async def measured(executor: Any, count: int, ahead: int) -> float:
        # Several at once, so that every worker has had one: the next may go to any of them.
        await asyncio.gather(*[pull(executor, count // 10, ahead) for _ in range(2 * workers)])
        took, results = await timed_async(pull, executor, count, ahead)
        if results != list(range(count)):
            raise RuntimeError("the items are not those of the generator in order")
        return count / took

    with warm_executor(contender, workers) as executor:
        ahead = asyncio.run(measured(executor, items, prefetch))
        return {"prefetch": ahead, "lockstep": asyncio.run(measured(executor, steps, 0))}


def sleeping_coroutines(contender: Contender, *, workers: int, tasks: int, warm: int) -> Sample:
    """Gather coroutines that all sleep at once; seconds."""

    async def burst(executor: Any, count: int) -> None:
        await asyncio.gather(*[executor.run(asyncio.sleep, NAP) for _ in range(count)])

    async def measured(executor: Any) -> float:
        await burst(executor, warm)
        took, _ = await timed_async(burst, executor, tasks)
        return took

    with warm_executor(contender, workers) as executor:
        return {"took": asyncio.run(measured(executor))}


def first_results(contender: Contender, *, programs: int) -> Sample:
    """Run the lines of one face in several fresh interpreters, and take the median; milliseconds."""
    script, lines = FIRST_RESULTS[contender.name]
    return {"pool": statistics.median(in_fresh_program(script, lines)["pool"] for _ in range(programs))}


@contextlib.contextmanager
def warm_executor(contender: Contender, workers: int) -> Iterator[Any]:
    """
    Lend the executor of a warm pool.

    :raises TypeError: if the pool is none, so that no loop could use it
    """
    with contender.warm(workers) as pool:
        if not isinstance(pool, ExecutorPool):
            raise TypeError(f"{contender.name} is no executor")
        yield pool.executor


def through_loop(executor: Any) -> Callable[..., Awaitable[Any]]:
    """Return `(fn, *args)` → what to await, as the running loop offers it for any executor."""
    return partial(asyncio.get_running_loop().run_in_executor, executor)


def through_face(executor: Any) -> Callable[..., Awaitable[Any]]:
    """Return the executor's own `run`, or what the running loop offers."""
    run: Callable[..., Awaitable[Any]] | None = getattr(executor, "run", None)
    return through_loop(executor) if run is None else run


async def timed_async(fn: Callable[..., Awaitable[Any]], *args: object) -> tuple[float, Any]:
    """Time one awaited call as `timed` does, and return the seconds with its result."""
    gc.collect()
    begun = time.perf_counter()
    result = await fn(*args)
    return time.perf_counter() - begun, result


AIO_EXECUTOR = Workload(
    name="aio-executor",
    probe=gather_executor,
    figures=(
        Figure(
            "rate",
            "asyncio.gather of 5,000 run_in_executor no-ops",
            "tasks/s",
            "higher",
            target=(Goal(3), Goal(1, "threads")),
            moonshot=(Goal(4),),
        ),
    ),
    size={"workers": 2, "tasks": 5_000},
    quick={"tasks": 500},
    contenders=("woolexec", "stdlib", "threads"),
    libraries=False,
)

AIO_RUN = Workload(
    name="aio-run",
    probe=gather_run,
    figures=(
        Figure(
            "rate",
            "the same through pool.run (others: run_in_executor)",
            "tasks/s",
            "higher",
            target=(Goal(4),),
            moonshot=(Goal(6),),
        ),
    ),
    size={"workers": 2, "tasks": 5_000},
    quick={"tasks": 500},
    contenders=("woolexec", "stdlib", "threads"),
    libraries=False,
)

AIO_ROUND_TRIP = Workload(
    name="aio-round-trip",
    probe=round_trips,
    figures=(Figure("p50", "await pool.run(f, 1) one after another, p50", "µs", "lower", (Goal(0.5),), (Goal(0.3),)),),
    size={"workers": 2, "trips": 2_000},
    quick={"trips": 100},
    libraries=False,
)

AIO_MAP = Workload(
    name="aio-map",
    probe=map_rate,
    figures=(
        Figure(
            "rate",
            "map_async over 100,000 no-ops, default arguments (stdlib: map)",
            "items/s",
            "higher",
            target=(Goal(30),),
            moonshot=(Goal(100),),
        ),
    ),
    size={"workers": 2, "tasks": 100_000},
    quick={"tasks": 2_000},
    libraries=False,
)

AIO_STREAM = Workload(
    name="aio-stream",
    probe=stream_rates,
    figures=(
        Figure(
            "prefetch",
            "async generator of 10,000 ints, prefetch=64",
            "items/s",
            "higher",
            target=(Goal(100_000, None),),
            moonshot=(Goal(300_000, None),),
            reference=None,
        ),
        Figure(
            "lockstep",
            "the same in lockstep",
            "items/s",
            "higher",
            target=(Goal(6_000, None),),
            moonshot=(Goal(10_000, None),),
            reference=None,
        ),
    ),
    size={"workers": 2, "items": 10_000, "prefetch": 64, "steps": 3_000},
    quick={"items": 500, "steps": 100},
    contenders=("woolexec",),
    libraries=False,
)

AIO_SLEEP = Workload(
    name="aio-sleep",
    probe=sleeping_coroutines,
    figures=(
        Figure(
            "took",
            "10,000 \N{MULTIPLICATION SIGN} asyncio.sleep(0.1) on 2 workers",
            "s",
            "lower",
            target=(Goal(0.5, None),),
            reference=None,
        ),
    ),
    size={"workers": 2, "tasks": 10_000, "warm": 300},
    quick={"tasks": 500, "warm": 50},
    contenders=("woolexec",),
    libraries=False,
)

AIO_START = Workload(
    name="aio-start",
    probe=first_results,
    figures=(
        Figure(
            "pool",
            "pool made to first result through the async face (stdlib: our sync face)",
            "ms",
            "lower",
            target=(Goal(1.05, "woolexec-sync"),),  # no worse, as far as the row can tell
            reference="woolexec-sync",
        ),
    ),
    size={"programs": 15},
    quick={"programs": 1},
    contenders=("woolexec", "woolexec-sync"),
    libraries=False,
)

AIO = (AIO_EXECUTOR, AIO_RUN, AIO_ROUND_TRIP, AIO_MAP, AIO_STREAM, AIO_SLEEP, AIO_START)
