"""
The sources of metrics: open pools and pools that have ended; no counter ever decreases.

A pool that has ended has no workers and no waiting tasks, but its counters are kept.  The counters of links that have
ended are kept as they were when they were last read.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from woolexec.observe.metric_table import join, lasting, read
from woolexec.platform.posix import at_fork
from woolexec.statistics import PeerStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.observe.metric_table import Readings
    from woolexec.statistics import Statistics

_COUNTED = ("refused", "bytes_sent", "bytes_received")


class EndedLinks:
    """The counts of links of one pool that have ended or were replaced."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], list[int]] = {}
        self._ended = [0] * len(_COUNTED)

    def added_to(self, found: Statistics) -> Statistics:
        """Return statistics with one more peer, which represents the links that have ended."""
        now: dict[tuple[str, str], list[int]] = {}
        for each in found.peers:
            counts = now.setdefault((each.address, each.name), [0] * len(_COUNTED))
            counts[:] = [count + getattr(each, name) for count, name in zip(counts, _COUNTED, strict=True)]
        for link, last in self._last.items():
            new = now.get(link, [-1] * len(_COUNTED))
            for at, count in enumerate(last):
                if new[at] < count:
                    self._ended[at] += count
        self._last = now
        refused, sent, received = self._ended
        ended = PeerStatistics("", "", "", refused=refused, bytes_sent=sent, bytes_received=received)
        return replace(found, peers=(*found.peers, ended))


class PoolSource:
    """A pool, by a weak reference; its engine is referenced until its final statistics have been read."""

    def __init__(self, pool: Any) -> None:
        self._pool = weakref.ref(pool)
        self._engine = pool._engine
        self._links = EndedLinks()

    @property
    def has_ended(self) -> bool:
        """Whether the pool has ended."""
        return bool(self._engine.stopped)

    @property
    def is_here(self) -> bool:
        """Whether it is a pool of this process, and not the copy of one in a forked child."""
        return not self._engine.forked

    def read(self) -> Readings:
        """Return the pool's metrics."""
        pool = self._pool()
        found = (self._engine if pool is None else pool).statistics()
        return read(self._links.added_to(found))


class Sources:
    """The pools whose metrics are shown together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the other attributes, because several threads may read
        self._pools: list[PoolSource] = []
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._ended = join(())
        _all.add(self)

    def forget(self) -> None:
        """In a forked child: drop the parent's pools; a thread that does not exist here may have held the lock."""
        self._lock = threading.Lock()  # guards the other attributes, as before
        self._pools, self._ended = [], join(())

    def add(self, pool: Any) -> None:
        """Add a pool; do nothing if it was added before."""
        with self._lock:
            if pool not in self._known:
                self._known.add(pool)
                self._pools.append(PoolSource(pool))
            self._drop_ended()

    def read(self) -> Readings:
        """Return the metrics of all pools."""
        with self._lock:
            self._drop_ended()
            return join((self._ended, *(each.read() for each in self._pools if each.is_here)))

    def _drop_ended(self) -> None:
        """Keep only the counts of pools that have ended."""
        here: Sequence[PoolSource] = [each for each in self._pools if each.is_here]
        for each in here:
            if each.has_ended:
                self._pools.remove(each)
                self._ended = join((self._ended, lasting(each.read())))


_all: weakref.WeakSet[Sources] = weakref.WeakSet()


def _forget() -> None:
    for each in list(_all):
        each.forget()


at_fork(after_in_child=_forget)
