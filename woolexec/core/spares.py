"""Idle workers without a seat, which are kept for a while for the next turn of their client."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SPARE = 5.0
"""Seconds that such a worker is kept."""


class Spares:
    """
    The spare workers of all clients of a peer.

    :param clock: returns monotonic seconds
    :param after: calls a function later, given the seconds until then
    """

    def __init__(self, clock: Callable[[], float], after: Callable[[float, Callable[[], object]], object]) -> None:
        self._clock, self._after = clock, after
        self._kept: dict[Any, tuple[Callable[[Any], object], float]] = {}  # their dismiss functions, and since when

    def keep(self, worker: Any, dismiss: Callable[[Any], object], most: int) -> None:
        """Keep a worker; if there are more than `most`, dismiss the one that was kept longest."""
        if worker in self._kept:
            return
        if not self._kept:
            self._after(SPARE, self._let_old_ones_go)
        self._kept[worker] = dismiss, self._clock()
        if len(self._kept) > most:
            self._let_go(next(iter(self._kept)))

    def use(self, worker: Any) -> None:
        """Note that a worker is no longer idle, or is gone."""
        self._kept.pop(worker, None)

    def _let_go(self, worker: Any) -> None:
        dismiss, _ = self._kept.pop(worker)
        dismiss(worker)

    def _let_old_ones_go(self) -> None:
        """Dismiss the workers that were kept for long enough."""
        for worker, (_, since) in list(self._kept.items()):
            if (left := since + SPARE - self._clock()) > 0:
                self._after(left, self._let_old_ones_go)
                return
            self._let_go(worker)
