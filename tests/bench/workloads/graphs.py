"""How fast graphs of small tasks run, and what it costs to submit a large one."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.bench import work
from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from tests.bench.contenders import Contender


def no_dask() -> str | None:
    """One row needs dask."""
    return None if importlib.util.find_spec("dask") else "dask is not installed"


def no_distributed() -> str | None:
    """Another one needs its scheduler."""
    return None if importlib.util.find_spec("distributed") else "distributed is not installed"


def tree_of(nodes: int) -> dict[Any, Any]:
    """Make a graph of about so many nodes: numbers, each increased by one, that are added up three at a time."""
    level: list[Any] = [("leaf", number) for number in range(nodes * 2 // 3)]
    graph: dict[Any, Any] = {key: (work.increment_number, key[1]) for key in level}
    while len(level) > 1:
        above = [("sum", len(graph) + at) for at in range(-(-len(level) // 3))]
        graph |= {key: (work.sum_of, *level[3 * at : 3 * at + 3]) for at, key in enumerate(above)}
        level = above
    return graph | {"end": level[0]}


_FEW = 300
"""Nodes of the graph that is run before the one for the clock."""


def run_by(get: Any, nodes: int) -> float:
    """Run a small graph, then a graph for the clock; seconds."""
    get(tree_of(_FEW), "end")
    took, total = timed(get, tree_of(nodes), "end")
    leaves = nodes * 2 // 3
    if total != leaves * (leaves + 1) // 2:
        raise RuntimeError("the sum is wrong")
    return took


def processes_times(contender: Contender, *, workers: int, nodes: int) -> Sample:
    """Run a graph with dask's scheduler for processes and with ours; how many times less time that takes."""
    from functools import partial

    from dask.multiprocessing import get

    with ProcessPoolExecutor(workers) as theirs:
        slow = run_by(partial(get, pool=theirs), nodes)
    with contender.warm(workers) as pool:
        fast = run_by(pool.executor.get, nodes)  # type: ignore[attr-defined]  # only ours takes part
    return {"times": slow / fast}


def distributed_times(contender: Contender, *, workers: int, nodes: int) -> Sample:
    """Run a graph with dask's distributed scheduler and with ours; how many times less time that takes."""
    from distributed import Client

    with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as client:
        slow = run_by(client.get, nodes)
    with contender.warm(workers) as pool:
        fast = run_by(pool.executor.get, nodes)  # type: ignore[attr-defined]  # as above
    return {"times": slow / fast}


def submit_cost(contender: Contender, *, workers: int, nodes: int) -> Sample:
    """Submit a graph; microseconds for each node."""
    graph, leaves = tree_of(nodes), nodes * 2 // 3
    with contender.warm(workers) as pool:
        took, futures = timed(pool.executor.submit_graph, graph, "end")  # type: ignore[attr-defined]
        if futures["end"].result() != leaves * (leaves + 1) // 2:
            raise RuntimeError("the sum is wrong")
    return {"cost": took / len(graph) * 1e6}


def _times(name: str, probe: Any, other: str, limit: float, missing: Any, size: dict[str, int]) -> Workload:
    return Workload(
        name=name,
        probe=probe,
        figures=(
            Figure(
                "times",
                f"dask graph of 10,000 small tasks: {other}, get (ratio)",
                "times",
                "higher",
                (Goal(limit, None),),
                reference=None,
            ),
        ),
        size=size,
        quick={"nodes": 300},
        contenders=("woolexec",),
        libraries=False,
        missing=missing,
    )


_SIZE = {"workers": 2, "nodes": 10_000}

GRAPH = _times("graph", processes_times, "dask's multiprocessing", 5, no_dask, _SIZE)

GRAPH_DISTRIBUTED = _times("graph-distributed", distributed_times, "distributed", 10, no_distributed, _SIZE)

GRAPH_SUBMIT = Workload(
    name="graph-submit",
    probe=submit_cost,
    figures=(Figure("cost", "graph of 100,000 small tasks: submit, for each", "µs", "lower", (), reference=None),),
    size={"workers": 2, "nodes": 100_000},
    quick={"nodes": 300},
    contenders=("woolexec",),
    libraries=False,
)
