"""The metrics as instruments of OpenTelemetry, with the names of the table; pools are read when it collects them."""

from __future__ import annotations

import platform
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.observe.metric_table import BOUNDS, BUILD, BUILD_HELP, TABLE, Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from woolexec.observe.metric_table import Metric, Readings

_FRESH = 0.1
"""Seconds for which statistics are reused: each instrument of one collection reads them separately."""


class Instruments:
    """
    The instruments that a meter provider collects.

    OpenTelemetry has no observable histogram.  So each histogram is three counters, named as in Prometheus: its
    buckets, with their upper bounds in the attribute ``le``, the number of durations, and their sum.

    :param readings: returns the metrics
    :param version: the version of woolexec
    """

    def __init__(self, provider: MeterProvider, readings: Callable[[], Readings], version: str) -> None:
        from opentelemetry.metrics import Observation

        self._readings, self._observation = readings, Observation
        self._last: tuple[float, Readings] = (-_FRESH, {})
        self._build = {"version": version, "python": platform.python_version()}
        meter = provider.get_meter("woolexec", version)
        for each in TABLE:
            unit = "s" if "_seconds" in each.name else "By" if each.name.endswith("_bytes") else "1"
            if each.kind == "histogram":
                for part, of in (("bucket", "1"), ("count", "1"), ("sum", unit)):
                    asked = [partial(self._histogram, each.name, part)]
                    meter.create_observable_counter(f"{each.name}_{part}", asked, of, each.help)
                continue
            make = meter.create_observable_gauge if each.kind == "gauge" else meter.create_observable_counter
            make(each.name, [partial(self._values, each)], unit, each.help)
        meter.create_observable_gauge(BUILD, [lambda _: [Observation(1, self._build)]], "1", BUILD_HELP)

    def _read(self) -> Readings:
        at, found = self._last  # if another reader collects at the same time, both read the pools
        if monotonic() - at >= _FRESH:
            found = self._readings()
            self._last = monotonic(), found
        return found

    def _values(self, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
        values = self._read()[metric.name]
        assert not isinstance(values, Buckets)
        for label, value in values.items():
            yield self._observation(value, {metric.label: label} if metric.label else None)

    def _histogram(self, name: str, part: str, _: CallbackOptions) -> Iterator[Observation]:
        found = self._read()[name]
        assert isinstance(found, Buckets)
        if part == "bucket":
            for bound, count in zip((*map(repr, BOUNDS), "+Inf"), found.counts, strict=True):
                yield self._observation(count, {"le": bound})
        else:
            yield self._observation(found.total if part == "sum" else found.counts[-1])
