"""The metrics that OpenTelemetry collects, compared with those that Prometheus scrapes."""

import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk.metrics")
pytest.importorskip("prometheus_client")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from tests.shared_pools import shared
from tests.test_metrics import PATIENCE, fail, scraped
from woolexec.metrics import register, register_with_opentelemetry
from woolexec.observe.metric_table import TABLE, join
from woolexec.observe.otel_metrics import Instruments


def collected(reader):
    """Each data point that a reader of OpenTelemetry collects, by name and attributes."""
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "woolexec"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[(metric.name, *(point.attributes or {}).values())] = point.value
    return found


def test_opentelemetry_collects_the_same_as_prometheus(shared_pools):
    pool, registry = shared(2).__enter__(), CollectorRegistry()
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    register(pool, registry)
    register_with_opentelemetry(pool, provider)
    register_with_opentelemetry(pool.with_options(timeout=60), provider)
    list(pool.map(pow, range(1000), range(1000)))
    assert isinstance(pool.submit(fail).exception(PATIENCE), ValueError)

    found = collected(reader)

    ours = {(name[0].removesuffix("_total"), *name[1:]): value for name, value in scraped(registry).items()}
    changing = {"woolexec_engine_stall_seconds_max", "woolexec_worker_memory_bytes", "woolexec_build_info"}
    assert {name[0] for name in found} == {name[0] for name in ours}
    assert {name: each for name, each in found.items() if name[0] not in changing} == {
        name: each for name, each in ours.items() if name[0] not in changing
    }
    assert found["woolexec_tasks_finished", "failed"] >= 1
    provider.shutdown()


BEFORE_AND_AFTER = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.observe.test_otel_metrics import collected
from woolexec import PeerPoolExecutor
from woolexec.metrics import register_with_opentelemetry

with PeerPoolExecutor(1) as first, PeerPoolExecutor(1) as second:
    register_with_opentelemetry(first)
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    register_with_opentelemetry(second)
    register_with_opentelemetry(first, provider)
    list(first.map(abs, range(40)))
    second.submit(abs, 1).result()
    second.submit(abs, 2).result()
    print(collected(reader)["woolexec_tasks_finished", "returned"])
"""


def test_pools_that_were_registered_before_and_after_a_provider_was_set_are_shown_together():
    assert float(subprocess.check_output([sys.executable, "-c", BEFORE_AND_AFTER], text=True)) == 42


def test_one_collection_asks_once():
    asked = []
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    instruments = Instruments(provider, lambda: asked.append(1) or join(()), "1.0")
    instruments._last = (float("inf"), join(()))  # however long the collection takes
    assert {name[0].removesuffix("_bucket") for name in collected(reader)} >= {each.name for each in TABLE}
    assert asked == []
    instruments._last = (float("-inf"), {})
    next(iter(instruments._values(TABLE[0], None)))
    assert asked == [1]
    provider.shutdown()
