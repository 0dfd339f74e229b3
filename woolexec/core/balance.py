"""
Which place gives back unstarted calls, because they could run sooner elsewhere.

A worker gives them back at once: its shared page says which calls it has started.  A peer must be asked, and answers
with a delay, so it is asked only if its calls would wait longer than that:

1. A call that runs for much longer than expected counts as a long one from then on, and takes a whole worker.
2. If all workers of a peer run long calls, the calls that wait there are recalled if a place is free elsewhere, or if
   they would start sooner in the queue here.  They are not sent there again: no place is free there.
3. If some workers do not, and places are free elsewhere, the last sent calls are recalled, as many as leave both sides
   with the same amount of work for each worker.
"""

from __future__ import annotations

from math import inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.call import Call
    from woolexec.core.group import Group
    from woolexec.core.place import Place
    from woolexec.core.remote_place import RemotePlace
    from woolexec.core.workforce import Workforce

STEAL = 0.0005
"""Work that waits behind a running call is recalled for an idle place if it is expected to last longer than this, in
seconds, or if the running call has run longer than expected."""

REST = 0.002
"""While work waits behind a running call and a worker is idle, the engine checks this often (seconds) whether to move
it."""

STUCK = 0.1
"""While no worker is idle, calls behind a running call are recalled when that has run for longer than this, in seconds,
and for twice as long as expected.  With 0.02 s, briefly paused workers on a busy machine would give back calls, which
costs 8 % of the processor time of tiny tasks; with this value it costs nothing."""

FAR_STEAL = 0.005
"""`STEAL` for work that would go to a peer."""

FAR_REST = 0.02
"""Minimum seconds between two requests to a peer to give back unstarted calls, so that they run elsewhere; a call that
is moved to or from a peer would wait for at least as long.  A peer that takes longer to answer is asked less often."""

FAR_FACTOR = 4
"""Each time that a peer is asked to give a call back, the call must have waited this many times longer than the last
time, so this happens only a few times."""

FAR_TIMES = 2
"""How often a call is recalled while all workers of the peer run long calls and a place is free elsewhere, without
having waited longer than the last time."""

FAR_RATE = 50e6
"""Assumed minimum bytes per second over a link: recalled calls have to be sent again."""


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
        self._armed_for = inf  # when the balance is checked again
        self._due = 0.0  # when peers that run only long calls are next checked for calls that would start sooner here
        self._overdue_at = 0.0  # when local calls are next checked for overlong ones

    def choose(self) -> tuple[Place, int] | None:
        """
        Choose the place that should give back calls, if any should.  Idle workers get permits.

        :return: the place, and the number of the first call to take back; 0: all that it has not started
        """
        idle = 0
        prefetched = False
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.idle and not worker.pinned and not worker.offer.refuses:
                    idle += 1
                    if self.grants_permits and worker.remaining is None and not worker.has_permit:
                        self._actions.grant_permit(worker, self._group.number())
            elif len(worker.outstanding) > 1 and not worker.recalling:
                prefetched = True
            if worker.waiting and not worker.above and not worker.recalling:
                idle += self._has_children_elsewhere(worker.waiting[-1])
        free, is_far = 0, False
        for link in self._links:  # in every round of the engine, and mostly one: a generator would cost more
            is_far = is_far or bool(link.asked_at or link.short) or len(link.outstanding) > len(link.begun)
        if self._links and (is_far or prefetched):
            free = sum(link.free for link in self._links)
            if is_far and (chosen := self._far_victim(idle + free + self._workforce.could_grow)) is not None:
                return chosen
        if not prefetched:
            return None
        if not (idle or free or self._workforce.could_grow):
            return self._overdue()
        is_near = bool(idle or self._workforce.could_grow)
        victim = self.victim() if is_near else self.victim(FAR_STEAL, FAR_REST)
        if victim is None:
            self._check_after(REST if is_near else FAR_REST)
            return None
        return victim, 0

    def _overdue(self) -> tuple[Place, int] | None:
        """Choose a worker whose call runs much longer than expected; its waiting calls go to the next free place."""
        now = self._clock()
        self._check_after(STUCK / 2)
        if now < self._overdue_at:
            return None
        self._overdue_at = now + STUCK / 2
        for worker in self._workers.values():
            if worker.recalling or worker.waiting or len(worker.outstanding) < 2:
                continue
            call = worker.current
            if call is not None and now - worker.page.since > max(STUCK, 2 * call.cost):
                return worker, 0
        return None

    def victim(self, steal: float = STEAL, rest: float = REST) -> Place | None:
        """
        Choose the worker with the most work that it has not started; None if none has enough.

        :param steal: minimum expected run time of that work
        :param rest: minimum run time of a call that has run for longer than expected
        """
        best, most = None, steal
        for place in self._group.places:
            if place.recalling or len(place.outstanding) < 2 or place.waiting or place.candidate is not None:
                continue
            waiting: list[Call] = place.unstarted(place.page.started)
            if not waiting:
                continue
            if self._clock() - place.page.since > max(rest, 2 * place.load):
                return place
            cost = sum(call.cost for call in waiting)
            if cost > most:
                best, most = place, cost
        return best

    def _far_victim(self, free: int) -> tuple[RemotePlace, int] | None:
        """Choose a peer that should give back calls; `free` is the total number of free places."""
        now = self._clock()
        is_due = now >= self._due
        if is_due:
            self._due = now + FAR_REST
        for link in self._links:
            if link.asked_at and not link.recalling:
                link.answers_in, link.answered_at, link.asked_at = now - link.asked_at, now, 0.0
            if link.short:
                link.note_overdue(now, FAR_REST)
                self._check_after(FAR_REST)
        for link in self._links:
            if link.recalling or not link.ready or len(link.outstanding) <= len(link.begun):
                continue
            elsewhere = free - link.free
            if not elsewhere and link.soon_free:
                continue
            first = self._first_to_move(link, elsewhere, now) if elsewhere or is_due else 0
            if first:
                link.asked_at = now
                return link, first
            self._check_after(FAR_REST)
        return None

    def _first_to_move(self, link: RemotePlace, free: int, now: float) -> int:
        """
        Return the number of the first call that a peer should give back; 0 if it should give back none now.

        :param free: the number of places that are free elsewhere
        """
        patience, soon_free = max(FAR_REST, 2 * link.answers_in), link.soon_free
        if now - link.answered_at < patience:
            return 0
        calls = [call for call in link.unbegun if self._could_run_elsewhere(link, call)]
        waiting = calls[max(0, link.width - len(link.begun)) :]
        quiet = now - max(link.page.since, link.sent_at)
        if soon_free and calls and quiet > patience + 2 * calls[0].cost:
            wait, waiting = quiet, calls  # other clients' calls take its places, or it has stopped
        elif soon_free:
            work = sum(call.cost for call in waiting)
            wait, kept = work / soon_free, work * soon_free / (soon_free + free)
            while waiting and kept > 0.0:
                kept -= waiting.pop(0).cost
        else:
            wait = _least_wait(link, now) - (0.0 if free else self._wait_at_home(link))
        if not waiting:
            return 0
        recalls = max(call.recalls for call in waiting)
        patience *= FAR_FACTOR ** (min(recalls, FAR_TIMES) if free and not soon_free else recalls)
        size = sum(len(call.payload) for call in waiting)
        return waiting[0].number if wait > patience + size / FAR_RATE else 0

    def _wait_at_home(self, link: RemotePlace) -> float:
        """Return the seconds for which the queued calls will keep the other places busy, as far as is known."""
        soon_free = len(self._workers) + sum(each.soon_free for each in self._links if each is not link and each.ready)
        head = self._group.queue.head()
        if not soon_free:
            return inf
        return 0.0 if head is None else len(self._group.queue) * (head.function.seconds or inf) / soon_free

    def _could_run_elsewhere(self, link: RemotePlace, call: Call) -> bool:
        """Return whether there is another place that could ever run a call that is outstanding at a peer."""
        if call.pin:
            return False
        requirement = None if call.line is None else call.line.requirement
        if self._workforce.could_grow and requirement is None:
            return True
        return any(place is not link and place.ready and place.offer.meets(requirement) for place in self._group.places)

    def _has_children_elsewhere(self, parent: int) -> bool:
        places: list[Any] = [*self._workers.values(), *self._links]
        ancestors = {call.ancestor for place in places for call in place.outstanding.values()}
        return not ancestors.isdisjoint(self._group.queue.awaited(parent))

    def _check_after(self, seconds: float) -> None:
        """Schedule the next check of the balance, in the engine's round that begins after this time."""
        due = self._clock() + seconds
        if due < self._armed_for:
            self._armed_for = due
            self._actions.after(seconds, self._disarm)

    def _disarm(self) -> None:
        self._armed_for = inf


def _least_wait(link: RemotePlace, now: float) -> float:
    """
    Return the seconds for which all workers of a peer will continue with their calls, as far as is known.

    A call that has run for longer than expected will probably run for as long again.
    """

    def left(call: Call, ran: float) -> float:
        return max(ran, (call.function.seconds or 0.0) * (call.count or 1) - ran)

    return min(left(link.outstanding[number], now - since) for number, since in link.begun.items())
