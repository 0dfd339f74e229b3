"""
When a worker's memory is checked, and what is done about it.

::

    above `replace_above`    replaced after the calls that it has begun
    above `end_above`        ended at once, with the call that it runs; replaced if it runs none
    the cgroup is full       the busy worker with the most memory is ended, before the kernel chooses a process

A worker is checked again before it could have grown to the next limit, so checks are rare, and frequent only close to a
limit.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Group(Protocol):
        """The memory of a cgroup: see `woolexec.platform.memory`."""

        @property
        def limit(self) -> int:
            """Its limit, in bytes."""

        @property
        def used(self) -> int:
            """Its current memory, in bytes."""

        @property
        def stalled(self) -> float:
            """Seconds for which all its processes have waited for memory."""


KEEP, REPLACE, END = "keep", "replace", "end"

GROWTH = 2 << 30
"""Bytes by which a worker can grow in a second: about what one processor can write to fresh memory."""

SHORTEST, LONGEST = 0.02, 0.5
"""Minimum and maximum seconds between two checks."""

SHARE = 20
"""Walks through the pages of a worker take at most 1 / this of the time; cheap checks continue between them."""

_TIGHT, _NEARLY, _FULL = 0.8, 0.9, 0.97
"""
The fractions of a cgroup's memory at which it counts as full: if its processes wait for memory, if the kernel had to
free some, and in any case.
"""

_WAITING = 0.2
"""The fraction of the time for which they must wait in the first case."""


class MemoryLimits:
    """
    The limits of each worker's memory, in bytes; None: no limit.

    :param replace_above: a worker with more is replaced after its call
    :param end_above: a worker with more is ended
    """

    __slots__ = ("end_above", "replace_above")

    def __init__(self, replace_above: int | None = None, end_above: int | None = None) -> None:
        self.replace_above, self.end_above = replace_above, end_above

    def __bool__(self) -> bool:
        return self.replace_above is not None or self.end_above is not None

    def within(self, others: MemoryLimits) -> MemoryLimits:
        """Return the lower of these limits and others."""
        return MemoryLimits(_lower(self.replace_above, others.replace_above), _lower(self.end_above, others.end_above))

    def measure(self, resident: int, shared: int, exactly: Callable[[], int | None]) -> int:
        """
        Return the memory of a worker, as exactly as necessary.

        :param resident: its resident memory, in bytes
        :param shared: how much of that other processes may share
        :param exactly: returns its current or last known memory, including its part of the shared memory; may take
            long; None if unknown
        """
        for limit in (self.end_above, self.replace_above):
            if limit is not None and resident - shared <= limit < resident:
                found = exactly()
                return resident if found is None else max(found, resident - shared)
        return resident - shared if resident > self.lowest else resident

    @property
    def lowest(self) -> float:
        """The lower of the limits."""
        return min((limit for limit in (self.replace_above, self.end_above) if limit is not None), default=1e30)

    def judge(self, used: int) -> str:
        """Return what to do with a worker that has this much memory: `KEEP`, `REPLACE` or `END`."""
        if self.end_above is not None and used > self.end_above:
            return END
        return REPLACE if self.replace_above is not None and used > self.replace_above else KEEP

    def pause(self, used: int) -> float:
        """Return the seconds until the next check of a worker that has this much memory."""
        above = [limit - used for limit in (self.replace_above, self.end_above) if limit is not None and limit >= used]
        return max(SHORTEST, min(LONGEST, min(above, default=GROWTH) / GROWTH))


def is_full(group: Group | None, *, had_to_free: bool, waiting: float = 0.0) -> bool:
    """
    Return whether a cgroup is so full that the kernel is about to kill a process, or that all processes stall.

    :param had_to_free: the kernel has freed memory at the limit since the last check
    :param waiting: the fraction of the time since then in which all its processes waited for memory
    """
    if group is None:
        return False
    return group.used > group.limit * (_TIGHT if waiting > _WAITING else _NEARLY if had_to_free else _FULL)


def pause_of(group: Group | None, workers: int) -> float:
    """Return the seconds until the next check of a cgroup in which this number of workers may grow."""
    if group is None:
        return LONGEST
    return max(SHORTEST, min(LONGEST, (group.limit * _NEARLY - group.used) / (GROWTH * max(1, workers))))


def largest(used: Mapping[Any, int]) -> Any:
    """Return the worker with the most memory; None if there is none."""
    return max(used, key=lambda worker: used[worker], default=None)


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
