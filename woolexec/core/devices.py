"""
The devices of an engine, such as GPUs, and the workers that have some of them.

A worker has its devices for its life, because libraries look for them once; it runs the calls that require as many, one
at a time, and no others.  What is less than one device is a part of one, which several workers share.

::

    waits for a device     started with it     runs, or waits for calls      gone
    ------------------     ---------------     -------------------------     ----------------
    Devices.has     --->   Devices.bind  --->  Bound.has, take, give  --->   Devices.release

A worker that has nothing to do makes way for calls that need its devices, or its place, in another way: `make_way`.
"""

from __future__ import annotations

from math import ceil

from woolexec.core.offer import Offer
from woolexec.resources import Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.core.workforce import Workforce


GPU = "gpu"
"""The resource whose amount is a number of devices."""

_GRAIN = 1e-9


class Devices(Offer):
    """
    What an engine has that calls may require, some of it devices: what it says is of workers that could be started.

    :param resources: amounts by name; that of `GPU` is the number of the devices
    :param names: what identifies each device
    :param tags: strings of the form ``key=value``
    """

    __slots__ = ("_left", "without")

    is_divided = True

    def __init__(self, resources: Mapping[str, float], names: Sequence[str], tags: Iterable[str] = ()) -> None:
        super().__init__(tags, resources)
        self._left = dict.fromkeys(names, 1.0)  # of each device, what no worker has
        self.without = Bound(self, (), 0.0)
        """The offer of workers that have no devices."""

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether a worker that is started now could run such a call now."""
        amount = amount_of(requirement)
        if not amount:
            return super().has(requirement)
        return bool(self._choose(amount)) and self.has_rest(requirement)

    def has_rest(self, requirement: Requirement | None) -> bool:
        """Return whether the resources that are no devices suffice for such a call now."""
        return super().has(without_devices(requirement))

    def take_rest(self, requirement: Requirement | None) -> None:
        """Reserve what a call requires that is no device."""
        super().take(without_devices(requirement))

    def give_rest(self, requirement: Requirement | None) -> None:
        """Release it."""
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
        """Start a worker that has what such a call requires; None if that is impossible now."""
        amount = amount_of(requirement)
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

    def make_way(self, workforce: Workforce, queues: Iterable[ReadyQueue], actions: Actions) -> None:
        """
        Let workers leave that have nothing to do, for calls that none of them can run.

        Plain calls wait for the workers without devices, if there are any.
        """
        workers = list(workforce.workers.values())
        if any(worker.stopping for worker in workers):
            return
        idle = [worker for worker in workers if not worker.is_busy]
        main, lanes, *lives = queues
        own = {each for queue in lives for each in queue.waiting()}  # an actor gets a worker of its own
        for requirement in {each for queue in (main, lanes) for each in queue.waiting()} | own:
            if not self.has_rest(requirement):
                continue
            if requirement not in own and any(worker.has(requirement) for worker in idle):
                continue
            if self.has(requirement):
                is_in_line = not amount_of(requirement) and any(each.offer.meets(requirement) for each in workers)
                leaving = [] if workforce.may_grow or is_in_line else idle[:1]
            elif requirement not in own and any(worker.offer.meets(requirement) for worker in workers):
                continue
            else:  # its devices are with workers of another kind
                leaving = self._enough(requirement, [worker for worker in idle if worker.devices is not None])
            for worker in leaving:
                actions.revoke_permit(worker)
                if not worker.is_busy:
                    actions.dismiss(worker)
            if leaving:
                return

    def _enough(self, requirement: Requirement | None, workers: list[Any]) -> list[Any]:
        """Return the first of these workers that together have the devices for such a call; none if all have not."""
        for count in range(1, len(workers) + 1):
            if self.would_have(requirement, [worker.devices for worker in workers[:count]]):
                return workers[:count]
        return []

    def would_have(self, requirement: Requirement | None, leaving: Iterable[Bound]) -> bool:
        """Return whether there would be the devices for such a call if the workers that have these were gone."""
        left = dict(self._left)
        for bound in leaving:
            _add(bound, left)
        return bool(_chosen(amount_of(requirement), left))


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
        """Return whether the worker could run such a call now; one of an actor runs the calls of its methods."""
        if self.amount and not self.refuses and not amount_of(requirement):
            return self._devices.has_rest(requirement)
        return amount_of(requirement) == self.amount and not self.is_taken and self._devices.has_rest(requirement)

    def take(self, requirement: Requirement | None) -> None:
        """Reserve what a call requires; a call that requires nothing was sent to this worker in particular."""
        self.is_taken = self.is_taken or bool(amount_of(requirement))
        self._devices.take_rest(requirement)

    def give(self, requirement: Requirement | None) -> None:
        """Release what a call required, when it has ended."""
        if amount_of(requirement):
            self.is_taken = False
        self._devices.give_rest(requirement)


def _chosen(amount: float, left: Mapping[str, float]) -> tuple[str, ...]:
    """Return devices that suffice, of what is left of each."""
    if amount < 1:  # of the devices that suffice the one with the least left
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
