"""How many small tasks a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .workload import Sample, Size, Workload, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.contenders import Contender, Pool

CHUNKS_TO_TRY = (500, 1_000, 2_500, 5_000, 10_000, 25_000)


def submit_rate(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Submit them all, then wait for them all."""

    def burst(pool: Pool, count: int) -> list[int]:
        submit = pool.submit
        return pool.gather([submit(work.same, number) for number in range(count)])

    return rate(contender, workers, tasks, burst)


def map_rate(contender: Contender, *, workers: int, tasks: int, chunksize: int | None = None) -> Sample:
    """Map over a range."""

    def burst(pool: Pool, count: int) -> list[int]:
        return pool.map(work.same, range(count), chunksize)

    return rate(contender, workers, tasks, burst)


def rate(contender: Contender, workers: int, tasks: int, burst: Callable[[Pool, int], list[int]]) -> Sample:
    """Time a burst in a warm pool that has seen a tenth of it before."""
    with contender.warm(workers) as pool:
        burst(pool, max(1, tasks // 10))
        took, results = timed(burst, pool, tasks)
    if results != list(range(tasks)):
        raise RuntimeError("the results are not the arguments in order")
    return {"rate": tasks / took}


def best_chunksize(size: Size, probe: Callable[[str, Size], Sample]) -> Size:
    """Sweep the chunk sizes on the stdlib, and give both the one at which it is fastest (best of 2 each)."""
    chunks = [chunk for chunk in CHUNKS_TO_TRY if chunk < size["tasks"]] or [size["tasks"]]
    rates = {
        chunk: max(probe("stdlib", {**size, "chunksize": chunk})["rate"] for _ in range(size["sweeps"]))
        for chunk in chunks
    }
    return {**size, "chunksize": max(rates, key=rates.__getitem__)}


def map_rate_chunked(contender: Contender, *, workers: int, tasks: int, sweeps: int, chunksize: int) -> Sample:
    """Map over a range in chunks of the tuned size."""
    return map_rate(contender, workers=workers, tasks=tasks, chunksize=chunksize)


SUBMIT = Workload(
    name="submit",
    probe=submit_rate,
    figures=(
        Figure(
            "rate",
            "submit 20,000 no-ops, gather",
            "tasks/s",
            "higher",
            target=(Goal(8), Goal(1, "threads")),
            moonshot=(Goal(12),),
        ),
    ),
    size={"workers": 2, "tasks": 20_000},
    quick={"tasks": 500},
    contenders=("woolexec", "stdlib", "threads"),
)

MAP = Workload(
    name="map",
    probe=map_rate,
    figures=(
        Figure(
            "rate",
            "map 100,000 no-ops, default arguments",
            "items/s",
            "higher",
            target=(Goal(150), Goal(0.9, "mp.Pool")),
            moonshot=(Goal(800), Goal(1, "mp.Pool")),
        ),
    ),
    size={"workers": 2, "tasks": 100_000},
    quick={"tasks": 2_000},
    contenders=("woolexec", "stdlib", "mp.Pool"),
)

MAP_CHUNKED = Workload(
    name="map-chunked",
    probe=map_rate_chunked,
    figures=(
        Figure(
            "rate",
            "map 100,000 no-ops, the stdlib's best chunksize for both",
            "items/s",
            "higher",
            target=(Goal(2.4),),
        ),
    ),
    size={"workers": 2, "tasks": 100_000, "sweeps": 2},
    quick={"tasks": 2_000, "sweeps": 1},
    contenders=("woolexec", "stdlib", "mp.Pool"),
    tune=best_chunksize,
)
