"""
Metrics of pools for Prometheus: `register` a pool.

This needs prometheus-client: ``pip install 'woolexec[metrics]'``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from woolexec import PeerPoolExecutor, __version__
from woolexec.observe.metric_sources import Sources

try:
    from prometheus_client import REGISTRY

    from woolexec.observe.prometheus import Exposition
except ModuleNotFoundError as exc:
    raise ImportError(f"woolexec.metrics needs the package {exc.name}: pip install 'woolexec[metrics]'") from exc

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["register"]

_lock = threading.Lock()  # guards the dictionary: a registry refuses a second collector with the same names
_sources: WeakKeyDictionary[CollectorRegistry, Sources] = WeakKeyDictionary()


def register(pool: PeerPoolExecutor, registry: CollectorRegistry = REGISTRY) -> None:
    """
    Show the metrics of a pool to those who scrape a registry of prometheus-client.

    Several pools of one registry are shown together, as sums.  A pool that has ended, or that the program has dropped,
    leaves by itself; what it has done stays counted.  A pool that was registered before is not counted twice.

    :param registry: the default one of prometheus-client, if it is not given
    :raises TypeError: if it is not a pool
    :raises ValueError: if the registry has a metric with one of the names already
    """
    found = getattr(pool, "_pool", pool)  # that of a view
    if not isinstance(found, PeerPoolExecutor):
        raise TypeError(f"only a PeerPoolExecutor can be registered, not {type(pool).__name__}")
    with _lock:
        sources = _sources.get(registry)
        if sources is None:
            sources = Sources()
            registry.register(Exposition(sources.read, __version__))
            _sources[registry] = sources
    sources.add(found)
