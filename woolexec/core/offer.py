"""What a place offers to tasks that require something."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from woolexec.core.call import Call, Chunk
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.core.workforce import Workforce
    from woolexec.resources import Requirement

_GRAIN = 1e-9
"""Amounts are sums of floats: a shortfall smaller than this is ignored."""


class Offer:
    """
    What a place offers: tags, and resources that calls hold while they run.

    :param tags: strings of the form ``key=value``
    :param resources: amounts by name
    :param names: the names by which a task may require the place, in addition to the tags
    """

    __slots__ = ("_free", "_names", "resources", "tags")

    refuses: tuple[None, ...] = ()
    """Lines that are not served: for workers with devices, the line of calls without requirements."""

    is_divided = False
    """Whether parts of it belong to single workers: see `woolexec.core.devices`."""

    is_far = False
    """Whether calls whose values are at peers may run here: not at workers; the offers of peers are in `AnyOf`."""

    def __init__(
        self, tags: Iterable[str] = (), resources: Mapping[str, float] | None = None, names: Iterable[str] = ()
    ) -> None:
        self.tags = frozenset(tags)
        self._names = self.tags.union(names, ("",))
        self.resources = dict(resources or {})
        self._free = dict(self.resources)

    def __str__(self) -> str:
        return ", ".join([*(f"{name}={amount:g}" for name, amount in self.resources.items()), *sorted(self.tags)])

    def meets(self, requirement: Requirement | None) -> bool:
        """Return whether the place could ever run a call with this requirement."""
        return requirement is None or self._suits(requirement, self.resources)

    def has(self, requirement: Requirement | None) -> bool:
        """Return whether the place could run such a call now."""
        return requirement is None or self._suits(requirement, self._free)

    def _suits(self, requirement: Requirement, amounts: Mapping[str, float]) -> bool:
        return (
            requirement.tags <= self.tags
            and requirement.at in self._names
            and all(name in amounts and amounts[name] >= amount - _GRAIN for name, amount in requirement.resources)
        )

    # -- at a peer ----------------------------------------------------------------------------------------------

    def for_engine(self, wake: Any) -> Offer:
        """Return the offer of the workers of one client, whose engine acts soon when `wake` is called."""
        return self

    def leave(self, engine: Offer) -> None:
        """Forget the engine of a client that has left."""

    def after_admission(self, requirement: Requirement | None) -> Requirement | None:
        """Return what an admitted call, which already holds what it requires, still requires of its worker."""
        return None

    # -- workers ------------------------------------------------------------------------------------------------

    def start(self, actions: Any, requirement: Requirement | None, actor: Any = None) -> Any:
        """Start a worker for such a call, or for an actor with such a life; None if that is impossible now."""
        return actions.start_worker(actor)

    def of(self, worker: Any) -> Offer:
        """Return the offer of a worker."""
        return self

    def left(self, worker: Any) -> None:
        """Note that a worker is gone."""

    def next_for(self, queue: ReadyQueue) -> Call | Chunk | None:
        """Return the entry of a queue for which a worker should be started next."""
        return queue.head(self)

    def make_way(self, workforce: Workforce, queues: Iterable[ReadyQueue], actions: Any, now: float) -> Sequence[Any]:
        """
        Dismiss idle workers in favour of calls that none of them can run; here all can run the same calls.

        :return: workers that must leave after the calls that they have begun
        """
        return ()

    # -- calls --------------------------------------------------------------------------------------------------

    def take(self, requirement: Requirement | None) -> None:
        """Reserve what a call requires."""
        if requirement is not None:
            for name, amount in requirement.resources:
                self._free[name] = self._free.get(name, 0.0) - amount

    def give(self, requirement: Requirement | None) -> None:
        """Release what a call required, when it has ended."""
        if requirement is not None:
            for name, amount in requirement.resources:
                self._free[name] = self._free.get(name, 0.0) + amount


NOTHING = Offer()
"""The offer of a place without tags and resources.  It is shared: a requirement that it meets takes nothing from it."""
