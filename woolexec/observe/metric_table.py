"""
The metrics of pools and peers: one table of their names, kinds and labels, and how they are read from `Statistics`.

All modules that serve metrics read this table.  No label has data of tasks, such as function names or process ids.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from woolexec.core.tallies import LONG
from woolexec.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from woolexec.statistics import Durations

BOUNDS = tuple(2.0**exponent for exponent in range(-16, 15))
"""
Upper bounds of the buckets of histograms, from 15 microseconds to 4.5 hours; a further bucket has no bound.

Each is a bound of `woolexec.core.histogram` too, so the counts of the buckets are exact.
"""

_STATES = ("starting", "idle", "running", "waiting", "ending")
_REASONS = ("ended", "memory", "exit")
"""The reasons that are shown from the start; the name of a signal is added when a worker is lost because of it."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: the number of durations up to each of `BOUNDS`, then the number of all, and their sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    def __add__(self, other: Buckets) -> Buckets:
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Buckets(counts, self.total + other.total)


Values = dict[str, float]
"""The values of a metric, by the value of its label; the empty string if it has no label."""


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One row.

    `name` is without the suffix ``_total`` of a counter.  `join` combines the values of several pools.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    read: Callable[[Statistics], Values | Buckets]
    label: str = ""
    join: Callable[[float, float], float] = float.__add__


def _outstanding(found: Statistics) -> Values:
    return {state: float(getattr(found.tasks, state)) for state in ("held", "queued", "sent", "running")}


def _finished(found: Statistics) -> Values:
    return {outcome: float(getattr(found.tasks, outcome)) for outcome in ("returned", "failed", "lost", "cancelled")}


def _runs(found: Statistics) -> Buckets:
    return sum((_buckets(each.run, each.run.count) for each in found.functions), Buckets())


def _waits(found: Statistics) -> Buckets:
    return sum((_buckets(each.wait, 0) for each in found.functions), Buckets())


def _buckets(durations: Durations, count: int) -> Buckets:
    """
    Return a histogram with fewer buckets.

    :param count: the number of durations, if some of those up to `LONG` are not in the bins yet
    """
    counts = [0] * (len(BOUNDS) + 1)
    unseen = count - sum(number for _, number in durations.bins)
    for bound, number in (*durations.bins, (LONG, max(0, unseen))):
        counts[next((at for at, most in enumerate(BOUNDS) if bound <= most), -1)] += number
    return Buckets(tuple(accumulate(counts)), durations.total)


def _workers(found: Statistics) -> Values:
    states = Counter(each.state for each in found.workers)
    return {state: float(states[state]) for state in _STATES}


def _lost(found: Statistics) -> Values:
    return dict.fromkeys(_REASONS, 0.0) | {reason: float(count) for reason, count in found.workers_lost.items()}


def _memory(found: Statistics) -> Values:
    known = [each.memory for each in found.workers if each.memory is not None]
    return {"": float(sum(known))}


def _refusals(found: Statistics) -> Values:
    return {"": float(sum(each.refused for each in found.peers))}


def _link_bytes(found: Statistics) -> Values:
    sent, received = (sum(getattr(each, f"bytes_{way}") for each in found.peers) for way in ("sent", "received"))
    return {"sent": float(sent), "received": float(received)}


TABLE = (
    Metric("woolexec_tasks_outstanding", "gauge", "Tasks that have not ended, by state.", _outstanding, "state"),
    Metric("woolexec_tasks_finished", "counter", "Tasks that have ended, by outcome.", _finished, "outcome"),
    Metric("woolexec_task_seconds", "histogram", "How long tasks ran.", _runs),
    Metric("woolexec_task_wait_seconds", "histogram", "Time from submit to outcome, without the run time.", _waits),
    Metric("woolexec_workers", "gauge", "Worker processes on this machine, by state.", _workers, "state"),
    Metric("woolexec_workers_lost", "counter", "Worker processes that were lost, by reason.", _lost, "reason"),
    Metric("woolexec_worker_memory_bytes", "gauge", "Memory that the workers of this machine take up.", _memory),
    Metric("woolexec_refusals", "counter", "How often a peer had no free place for a task.", _refusals),
    Metric("woolexec_link_bytes", "counter", "Bytes that went over links, by direction.", _link_bytes, "direction"),
    Metric(
        "woolexec_values_bytes",
        "gauge",
        "Memory of the values that are held for tasks.",
        lambda found: {"": float(found.values.bytes)},
    ),
    Metric(
        "woolexec_engine_stall_seconds_max",
        "gauge",
        "The longest time that an engine's thread has taken to answer.",
        lambda found: {"": found.stall},
        join=max,
    ),
)

BUILD = "woolexec_build_info"
"""One more gauge, which is always 1: its labels give the versions."""

BUILD_HELP = "Versions of woolexec and Python."


Readings = dict[str, Values | Buckets]
"""The values of the metrics, by name."""

NOTHING = Statistics(time=0.0, pid=0, host="")
"""The statistics of a pool that has run nothing."""


def read(found: Statistics) -> Readings:
    """Return the metrics of a pool."""
    return {each.name: each.read(found) for each in TABLE}


def join(readings: Iterable[Readings]) -> Readings:
    """Return the combined metrics of several pools."""
    joined = read(NOTHING)
    for one in readings:
        for metric in TABLE:
            before, more = joined[metric.name], one[metric.name]
            if isinstance(before, Buckets):
                assert isinstance(more, Buckets)
                joined[metric.name] = before + more
            else:
                assert not isinstance(more, Buckets)
                values = {label: metric.join(before.get(label, 0.0), value) for label, value in more.items()}
                joined[metric.name] = before | values
    return joined


def lasting(readings: Readings) -> Readings:
    """Return the lasting metrics of a pool that has ended: all but the gauges of its current state."""
    nothing = join(())
    kept = {each.name for each in TABLE if each.kind != "gauge" or each.join is max}
    return {name: value if name in kept else nothing[name] for name, value in readings.items()}
