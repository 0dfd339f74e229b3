"""What becomes of the calls of one engine while no worker can be started."""

from __future__ import annotations

from woolexec import errors
from woolexec.core.call import give_back
from woolexec.engine.fork_server import interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.forks import Forks


class Starts:
    """
    When an engine may start workers, and what its calls do until then.

    They wait for the workers that there are.  If there are none, those of a client of a peer are given back to it, as
    soon as it is certain that no worker can be started, and those of a program fail.

    :param forks: starts the workers' processes
    """

    def __init__(self, loop: Loop, scheduler: Scheduler, forks: Forks) -> None:
        self._loop, self._scheduler, self._forks = loop, scheduler, forks
        self._workers = scheduler.workers
        self._is_about_to_try = False

    @property
    def why_not(self) -> str:
        """Why no call can be run; empty if one can, as far as is known."""
        if self._workers or not self._forks.breaker.is_open:
            return ""
        return self._forks.breaker.reason

    def may_try(self) -> bool:
        """Return whether to start a worker now; if not, one is started later, if calls still wait then."""
        if self._forks.breaker.may_try() or not (self._workers or self._forks.is_peer):
            return True
        self._wait()
        return False

    def failed(self, exc: OSError) -> None:
        """Note that a worker could not be started."""
        if self._workers or self._forks.is_peer:
            self._wait()
            return
        error = errors.WorkerStartError(f"no worker could be started with {interpreter() or 'no interpreter'}: {exc}")
        error.__cause__ = exc
        self._scheduler.fail_waiting(error)

    def _wait(self) -> None:
        if self._forks.is_peer and self.why_not:
            error = errors.WorkerStartError(f"no worker could be started: {self.why_not}")
            for entry in self._scheduler.take_waiting():
                give_back(entry, error)
        elif not self._is_about_to_try:
            self._is_about_to_try = True
            self._loop.after(self._forks.breaker.pause, self._try)

    def _try(self) -> None:
        self._is_about_to_try = False  # the round that follows starts what calls wait for
