"""How well the workers are kept busy."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from tests.bench.contenders import Contender

SHORT = 0.001


def uneven_map(contender: Contender, *, workers: int, items: int) -> Sample:
    """Map items of 0.1-20 ms; percent of the time that perfect packing of the nominal sleeps would take."""
    source = random.Random(2)
    naps = [source.uniform(0.0001, 0.020) for _ in range(items)]
    ideal = max(sum(naps) / workers, *naps)
    with contender.warm(workers) as pool:
        pool.map(work.sleep, naps[: items // 20])
        took, _ = timed(pool.map, work.sleep, naps)
    return {"efficiency": 100 * ideal / took}


def sleeps(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Submit sleeps of 1 ms; percent of the time that perfect packing of the nominal sleeps would take."""

    def burst(count: int) -> None:
        pool.gather([pool.submit(work.sleep, SHORT) for _ in range(count)])

    with contender.warm(workers) as pool:
        burst(max(workers, tasks // 20))
        took, _ = timed(burst, tasks)
    return {"efficiency": 100 * (tasks * SHORT / workers) / took}


def long_among_submits(contender: Contender, *, workers: int, shorts: int, long: float, place: int) -> Sample:
    """
    Submit one long task among short ones.

    A short task waited for the long one if its future was done only after the long task had ended;
    `last` is when the last short one was done, in milliseconds from the first submit.
    """
    done: list[float] = []

    def note(_future: object) -> None:
        done.append(time.monotonic())

    with contender.warm(workers) as pool:
        pool.gather([pool.submit(work.clocked_sleep, SHORT) for _ in range(shorts // 10)])
        begun = time.monotonic()
        futures = []
        for number in range(shorts + 1):
            future = pool.submit(work.clocked_sleep, long if number == place else SHORT)
            if number == place:
                slow = future
            else:
                future.add_done_callback(note)
            futures.append(future)
        pool.gather(futures)
        _, ended = slow.result()
    return {"waited": sum(moment >= ended for moment in done), "last": (max(done) - begun) * 1e3}


def long_in_map(contender: Contender, *, workers: int, shorts: int, long: float, place: int) -> Sample:
    """
    Map over one long item among short ones.

    Results come in order, so the workers' own clock is read here: a short item waited for the long one if it
    began only after the long one had ended; `last` is when the last short one ended.
    """
    naps = [SHORT] * (shorts + 1)
    naps[place] = long
    with contender.warm(workers) as pool:
        pool.map(work.clocked_sleep, naps[: min(place, shorts // 10)])
        begun = time.monotonic()
        clocked = pool.map(work.clocked_sleep, naps)
    _, ended = clocked.pop(place)
    waited = sum(start >= ended for start, _ in clocked)
    return {"waited": waited, "last": (max(end for _, end in clocked) - begun) * 1e3}


UNEVEN = Workload(
    name="map-uneven",
    probe=uneven_map,
    figures=(
        Figure(
            "efficiency",
            "map 2,000 items of 0.1-20 ms, default arguments, 4 workers",
            "% of ideal",
            "higher",
            target=(Goal(95, None),),
            moonshot=(Goal(98, None),),
        ),
    ),
    size={"workers": 4, "items": 2_000},
    quick={"items": 100},
    contenders=("woolexec", "stdlib", "threads"),
    libraries=False,
)

SLEEPS = tuple(
    Workload(
        name=f"sleep-{workers}",
        probe=sleeps,
        figures=(
            Figure(
                "efficiency",
                f"2,000 sleeps of 1 ms, {workers} workers",
                "% of ideal",
                "higher",
                target=(Goal(0.98, "threads"),),
                moonshot=(Goal(1, "threads"),),
            ),
        ),
        size={"workers": workers, "tasks": 2_000},
        quick={"tasks": 100},
        contenders=("woolexec", "stdlib", "threads"),
        libraries=False,
    )
    for workers in (2, 4, 8)
)

_LONG_SIZE = {"workers": 4, "shorts": 1_000, "long": 1.0, "place": 100}
_LONG_QUICK = {"shorts": 100, "long": 0.3, "place": 10}
# 1,000 of 1 ms on the three workers that the long task leaves free.
_LONG_IDEAL = "ideal 333"

LONG_SUBMIT = Workload(
    name="long-submit",
    probe=long_among_submits,
    figures=(
        Figure(
            "waited",
            "1 s task among 1,000 of 1 ms, 4 workers, submit: shorts that waited for it",
            "tasks",
            "lower",
            target=(Goal(0, None),),
            worst=True,
        ),
        Figure("last", f"the same: last short one done ({_LONG_IDEAL})", "ms", "lower"),
    ),
    size=_LONG_SIZE,
    quick=_LONG_QUICK,
    contenders=("woolexec", "stdlib", "threads"),
    libraries=False,
)

LONG_MAP = Workload(
    name="long-map",
    probe=long_in_map,
    figures=(
        Figure(
            "waited",
            "1 s item among 1,000 of 1 ms, 4 workers, map: shorts that waited for it",
            "items",
            "lower",
            target=(Goal(0, None),),
            worst=True,
        ),
        Figure("last", f"the same: last short one ended ({_LONG_IDEAL})", "ms", "lower"),
    ),
    size=_LONG_SIZE,
    quick=_LONG_QUICK,
    contenders=("woolexec", "stdlib", "threads"),
    libraries=False,
)
