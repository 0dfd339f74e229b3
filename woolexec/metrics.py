"""
Metrics of pools: `register` a pool with Prometheus, or use `register_with_opentelemetry`.

`register` needs prometheus-client: ``pip install 'woolexec[metrics]'``.  `register_with_opentelemetry` needs the API of
OpenTelemetry; without its SDK nothing is collected.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from woolexec import PeerPoolExecutor, __version__
from woolexec.observe.metric_sources import Sources
from woolexec.platform.posix import renewed_at_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

__all__ = ["register", "register_with_opentelemetry"]

_lock = renewed_at_fork(threading.Lock())  # guards the dictionary: a registry refuses a second collector of these names
_sources: WeakKeyDictionary[Any, Sources] = WeakKeyDictionary()


def register(pool: PeerPoolExecutor, registry: CollectorRegistry | None = None) -> None:
    """
    Add the metrics of a pool to a registry of prometheus-client.

    The metrics of several pools in one registry are added up.  A pool that has ended or was collected is removed
    automatically; its counts remain.  A pool that is registered twice is counted once.

    :param registry: None: the default one of prometheus-client
    :raises TypeError: if it is not a pool
    :raises ValueError: if the registry already has a metric with one of the names
    :raises ImportError: if prometheus-client is not installed
    """
    try:
        from prometheus_client import REGISTRY

        from woolexec.observe.prometheus import Exposition
    except ModuleNotFoundError as exc:
        raise ImportError(f"metrics need the package {exc.name}: pip install 'woolexec[metrics]'") from exc
    chosen = REGISTRY if registry is None else registry
    _add(pool, chosen, lambda sources: chosen.register(Exposition(sources.read, __version__)))


def register_with_opentelemetry(pool: PeerPoolExecutor, provider: MeterProvider | None = None) -> None:
    """
    Add the metrics of a pool to OpenTelemetry.

    They have the same names as for Prometheus, without the suffix ``_total``.  Several pools, and pools that have
    ended, are treated as in `register`.

    :param provider: the meter provider; None: the one set with `opentelemetry.metrics.set_meter_provider`
    :raises TypeError: if it is not a pool
    :raises ImportError: if the API of OpenTelemetry is not installed
    """
    try:
        from opentelemetry.metrics import get_meter_provider

        from woolexec.observe.otel_metrics import Instruments
    except ModuleNotFoundError as exc:
        raise ImportError(f"OpenTelemetry's metrics need {exc.name}: pip install opentelemetry-sdk") from exc
    current = get_meter_provider()
    chosen = current if provider is None else provider
    # Until the program sets a provider, the current one stands in for it, and passes on to it what was registered.
    where = get_meter_provider if chosen is current else chosen
    _add(pool, where, lambda sources: Instruments(chosen, sources.read, __version__))


def _add(pool: Any, where: Any, show: Callable[[Sources], object]) -> None:
    """Add a pool to the pools of one registry or provider; register them there if it is the first."""
    found = getattr(pool, "_pool", pool)  # that of a view
    if not isinstance(found, PeerPoolExecutor):
        raise TypeError(f"only a PeerPoolExecutor can be registered, not {type(pool).__name__}")
    with _lock:
        sources = _sources.get(where)
        if sources is None:
            sources = Sources()
            show(sources)
            _sources[where] = sources
    sources.add(found)
