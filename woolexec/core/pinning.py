"""Calls that must run on particular workers: on each of them, or on the one with a number."""

from __future__ import annotations

from woolexec.core import feeding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler


class Pinning:
    """Runs calls on particular workers; other calls there wait meanwhile."""

    def __init__(self, scheduler: Scheduler, actions: Actions) -> None:
        self._scheduler = scheduler
        self._actions = actions

    def run_on_all(self, make: Callable[[], Call]) -> list[tuple[Any, Call]]:
        """
        Run one call on each worker, including those behind links; start the workers that are missing.

        :param make: makes one call
        :return: for each call the worker or the link, and the call
        """
        made: list[tuple[Any, Call]] = []
        for worker in self._all_workers():
            call = make()
            self._run_on(worker, call)
            made.append((worker, call))
        for link in self._scheduler.links:
            for number in range(1, link.width + 1):
                call = make()
                place = _place_at(link, call)
                self._scheduler.group_of(call).pin_far(place, call, number)
                self._actions.send(place, [call])
                made.append((link, call))
        return made

    def run_on(self, number: int, call: Call) -> None:
        """Run a call on the worker with this number, modulo the number of workers."""
        workers = self._all_workers()
        if workers:
            self._run_on(workers[(number - 1) % len(workers)], call)
        else:  # no worker can be started: the call waits for one
            self._scheduler.group_of(call).add(call)

    def _all_workers(self) -> list[Any]:
        workforce = self._scheduler.workforce
        while len(workforce.workers) < workforce.full:
            workforce.take_spare()
            if self._actions.start_worker() is None:
                break
        return workforce.staying

    def _run_on(self, worker: Any, call: Call) -> None:
        place = _place_at(worker, call)
        group = self._scheduler.group_of(call)
        group.pin(place, call)
        self._actions.send(place, feeding.assign(group, place))


def _place_at(target: Any, call: Call) -> Any:
    """Return the place of a worker or a peer that runs a call: its lane, or itself."""
    return target.lane_place if call.function.lane else target
