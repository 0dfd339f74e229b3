"""A mapping of limited size that several threads may use at once."""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")


class Recent(OrderedDict["K", "V"]):
    """
    A mapping that keeps the entries added last, up to a limit; adding more removes the oldest.

    Each step is one call of a C function, so threads may add, remove and look up entries at the same time.
    (`next(iter(table))` would raise RuntimeError if another thread changed the size in between.)

    :param limit: maximum number of entries
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def add(self, key: K, value: V) -> None:
        """Add an entry; remove the oldest ones if there are too many."""
        self[key] = value
        while len(self) > self._limit:
            try:
                self.popitem(last=False)
            except KeyError:  # another thread has removed the rest
                return
