"""What a pool costs in memory, as the kernel counts it; MiB."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import work
from tests.bench.contenders import Contender, warm_up
from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTLED = 3
WAIT_LIMIT = 20.0


def no_smaps() -> str | None:
    """Only Linux tells proportional and private memory of a process."""
    return None if Path("/proc/self/smaps_rollup").exists() else "there is no /proc/self/smaps_rollup"


def outstanding(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Fill a pool whose workers are all held, and see by how much the client has grown."""
    with tempfile.TemporaryDirectory() as directory, contender.warm(workers, cancel=True) as pool:
        pool.gather([pool.submit(work.same, number) for number in range(200)])
        held = [pool.submit(work.hold, directory) for _ in range(workers)]
        try:
            wait_until(lambda: len(list(Path(directory).glob("held-*"))) == workers, "every worker is held")
            gc.collect()
            before = settled_memory()
            futures = [pool.submit(work.same, number) for number in range(tasks)]
            after = settled_memory()
        finally:
            Path(directory, "release").touch()
        for future in futures:
            future.cancel()
        pool.gather(held)
    return {kind: after[kind] - before[kind] for kind in ("rss", "pss")}


def idle_worker(contender: Contender, *, workers: int) -> Sample:
    """
    Weigh a worker that has run a few small tasks and waits for the next.

    `pool` is every process below the client, helpers as well, divided by the workers: what one worker costs in the end.
    """
    with contender.warm(workers) as pool:
        pids = warm_up(pool, workers)
        pool.gather([pool.submit(work.same, number) for number in range(200)])
        settled_memory()
        weighed = [memory_of(pid) for pid in pids]
        below = [memory_of(pid) for pid in descendants(os.getpid())]
    return {
        "pss": sum(each["pss"] for each in weighed) / len(weighed),
        "uss": sum(each["uss"] for each in weighed) / len(weighed),
        "pool": sum(each["pss"] for each in below) / workers,
    }


def memory_of(pid: int) -> dict[str, float]:
    """Return resident, proportional and unshared memory of a process."""
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        fields[name.rstrip(":")] = int(amount)
    unshared = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss": fields["Rss"] / 1024, "pss": fields["Pss"] / 1024, "uss": unshared / 1024}


def settled_memory() -> dict[str, float]:
    """Return this process's memory once it has stood still for a few looks: another thread may still be filing."""
    deadline = time.monotonic() + WAIT_LIMIT
    last, still = memory_of(os.getpid()), 0
    while still < SETTLED and time.monotonic() < deadline:
        time.sleep(0.05)
        now = memory_of(os.getpid())
        still = still + 1 if abs(now["rss"] - last["rss"]) < 0.1 else 0
        last = now
    return last


def descendants(pid: int) -> Iterator[int]:
    """Yield every process below that one, whichever of its threads began it."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from descendants(child)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """
    Wait for something that another process does.

    :raises RuntimeError: if it has not come about in time
    """
    deadline = time.monotonic() + WAIT_LIMIT
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{WAIT_LIMIT:g} s passed and it is not so that {what}")
        time.sleep(0.005)


OUTSTANDING = Workload(
    name="outstanding",
    probe=outstanding,
    figures=(
        Figure("rss", "client's growth by 100,000 outstanding tasks, RSS", "MiB", "lower", (Goal(0.6),)),
        Figure("pss", "the same, PSS", "MiB", "lower", (Goal(0.6),)),
    ),
    size={"workers": 2, "tasks": 100_000},
    quick={"tasks": 1_000},
    libraries=False,
    missing=no_smaps,
)

IDLE = Workload(
    name="idle-worker",
    probe=idle_worker,
    figures=(
        Figure("pss", "an idle worker, PSS", "MiB", "lower", (Goal(1),)),
        Figure("uss", "an idle worker, USS", "MiB", "lower"),
        Figure("pool", "all processes of an idle pool per worker, PSS", "MiB", "lower"),
    ),
    size={"workers": 2},
    quick={},
    libraries=False,
    missing=no_smaps,
)
