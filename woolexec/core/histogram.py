"""
A histogram of durations whose size does not depend on their number.

Each bin is an eighth of an octave wide, so a quantile is wrong by 4.5 % at most; count, total, minimum and maximum are
exact.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

_PER_OCTAVE = 8
_LOWEST, _HIGHEST = -27, 20  # exponents of 2: from ten nanoseconds to twelve days

BOUNDS = tuple(2.0 ** (step / _PER_OCTAVE) for step in range(_LOWEST * _PER_OCTAVE, _HIGHEST * _PER_OCTAVE + 1))
"""The upper bounds of all bins but the last one, which has none, in seconds."""


class Histogram:
    """Durations, in seconds."""

    __slots__ = ("_counts", "count", "max", "min", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.count = 0
        self.total = 0.0
        self.min = self.max = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Add the duration of one call, or of several."""
        self._counts[bisect_left(BOUNDS, seconds)] += times
        if seconds > self.max:  # noqa: PLR1730  # `max` takes longer
            self.max = seconds
        if seconds < self.min or not self.count:
            self.min = seconds
        self.count += times
        self.total += seconds * times

    def quantile(self, fraction: float) -> float:
        """Return the duration that this fraction of all durations does not exceed; 0.0 if there are none."""
        if not self.count:
            return 0.0
        at = bisect_left(list(accumulate(self._counts)), fraction * self.count)
        if at >= len(BOUNDS):
            return self.max
        middle: float = BOUNDS[at] * 2.0 ** (-0.5 / _PER_OCTAVE)
        return min(max(middle, self.min), self.max)

    def bins(self) -> list[tuple[float, int]]:
        """Return, for each bin that is not empty, its upper bound and its number of durations."""
        bounds = (*BOUNDS, float("inf"))
        return [(bounds[at], count) for at, count in enumerate(self._counts) if count]
