"""
The scheduler: which calls go to which places, which are recalled, and what happens to the calls of a lost place.

It is pure: it has no sockets, threads or clock.  The engine reports events (`joined`, `raised`, `refused`, ...), then
lets it act (`feed`, `balance`); `Actions` carries out its decisions.  All rules on which I1-I7 of the fault list depend
are in this package, and ``tests/core/test_simulation.py`` runs these classes against thousands of seeded histories.

::

    calls, chunks --> ReadyQueue --+-- feeding.assign --> main threads of workers --+
                          ^        |-- feeding.spread --> lanes of workers, peers   |--> outcome, or retry, or failure
                          |        `-- Offering.place --> workers of peers ---------+
                          |                                      |
                          `------- Group.recall, Balance --------'
"""

from __future__ import annotations

import itertools
from functools import cached_property, partial
from time import monotonic

from woolexec.core import feeding
from woolexec.core.away import Away
from woolexec.core.balance import Balance
from woolexec.core.call import Call, Chunk, fail
from woolexec.core.group import Group
from woolexec.core.held import Held
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.place import USED_UP
from woolexec.core.ready_queue import requirement_of
from woolexec.core.retry import LOST, retries_left
from woolexec.core.tallies import Tallies
from woolexec.core.unmet import Unmet
from woolexec.core.workforce import Workforce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.actors import Actors
    from woolexec.core.offering import Offering
    from woolexec.core.place import Place
    from woolexec.core.policies import Placement
    from woolexec.core.seats import Share
    from woolexec.resources import Requirement


class Scheduler:
    """
    Makes the decisions for all places.

    :param limit: maximum number of local workers
    :param offer: what calls may require of the local workers
    :param policy: chooses among peers
    :param clock: returns monotonic seconds
    :param share: the seats of the local workers, if these are shared with other clients; `limit` is then 0
    """

    actors: Actors | None = None
    """Created with the first actor."""

    on_waiting: Callable[[], object] | None = None
    """Called once, when something waits that no place can take."""

    def __init__(
        self,
        actions: Actions,
        limit: int,
        *,
        offer: Offer = NOTHING,
        policy: Placement | None = None,
        clock: Callable[[], float] = monotonic,
        share: Share | None = None,
    ) -> None:
        number = itertools.count(1).__next__
        self.main = Group(number)
        self.lanes = Group(number, self.main.queue)  # for calls outside main threads
        self.main.queue.held = self.held = Held(self.main.queue, partial(self.add, is_offered=True))
        self.workforce = Workforce(limit)
        self.workers = self.workforce.workers
        self.all_workers: dict[int, Any] = {}  # including those of actors, which are sent no other calls
        self.links: list[Any] = []
        self.balancing = Balance(self.main, self.workforce, self.links, actions, clock)
        queues = (self.main.queue, self.lanes.queue)
        self.away = Away(queues, self.held, partial(_is_met_here_only, self))
        self.unmet = Unmet(queues, offer, self.workforce, self.links, actions.after)
        self._policy = policy
        self._clock = clock
        self.tallies = Tallies(clock)
        self.main.queue.on_cancel = self.tallies.cancelled
        self.main.queue.awaited = partial(_awaited, self)
        self.offer = offer
        self._actions = actions
        self.workforce.share = self._share = share
        if share is not None:
            share.bind(self, actions.dismiss)

    @cached_property
    def offering(self) -> Offering:
        """Offers calls to peers; created on first use, so that pools start faster."""
        from woolexec.core.offering import Offering
        from woolexec.core.policies import IdleFirst

        return Offering(self.main, self._policy or IdleFirst(), self._actions, self._clock)

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def places(self) -> list[Any]:
        """All places where calls may be outstanding: workers, peers, and the lanes of both; from any thread."""
        targets = [*tuple(self.all_workers.values()), *tuple(self.links)]
        return [*targets, *(target.lane_place for target in targets)]

    @property
    def has_waiting(self) -> bool:
        """Whether something is queued, or waits for values."""
        if self.actors is not None and self.actors.has_waiting:
            return True
        return self.main.queue.head() is not None or self.lanes.queue.head() is not None or bool(self.held)

    def take_waiting(self) -> list[Call | Chunk]:
        """Remove and return everything that is queued or waits for values."""
        lives = [] if self.actors is None else self.actors.queue.clear()
        return self.main.queue.clear() + self.lanes.queue.clear() + self.held.clear() + lives

    def group_of(self, call: Call | Chunk) -> Group:
        """Return the group whose places run a call or the items of a chunk."""
        return self.lanes if call.function.lane else self.main

    def outstanding(self, number: int) -> Call | None:
        """Return the call with this number, if it is outstanding."""
        return next((place.outstanding[number] for place in self.places if number in place.outstanding), None)

    def can_accept(self) -> bool:
        """Return whether a submitting thread must wake the engine: a new call could be sent at once, or is awaited."""
        for worker in self.workers.values():  # this runs in every round, and a generator costs more than the loop
            if not worker.outstanding:
                return True
        for link in self.links:
            if link.can_accept:
                return True
        return self.workforce.may_grow or self.on_waiting is not None

    # -- what to do ---------------------------------------------------------------------------------------------

    def add(self, entry: Call | Chunk, *, is_offered: bool = False) -> None:
        """
        Queue a call or a chunk.

        :param is_offered: it is a chunk, or a call that is already claimable
        """
        if isinstance(entry, Call) and not is_offered:
            self.main.queue.offer(entry)
        if entry.line is None or may_queue(self, entry):
            self.group_of(entry).queue.add(entry)

    def feed(self) -> None:
        """Send each place the calls that it can take, idle workers first; start workers if more calls wait."""
        if self.main.queue.head() is not None:
            self._feed_main()
        if self.lanes.queue.head() is not None:
            self._feed_lanes()
        if self.actors is not None:
            self.actors.feed()
        if self.on_waiting is not None and has_unplaced(self):
            self.on_waiting()
            self.on_waiting = None
        if self.offer.is_divided:
            for worker in self.offer.make_way(self.workforce, self.unmet.queues, self._actions, self._clock()):
                self._actions.revoke_permit(worker)
                retire(self, worker)
        if self._share is not None and self._share.has_pinned:
            self._share.want()

    def heard(self, worker: Any) -> None:
        """Send a worker the calls that it can take, after its frames were handled."""
        if worker.actor is not None:
            self.actors.heard(worker)  # type: ignore[union-attr]  # there are actors
            return
        if worker.pinned or self.main.queue.head() is not None:
            self._feed_worker(worker)
        if worker.lane_place.pinned:
            self._actions.send(worker.lane_place, feeding.assign(self.lanes, worker.lane_place))

    def _feed_worker(self, worker: Any) -> None:
        self._actions.send(worker, feeding.assign(self.main, worker))

    def _feed_main(self) -> None:
        queue, offer, workforce = self.main.queue, self.offer, self.workforce
        if self.links and queue.has_lines:
            self.offering.feed(self.links, near=True)
        for worker in self.workers.values():
            if not worker.outstanding:
                if worker.has_permit:
                    self._actions.revoke_permit(worker)
                self._feed_worker(worker)
        for worker in self.workers.values():
            if queue.head() is None:
                return
            self._feed_worker(worker)
        if self.links:
            self.offering.feed(self.links)
        while (entry := offer.next_for(queue)) is not None and (workforce.may_grow or workforce.want()):
            if not workforce.may_grow:
                continue  # a parked worker got the seat
            wanted = requirement_of(entry)
            idle = sum(1 for each in self.workers.values() if not each.outstanding and each.ready and each.has(wanted))
            if idle >= len(queue) and idle:
                return
            started = offer.start(self._actions, wanted)
            if started is None:
                return
            self._feed_worker(started)

    def _feed_lanes(self) -> None:
        """Send coroutines and streams to the workers that run the fewest; start workers while each one runs some."""
        queue, offer = self.lanes.queue, self.offer
        outliers = self.offering.outliers if self.links else None

        def send_all() -> None:
            for place, calls in feeding.spread(self.lanes, outliers):
                self._actions.send(place, calls)

        while (entry := offer.next_for(queue)) is not None:
            wanted, lanes = requirement_of(entry), [worker.lane_place for worker in self.workers.values()]
            free = sum(1 for lane in lanes if not lane.outstanding and lane.ready and lane.has(wanted))
            if free >= len(queue) or not self.workforce.may_grow_for_lanes:
                break
            if offer.start(self._actions, wanted) is None:
                break
            if offer.is_divided:  # one for each kind of call
                send_all()
        send_all()

    def balance(self) -> None:
        """Grant permits for idle workers; move work to them that waits behind running calls elsewhere."""
        chosen = self.balancing.choose()
        if chosen is not None:
            place, first = chosen
            self.recall(place, since=first)
            if place.candidate is None:
                self.feed()
        if self._share is not None:
            self._share.check()
        if len(self.workers) > self.workforce.limit:
            for worker in self.workforce.surplus():
                self._actions.revoke_permit(worker)
                if not worker.is_busy:
                    self._actions.dismiss(worker)

    def recall(self, place: Place, since: int = 0, waiting: int = 0) -> None:
        """Recall the calls that a place has not started, from call `since` on (default: all), and send the mark."""
        group = self.lanes if place.is_lane else self.main
        self._actions.send_recall(place, group.recall(place, since), waiting)

    def fail_waiting(self, error: BaseException) -> None:
        """Fail everything that is queued."""
        for entry in self.take_waiting():
            fail(entry, error)

    # -- what happened ------------------------------------------------------------------------------------------

    def joined(self, worker: Any) -> None:
        """Add a new worker."""
        self.workers[worker.id] = self.all_workers[worker.id] = worker
        worker.offer = worker.lane_place.offer = self.offer.of(worker)
        self.main.join(worker)
        self.lanes.join(worker.lane_place)
        if self._share is not None:
            self._share.joined(worker)

    def linked(self, link: Any) -> None:
        """Add a link, so that calls are placed there too."""
        self.unmet.forget()
        self.links.append(link)
        self.main.join(link)
        self.lanes.join(link.lane_place)
        self.offering.join()

    def left(self, target: Any) -> list[Call]:
        """Remove a worker or a link that is gone; return the calls that it may have started and had not finished."""
        if target.candidate is None:
            del self.all_workers[target.id]
            self.offer.left(target)
            if target.actor is not None:
                return self.actors.left(target)  # type: ignore[union-attr]  # there are actors
            del self.workers[target.id]
            self.workforce.ending.discard(target)
            self.workforce.parked.pop(target, None)
        else:
            self.links.remove(target)
            self.unmet.check()  # it may have been the only one that meets the requirements of calls
        lost = self.main.leave(target, target.last_started)
        lost += self.lanes.leave(target.lane_place, target.lane_place.last_started)
        if self._share is not None and target.candidate is None:
            self._share.left(target)
        return lost

    def settle(
        self, calls: Iterable[Call], error_of: Callable[[Call], BaseException], types: Sequence[str] = (LOST,)
    ) -> None:
        """
        Retry calls that ended without an outcome, if their options allow it; fail the others.

        :param types: names of the error's classes, as ``module:qualname``
        """
        for call in calls:
            is_retried = self.may_retry(call, types)
            self.tallies.unfinished(call, types, is_retried=is_retried)
            if is_retried:
                self.group_of(call).retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, error_of(call))

    def raised(self, place: Place, call: Call, types: Sequence[str]) -> bool:
        """Queue a call again that raised an exception, if its options allow it; return whether they do."""
        if not self.may_retry(call, types):
            return False
        self.tallies.unfinished(call, is_retried=True)
        self.group_of(call).again(place, call)
        return True

    def may_retry(self, call: Call, types: Sequence[str]) -> bool:
        """Return whether a call that ended with an error of these classes may be started again."""
        return retries_left(call.options, call.attempts, types) and is_wanted(call)

    def waits(self, worker: Any, number: int, serial: int) -> None:
        """Note that a call waits for nested tasks; recall the calls behind it, so that its place can run those."""
        self.main.wait(worker, number)
        if worker.recalling or worker.unstarted(worker.page.started):
            self.recall(worker, waiting=serial)
        else:
            self._actions.send_recall(worker, 0, serial)

    def refused(self, link: Any, numbers: Sequence[int], *, is_full: bool = True) -> None:
        """Queue again the calls that a peer refused, because no place is free there or because it cannot run any."""
        if self.actors is not None and not (numbers := self.actors.refused(link, numbers)):
            return
        self.offering.refuse(link, numbers, is_full=is_full)
        self.lanes.withdraw(link.lane_place, sorted(numbers, reverse=True))


def retire(scheduler: Scheduler, worker: Any) -> None:
    """Let a worker without a permit leave after the calls that it has begun; it still runs their nested tasks."""
    for place in (worker, worker.lane_place):
        if place.unstarted(place.page.started):
            scheduler.recall(place)
    worker.remaining = USED_UP


def may_queue(scheduler: Scheduler, entry: Call | Chunk) -> bool:
    """Return whether to queue an entry with a line; if not, it has failed, or waits elsewhere."""
    actor: Any = entry.line.actor if entry.line is not None else None
    if actor is not None:
        actor.add(entry)
        return False
    if not scheduler.away.may_queue(entry):
        return False
    if entry.line is not None and entry.line.requirement is not None:
        scheduler.unmet.check()
    return True


def has_unplaced(scheduler: Scheduler) -> bool:
    """Return whether calls wait, or actors that must be created."""
    actors = scheduler.actors
    return scheduler.has_waiting or (actors is not None and actors.queue.head() is not None)


def _awaited(scheduler: Scheduler, number: int) -> Iterable[int]:
    return (number,) if scheduler.actors is None else scheduler.actors.awaited(number)


def _is_met_here_only(scheduler: Scheduler, requirement: Requirement | None) -> bool:
    """Return whether workers here, and no peers, can run calls with this requirement."""
    if requirement is None or not scheduler.workforce.full or not scheduler.offer.meets(requirement):
        return False
    return not any(link.offer.meets(requirement) for link in scheduler.links)


def fail_outstanding(target: Any, error: BaseException) -> None:
    """Fail everything that was sent to a worker or to a peer."""
    for place in (target, target.lane_place):
        for call in list(place.outstanding.values()):
            place.gone(call.number, len(call.payload))
            call.move("fail")
            call.receiver.deliver_failure(call, error)


def is_wanted(call: Call) -> bool:
    """Return whether the outcome is still wanted."""
    return bool(getattr(call.receiver, "is_wanted", True))
