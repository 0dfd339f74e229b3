"""Which workers have been idle for so long that they are ended."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SHORTEST = 0.01
"""Minimum seconds between two checks."""

_LOOKS = 4
"""Number of checks within the idle timeout; so a worker is ended late by at most a quarter of it."""


class Idleness:
    """
    Since when each worker has been idle, as far as checks tell.

    :param timeout: seconds after which an idle worker is ended
    :param least: number of workers that stay
    """

    def __init__(self, timeout: float, least: int) -> None:
        self._timeout, self._least = timeout, least
        self._since: dict[Any, tuple[Any, float]] = {}

    def look(self, marks: Mapping[Any, Any], now: float) -> list[Any]:
        """
        Return the workers to end now, the longest idle first.

        :param marks: for each worker a value that changes with each call that it starts; None if it is busy
        """
        idle: dict[Any, tuple[Any, float]] = {}
        for worker, mark in marks.items():
            if mark is not None:
                before = self._since.get(worker)
                idle[worker] = before if before is not None and before[0] == mark else (mark, now)
        self._since = idle
        due = [worker for worker, (_, since) in idle.items() if now - since >= self._timeout]
        due.sort(key=lambda worker: idle[worker][1])
        return due[: max(0, len(marks) - self._least)]

    def pause(self, count: int) -> float | None:
        """Return the seconds until the next check of this number of workers; None: not before another one starts."""
        return None if count <= self._least else max(SHORTEST, self._timeout / _LOOKS)
