"""Many workers, many peers, and many calls that are cancelled where they wait."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .link import missing, peer
from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from tests.bench.contenders import Contender


def many_workers(contender: Contender, *, workers: int, tasks: int, seconds: float) -> Sample:
    """Submit sleeps to a pool that has not started a worker; the time taken divided by the ideal."""
    pool = contender.open(workers)
    try:
        took, _ = timed(lambda: pool.gather([pool.submit(work.sleep, seconds) for _ in range(tasks)]))
    finally:
        pool.close()
    return {"times": took / (tasks * seconds / workers)}


def many_peers(contender: Contender, *, peers: int, workers: int, tasks: int, seconds: float) -> Sample:
    """Submit sleeps to peers that are connected and have run nothing; the time taken divided by the ideal."""
    from woolexec import Credentials, PeerPoolExecutor
    from woolexec.cli.local_peers import address_of, local_peer

    credentials = Credentials.with_new_token()
    assert credentials.token is not None
    with contextlib.ExitStack() as stack:
        token = credentials.token.decode()
        started = [stack.enter_context(local_peer("127.0.0.1:0", workers, token)) for _ in range(peers)]
        addresses = [address_of(process) for process in started]
        pool = stack.enter_context(PeerPoolExecutor(peers=addresses, credentials=credentials))
        pool.wait_for_peers(peers, 60)
        took, _ = timed(lambda: [f.result() for f in [pool.submit(work.sleep, seconds) for _ in range(tasks)]])
    return {"times": took / (tasks * seconds / (workers * peers))}


def cancels(contender: Contender, *, workers: int, tasks: int) -> Sample:
    """Cancel calls that wait for one peer, whose workers are busy."""
    from woolexec import PeerPoolExecutor

    with peer(workers) as (address, credentials), PeerPoolExecutor(peers=address, credentials=credentials) as pool:
        busy = [pool.submit(work.sleep, 60.0) for _ in range(workers)]
        waiting = [pool.submit(work.same, number) for number in range(tasks)]
        took, cancelled = timed(lambda: sum(future.cancel() for future in waiting))
        for future in busy:
            future.cancel(force=True)
        if cancelled < tasks:
            raise RuntimeError(f"only {cancelled} of {tasks} were cancelled")
    return {"took": took}


_AS_IDEAL = (Goal(1.3, None),)

WORKERS = Workload(
    name="scale-workers",
    probe=many_workers,
    figures=(Figure("times", "2,000 sleeps of 50 ms, 64 workers, from none", "times ideal", "lower", _AS_IDEAL),),
    size={"workers": 64, "tasks": 2_000, "seconds": 0.05},
    quick={"workers": 4, "tasks": 20},
    libraries=False,
)

PEERS = Workload(
    name="scale-peers",
    probe=many_peers,
    figures=(
        Figure(
            "times", "1,200 sleeps of 0.1 s, 30 peers with 2 workers", "times ideal", "lower", _AS_IDEAL, reference=None
        ),
    ),
    size={"peers": 30, "workers": 2, "tasks": 1_200, "seconds": 0.1},
    quick={"peers": 2, "tasks": 20},
    contenders=("woolexec",),
    libraries=False,
    missing=missing,
    timeout=300.0,
)

CANCELS = Workload(
    name="scale-cancels",
    probe=cancels,
    figures=(
        Figure("took", "cancel 100,000 calls that wait for a peer", "s", "lower", (Goal(2, None),), reference=None),
    ),
    size={"workers": 2, "tasks": 100_000},
    quick={"tasks": 1_000},
    contenders=("woolexec",),
    libraries=False,
    missing=missing,
)

SCALE = (WORKERS, PEERS, CANCELS)
