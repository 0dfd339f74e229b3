"""Every workload of the benchmark, in the order of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio import AIO
from .balance import LONG_MAP, LONG_SUBMIT, SLEEPS, UNEVEN
from .data import ARRAY, BYTES, OWN, VALUES
from .graphs import GRAPH, GRAPH_DISTRIBUTED, GRAPH_SUBMIT
from .joblib import JOBLIB
from .latency import ACTOR, ROUND_TRIP
from .link import LINK, LINK_ALONE
from .memory import IDLE, OUTSTANDING
from .scale import SCALE
from .start import START
from .throughput import MAP, MAP_CHUNKED, SUBMIT
from .values import CHAIN, HANDED, PUT, SHARED, TREE

if TYPE_CHECKING:
    from .workload import Workload

WORKLOADS: tuple[Workload, ...] = (
    SUBMIT,
    MAP,
    MAP_CHUNKED,
    UNEVEN,
    ROUND_TRIP,
    ACTOR,
    ARRAY,
    BYTES,
    VALUES,
    OWN,
    SHARED,
    PUT,
    CHAIN,
    TREE,
    HANDED,
    GRAPH,
    GRAPH_DISTRIBUTED,
    GRAPH_SUBMIT,
    START,
    *SLEEPS,
    LONG_SUBMIT,
    LONG_MAP,
    OUTSTANDING,
    IDLE,
    LINK,
    LINK_ALONE,
    *SCALE,
    *AIO,
    *JOBLIB,
)


def named(name: str) -> Workload:
    """Return the workload of that name."""
    for workload in WORKLOADS:
        if workload.name == name:
            return workload
    raise ValueError(f"no workload {name!r}; there are: {', '.join(each.name for each in WORKLOADS)}")
