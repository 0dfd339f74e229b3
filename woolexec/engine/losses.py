"""Lost workers: details of the last ones, and how many were lost for which reason."""

from __future__ import annotations

from collections import Counter, deque
from time import monotonic, time

from woolexec.engine.diagnostics import describe_exit, was_killed_for_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.engine.worker_process import Worker

_LAST = 20
"""Maximum number of lost workers that are described."""


class Lost:
    """A lost worker; times are in seconds since 1970."""

    __slots__ = ("actor", "done", "ended", "pid", "started", "why")

    def __init__(self, worker: Worker, why: str) -> None:
        self.pid, self.done, self.why = worker.pid or 0, worker.done, why
        self.actor = "" if worker.actor is None else worker.actor.name
        self.ended = time()
        self.started = self.ended - (monotonic() - worker.born)


class Losses:
    """
    The lost workers of one engine.

    `reasons` counts them: ``"ended"`` to stop a task, ``"memory"``, the name of a signal, or ``"exit"``.
    """

    def __init__(self) -> None:
        self.last: deque[Lost] = deque(maxlen=_LAST)
        self.reasons: Counter[str] = Counter()

    def note(self, worker: Worker) -> None:
        """Note a worker that ended unexpectedly, or was ended to stop a task."""
        if worker.ended_for is not None:
            reason, why = "ended", f"was ended to stop {worker.ended_for}"
        elif worker.excess:
            reason, why = "memory", f"was ended by the pool: {worker.excess}"
        elif worker.stopping:
            return
        else:
            why = describe_exit(worker.exitcode)
            reason = "exit" if (worker.exitcode or 0) >= 0 else why.rpartition(" ")[2]
            if was_killed_for_memory(worker):
                reason, why = "memory", f"{why}, by the kernel's out-of-memory killer"
        self.reasons[reason] += 1
        self.last.append(Lost(worker, why))
