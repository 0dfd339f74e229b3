"""
The metrics of a peer: of the engines of all its clients, including those that have left, and of its links.

The counters of an engine that ends are taken over in the peer's thread, so none is lost and none decreases.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from woolexec.observe.metric_sources import EndedLinks
from woolexec.observe.metric_table import NOTHING, join, lasting, read
from woolexec.statistics import ValueStatistics

if TYPE_CHECKING:
    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.server.peer import Peer
    from woolexec.observe.metric_table import Readings
    from woolexec.statistics import Statistics


class PeerSource:
    """The metrics of a peer; its thread uses all of this except `read` and `_stall`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._links: WeakKeyDictionary[Hosted, EndedLinks] = WeakKeyDictionary()
        self._ended = join(())
        self._stall = 0.0
        peer.engine.on_engine_end = self._engine_ended

    def read(self) -> Readings:
        """Return the metrics; called in any thread."""
        since = monotonic()
        ended, found = self._peer.engine.loop.ask(self._look, (join(()), []))
        self._stall = max(self._stall, monotonic() - since)
        own = replace(NOTHING, stall=self._stall)
        return join((ended, *(read(each.with_usage()) for each in (own, *found))))

    def _look(self) -> tuple[Readings, list[Statistics]]:
        acceptor = self._peer._acceptor
        values = ValueStatistics(bytes=acceptor.places.stays.size)
        links = replace(NOTHING, peers=(acceptor.traffic.statistics(),), values=values)
        return self._ended, [links, *map(self._statistics_of, self._peer.engine.engines)]

    def _statistics_of(self, engine: Hosted) -> Statistics:
        return self._links.setdefault(engine, EndedLinks()).added_to(engine.statistics())

    def _engine_ended(self, engine: Hosted) -> None:
        self._ended = join((self._ended, lasting(read(self._statistics_of(engine)))))
