"""How many local workers there may be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Workforce:
    """
    The local workers, by their numbers, and how many there may be.

    :param limit: maximum number of workers
    """

    def __init__(self, limit: int) -> None:
        self.workers: dict[int, Any] = {}
        self.limit = limit
        self.kept: list[tuple[Any, int]] = []  # calls that keep their workers while they wait for tasks of their own
        self.ending: set[Any] = set()  # being ended because of one of their calls, and not gone yet

    @property
    def most(self) -> int:
        """The current maximum number of workers, including those that a waiting call keeps or that are being ended."""
        if self.kept:
            self.kept = [(worker, call) for worker, call in self.kept if call in worker.outstanding]
        return self.limit + len(self.kept) + len(self.ending)

    @property
    def may_grow(self) -> bool:
        """One more worker may be started."""
        count = len(self.workers)
        return count < self.limit or count < self.most

    @property
    def staying(self) -> list[Any]:
        """The workers that have not been told to end."""
        return [worker for worker in self.workers.values() if not worker.stopping and not worker.is_dead]

    def surplus(self) -> list[Any]:
        """Return idle workers that were started beyond the limit and are no longer needed, the youngest first."""
        staying = [worker for worker in self.workers.values() if not worker.stopping]
        idle = [worker for worker in reversed(staying) if not worker.is_busy]
        return idle[: max(0, len(staying) - self.most)]
