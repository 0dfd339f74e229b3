"""
The actors of one engine: where they are made, which of their calls are sent, and when they end.

It is a pure part of the scheduler, created with the first actor.  Lives wait in a separate queue.  A worker that was
started for an actor belongs to none of the scheduler's groups, so it is sent only the calls of this actor.
"""

from __future__ import annotations

import weakref
from functools import partial

from woolexec.core import actor_feeding, feeding
from woolexec.core.actor import ALIVE, ENDED, STARTING, UNPLACED, Actor, new_group
from woolexec.core.call import LIFE, Call, fail
from woolexec.core.held import line_up
from woolexec.core.ready_queue import ReadyQueue
from woolexec.errors import ActorLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from woolexec.core.actions import Actions
    from woolexec.core.away import Away
    from woolexec.core.balance import Balance
    from woolexec.core.group import Group
    from woolexec.core.offer import Offer
    from woolexec.core.place import Place
    from woolexec.core.unmet import Unmet
    from woolexec.core.workforce import Workforce
    from woolexec.resources import Line

    class Scheduler(Protocol):
        """What actors need of the scheduler."""

        main: Group
        lanes: Group
        balancing: Balance
        workforce: Workforce
        unmet: Unmet
        away: Away
        offer: Offer
        links: list[Any]
        all_workers: dict[int, Any]

        def recall(self, place: Any) -> None:
            """Recall the calls that a place has not started."""


PAUSE = 1.0
"""Seconds in which a peer that has refused an actor is offered no other actor."""


FORKS = 8
"""Maximum number of workers started for actors at once, so that other workers do not wait behind a thousand."""


class Actors:
    """
    Decides about actors.

    :param error_of: returns the error for a call of an actor that has ended
    :param end_life: ends an actor that has no calls; its life then ends like a lost one
    """

    def __init__(
        self,
        scheduler: Scheduler,
        actions: Actions,
        error_of: Callable[[Actor, Call], Any],
        end_life: Callable[[Call], object],
    ) -> None:
        self.queue = ReadyQueue(scheduler.main.queue)  # lives that wait for a place
        self.all: dict[Actor, None] = {}  # actors that have not ended
        self.due: dict[Actor, None] = {}  # actors that the next round checks
        self.awaited = partial(actor_feeding.awaited, self.all)
        self.by_key: weakref.WeakValueDictionary[bytes, Actor] = weakref.WeakValueDictionary()
        """Actors that were pickled, by key; any thread may add one."""
        self.fault: BaseException | None = None
        """Why a worker could not be started for an actor, and will not be."""
        self.is_closing = False  # the engine is about to end: no actor is made again
        self.error_of = error_of
        self._scheduler, self._actions, self._end_life = scheduler, actions, end_life
        scheduler.unmet.queues.append(self.queue)
        scheduler.away.queues.append(self.queue)
        self._count: dict[Any, int] = {}  # number of actors at each link, and here (None)
        self._shut: set[Any] = set()  # links that have refused an actor
        self._forking: set[Any] = set()  # workers that have no process yet

    def new_group(self) -> Group:
        """Make a group for the calls of one actor."""
        return new_group(self._scheduler.main.number, self._scheduler.main.queue)

    # -- lives --------------------------------------------------------------------------------------------------

    def add(self, life: Call) -> None:
        """Queue a life that was offered."""
        actor: Actor = life.receiver
        if actor.state != UNPLACED:
            return
        self.all[actor] = None
        actor.life = life
        _queue(self, life)

    def queue_of(self, life: Call) -> ReadyQueue:
        """Return the queue of a life that was given back, so that it is placed again."""
        actor: Actor = life.receiver
        if actor.state == STARTING:
            actor.move("refuse")
            self._leave(actor)
        return self.queue

    def note_end(self, life: Call) -> None:
        """Do nothing: the receiver of a life is notified."""

    def make_again(self, actor: Actor) -> None:
        """Queue the next life of a lost actor."""
        assert actor.life is not None
        self._leave(actor)
        options = actor.life.options
        actor.life = actor.life.anew(actor)
        actor.life.options = options
        line_up(actor.life)
        self.queue.offer(actor.life)
        _queue(self, actor.life)

    def started(self, actor: Actor) -> None:
        """Note that an actor is alive, so that its calls are sent."""
        place: Any = actor.place
        if place is not None and place.candidate is None:
            actor.worker = place.target
        self.due[actor] = None

    def ended(self, actor: Actor) -> None:
        """Forget an actor; if it was not placed, its life is abandoned."""
        self.all.pop(actor, None)
        self.due.pop(actor, None)  # the last round may be over
        self._leave(actor)
        if actor.life is not None:
            self.queue.claim(actor.life)

    def _leave(self, actor: Actor) -> None:
        """Note that an actor is gone from its place."""
        actor.worker = None
        target, actor.target = actor.target, None
        if target is not None:
            where = None if target.candidate is None else target
            self._count[where] -= 1
            if not self._count[where]:
                del self._count[where]
            if where is None and not (target.stopping or target.is_dead):  # its constructor has raised
                self._actions.dismiss(target)

    def _place(self) -> None:
        """Place the lives that can be placed."""
        stuck: set[Any] = set()
        while isinstance(life := self.queue.head(None, stuck), Call):
            actor: Actor = life.receiver
            if actor.state != UNPLACED:  # a peer has given back what it had started
                if self.queue.take(life) and actor.state != ENDED:
                    fail(life, ActorLostError(f"the peer of the actor {actor.name} has given it back"))
                continue
            if actor.is_closed and not actor_feeding.is_busy(actor):
                actor.end()
                continue
            if life.line is not None and life.line.away and self._scheduler.away.is_to_settle(life):
                self._scheduler.away.look()  # a peer has given it back
                continue
            place = self._choose(life)
            fault, self.fault = self.fault, None
            if place is None and fault is not None:
                if self.queue.take(life):
                    fail(life, fault)
                continue
            if place is None or not self.queue.is_claimable(life):
                stuck.add(life.line)
                continue
            if not self.queue.take(life):  # it was just cancelled
                if place.candidate is None:
                    self._actions.dismiss(place.target)
                continue
            actor.move("send")
            actor.is_ending = actor.is_moving = False
            actor.target = place.target
            where = None if place.candidate is None else place.target
            self._count[where] = self._count.get(where, 0) + 1
            if where is None:
                actor.main.join(place.target)
                actor.lanes.join(place)
            self._scheduler.lanes.record(place, life, 0.0)
            self._actions.send(place, [life])

    def _choose(self, life: Call) -> Place | None:
        """Choose the place with the fewest actors for each worker; if it is here, start the worker."""
        scheduler, line = self._scheduler, life.line
        assert line is not None
        may_be_here = _may_be_here(scheduler, line)
        links = [
            link
            for link in (() if line.client is not None else scheduler.links)
            if link.ready and link not in self._shut and not link.candidate.trouble and link.offer.has(line.requirement)
        ]
        near = [link for link in links if line.near and link.candidate.matches(line.near)]
        if near:
            links, may_be_here = near, False
        elif links and (sparing := _sparing(links, getattr(life.payload, "values", ()))):
            links, may_be_here = sparing, False
        here = self._count.get(None, 0) / scheduler.workforce.full if may_be_here else None
        link = min(links, key=lambda link: self._count.get(link, 0) / link.width, default=None)
        if link is not None and (here is None or self._count.get(link, 0) / link.width < here):
            return link.lane_place  # type: ignore[no-any-return]  # of a link
        if here is None or len(self._forking) >= FORKS:
            return None
        worker = scheduler.offer.start(self._actions, line.requirement, life.receiver)
        target = link if worker is None else worker
        return None if target is None else target.lane_place

    # -- calls --------------------------------------------------------------------------------------------------

    def feed(self) -> None:
        """Place actors, and send their calls."""
        if self.queue.head() is not None:
            self._place()
        due, self.due = self.due, {}
        for actor in due:
            self._feed(actor)

    def heard(self, worker: Any) -> None:
        """Send a worker the calls of its actor that it can take, after its frames were handled."""
        actor: Actor = worker.actor
        if actor.worker is worker:
            self._feed(actor)

    def take(self, actor: Actor) -> None:
        """Queue the calls that other threads have submitted."""
        actor.is_told = False
        if actor.worker is not None:  # before the first of them leaves the inbox, so that nothing overtakes it
            self._actions.revoke_permit(actor.worker)
        while actor.inbox:
            actor.add(actor.inbox.popleft())

    def close(self, actor: Actor, *, cancel: bool) -> None:
        """
        End an actor after its calls.

        :param cancel: cancel those that wait
        """
        actor.is_closed = True
        actor.cancels = actor.cancels or cancel
        self.take(actor)
        self.due[actor] = None
        place: Any = actor.place
        if cancel and actor.state == ALIVE and place is not None:
            main = place.target if place.candidate is None else place
            if len(main.outstanding) > 1 and not main.recalling:
                self._scheduler.recall(main)

    def _feed(self, actor: Actor) -> None:
        if actor.state == ENDED:
            actor.refuse_waiting()
            return
        if actor.cancels:
            for call in actor.drop_waiting():
                call.move("cancel")
                call.receiver.deliver_failure(call, None)
        place: Any = actor.place
        if actor.is_moving and place is not None:
            if not actor_feeding.runs_calls(actor, place) and not actor.is_ending and actor.life is not None:
                actor.is_ending = True
                self._end_life(actor.life)
        elif actor.state == ALIVE and place is not None:
            actor.look_at_values(self._scheduler.away)
            if place.candidate is None:
                self._feed_here(actor, place.target)
            elif place.recalling:
                self.due[actor] = None  # until the peer has answered
            else:
                actor_feeding.feed_far(actor, place, self._scheduler.lanes, self._actions)
        if actor.is_closed and not actor_feeding.is_busy(actor):
            if place is None:
                actor.end()
            elif not actor.is_ending and actor.life is not None:
                actor.is_ending = True
                self._end_life(actor.life)

    def _feed_here(self, actor: Actor, worker: Any) -> None:
        if worker.has_permit:
            self._actions.revoke_permit(worker)
        self._actions.send(worker, feeding.assign(actor.main, worker))
        for place, calls in feeding.spread(actor.lanes):
            self._actions.send(place, calls)
        if not worker.idle or actor.is_closed or actor.inbox or not self._scheduler.balancing.grants_permits:
            return
        if actor.main.queue.is_empty:  # type: ignore[attr-defined]  # an `ActorQueue`
            self._actions.grant_permit(worker, self._scheduler.main.number())

    # -- what happened ------------------------------------------------------------------------------------------

    def joined(self, worker: Any) -> None:
        """Add a worker that was started for an actor."""
        self._scheduler.all_workers[worker.id] = worker
        worker.offer = worker.lane_place.offer = self._scheduler.offer.of(worker)
        self._forking.add(worker)

    def forked(self, worker: Any) -> None:
        """Note that a worker has a process, or is gone."""
        self._forking.discard(worker)

    def left(self, worker: Any) -> list[Call]:
        """Remove a worker that is gone; return the life that is lost, and the calls that may have been started."""
        actor: Actor = worker.actor
        actor.worker = None
        self.forked(worker)
        lane = worker.lane_place
        lost = actor.lanes.leave(lane, lane.last_started) + actor.main.leave(worker, worker.last_started)
        for call in lost:
            self._scheduler.main.queue.forget_parent(call.number)
        if any(call.function.lane == LIFE and call.receiver is not actor for call in lost):
            actor.end()  # the life was abandoned before, so nothing is notified of its end
        return lost

    def move_from(self, link: Any) -> None:
        """End the actors that may be made again, after their running calls: their peer is about to leave."""
        for actor in self.all:
            if actor.target is link and actor.restarts > 0:
                actor.is_moving = True
                self.due[actor] = None

    def refused(self, link: Any, numbers: Iterable[int]) -> list[int]:
        """Queue the lives again that a peer has given back; return the numbers of other calls."""
        place = link.lane_place
        ours = _of_actors(place.outstanding, numbers)
        if any(place.outstanding[number].function.lane == LIFE for number in ours):
            self._shut.add(link)
            self._actions.after(PAUSE, lambda: self._shut.discard(link))
        self._scheduler.lanes.withdraw(place, sorted(ours, reverse=True))
        return [number for number in numbers if number not in ours]

    # -- the whole ----------------------------------------------------------------------------------------------

    @property
    def has_waiting(self) -> bool:
        """A call of a method waits."""
        return any(actor.inbox or actor.is_waiting for actor in self.all)

    def cancel_waiting(self) -> None:
        """Cancel all calls that wait."""
        for actor in list(self.all):
            self.close(actor, cancel=True)

    def end_all(self, failure: Any) -> None:
        """End all actors."""
        self.is_closing = True
        for actor in list(self.all):
            self.take(actor)
            actor.end(failure)


def _may_be_here(scheduler: Scheduler, line: Line) -> bool:
    has_workers = scheduler.workforce.full > 0
    return has_workers and not (line.away or line.far) and scheduler.offer.has(line.requirement)


def _of_actors(outstanding: dict[int, Call], numbers: Iterable[int]) -> list[int]:
    """Return the numbers of those of these calls that are lives or calls of actors."""
    found = ((number, outstanding.get(number)) for number in numbers)
    return [number for number, call in found if call is not None and call.line is not None and call.line.actor]


def _queue(actors: Actors, life: Call) -> None:
    """Queue a life, or hold it until the values of its arguments are there."""
    scheduler = actors._scheduler
    if scheduler.away.may_queue(life):
        actors.queue.add(life)
        if life.line is not None and life.line.requirement is not None:
            scheduler.unmet.check()


def _sparing(links: list[Any], values: Any) -> list[Any]:
    """Return the links that have the most bytes of these values; none if no link has any."""
    if not values:
        return []
    spared = [link.spares(values) for link in links]
    most = max(spared)
    return [link for link, size in zip(links, spared, strict=True) if size == most] if most else []
