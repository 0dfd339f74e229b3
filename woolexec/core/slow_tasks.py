"""Finds the tasks that run much longer than others of their function, and decides when to check next."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from woolexec.core.histogram import Histogram

    Running = tuple[int, float | None, int, Histogram | None]
    """The number of a call; its start time, None if unknown; its number of items, 0 if it is not part of a map; the run
    times of the ended calls of its function."""

FACTOR = 10.0
"""A slow call has run this many times longer than 95 % of the others took."""

ENOUGH = 5
"""Number of calls that must have ended before one can be slow."""

SHORTEST = 0.1
"""Minimum seconds between two checks."""


class SlowTasks:
    """
    Names each slow call once.

    :param after: minimum seconds that a call must have run to be slow
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._longest = max(SHORTEST, after)
        self._seen: dict[int, float] = {}  # when calls were first seen to run
        self._named: set[int] = set()

    def judge(self, running: Iterable[Running], now: float) -> tuple[dict[int, tuple[float, float]], float]:
        """
        Return the slow calls that were not named before, and the seconds until the next check.

        :param running: all calls that run now
        :return: for each slow call how long it has run, and what 95 % of such calls do not exceed, in seconds
        """
        seen: dict[int, float] = {}
        slow: dict[int, tuple[float, float]] = {}
        pause = self._longest
        for number, since, items, runs in running:
            seen[number] = began = self._seen.get(number, now) if since is None else since
            if number in self._named or runs is None or runs.count < ENOUGH:
                continue
            usual = runs.quantile(0.95) * max(1, items)
            left = max(self._after, FACTOR * usual) - (now - began)
            if left < 0.0:
                slow[number] = now - began, usual
            else:
                pause = min(pause, left)
        self._seen, self._named = seen, {*self._named, *slow} & seen.keys()
        return slow, max(SHORTEST, pause)
