"""What a place offers to tasks that require something."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from woolexec.resources import Requirement

_GRAIN = 1e-9
"""Amounts are sums of floats: what is missing by less than this is not missing."""


class Offer:
    """
    What a place has: tags, and resources of which calls take some for as long as they run.

    :param tags: each as ``key=value``
    :param resources: amounts by name
    """

    __slots__ = ("_free", "resources", "tags")

    def __init__(self, tags: Iterable[str] = (), resources: Mapping[str, float] | None = None) -> None:
        self.tags = frozenset(tags)
        self.resources = dict(resources or {})
        self._free = dict(self.resources)

    def __str__(self) -> str:
        return ", ".join([*(f"{name}={amount:g}" for name, amount in self.resources.items()), *sorted(self.tags)])

    def meets(self, requirement: Requirement | None) -> bool:
        """Say whether the place could ever run what requires this."""
        return requirement is None or (
            requirement.tags <= self.tags
            and all(self.resources.get(name, 0.0) >= amount - _GRAIN for name, amount in requirement.resources)
        )

    def has(self, requirement: Requirement | None) -> bool:
        """Say whether the place could run it now."""
        return requirement is None or (
            requirement.tags <= self.tags
            and all(self._free.get(name, 0.0) >= amount - _GRAIN for name, amount in requirement.resources)
        )

    def take(self, requirement: Requirement | None) -> None:
        """Keep what a call requires for it."""
        if requirement is not None:
            for name, amount in requirement.resources:
                self._free[name] = self._free.get(name, 0.0) - amount

    def give(self, requirement: Requirement | None) -> None:
        """A call that had taken it is over."""
        if requirement is not None:
            for name, amount in requirement.resources:
                self._free[name] = self._free.get(name, 0.0) + amount


NOTHING = Offer()
"""Of a place that has nothing special.  It is asked only, never taken from: nothing that it meets takes anything."""
