import re
from dataclasses import replace

import pytest

from tests.full_statistics import FULL
from woolexec.core.histogram import BOUNDS as FINE
from woolexec.core.histogram import Histogram
from woolexec.core.tallies import LONG
from woolexec.observe.metric_table import BOUNDS, NOTHING, TABLE, Buckets, join, lasting, read
from woolexec.statistics import Durations, FunctionStatistics, TaskStatistics, WorkerStatistics


def durations(*seconds, count=None):
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    number = len(seconds) if count is None else count
    return Durations(number, histogram.total, bins=tuple(histogram.bins()))


def with_runs(runs):
    return replace(NOTHING, functions=(FunctionStatistics("f", runs.count, run=runs),))


def test_each_bound_is_one_of_the_histogram_that_it_is_made_of():
    assert set(BOUNDS) <= set(FINE)


def test_names_are_of_base_units_and_labels_have_no_data_of_tasks():
    for each in TABLE:
        assert re.fullmatch(r"woolexec_[a-z_]+", each.name)
        assert not each.name.endswith("_total")
        assert not re.search("milli|micro|_ms|_mb|_kb|minutes", each.name)
        assert each.label in {"", "state", "outcome", "reason", "direction"}
    values = read(replace(FULL, host="a_host", pid=4711))
    labels = {label for each in values.values() if isinstance(each, dict) for label in each}
    assert labels <= {
        *("", "held", "queued", "sent", "running", "returned", "failed", "lost", "cancelled", "received"),
        *("starting", "idle", "waiting", "ending", "ended", "memory", "exit", "SIGKILL"),
    }


def test_tasks_workers_values_and_links_are_those_of_the_statistics():
    found = read(FULL)
    assert found["woolexec_tasks_outstanding"] == {"held": 1, "queued": 20, "sent": 3, "running": 4}
    assert found["woolexec_tasks_finished"] == {"returned": 5000, "failed": 6, "lost": 7, "cancelled": 8}
    assert found["woolexec_workers"] == {"starting": 0, "idle": 0, "running": 1, "waiting": 0, "ending": 0}
    assert found["woolexec_workers_lost"] == {"ended": 0, "memory": 0, "exit": 0, "SIGKILL": 1}
    assert found["woolexec_worker_memory_bytes"] == {"": 30 << 20}
    assert found["woolexec_refusals"] == {"": FULL.peers[0].refused}
    assert found["woolexec_link_bytes"] == {"sent": 2000, "received": 0}
    assert found["woolexec_values_bytes"] == {"": 3000}
    assert found["woolexec_engine_stall_seconds_max"] == {"": 0.001}


@pytest.mark.parametrize("seconds", [1e-9, 2.0**-16, 1.5e-5, 0.001, 1.0, 1.0001, 3.9, 16000.0, 2.0**14, 20000.0, 1e9])
def test_a_duration_is_in_each_bucket_whose_bound_it_does_not_exceed(seconds):
    buckets = read(with_runs(durations(seconds)))["woolexec_task_seconds"]
    expected = [int(seconds <= bound) for bound in (*BOUNDS, float("inf"))]
    assert buckets == Buckets(tuple(expected), seconds)


def test_short_tasks_that_were_not_measured_yet_are_counted_as_short_ones():
    buckets = read(with_runs(durations(2.0, count=16)))["woolexec_task_seconds"]
    assert buckets.counts[-1] == 16
    assert [count for bound, count in zip(BOUNDS, buckets.counts, strict=False) if LONG <= bound < 2.0] == [15] * 10
    assert not any(count for bound, count in zip(BOUNDS, buckets.counts, strict=False) if bound < LONG)


def test_pools_are_summed_and_the_longest_stall_is_that_of_all():
    other = replace(FULL, stall=0.5, workers=(WorkerStatistics(1, "", "idle", memory=5),), workers_lost={"SIGSEGV": 2})
    both = join((read(FULL), read(other)))
    assert both["woolexec_tasks_finished"]["returned"] == 10000
    assert both["woolexec_workers"] == {"starting": 0, "idle": 1, "running": 1, "waiting": 0, "ending": 0}
    assert both["woolexec_workers_lost"] == {"ended": 0, "memory": 0, "exit": 0, "SIGKILL": 1, "SIGSEGV": 2}
    assert both["woolexec_worker_memory_bytes"] == {"": (30 << 20) + 5}
    assert both["woolexec_engine_stall_seconds_max"] == {"": 0.5}
    assert both["woolexec_task_seconds"].total == 200.0
    assert both["woolexec_task_seconds"].counts[-1] == 10012


def test_what_a_pool_has_now_does_not_outlast_it_and_what_it_has_done_does():
    kept = lasting(read(replace(FULL, tasks=TaskStatistics(running=3, returned=7))))
    assert kept["woolexec_tasks_finished"]["returned"] == 7
    assert not any(kept["woolexec_tasks_outstanding"].values())
    assert not any(kept["woolexec_workers"].values())
    assert kept["woolexec_values_bytes"] == {"": 0}
    assert kept["woolexec_engine_stall_seconds_max"] == {"": 0.001}
