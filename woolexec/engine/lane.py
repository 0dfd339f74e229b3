"""The lane of a worker: the place for its coroutines and streams, which do not run in its main thread."""

from __future__ import annotations

from time import monotonic

from woolexec.core.place import Lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.call import Call

COROUTINES = 10_000
"""Default number of coroutines and streams that one worker runs at once."""


class WorkerLane(Lane):
    """A lane with its own fields on the worker's shared page; it uses the worker's socket."""

    __slots__ = ()

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding, with the time when it was sent, for the error if the worker dies."""
        super().sent(call, number, cost, size)
        call.cost = monotonic()
