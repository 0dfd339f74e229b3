"""Which workers have had nothing to do for so long that they leave."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SHORTEST = 0.01
"""Minimum seconds between two looks."""

_LOOKS = 4
"""Looks during the time after which a worker leaves: it leaves at most this part of the time late."""


class Idleness:
    """
    Since when each worker is idle, as far as looks at it tell.

    :param timeout: seconds after which an idle worker leaves
    :param least: number of workers that stay
    """

    def __init__(self, timeout: float, least: int) -> None:
        self._timeout, self._least = timeout, least
        self._since: dict[Any, tuple[Any, float]] = {}

    def look(self, marks: Mapping[Any, Any], now: float) -> list[Any]:
        """
        Return the workers that leave now, those that have been idle longest first.

        :param marks: for each worker what changes with each call that it starts; None: it is busy
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
        """Return the seconds until the next look at this number of workers; None: none until another one starts."""
        return None if count <= self._least else max(SHORTEST, self._timeout / _LOOKS)
