"""The metrics in the format of Prometheus, as a collector for a registry of prometheus-client."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from woolexec.observe.metric_table import BOUNDS, BUILD, BUILD_HELP, TABLE, Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric as Family

    from woolexec.observe.metric_table import Metric, Readings, Values

_KINDS: dict[str, type[CounterMetricFamily | GaugeMetricFamily]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}
_BOUNDS = [*map(repr, BOUNDS), "+Inf"]


class Exposition(Collector):
    """
    Adds the metrics to a registry.

    :param readings: returns the metrics
    :param version: the version of woolexec
    """

    def __init__(self, readings: Callable[[], Readings], version: str) -> None:
        self._readings = readings
        self._version = version

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without values; a registry uses this to refuse names that it already has."""
        for each in TABLE:
            yield _family(each, {})
        yield GaugeMetricFamily(BUILD, BUILD_HELP)

    def collect(self) -> Iterator[Family]:
        """Yield the metrics with their values."""
        readings = self._readings()
        for each in TABLE:
            yield _family(each, readings[each.name])
        versions = {"version": self._version, "python": platform.python_version()}
        build = GaugeMetricFamily(BUILD, BUILD_HELP, labels=list(versions))
        build.add_metric(list(versions.values()), 1.0)
        yield build


def _family(metric: Metric, values: Values | Buckets) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help)
        if isinstance(values, Buckets):
            histogram.add_metric([], list(zip(_BOUNDS, values.counts, strict=True)), values.total)
        return histogram
    assert not isinstance(values, Buckets)
    family = _KINDS[metric.kind](metric.name, metric.help, labels=[metric.label] if metric.label else [])
    for label, value in values.items():
        family.add_metric([label] if metric.label else [], value)
    return family
