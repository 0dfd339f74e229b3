"""How fast bytes go there and back; MB (10⁶ bytes) of both directions together."""

from __future__ import annotations

import importlib.util
import random
import sys
from typing import TYPE_CHECKING, Any

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from tests.bench.contenders import Contender, Pool


def no_numpy() -> str | None:
    """The array row needs numpy."""
    return None if importlib.util.find_spec("numpy") else "numpy is not installed"


def array_rate(contender: Contender, *, workers: int, megabytes: int, trips: int) -> Sample:
    """
    Send an array and get it back, one trip after another.

    `rate` is the transport alone: the worker returns what it got.
    `touched` is what a program sees whose worker writes every element and whose client reads every element,
    so that a road that maps pages lazily pays for them too.
    """
    import numpy as np

    array = np.arange(megabytes * 1_000_000 // 8, dtype=np.int64)

    def echo(pool: Pool, count: int) -> None:
        for _ in range(count):
            [result] = pool.gather([pool.submit(work.same, array)])
            if (result[0], result[-1], result.nbytes) != (array[0], array[-1], array.nbytes):
                raise RuntimeError("another array came back")

    expected = int(array.sum()) + len(array)

    def touch(pool: Pool, count: int) -> None:
        for _ in range(count):
            [result] = pool.gather([pool.submit(work.increment, array)])
            if int(result.sum()) != expected:
                raise RuntimeError("another array came back")

    moved = 2 * array.nbytes * trips / 1e6
    with contender.warm(workers) as pool:
        echo(pool, 2)
        echoed, _ = timed(echo, pool, trips)
        touch(pool, 2)
        touched, _ = timed(touch, pool, trips)
    return {"rate": moved / echoed, "touched": moved / touched}


def bytes_rate(contender: Contender, *, workers: int, tasks: int, bursts: int, distinct: int) -> Sample:
    """
    Submit many 64 KiB byte strings at once and gather them; warm means that the same has been done once before.

    Several bursts make a sample: one takes less than a tenth of a second, and what the system does meanwhile shows.
    """
    source = random.Random(0)
    payloads = [source.randbytes(65_536) for _ in range(distinct)]

    def burst(pool: Pool, count: int) -> list[bytes]:
        return pool.gather([pool.submit(work.same, payloads[number % distinct]) for number in range(count)])

    with contender.warm(workers) as pool:
        burst(pool, tasks)
        took = 0.0
        for _ in range(bursts):
            seconds, results = timed(burst, pool, tasks)
            took += seconds
            if any(result != payloads[number % distinct] for number, result in enumerate(results)):
                raise RuntimeError("other bytes came back")
            del results
    return {"rate": 2 * 65_536 * tasks * bursts / 1e6 / took}


def values_rate(contender: Contender, *, workers: int, trips: int, arrays: int, numbers: int) -> Sample:
    """
    Send what consists of many small objects, one trip after another: most of the time goes into pickling.

    `arrays` is a list of arrays of 8 KB, `numbers` a dictionary of integers.
    """
    import numpy as np

    values: dict[str, Any] = {
        "arrays": [np.full(1000, number) for number in range(arrays)],
        "numbers": {number: number for number in range(numbers)},
    }

    def echo(pool: Pool, value: Any) -> None:
        for _ in range(trips):
            [result] = pool.gather([pool.submit(work.same, value)])
            if len(result) != len(value):
                raise RuntimeError("another value came back")

    with contender.warm(workers) as pool:
        for value in values.values():
            echo(pool, value)
        took = {name: timed(echo, pool, value)[0] for name, value in values.items()}
    return {name: trips / seconds for name, seconds in took.items()}


VALUES = Workload(
    name="values",
    probe=values_rate,
    figures=(
        Figure("arrays", "list of 500 arrays of 8 KB there and back", "1/s", "higher", (Goal(1),)),
        Figure("numbers", "dictionary of 100,000 integers there and back", "1/s", "higher", (Goal(1),)),
    ),
    size={"workers": 1, "trips": 20, "arrays": 500, "numbers": 100_000},
    quick={"trips": 2, "arrays": 50, "numbers": 1000},
    missing=no_numpy,
)


def own_rate(contender: Contender, *, workers: int, tasks: int, items: int) -> Sample:
    """Send objects of a class of the script there and back: as tasks, pipelined, and as the items of a map."""
    from tests.bench.probe import Item

    make = getattr(sys.modules["__main__"], "Item", Item)

    def submit(pool: Pool, count: int) -> list[Any]:
        return pool.gather([pool.submit(work.same, make(number)) for number in range(count)])

    def burst(pool: Pool, count: int) -> list[Any]:
        return pool.map(work.same, [make(number) for number in range(count)])

    sample = {}
    with contender.warm(workers) as pool:
        for name, send, count in (("submit", submit, tasks), ("map", burst, items)):
            send(pool, count // 10)
            took, results = timed(send, pool, count)
            if results[-1] != make(count - 1):
                raise RuntimeError("another object came back")
            sample[name] = count / took
    return sample


OWN = Workload(
    name="own",
    probe=own_rate,
    figures=(
        Figure("submit", "submit 2,000 objects of a class of the script, gather", "tasks/s", "higher", (Goal(1),)),
        Figure("map", "map 20,000 objects of a class of the script", "items/s", "higher", (Goal(3),)),
    ),
    size={"workers": 2, "tasks": 2_000, "items": 20_000},
    quick={"tasks": 20, "items": 20},
)

ARRAY = Workload(
    name="array",
    probe=array_rate,
    figures=(
        Figure("rate", "numpy array of 10 MB there and back", "MB/s", "higher", (Goal(3),), (Goal(5),)),
        Figure("touched", "the same, every element written and read", "MB/s", "higher"),
    ),
    size={"workers": 2, "megabytes": 10, "trips": 20},
    quick={"megabytes": 1, "trips": 3},
    missing=no_numpy,
)

BYTES = Workload(
    name="bytes",
    probe=bytes_rate,
    figures=(Figure("rate", "1,000 byte strings of 64 KiB, pipelined", "MB/s", "higher", (Goal(3.5),), (Goal(4),)),),
    size={"workers": 2, "tasks": 1_000, "bursts": 5, "distinct": 64},
    quick={"tasks": 20},
)
