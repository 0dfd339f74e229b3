"""
The devices of a peer, which the engines of its clients share.

A call that a client sends takes what it requires of the peer when it is admitted, so no more calls come than there are
devices; then its engine needs only a worker that has some, as on a machine of one's own: see `woolexec.core.devices`.
A task of a task takes all that it requires when it is sent to a worker.

A device stays with a worker that has nothing to do until another call needs it: `PeerDevices.reclaim`.  Its
seat goes to other calls before that: `EngineDevices.make_way`.
"""

from __future__ import annotations

from woolexec.core.devices import GPU, Bound, Devices, amount_of, without_devices
from woolexec.core.offer import Offer
from woolexec.resources import Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.core.workforce import Workforce


class Admitted(Requirement):
    """The devices that a call needs which was admitted: they are taken already, and its worker is to have them."""

    __slots__ = ()


class PeerDevices(Offer):
    """
    What a peer has that calls may require, some of it devices.

    :param tags: strings of the form ``key=value``
    :param resources: amounts by name; that of `GPU` is the number of the devices
    :param names: what identifies each device
    """

    __slots__ = ("_engines", "left_of")

    def __init__(self, tags: Iterable[str], resources: Mapping[str, float], names: Sequence[str]) -> None:
        super().__init__(tags, resources)
        self.left_of = dict.fromkeys(names, 1.0)
        """Of each device, what no worker has."""
        self._engines: list[EngineDevices] = []

    def for_engine(self, wake: Callable[[], object]) -> Offer:
        """Return the offer of the workers of one client."""
        found = EngineDevices(self, wake)
        self._engines.append(found)
        return found

    def leave(self, engine: Offer) -> None:
        """Forget the engine of a client that has left."""
        self._engines = [each for each in self._engines if each is not engine]

    def after_admission(self, requirement: Requirement | None) -> Requirement | None:
        """Return what an admitted call still requires of its worker."""
        amount = amount_of(requirement)
        return Admitted({GPU: amount}) if amount else None

    def reclaim(self, requirement: Requirement, wanting: EngineDevices) -> None:
        """Let workers leave that have devices and nothing to do, if those suffice for a call of an engine."""
        found = [(worker, engine) for engine in self._engines for worker in engine.bound]
        if any(worker.stopping or worker.is_dead for worker, _ in found):
            return  # its devices are free soon
        idle = [(worker, engine) for worker, engine in found if not worker.is_busy]
        for count in range(1, len(idle) + 1):
            if wanting.would_have(requirement, [worker.devices for worker, _ in idle[:count]]):
                for worker, engine in idle[:count]:
                    engine.dismiss(worker)
                return

    def freed(self) -> None:
        """Have the engines look whether devices suffice now."""
        for engine in self._engines:
            engine.wake()


class EngineDevices(Devices):
    """What the workers of one client of a peer have."""

    __slots__ = ("_peer", "_workforce", "bound", "wake")

    def __init__(self, peer: PeerDevices, wake: Callable[[], object]) -> None:
        super().__init__(peer.resources, (), peer.tags)
        self._peer, self._left, self.wake = peer, peer.left_of, wake
        self._workforce: Any = None  # there is none before the first call
        self.bound: dict[Any, Actions] = {}
        """The workers that have devices, but for those of actors, each with what ends it."""

    def has_rest(self, requirement: Requirement | None) -> bool:
        """Return whether the resources that are no devices suffice for such a call now."""
        return self._peer.has(without_devices(requirement))

    def take_rest(self, requirement: Requirement | None) -> None:
        """Reserve what a call requires, unless that was done when it was admitted."""
        if not isinstance(requirement, Admitted):
            self._peer.take(requirement)

    def give_rest(self, requirement: Requirement | None) -> None:
        """Release what a call required, unless that is done where it was admitted."""
        if not isinstance(requirement, Admitted):
            self._peer.give(requirement)
        if amount_of(requirement):
            self._peer.freed()

    def start(self, actions: Actions, requirement: Requirement | None, actor: Any = None) -> Any:
        """Start a worker that has what such a call requires; None if that is impossible now."""
        worker = super().start(actions, requirement, actor)
        if worker is not None and actor is None and worker.devices is not None:
            self.bound[worker] = actions
        return worker

    def dismiss(self, worker: Any) -> None:
        """Let an idle worker leave."""
        actions = self.bound[worker]
        actions.revoke_permit(worker)
        if not worker.is_busy:
            actions.dismiss(worker)
            self.wake()

    def release(self, bound: Bound) -> None:
        """Take back the devices of a worker that is gone."""
        super().release(bound)
        self._peer.freed()

    def left(self, worker: Any) -> None:
        """Note that a worker is gone."""
        self.bound.pop(worker, None)
        super().left(worker)

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether a worker that is started now could run such a call, or one that only lacks a seat."""
        return super().has(requirement) or any(worker.offer.has(requirement) for worker in self._parked)

    @property
    def _parked(self) -> list[Any]:
        parked = () if self._workforce is None else self._workforce.parked
        return [worker for worker in self.bound if worker in parked and not worker.stopping]

    def make_way(
        self, workforce: Workforce, queues: Iterable[ReadyQueue], actions: Actions, now: float
    ) -> Sequence[Any]:
        """Let workers that have nothing to do give their seats or devices to others, also to those of other clients."""
        queues, self._workforce = list(queues), workforce
        waiting = {each for queue in queues[:2] for each in queue.waiting() if self.has_rest(each)}
        own = {each for queue in queues[2:] for each in queue.waiting() if self.has_rest(each)}  # of actors
        if any(self._seat(requirement, workforce, actions) for requirement in waiting):
            self.wake()
            return ()
        retiring = super().make_way(workforce, queues, actions, now)
        workers = list(workforce.workers.values())
        if retiring or any(worker.stopping for worker in workers):
            return retiring
        for requirement in waiting | own:
            if requirement is None or not amount_of(requirement) or Devices.has(self, requirement):
                continue
            if requirement in own or not any(worker.offer.has(requirement) for worker in workers):
                self._peer.reclaim(requirement, self)
                break
        return ()

    def _seat(self, requirement: Requirement | None, workforce: Workforce, actions: Actions) -> bool:
        """
        Give the seat of an idle worker to one of another kind, which a call needs; return whether that was done.

        The one that has lost it keeps its devices for a while, as any parked worker stays: see `woolexec.core.seats`.
        """
        idle = [worker for worker in workforce.seated if not worker.is_busy and not worker.stopping]
        if any(worker.offer.has(requirement) for worker in idle):
            return False
        parked = [each for each in workforce.parked if not each.stopping and each.offer.has(requirement)]
        if not parked and (workforce.may_grow or not Devices.has(self, requirement)):
            return False
        if not workforce.may_grow:
            others = [worker for worker in idle if amount_of(requirement) or worker.devices is not None]
            if not others:
                return False
            actions.revoke_permit(others[0])
            if others[0].is_busy:
                return False
            workforce.park(others[0])
        if parked:
            workforce.unpark(parked[-1])
        return True
