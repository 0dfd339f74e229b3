"""What a figure should reach, and whether it did: pure, so that the verdicts themselves are tested."""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OURS = "woolexec"
TIMES = "\N{MULTIPLICATION SIGN}"
Better = Literal["higher", "lower"]
Verdict = Literal["moonshot", "reached", "missed", "-"]


@dataclass(frozen=True, slots=True)
class Goal:
    """
    A limit for our figure.

    :param limit: the least where higher is better, the most where lower is better
    :param against: the contender whose figure the limit multiplies, or `None` where the figure itself is judged
    """

    limit: float
    against: str | None = "stdlib"

    def compared(self, values: Mapping[str, float]) -> float | None:
        """Return what the limit is compared with, or `None` if that was not measured."""
        ours = values.get(OURS)
        if ours is None or self.against is None:
            return ours
        theirs = values.get(self.against)
        return ours / theirs if theirs else None

    def text(self, better: Better, unit: str) -> str:
        """Write the goal as the table shows it."""
        sign = "≥" if better == "higher" else "≤"
        if self.against is None:
            return f"{sign} {self.limit:g} {unit}"
        suffix = "" if self.against == "stdlib" else f" {self.against}"
        return f"{sign} {self.limit:g}{TIMES}{suffix}"


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One row of the table: a number that a workload yields, and what it should be.

    :param name: the key under which the workload returns it
    :param target: all of these hold where the row is `reached`
    :param moonshot: all of these hold too where the row is a `moonshot`
    :param reference: the contender in the column beside ours, or `None` where there is nobody to compare with
    :param worst: the worst round counts, not the median: for what must never happen
    """

    name: str
    title: str
    unit: str
    better: Better
    target: tuple[Goal, ...] = ()
    moonshot: tuple[Goal, ...] = ()
    reference: str | None = "stdlib"
    worst: bool = False

    def value(self, samples: Sequence[float]) -> float:
        """Return the one number that stands for all rounds."""
        if self.worst:
            return min(samples) if self.better == "higher" else max(samples)
        return statistics.median(samples)

    def verdict(self, values: Mapping[str, float]) -> Verdict:
        """Judge one number of each contender; `-` where there is no goal, or what it needs was not measured."""
        reached = self._hold(self.target, values)
        if reached is None:
            return "-"
        if not reached:
            return "missed"
        return "moonshot" if self._hold(self.moonshot, values) else "reached"

    def _hold(self, goals: Sequence[Goal], values: Mapping[str, float]) -> bool | None:
        reaches = operator.ge if self.better == "higher" else operator.le
        held: list[bool] = []
        for goal in goals:
            compared = goal.compared(values)
            if compared is None:
                return None
            held.append(reaches(compared, goal.limit))
        return all(held) if held else None
