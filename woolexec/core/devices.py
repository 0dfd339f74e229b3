"""
The devices of an engine, such as GPUs, and the workers that have some of them.

A worker has its devices until its end, because libraries look for them only once.  It runs only calls that require the
same number, one at a time.  An amount below 1 is a part of one device, which several workers share.

::

    waits for a device     started with it     runs, or waits for calls      gone
    ------------------     ---------------     -------------------------     ----------------
    Devices.has     --->   Devices.bind  --->  Bound.has, take, give  --->   Devices.release

A worker makes way (`make_way`) for calls that need its devices or its place for another kind of worker: at once if it
is idle, otherwise after its call, if it has served calls of its kind for a while.  Its place is then reserved for these
calls, because other waiting calls might otherwise take it (`next_for`).  For nested tasks that a waiting task needs,
one more worker is started.
"""

from __future__ import annotations

from math import ceil

from woolexec.core.offer import Offer
from woolexec.core.ready_queue import requirement_of
from woolexec.resources import Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.call import Call, Chunk
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.core.workforce import Workforce


GPU = "gpu"
"""The resource whose amount is a number of devices."""

SETTLED = 1.0
"""Minimum seconds that a busy worker lives before it makes way, because starting another one takes time."""

_GRAIN = 1e-9


class Devices(Offer):
    """
    What an engine offers to calls, some of it devices.  The answers are about workers that could be started.

    :param resources: amounts by name; that of `GPU` is the number of devices
    :param names: the identifier of each device
    :param tags: strings of the form ``key=value``
    """

    __slots__ = ("_left", "_looks_at", "_promise", "without")

    is_divided = True

    def __init__(self, resources: Mapping[str, float], names: Sequence[str], tags: Iterable[str] = ()) -> None:
        super().__init__(tags, resources)
        self._left = dict.fromkeys(names, 1.0)  # by device: the part that no worker has
        self._promise: Promise | None = None
        self._looks_at = 0.0  # when a timer makes the scheduler check again
        self.without = Bound(self, (), 0.0)
        """The offer of workers without devices."""

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether a worker that is started now could run such a call now."""
        amount = amount_of(requirement)
        if not amount:
            return super().has(requirement)
        return bool(self._choose(amount)) and self.has_rest(requirement)

    def has_rest(self, requirement: Requirement | None) -> bool:
        """Return whether the resources other than devices suffice for such a call now."""
        return super().has(without_devices(requirement))

    def take_rest(self, requirement: Requirement | None) -> None:
        """Reserve the resources other than devices that a call requires."""
        super().take(without_devices(requirement))

    def give_rest(self, requirement: Requirement | None) -> None:
        """Release the resources other than devices that a call required."""
        super().give(without_devices(requirement))

    def bind(self, amount: float) -> Bound | None:
        """Return devices for one worker; None if too few are left."""
        names = self._choose(amount)
        if not names:
            return None
        part = amount if amount < 1 else 1.0
        for name in names:
            self._left[name] -= part
        return Bound(self, names, amount)

    def _choose(self, amount: float) -> tuple[str, ...]:
        return _chosen(amount, self._left)

    def release(self, bound: Bound) -> None:
        """Take back the devices of a worker that is gone, if it had any."""
        _add(bound, self._left)

    # -- workers ------------------------------------------------------------------------------------------------

    def start(self, actions: Actions, requirement: Requirement | None, actor: Any = None) -> Any:
        """Start a worker with what such a call requires; return None if that is impossible now."""
        amount = amount_of(requirement)
        if self._promise is not None and self._promise.is_for(requirement, is_actor=actor is not None):
            self._promise = None
        if not amount:
            return super().start(actions, requirement, actor)
        bound = self.bind(amount)
        if bound is None:
            return None
        if actor is not None:
            bound.refuses = ()  # the calls of its methods require nothing
        worker = actions.start_worker(actor, bound)
        if worker is None:
            self.release(bound)
        return worker

    def of(self, worker: Any) -> Offer:
        """Return the offer of a worker."""
        return self.without if worker.devices is None else worker.devices

    def left(self, worker: Any) -> None:
        """Note that a worker is gone."""
        if worker.devices is not None:
            self.release(worker.devices)

    def next_for(self, queue: ReadyQueue) -> Call | Chunk | None:
        """Return the entry of a queue for which a worker should be started next."""
        promise = self._promise
        if promise is None:
            return queue.head(self)
        return queue.head(promise, () if promise.is_for(None, is_actor=False) else (None,))

    def make_way(
        self, workforce: Workforce, queues: Iterable[ReadyQueue], actions: Actions, now: float
    ) -> Sequence[Any]:
        """
        Dismiss idle workers in favour of waiting calls that none of them can run.

        Plain calls wait for the workers without devices, if there are any.

        :return: workers that must leave after the calls that they have begun, because none is idle
        """
        workers = list(workforce.workers.values())
        main, lanes, *lives = queues
        own = {each for queue in lives for each in queue.waiting()}  # an actor gets its own worker
        waiting = {each for queue in (main, lanes) for each in queue.waiting()}
        leaving = [worker for worker in workers if worker.stopping]
        retiring = [worker for worker in workers if worker.is_used_up]
        self._keep_promise(waiting, own, is_leaving=bool(leaving or retiring))
        if leaving:
            return ()
        idle = [worker for worker in workers if not worker.is_busy]
        busy = [] if retiring else [worker for worker in workers if _may_retire(worker)]
        for requirement in waiting | own:
            if not self.has_rest(requirement):
                continue
            if requirement not in own and any(worker.has(requirement) for worker in idle):
                continue
            if requirement not in own and (parent := self._parent(requirement, workforce, main)) is not None:
                workforce.kept[parent] = parent.waiting[-1]  # which makes room for one more worker
                self._promise = Promise(self, requirement, is_own=False)
                actions.after(0.0, _nothing)
                return ()
            chosen, others = self._in_the_way(requirement, workforce, idle, busy, is_own=requirement in own)
            for worker in chosen:
                actions.revoke_permit(worker)
                if not worker.is_busy:
                    actions.dismiss(worker)
            if others and not self._are_settled(others, actions, now):
                others = []
            if chosen or others:
                self._promise = Promise(self, requirement, is_own=requirement in own)
                return others
        return ()

    def _parent(self, requirement: Requirement | None, workforce: Workforce, queue: ReadyQueue) -> Any:
        """Return a worker whose call waits for such a call, which no other worker can run before that call ends."""
        workers = list(workforce.workers.values())
        if workforce.may_grow or not self.has(requirement):
            return None
        if any(worker.offer.meets(requirement) and not worker.waiting for worker in workers):
            return None
        for worker in workers:
            if worker.waiting and not worker.above and worker not in workforce.kept:
                for parent in queue.awaited(worker.waiting[-1]):
                    if any(requirement_of(call) == requirement for call in queue.children.get(parent, ())):
                        return worker
        return None

    def _in_the_way(
        self, requirement: Requirement | None, workforce: Workforce, idle: list[Any], busy: list[Any], *, is_own: bool
    ) -> tuple[list[Any], list[Any]]:
        """Return the idle workers that must leave for such a call, or the busy ones if those are not enough."""
        workers = list(workforce.workers.values())
        if self.has(requirement):
            is_in_line = not amount_of(requirement) and any(each.offer.meets(requirement) for each in workers)
            if workforce.may_grow or is_in_line:
                return [], []
            is_served = is_own or any(each.offer.meets(requirement) for each in workers)
            return idle[:1], [] if idle or is_served else busy[:1]
        if not is_own and any(worker.offer.meets(requirement) for worker in workers):
            return [], []
        with_devices = [worker for worker in idle if worker.devices is not None]  # of another kind
        chosen = self._enough(requirement, with_devices)
        if chosen:
            return chosen, []
        all_devices = with_devices + [worker for worker in busy if worker.devices is not None]
        found = self._enough(requirement, all_devices)
        return [worker for worker in found if worker in idle], [worker for worker in found if worker in busy]

    def _are_settled(self, workers: Iterable[Any], actions: Actions, now: float) -> bool:
        """Return whether these workers have served calls for a while; if not, schedule another check for then."""
        due: float = max(worker.born for worker in workers) + SETTLED
        if due > now >= self._looks_at:
            self._looks_at = due
            actions.after(due - now, _nothing)
        return due <= now

    def _keep_promise(
        self, waiting: set[Requirement | None], own: set[Requirement | None], *, is_leaving: bool
    ) -> None:
        """Drop the promise to calls for which a worker has left, if they no longer wait or still cannot run."""
        promise = self._promise
        if promise is not None:
            wanted = promise.requirement in (own if promise.is_own else waiting)
            if not wanted or not (is_leaving or self.has(promise.requirement)):
                self._promise = None

    def _enough(self, requirement: Requirement | None, workers: list[Any]) -> list[Any]:
        """Return the first of these workers that together have the devices for such a call; none if all do not."""
        for count in range(1, len(workers) + 1):
            if self.would_have(requirement, [worker.devices for worker in workers[:count]]):
                return workers[:count]
        return []

    def would_have(self, requirement: Requirement | None, leaving: Iterable[Bound]) -> bool:
        """Return whether the devices for such a call would be there if the workers that have these were gone."""
        left = dict(self._left)
        for bound in leaving:
            _add(bound, left)
        return bool(_chosen(amount_of(requirement), left))


class Promise:
    """
    Reserves the place of a worker that makes way for calls with this requirement.

    :param is_own: for an actor, which gets an additional worker: only the devices are reserved
    """

    __slots__ = ("_devices", "is_own", "requirement")

    is_far = False

    def __init__(self, devices: Devices, requirement: Requirement | None, *, is_own: bool) -> None:
        self._devices, self.requirement, self.is_own = devices, requirement, is_own

    def is_for(self, requirement: Requirement | None, *, is_actor: bool) -> bool:
        """Return whether a worker for such a call, or for such an actor, may be started."""
        if self.is_own and not is_actor:
            return not amount_of(requirement)
        return self.is_own == is_actor and requirement == self.requirement

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether a worker could be started now for such a call."""
        return self.is_for(requirement, is_actor=False) and self._devices.has(requirement)


class Bound(Offer):
    """The offer of a worker that has devices, or of all those that have none."""

    __slots__ = ("_devices", "amount", "is_taken", "names", "refuses")

    def __init__(self, devices: Devices, names: tuple[str, ...], amount: float) -> None:
        super().__init__(resources={GPU: amount} if amount else {})
        self._devices, self.names, self.amount = devices, names, amount
        self.refuses = (None,) if amount else ()
        self.is_taken = False

    def meets(self, requirement: Requirement | None) -> bool:
        """Return whether the worker could ever run such a call."""
        return amount_of(requirement) == self.amount and self._devices.meets(requirement)

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether the worker could run such a call now; an actor's worker runs the calls of its methods."""
        if self.amount and not self.refuses and not amount_of(requirement):
            return self._devices.has_rest(requirement)
        return amount_of(requirement) == self.amount and not self.is_taken and self._devices.has_rest(requirement)

    def take(self, requirement: Requirement | None) -> None:
        """Reserve what a call requires; a call that requires nothing was sent to this particular worker."""
        self.is_taken = self.is_taken or bool(amount_of(requirement))
        self._devices.take_rest(requirement)

    def give(self, requirement: Requirement | None) -> None:
        """Release what a call required, when it has ended."""
        if amount_of(requirement):
            self.is_taken = False
        self._devices.give_rest(requirement)


def _chosen(amount: float, left: Mapping[str, float]) -> tuple[str, ...]:
    """Return sufficient devices, given what is left of each."""
    if amount < 1:  # of the devices that suffice, the one with the least left
        enough = [name for name, rest in left.items() if rest >= amount - _GRAIN]
        return (min(enough, key=left.__getitem__),) if enough else ()
    whole = [name for name, rest in left.items() if rest >= 1 - _GRAIN]
    count = ceil(amount - _GRAIN)
    return tuple(whole[:count]) if len(whole) >= count else ()


def _add(bound: Bound, left: dict[str, float]) -> None:
    part = bound.amount if bound.amount < 1 else 1.0
    for name in bound.names:
        left[name] = min(1.0, left[name] + part)


def amount_of(requirement: Requirement | None) -> float:
    """Return the number of devices that a call requires."""
    if requirement is not None:
        for name, amount in requirement.resources:
            if name == GPU:
                return amount
    return 0.0


def without_devices(requirement: Requirement | None) -> Requirement | None:
    """Return the rest of a requirement."""
    if not amount_of(requirement):
        return requirement
    assert requirement is not None
    return Requirement({name: value for name, value in requirement.wanted.items() if name != GPU}, requirement.at)


def _may_retire(worker: Any) -> bool:
    """Return whether a busy worker will be idle after the calls that it has begun, if it gets no others."""
    is_idle_or_waits = not worker.outstanding or worker.waiting or worker.recalling or worker.pinned
    return not (is_idle_or_waits or worker.is_dead or worker.lane_place.outstanding or worker.lane_place.pinned)


def _nothing() -> None:
    """Do nothing: the scheduler acts after a timer."""
