"""A table of limited size that several threads may use at once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(OrderedDict[K, V]):
    """
    What was added last, up to a limit; whoever adds more drops the oldest.

    Each step is one call of a C function, so threads that add, drop and look up at the same time do not disturb each
    other.  (`next(iter(table))` would raise RuntimeError when another thread has changed the size in between.)

    :param limit: entries, at most
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def add(self, key: K, value: V) -> None:
        """Add an entry; drop the oldest if there are too many."""
        self[key] = value
        while len(self) > self._limit:
            try:
                self.popitem(last=False)
            except KeyError:  # another thread has dropped the rest
                return
