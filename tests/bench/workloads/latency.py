"""How long one small task takes when nothing else is going on."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, Any

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload

if TYPE_CHECKING:
    from tests.bench.contenders import Contender


def round_trips(contender: Contender, *, workers: int, trips: int) -> Sample:
    """Submit one, wait for it, submit the next; microseconds."""
    with contender.warm(workers) as pool:
        submit, gather = pool.submit, pool.gather
        took: list[float] = []
        for trip in range(trips // 10 + trips):
            if trip == trips // 10:
                took.clear()
                gc.collect()
            begun = time.perf_counter()
            gather([submit(work.same, 1)])
            took.append(time.perf_counter() - begun)
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return {"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}


ROUND_TRIP = Workload(
    name="round-trip",
    probe=round_trips,
    figures=(
        Figure("p50", "submit(f, 1).result(), p50", "µs", "lower", (Goal(0.5),), (Goal(0.35),)),
        Figure("p99", "submit(f, 1).result(), p99", "µs", "lower", (Goal(0.5),), (Goal(0.35),)),
    ),
    size={"workers": 2, "trips": 2_000},
    quick={"trips": 100},
)


class Echo:
    """The object of an actor."""

    def same(self, value: Any) -> Any:
        return value


def actor_trips(contender: Contender, *, workers: int, trips: int) -> Sample:
    """Call a method and wait for it, in turns with plain tasks; the median as a multiple of theirs."""
    with contender.warm(workers) as pool:
        executor: Any = pool.executor  # type: ignore[attr-defined]  # only ours takes part
        with executor.actor(Echo) as echo:
            plain: list[float] = []
            called: list[float] = []
            for trip in range(trips // 10 + trips):
                if trip == trips // 10:
                    plain.clear()
                    called.clear()
                    gc.collect()
                for submit, fn, took in ((executor.submit, work.same, plain), (echo.submit, Echo.same, called)):
                    begun = time.perf_counter()
                    submit(fn, 1).result()
                    took.append(time.perf_counter() - begun)
    return {"actor": statistics.median(called) / statistics.median(plain)}


ACTOR = Workload(
    name="actor",
    probe=actor_trips,
    figures=(
        Figure(
            "actor",
            "submit(Class.method, 1).result() of an actor, p50",
            "plain round trips",
            "lower",
            (Goal(1.1, None),),
            (Goal(1.0, None),),
            reference=None,
        ),
    ),
    size={"workers": 2, "trips": 2_000},
    quick={"trips": 100},
    contenders=("woolexec",),
    libraries=False,
)
