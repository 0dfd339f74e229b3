"""The queued calls of an actor, by the calls here that wait for them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def waiter_of(call: Any) -> int:
    """Return the number of the call in a main thread here that waits for this one; 0: there is none."""
    return getattr(call.receiver, "waiter", 0)


class Callers:
    """
    Finds, without a search of the queue, a queued call that a given call waits for.

    Calls that were cancelled are removed when they are met, or when most calls here are no longer queued.

    :param is_queued: returns whether a call is still queued
    """

    def __init__(self, is_queued: Callable[[Any], bool]) -> None:
        self._is_queued = is_queued
        self._waiters: dict[Any, int] = {}
        self._calls: dict[int, dict[Any, None]] = {}
        self._limit = 1024

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, call: Any) -> None:
        """Add a call that is queued, if another one here waits for it."""
        waiter = waiter_of(call)
        if not waiter:
            return
        if len(self) >= self._limit:
            for each in [each for each in self._waiters if not self._is_queued(each)]:
                self.remove(each)
            self._limit = max(1024, 2 * len(self))
        self._waiters[call] = waiter
        self._calls.setdefault(waiter, {})[call] = None

    def remove(self, call: Any) -> None:
        """Remove a call that is no longer queued, if it is here."""
        waiter = self._waiters.pop(call, 0)
        if waiter:
            calls = self._calls[waiter]
            del calls[call]
            if not calls:
                del self._calls[waiter]

    def find(self, waiter: int) -> Any:
        """Return a queued call for which this one waits; None if there is none."""
        while calls := self._calls.get(waiter):
            call = next(iter(calls))
            if self._is_queued(call):
                return call
            self.remove(call)
        return None

    def clear(self) -> None:
        """Remove all calls."""
        self._waiters.clear()
        self._calls.clear()
