"""The shape of a workload, and the stopwatch that all of them use."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bench.goals import Figure

Size = Mapping[str, Any]
Sample = dict[str, float]
QUICK_TIMEOUT = 15.0


def never() -> None:
    """Nothing is missing."""


def as_given(size: Size, probe: Callable[[str, Size], Sample]) -> Size:
    """Keep the size."""
    return size


@dataclass(frozen=True, slots=True)
class Workload:
    """
    Something to do with a pool, and the figures that come of it.

    :param probe: does it once, in a process of its own: `(contender, **size)` → one sample of every figure
    :param size: keyword arguments of `probe`; `quick` replaces some of them under `--quick`
    :param contenders: who takes part, beside the optional libraries
    :param libraries: whether the optional libraries take part
    :param tune: may probe a contender to complete the size, once before the rounds
    :param missing: says why the workload cannot run on this machine, or `None`
    :param timeout: seconds until a probe counts as hung
    """

    name: str
    probe: Callable[..., Sample]
    figures: tuple[Figure, ...]
    size: Size
    quick: Size
    contenders: tuple[str, ...] = ("woolexec", "stdlib")
    libraries: bool = True
    tune: Callable[[Size, Callable[[str, Size], Sample]], Size] = as_given
    missing: Callable[[], str | None] = never
    timeout: float = 120.0

    def quickened(self) -> Workload:
        """Return the same with few items, and less patience."""
        return replace(self, size={**self.size, **self.quick}, timeout=QUICK_TIMEOUT)


def timed(fn: Callable[..., Any], *args: object) -> tuple[float, Any]:
    """
    Time one call, and return the seconds with its result.

    What an earlier call left to the garbage collector is not on this one's bill; neither is the check of the result.
    """
    gc.collect()
    begun = time.perf_counter()
    result = fn(*args)
    return time.perf_counter() - begun, result
