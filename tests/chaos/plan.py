"""
The order of a run: actions drawn by weight, from a seed.

The seed fixes which actions follow each other and what each of them draws.  An action draws from dice of its own, so
how far one gets does not change what comes after it.  How many actions fit into the time, and what they meet, is up to
the machine.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

KEPT = 60
"""Number of steps that a history shows."""

_MARK = "_chaos_weight"


def action(weight: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a method as an action that is drawn this often, compared with others."""

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        setattr(method, _MARK, weight)
        return method

    return mark


def weights_of(kind: type) -> dict[str, float]:
    """Return the actions of a class by name, in an order that does not depend on anything but their names."""
    found = {name: getattr(getattr(kind, name), _MARK, 0.0) for name in dir(kind)}
    return {name: found[name] for name in sorted(found) if found[name]}


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a run."""

    number: int
    action: str
    seed: int

    def dice(self) -> random.Random:
        """Return the dice of this step, which are the same each time."""
        return random.Random(self.seed)


def steps(seed: int, weights: dict[str, float]) -> Iterator[Step]:
    """Draw steps without end."""
    dice = random.Random(seed)
    names, cumulated = list(weights), list(weights.values())
    number = 0
    while True:
        number += 1
        [name] = dice.choices(names, cumulated)
        yield Step(number, name, dice.getrandbits(32))


class History:
    """The last steps of a run, each with what it did."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.last = 0
        self._clock, self._began = clock, clock()
        self._lines: deque[str] = deque(maxlen=KEPT)

    def add(self, step: Step, told: object) -> None:
        """Note a step, and what the action says of itself."""
        self.last = step.number
        text = "" if told is None else f": {told}"
        self._lines.append(f"{self._clock() - self._began:8.2f} s  step {step.number:5}  {step.action}{text}")

    def __str__(self) -> str:
        return "\n".join(self._lines)
