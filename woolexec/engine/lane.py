"""
The lane of a worker: the place of its calls that do not run in its main thread, which are coroutines and streams.

It is a separate place with its own window and its own words on the worker's shared page, but it uses the same socket.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from woolexec.core.call import Call
from woolexec.engine.transport import Transport

if TYPE_CHECKING:
    from woolexec.core.call import Function
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.frames import Start
    from woolexec.wire.payload import File, Parts

COROUTINES = 10_000
"""Default number of coroutines and streams that one worker runs at once."""


class WorkerLane(Transport):
    """
    The calls of a worker that run outside its main thread.

    :param limit: maximum number of calls that run at once
    """

    __slots__ = ("page", "worker")

    is_lane = True

    def __init__(self, worker: Worker, limit: int) -> None:
        super().__init__()
        self.worker = worker
        self.limit = limit

    @property
    def pid(self) -> int | None:  # type: ignore[override]
        """The worker's process id."""
        return self.worker.pid

    def sent(self, call: Call, number: int, cost: float, size: int) -> None:
        """Record a call as outstanding; it counts as one of the worker's, and starts as soon as it arrives there."""
        super().sent(call, number, cost, size)
        call.cost = monotonic()
        if self.worker.remaining is not None:
            self.worker.remaining -= 1

    @property
    def is_used_up(self) -> bool:
        """The worker has been sent as many calls as it may run."""
        return self.worker.is_used_up

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Queue encoded frames."""
        self.worker.send(frames, file)

    def flush(self) -> bool:
        """Write what is queued."""
        return self.worker.flush()

    def _slot(self, function: Function) -> int:
        return self.worker._slot(function)

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        self.worker._send_payload(frame, payload)
