"""
Which place gives back calls that it has not started, because another one is idle.

A worker gives them back at once: its shared page decides which it has started.  A peer is asked to, and answers with a
delay, so it is asked only if its calls would wait longer than that takes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.call import Call
    from woolexec.core.group import Group
    from woolexec.core.place import Place, RemotePlace
    from woolexec.core.workforce import Workforce

STEAL = 0.0005
"""Work that waits behind a running call is taken back for an idle place if it is expected to last longer than this, in
seconds, or if the running call has run longer than expected."""

REST = 0.002
"""While work waits behind a running call and a worker is idle, the engine checks this often (seconds) whether to move
it."""

FAR_REST = 0.02
"""Minimum seconds between two requests to a peer to give back unstarted calls, so that they run elsewhere."""


class Balance:
    """
    Compares the places of one group.

    :param group: the workers' main threads, and peers
    :param workforce: the local workers among them
    :param links: the peers among them
    :param clock: returns monotonic seconds
    """

    def __init__(
        self,
        group: Group,
        workforce: Workforce,
        links: list[Any],
        actions: Actions,
        clock: Callable[[], float],
    ) -> None:
        self.grants_permits = False
        self._group = group
        self._workforce = workforce
        self._workers = workforce.workers
        self._links = links
        self._actions = actions
        self._clock = clock
        self._is_armed = False

    def choose(self) -> Place | None:
        """Choose the place that should give back its unstarted calls, if any should.  Idle workers get permits."""
        idle = prefetched = False
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.idle and not worker.pinned and not worker.offer.refuses:
                    idle = True
                    if self.grants_permits and worker.remaining is None and not worker.has_permit:
                        self._actions.grant_permit(worker, self._group.number())
            elif len(worker.outstanding) > 1 and not worker.recalling:
                prefetched = True
            if worker.waiting and not worker.above and not worker.recalling:
                idle = idle or self._has_children_elsewhere(worker.waiting[-1])
        if self._links:
            busy = [link for link in self._links if link.outstanding]
            idle = idle or any(link.can_accept for link in self._links if not link.outstanding)
            if idle and busy and (link := self._stuck(busy)) is not None:
                return link
        if not prefetched or not (idle or self._workforce.could_grow):
            return None
        victim = self.victim()
        if victim is None:
            self._check_after(REST)
        return victim

    def victim(self) -> Place | None:
        """Choose the worker with the most work that it has not started; None if none has enough."""
        best, most = None, STEAL
        for place in self._group.places:
            if place.recalling or len(place.outstanding) < 2 or place.waiting or place.candidate is not None:
                continue
            waiting: list[Call] = place.unstarted(place.page.started)
            if not waiting:
                continue
            if self._clock() - place.page.since > max(REST, 2 * place.load):
                return place
            cost = sum(call.cost for call in waiting)
            if cost > most:
                best, most = place, cost
        return best

    def _stuck(self, busy: list[RemotePlace]) -> RemotePlace | None:
        """Choose a peer whose calls wait long enough to be taken back; None if there is none now."""
        now = self._clock()
        for link in busy:
            if link.recalling or not link.ready or (waiting := link.unbegun) < 0.0:
                continue
            since = max(link.page.since, link.sent_at)
            is_stuck = waiting > FAR_REST * link.width or now - since > max(FAR_REST, 2 * link.load)
            if is_stuck and now - link.asked_back > FAR_REST:
                link.asked_back = now
                return link
            self._check_after(FAR_REST)
        return None

    def _has_children_elsewhere(self, parent: int) -> bool:
        places: list[Any] = [*self._workers.values(), *self._links]
        return any(call.ancestor == parent for place in places for call in place.outstanding.values())

    def _check_after(self, seconds: float) -> None:
        """Have the balance checked again after this time, in the round of the engine that begins then."""
        if not self._is_armed:
            self._is_armed = True
            self._actions.after(seconds, self._disarm)

    def _disarm(self) -> None:
        self._is_armed = False
