"""How many local workers there may be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Share(Protocol):
        """A share of the seats of a peer."""

        @property
        def most(self) -> int:
            """The number of seats that it can ever hold."""

        @property
        def could_grow(self) -> bool:
            """It would get one more seat if it asked for one."""

        def want(self) -> bool:
            """Ask for one more seat; return whether there is one at once."""

        def take_spare(self) -> None:
            """Take an unused seat, if there is one."""

        def resumed(self, worker: Any) -> None:
            """Take a seat for a worker whose call continues."""

        def park(self, worker: Any) -> None:
            """Take the seat of an idle worker, for another one of the same client."""

        def unpark(self, worker: Any) -> None:
            """Give a worker a seat that its client has and does not use."""


class Workforce:
    """
    The local workers, by their numbers, and how many there may be.

    :param limit: maximum number of workers
    """

    def __init__(self, limit: int) -> None:
        self.workers: dict[int, Any] = {}
        self.limit = limit
        self.share: Share | None = None  # the seats, if these are shared with other clients' workers
        self.parked: dict[Any, None] = {}  # workers without a seat
        self.kept: dict[Any, int] = {}  # by worker: the call that keeps it while waiting for nested tasks
        self.ending: set[Any] = set()  # workers that are being ended because of one of their calls

    @property
    def most(self) -> int:
        """The current maximum number of workers, including those that a waiting call keeps or that are being ended."""
        if self.kept:
            self.kept = {worker: call for worker, call in self.kept.items() if call in worker.outstanding}
        return self.limit + len(self.kept) + len(self.ending)

    @property
    def may_grow_for_lanes(self) -> bool:
        """Whether one more worker may be started for coroutines and streams, which only get spare seats."""
        self.take_spare()
        return len(self.workers) < max(0 if self.share is None else 1, self.limit + len(self.ending))

    def take_spare(self) -> None:
        """Take an unused seat for one more worker, unless it already has one."""
        if self.share is not None and len(self.workers) >= self.limit:
            self.share.take_spare()

    def want(self) -> bool:
        """Ask for a seat for one more worker, because calls wait; return whether there is one now."""
        return self.share is not None and self.share.want()

    def resumed(self, worker: Any) -> None:
        """Note that a worker's call continues after waiting for nested tasks."""
        if self.share is not None:
            self.share.resumed(worker)

    def park(self, worker: Any) -> None:
        """Take the seat of an idle worker, for another worker."""
        assert self.share is not None
        self.share.park(worker)

    def unpark(self, worker: Any) -> None:
        """Give a parked worker a seat that no other worker has."""
        assert self.share is not None
        self.share.unpark(worker)

    @property
    def could_grow(self) -> bool:
        """Whether one more worker may be started, or would be as soon as calls wait for it."""
        return self.may_grow or (self.share is not None and self.share.could_grow)

    @property
    def may_grow(self) -> bool:
        """Whether one more worker may be started."""
        count = len(self.workers) - len(self.parked)
        return count < self.limit or count < self.most

    @property
    def full(self) -> int:
        """The maximum number of workers that there can ever be."""
        return self.limit if self.share is None else self.share.most

    @property
    def seated(self) -> list[Any]:
        """The workers that may run calls in their main threads."""
        return [worker for worker in self.workers.values() if worker not in self.parked]

    @property
    def staying(self) -> list[Any]:
        """The workers that have not been told to end."""
        return [worker for worker in self.workers.values() if not worker.stopping and not worker.is_dead]

    def surplus(self) -> list[Any]:
        """Return idle workers that were started beyond the limit and are no longer needed, the youngest first."""
        staying = [worker for worker in self.seated if not worker.stopping]
        idle = [worker for worker in reversed(staying) if not worker.is_busy]
        return idle[: max(0, len(staying) - self.most)]


def may_run(worker: Any) -> bool:
    """Return whether a worker may be sent calls if it has a seat."""
    return not (worker.stopping or worker.is_dead or worker.ended_for)


def is_occupied(worker: Any) -> bool:
    """Return whether a call runs in its main thread, is about to, or may be running there."""
    return bool(worker.pinned or worker.recalling) or worker.runs
