"""
Which pod is which peer, and how many pods there should be: decisions of `woolexec.launchers.kubernetes`, without I/O.

::

    start -> (no pod) --see--> pod --ready: Joined--> peer --stop--> stopping --gone: Left--> (forgotten)
                                |                      |
                                '--- ended by others: Left -------------------------------> (forgotten)

1. When a Deployment is scaled down, it chooses the pod that ends: one that is not ready, otherwise the one with the
   lowest deletion cost, which is given to pods that are to stop.  If it ends another pod, the next look corrects the
   number.
2. A StatefulSet ends the pod with the highest number.  A pod that is to stop waits until all pods above it stop too;
   until then `start` can take it back.
3. When another program ends a pod, its controller creates a replacement, which is kept for a few looks in case it is
   needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from woolexec.discovery.base import Event, Joined, Left, Record, Updated

_KEPT = 5
"""Number of looks for which a replacement is kept that a controller created for a pod that others ended."""


@dataclass(frozen=True, slots=True)
class Pod:
    """
    A pod as Kubernetes describes it.

    :param uid: never used again, unlike the name
    :param address: ``host:port`` of its peer; empty: it has none yet
    :param is_ready: its readiness probe succeeds
    :param is_ending: it has been told to end
    :param is_over: its containers have ended, and are not started again
    :param text: why it is not ready, in Kubernetes' own words
    """

    uid: str
    name: str
    address: str = ""
    is_ready: bool = False
    is_ending: bool = False
    is_over: bool = False
    text: str = ""

    @property
    def ordinal(self) -> int:
        """Its number in a StatefulSet; -1: it has none."""
        number = self.name.rpartition("-")[2]
        return int(number) if number.isdecimal() else -1


@dataclass(slots=True, eq=False)
class _Slot:
    """A requested peer."""

    key: str
    ordinal: int  # the number that its pod must have; -1: any
    pod: Pod | None = None
    address: str = ""  # the announced address
    is_stopping: bool = False
    is_cheap: bool = False  # its pod has the low deletion cost


class Pods:
    """
    The pods of one Deployment or StatefulSet.

    :param name: the name of the Deployment or StatefulSet
    :param is_ordered: the pods have numbers, and the highest ends first
    """

    def __init__(self, name: str, *, is_ordered: bool) -> None:
        self.name, self.is_ordered = name, is_ordered
        self._strangers: set[str] = set()
        self._slots: dict[str, _Slot] = {}
        self._numbers = itertools.count(1)
        self._vacant: list[int] = []  # for each replacement pod: the number of looks until it is given up
        self._events: list[Event] = []

    # -- what is wanted -------------------------------------------------------------------------------------------

    def start(self, count: int) -> list[str]:
        """Request this number of peers, and return their keys."""
        slots = self._kept_back()[:count]
        for slot in slots:
            slot.is_stopping, slot.address = False, ""
        del self._vacant[: count - len(slots)]
        free = self._free_ordinals()
        while len(slots) < count:
            slot = _Slot(f"{self.name}/{next(self._numbers)}", next(free) if self.is_ordered else -1)
            self._slots[slot.key] = slot
            slots.append(slot)
        return [slot.key for slot in slots]

    def stop(self, key: str) -> None:
        """Stop a peer; do nothing if it is gone."""
        slot = self._slots.get(key)
        if slot is None:
            return
        slot.is_stopping = True
        if slot.pod is None:
            self._drop(slot, "")

    @property
    def replicas(self) -> int:
        """The number of pods that there should be."""
        staying = [slot for slot in self._slots.values() if not slot.is_stopping]
        if self.is_ordered:
            return max((slot.ordinal + 1 for slot in staying), default=0)
        return len(staying) + len(self._vacant)

    def stopping(self) -> Iterator[str]:
        """Yield the names of pods that are to end before others, each once."""
        for slot in self._slots.values():
            if slot.is_stopping and slot.pod is not None and not (self.is_ordered or slot.is_cheap):
                yield slot.pod.name
                slot.is_cheap = True

    @property
    def trouble(self) -> str:
        """Why there may be fewer peers than were requested; empty: no known problem."""
        waiting = [slot for slot in self._slots.values() if not slot.address]
        for slot in waiting:
            if slot.pod is not None and slot.pod.text:
                return f"pod {slot.pod.name}: {slot.pod.text}"
        missing = sum(slot.pod is None for slot in waiting)
        return f"{missing} of its pods do not exist yet" if missing else ""

    # -- the pods -------------------------------------------------------------------------------------------------

    def see(self, pods: Iterable[Pod], records: Record) -> Sequence[Event]:
        """
        Take a list of all pods, and return what has changed.

        :param records: what all their records have in common
        """
        there = {pod.uid: pod for pod in pods if pod.uid not in self._strangers}
        self._vacant = [looks - 1 for looks in self._vacant if looks > 1]
        for slot in list(self._slots.values()):
            if slot.pod is not None:
                self._follow(slot, there.pop(slot.pod.uid, None))
        for pod in there.values():
            if not (pod.is_ending or pod.is_over):
                self._assign(pod)
        for slot in self._slots.values():
            self._announce(slot, records)
        events, self._events = self._events, []
        return events

    def ignore(self, pods: Iterable[Pod]) -> None:
        """Ignore pods that existed before: they have other credentials."""
        self._strangers.update(pod.uid for pod in pods)

    def _follow(self, slot: _Slot, pod: Pod | None) -> None:
        if pod is None or pod.is_over or (pod.is_ending and not slot.is_stopping):
            assert slot.pod is not None
            text = "" if pod is None else pod.text
            self._drop(slot, "" if slot.is_stopping else f"pod {slot.pod.name} has ended: {text or 'it was deleted'}")
            if not (slot.is_stopping or self.is_ordered):
                self._vacant.append(_KEPT)
        else:
            slot.pod = pod

    def _assign(self, pod: Pod) -> None:
        """Assign a new pod to a requested peer that has none."""
        for slot in self._slots.values():
            if slot.pod is None and slot.ordinal in (-1, pod.ordinal):
                slot.pod = pod
                return

    def _announce(self, slot: _Slot, records: Record) -> None:
        pod = slot.pod
        if pod is None or not pod.is_ready or pod.is_ending or slot.is_stopping or pod.address in ("", slot.address):
            return
        record = Record(slot.key, (pod.address,), credentials=records.credentials)
        self._events.append(Updated(record) if slot.address else Joined(record))
        slot.address = pod.address

    def _drop(self, slot: _Slot, reason: str) -> None:
        del self._slots[slot.key]
        self._events.append(Left(slot.key, reason))

    def _kept_back(self) -> list[_Slot]:
        """Return the peers that are to stop but whose pods the StatefulSet cannot end yet."""
        return [slot for slot in self._slots.values() if slot.is_stopping and -1 < slot.ordinal < self.replicas]

    def _free_ordinals(self) -> Iterator[int]:
        taken = {slot.ordinal for slot in self._slots.values()}
        return (number for number in itertools.count() if number not in taken)
