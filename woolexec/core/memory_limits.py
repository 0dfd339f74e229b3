"""
When a worker's memory is looked at, and what is done about it.

::

    above `replace_above`    replaced after the calls that it has begun
    above `end_above`        ended at once, with the call that it runs; replaced if it runs none
    the cgroup is full       the busy worker with the most memory is ended, before the kernel chooses a process

A worker is looked at again before it could have grown to the next limit, so most looks are rare, and those close to a
limit are frequent.
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
            """The most that it may have, in bytes."""

        @property
        def used(self) -> int:
            """What it has."""

        @property
        def stalled(self) -> float:
            """For how many seconds all its processes have waited for memory."""


KEEP, REPLACE, END = "keep", "replace", "end"

GROWTH = 2 << 30
"""Bytes by which a worker can grow in a second: about what one processor can write to fresh memory."""

SHORTEST, LONGEST = 0.02, 0.5
"""Limits of the seconds between two looks."""

SHARE = 20
"""Walks through the pages of a worker take at most this fraction of the time; between them the cheap looks go on."""

_TIGHT, _NEARLY, _FULL = 0.8, 0.9, 0.97
"""
The parts of a cgroup's memory from which on it is full: if its processes wait for memory, if the kernel had to free
some, and in any case.
"""

_WAITING = 0.2
"""The part of the time for which they then wait."""


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
        """Return the lower ones of these limits and others."""
        return MemoryLimits(_lower(self.replace_above, others.replace_above), _lower(self.end_above, others.end_above))

    def measure(self, resident: int, shared: int, exactly: Callable[[], int | None]) -> int:
        """
        Return the memory of a worker, as exactly as it matters.

        :param resident: what it has in RAM, in bytes
        :param shared: how much of that others may have as well
        :param exactly: returns what it has, or last had, with its part of what is shared; may take long; None: not
            known
        """
        for limit in (self.end_above, self.replace_above):
            if limit is not None and resident - shared <= limit < resident:
                found = exactly()
                return resident if found is None else max(found, resident - shared)
        return resident - shared if resident > self.lowest else resident

    @property
    def lowest(self) -> float:
        """The lower one of the limits."""
        return min((limit for limit in (self.replace_above, self.end_above) if limit is not None), default=1e30)

    def judge(self, used: int) -> str:
        """Return what to do with a worker that has this much memory: `KEEP`, `REPLACE` or `END`."""
        if self.end_above is not None and used > self.end_above:
            return END
        return REPLACE if self.replace_above is not None and used > self.replace_above else KEEP

    def pause(self, used: int) -> float:
        """Return the seconds until the next look at a worker that has this much memory."""
        above = [limit - used for limit in (self.replace_above, self.end_above) if limit is not None and limit >= used]
        return max(SHORTEST, min(LONGEST, min(above, default=GROWTH) / GROWTH))


def is_full(group: Group | None, *, had_to_free: bool, waiting: float = 0.0) -> bool:
    """
    Return whether a cgroup is so full that the kernel is about to end a process, or that nothing moves any more.

    :param had_to_free: the kernel has freed memory at the limit since the last look
    :param waiting: for which part of the time since then all its processes have waited for memory
    """
    if group is None:
        return False
    return group.used > group.limit * (_TIGHT if waiting > _WAITING else _NEARLY if had_to_free else _FULL)


def pause_of(group: Group | None, workers: int) -> float:
    """Return the seconds until the next look at a cgroup, in which this number of workers may grow."""
    if group is None:
        return LONGEST
    return max(SHORTEST, min(LONGEST, (group.limit * _NEARLY - group.used) / (GROWTH * max(1, workers))))


def largest(used: Mapping[Any, int]) -> Any:
    """Return the worker with the most memory; None if there is none."""
    return max(used, key=lambda worker: used[worker], default=None)


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
