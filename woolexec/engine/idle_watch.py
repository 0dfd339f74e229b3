"""Ends workers that have been idle for a while: see `woolexec.core.idleness`."""

from __future__ import annotations

from woolexec.core.idleness import Idleness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.worker_process import Worker


class IdleWatch:
    """
    Checks the workers as long as some may be ended; runs in the engine's thread.

    The workers of actors are not affected; they end with their actors.

    :param timeout: seconds after which an idle worker is ended
    :param least: number of workers that stay
    """

    def __init__(
        self,
        timeout: float,
        least: int,
        loop: Loop,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
    ) -> None:
        self._idleness = Idleness(timeout, least)
        self._loop, self._scheduler, self._dispatcher, self._supervisor = loop, scheduler, dispatcher, supervisor
        self._is_looking = False

    def begin(self) -> None:
        """Start checking: a worker is being started."""
        if not self._is_looking:
            self._is_looking = True
            self._look()

    def _look(self) -> None:
        workers = self._scheduler.workforce.staying
        for worker in self._idleness.look({each: _mark(each) for each in workers}, self._loop.clock()):
            self._dispatcher.revoke_permit(worker)
            if not worker.is_busy:
                self._supervisor.dismiss(worker, is_replaced=True)  # in case calls arrive meanwhile
        pause = self._idleness.pause(len(workers))
        self._is_looking = pause is not None and self in self._supervisor.watches
        if self._is_looking and pause is not None:
            self._loop.after(pause, self._look)


def _mark(worker: Worker) -> Any:
    if worker.is_busy or worker.waiting or worker.page.pid == 0:
        return None
    return worker.page.started, worker.page.loop.started
