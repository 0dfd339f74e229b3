"""How fast tasks get values that several of them use, or that other tasks make."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .data import no_numpy
from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.contenders import Contender, Pool

SLOWER = 20
"""Others send the array with each task: they get so many times fewer of them, or the benchmark would take all day."""


HAVE_IT = ("threads", "joblib")
"""They have it without asking: threads, and joblib, which makes a memory map of it, once."""


def shared_rate(contender: Contender, *, workers: int, megabytes: int, tasks: int) -> Sample:
    """Read a hundredth of one array in each task; tasks per second, also with an array that is read-only."""
    import numpy as np

    array = np.arange(megabytes * 1_000_000 // 8, dtype=np.int64)
    sums = [work.part(array, number) for number in range(100)]

    def run(pool: Pool, count: int, value: Any) -> None:
        handles = [pool.submit(work.part, value, number % 100) for number in range(count)]
        if pool.gather(handles) != [sums[number % 100] for number in range(count)]:
            raise RuntimeError("another array came")

    with contender.warm(workers) as pool:
        shares = hasattr(pool, "put") or contender.name in HAVE_IT
        value = pool.put(array) if hasattr(pool, "put") else array
        if shares:
            run(pool, workers, value)
        count = tasks if shares else max(workers, tasks // SLOWER)
        took, _ = timed(run, pool, count, value)
        if not hasattr(pool, "put"):
            return {"rate": count / took, "read_only": count / took}
        array.flags.writeable = False
        value = pool.put(array)
        run(pool, workers, value)
        again, _ = timed(run, pool, count, value)
        return {"rate": count / took, "read_only": count / again}


def put_time(contender: Contender, *, workers: int, megabytes: int) -> Sample:
    """Put an array; the time as a multiple of a copy of it."""
    import numpy as np

    array = np.arange(megabytes * 1_000_000 // 8, dtype=np.int64)
    with contender.warm(workers) as pool:
        executor: Any = pool.executor  # type: ignore[attr-defined]  # only ours takes part
        for _ in range(2):  # the first time pages are made
            copied, _copy = timed(array.copy)
            took, _value = timed(executor.put, array)
    return {"put": took / copied}


def chain_rate(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Let each task take the result of the one before it; tasks per second."""

    def handed_on(pool: Pool) -> int:
        value = pool.submit(work.increment_number, 0)
        for _ in range(tasks - 1):
            value = pool.submit(work.increment_number, value)
        return int(pool.gather([value])[0])

    def waited_for(pool: Pool) -> int:
        value = 0
        for _ in range(tasks):
            [value] = pool.gather([pool.submit(work.increment_number, value)])
        return value

    with contender.warm(workers) as pool:
        run = handed_on if hasattr(pool, "put") else waited_for
        took, last = timed(run, pool)
    if last != tasks:
        raise RuntimeError("a task had another value")
    return {"rate": tasks / took}


_FAR = """
import sys
from woolexec import cli
from woolexec.mesh.link import fd_passing

fd_passing.boot_id = str
options = "--bind=127.0.0.1:0 --workers=1 --insecure --compression=off --lifeline --json"
sys.exit(cli.main(["serve", *options.split()]))
"""


@contextlib.contextmanager
def far_peer() -> Iterator[subprocess.Popen[bytes]]:
    """Start a peer that takes everybody to be on another host; end it after the block."""
    with subprocess.Popen([sys.executable, "-c", _FAR], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL) as peer:
        try:
            yield peer
        finally:
            assert peer.stdin is not None
            peer.stdin.close()
            peer.wait()


def tree_times(contender: Contender, *, leaves: int, kilobytes: int) -> Sample:
    """Add up arrays in a tree at two peers, kept there and through the caller; how many times less time it takes."""
    from woolexec import Credentials, PeerPoolExecutor
    from woolexec.cli.local_peers import address_of
    from woolexec.mesh.link import fd_passing

    def run(pool: Any, view: Any) -> int:
        level = [view.submit(work.block, number, kilobytes << 10) for number in range(leaves)]
        while len(level) > 1:
            level = [view.submit(work.added, *pair) for pair in zip(level[::2], level[1::2], strict=True)]
        return int(pool.submit(work.first, level[0]).result())

    took = {}
    with mock.patch.object(fd_passing, "boot_id", str), contextlib.ExitStack() as stack:
        peers = [address_of(stack.enter_context(far_peer())) for _ in range(2)]
        for keep in (False, True):
            with PeerPoolExecutor(0, peers=peers, credentials=Credentials(), compression=None) as pool:
                pool.wait_for_peers(2, 20)
                view = pool.with_options(keep=keep)
                view.submit(work.block, 0, 8).result()
                took[keep], total = timed(run, pool, view)
                if total != leaves * (leaves - 1) // 2:
                    raise RuntimeError("the sum is wrong")
    return {"tree": took[False] / took[True]}


def handed_times(contender: Contender, *, megabytes: int, trips: int) -> Sample:
    """Make a large value at one peer and use it at another, through the caller and straight: the ratio of the times."""
    from woolexec import Credentials, PeerPoolExecutor
    from woolexec.cli.local_peers import address_of
    from woolexec.mesh.link import fd_passing

    with mock.patch.object(fd_passing, "boot_id", str), contextlib.ExitStack() as stack:
        peers = [address_of(stack.enter_context(far_peer())) for _ in range(2)]
        pool = stack.enter_context(PeerPoolExecutor(0, peers=peers, credentials=Credentials(), compression=None))
        pool.wait_for_peers(2, 20)
        one, other = (link.name for link in pool._engine.scheduler.links)

        def hand_over(keep: bool) -> int:
            made = pool.with_options(keep=keep, at=one).submit(work.block, 1, megabytes * 1_000_000)
            return int(pool.with_options(at=other).submit(work.first, made).result())

        through, straight = (min(timed(hand_over, keep)[0] for _ in range(trips)) for keep in (False, True))
    return {"handed": through / straight}


SHARED = Workload(
    name="shared",
    probe=shared_rate,
    figures=(
        Figure(
            "rate",
            "200 tasks that each read 1 % of one 100 MB array",
            "tasks/s",
            "higher",
            (Goal(50), Goal(1 / 1.5, "threads")),
        ),
        Figure("read_only", "the same, a read-only array", "tasks/s", "higher", (Goal(50), Goal(1 / 1.5, "threads"))),
    ),
    size={"workers": 2, "megabytes": 100, "tasks": 200},
    quick={"megabytes": 1, "tasks": 40},
    contenders=("woolexec", "stdlib", "threads", "joblib", "dask", "ray"),
    libraries=False,
    missing=no_numpy,
)

PUT = Workload(
    name="put",
    probe=put_time,
    figures=(Figure("put", "put of a 100 MB array", "copies of it", "lower", (Goal(1.5, None),), reference=None),),
    size={"workers": 2, "megabytes": 100},
    quick={"megabytes": 1},
    contenders=("woolexec",),
    libraries=False,
    missing=no_numpy,
)

CHAIN = Workload(
    name="chain",
    probe=chain_rate,
    figures=(
        Figure(
            "rate", "chain of 1,000 tasks, each takes the result before it", "tasks/s", "higher", (Goal(3),), (Goal(5),)
        ),
    ),
    size={"workers": 2, "tasks": 1000},
    quick={"tasks": 50},
    contenders=("woolexec", "stdlib", "dask", "ray"),
)

TREE = Workload(
    name="tree",
    probe=tree_times,
    figures=(
        Figure(
            "tree",
            "tree of 1,024 arrays of 1 MB at two peers as on other hosts: through the caller, kept (ratio)",
            "times",
            "higher",
            (Goal(2, None),),
            reference=None,
        ),
    ),
    size={"leaves": 1024, "kilobytes": 1024},
    quick={"leaves": 16, "kilobytes": 128},
    contenders=("woolexec",),
    libraries=False,
    missing=no_numpy,
)

HANDED = Workload(
    name="handed",
    probe=handed_times,
    figures=(
        Figure(
            "handed",
            "1 GB from one peer to another, as on other hosts: through the caller, straight (ratio)",
            "times",
            "higher",
            (Goal(1.8, None),),
            reference=None,
        ),
    ),
    size={"megabytes": 1000, "trips": 3},
    quick={"megabytes": 2, "trips": 1},
    contenders=("woolexec",),
    libraries=False,
    missing=no_numpy,
)
