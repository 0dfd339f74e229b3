"""Counts the traffic over the open and the ended links of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.statistics import PeerStatistics

if TYPE_CHECKING:
    from collections.abc import Collection

    from woolexec.mesh.server.session import Served


class Traffic:
    """
    The totals of all links; in the peer's thread.

    :param served: the links that are open
    """

    def __init__(self, served: Collection[Served]) -> None:
        self._served = served
        self._ended = 0, 0, 0

    def ended(self, link: Served) -> None:
        """Note that a link is no longer open."""
        self._ended = _sum(self._ended, _of(link))

    def statistics(self) -> PeerStatistics:
        """Return the numbers of refusals, and of bytes sent and received."""
        total = self._ended
        for each in self._served:
            total = _sum(total, _of(each))
        refused, sent, received = total
        return PeerStatistics("", "", "", refused=refused, bytes_sent=sent, bytes_received=received)


def _of(link: Served) -> tuple[int, int, int]:
    return link.refusals.count, link.outbox.written, link._arriving.received


def _sum(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
