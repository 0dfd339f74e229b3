"""
The devices of a peer, which the engines of its clients share.

A client's call reserves what it requires of the peer when it is admitted, so there are never more calls than devices.
Its engine then only needs a worker that has the devices, as in `woolexec.core.devices`.  A nested task reserves all
that it requires when it is sent to a worker.

A device stays with an idle worker until another call needs it (`PeerDevices.reclaim`).  The worker's seat may go to
other calls before that (`EngineDevices.make_way`).
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
    """The devices that an admitted call needs: they are already reserved, and its worker must have them."""

    __slots__ = ()


class PeerDevices(Offer):
    """
    What a peer offers to calls, some of it devices.

    :param tags: strings of the form ``key=value``
    :param resources: amounts by name; that of `GPU` is the number of devices
    :param names: the identifier of each device
    """

    __slots__ = ("_engines", "left_of")

    def __init__(self, tags: Iterable[str], resources: Mapping[str, float], names: Sequence[str]) -> None:
        super().__init__(tags, resources)
        self.left_of = dict.fromkeys(names, 1.0)
        """By device, the part that no worker has."""
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
        """Dismiss idle workers that have devices, if these devices suffice for a call of an engine."""
        found = [(worker, engine) for engine in self._engines for worker in engine.bound]
        if any(worker.stopping or worker.is_dead for worker, _ in found):
            return  # its devices will be free soon
        idle = [(worker, engine) for worker, engine in found if not worker.is_busy]
        for count in range(1, len(idle) + 1):
            if wanting.would_have(requirement, [worker.devices for worker, _ in idle[:count]]):
                for worker, engine in idle[:count]:
                    engine.dismiss(worker)
                return

    def freed(self) -> None:
        """Let the engines check whether the devices suffice now."""
        for engine in self._engines:
            engine.wake()


class EngineDevices(Devices):
    """The offer of the workers of one client of a peer."""

    __slots__ = ("_peer", "_workforce", "bound", "wake")

    def __init__(self, peer: PeerDevices, wake: Callable[[], object]) -> None:
        super().__init__(peer.resources, (), peer.tags)
        self._peer, self._left, self.wake = peer, peer.left_of, wake
        self._workforce: Any = None  # there is none before the first call
        self.bound: dict[Any, Actions] = {}
        """The workers that have devices, except those of actors, each with the actions that end it."""

    def has_rest(self, requirement: Requirement | None) -> bool:
        """Return whether the resources other than devices suffice for such a call now."""
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
        """Let idle workers give their seats or devices to other workers, including those of other clients."""
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
        Give the seat of an idle worker to a worker of another kind that a call needs; return whether that was done.

        The worker that lost it keeps its devices for a while, like any parked worker: see `woolexec.core.seats`.
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
