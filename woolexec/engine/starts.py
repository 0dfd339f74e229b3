"""How the calls of an engine are handled while no worker can be started."""

from __future__ import annotations

from errno import EMFILE

from woolexec import errors
from woolexec.core.call import give_back
from woolexec.engine.fork_server import interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.actor import Actor
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.forks import Forks


class Starts:
    """
    Decides when an engine may start workers, and how its calls are handled until then.

    The calls wait for the existing workers.  If there are none, and it is certain that none can be started, the calls
    of a peer's client are given back to it, and those of a program fail.  An actor has no existing worker to wait for:
    each actor of a program is tried, and fails.

    :param forks: starts the workers' processes
    """

    def __init__(self, loop: Loop, scheduler: Scheduler, forks: Forks) -> None:
        self._loop, self._scheduler, self._forks = loop, scheduler, forks
        self._workers = scheduler.workers
        self._is_about_to_try = False

    @property
    def why_not(self) -> str:
        """Why no call can be run; empty if no reason is known."""
        if self._workers or not self._forks.breaker.is_open:
            return ""
        return self._forks.breaker.reason

    def may_try(self, actor: Actor | None = None) -> bool:
        """
        Return whether to start a worker now; if not, one is started later, if calls still wait then.

        :param actor: the actor that the worker is for
        """
        may_wait = self._forks.is_peer or (bool(self._workers) and actor is None)
        if self._forks.breaker.may_try() or not may_wait:
            return True
        self._wait()
        return False

    def failed(self, exc: OSError, actor: Actor | None = None) -> None:
        """Note that a worker could not be started."""
        if self._forks.is_peer or (self._workers and actor is None):
            self._wait()
            return
        advice = "; raise the limit of open files (ulimit -n)" if exc.errno == EMFILE else ""
        with_what = interpreter() or "no interpreter"
        error = errors.WorkerStartError(f"no worker could be started with {with_what}: {exc}{advice}")
        error.__cause__ = exc
        if self._workers and self._scheduler.actors is not None:
            self._scheduler.actors.fault = error
        else:
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
        self._is_about_to_try = False  # the next round starts the workers that calls wait for
