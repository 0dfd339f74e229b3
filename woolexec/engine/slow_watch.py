"""Warns of tasks that run much longer than others of their function: see `woolexec.core.slow_tasks`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.core.call import LIFE, Pulled
from woolexec.core.slow_tasks import SlowTasks
from woolexec.engine.diagnostics import stack_note
from woolexec.engine.stacks import running
from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.core.slow_tasks import Running
    from woolexec.core.task_stack import TaskStack
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.stacks import Inspection
    from woolexec.engine.supervisor import Supervisor

MOST = 10
"""Maximum number of tasks that are named in one check; the others are counted."""


class SlowWatch:
    """
    Checks the running tasks periodically, here and at peers, until the engine ends; in the engine's thread.

    Streams are left out, because nothing runs between pulls, and so are the lives of actors.

    :param after: minimum seconds that a task must have run
    :param inspection: asks workers for stacks; made when it is first needed
    """

    def __init__(
        self,
        after: float,
        loop: Loop,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        inspection: Callable[[], Inspection],
    ) -> None:
        self._tasks, self._inspection = SlowTasks(after), inspection
        self._loop, self._scheduler, self._dispatcher, self._supervisor = loop, scheduler, dispatcher, supervisor

    def look(self) -> None:
        """Warn of the tasks that have become slow, and schedule the next check."""
        self._dispatcher.revoke_permits()  # so that calls that were sent directly are known
        calls = {call.number: (call, target, since) for call, target, since in self._calls()}
        functions = self._scheduler.tallies.functions()

        def each() -> Iterator[Running]:
            for number, (call, _, since) in calls.items():
                tally = functions.get(call.function.name)
                yield number, since, call.count, None if tally is None else tally.runs

        slow, pause = self._tasks.judge(each(), self._loop.clock())
        self._loop.after(pause, self.look)
        for number, times in [*slow.items()][:MOST]:
            call, target, _ = calls[number]
            self._name(call, target, *times)
        if len(slow) > MOST:
            self._loop.run_user_code(partial(log_more, len(slow) - MOST))

    def _calls(self) -> Iterator[tuple[Call, Any, float | None]]:
        """Yield each running call, its worker or peer, and its start time; None if the peer does not report that."""
        now = self._loop.clock()
        for worker in self._supervisor.workers.values():
            for call, seconds in () if worker.is_closed else running(worker, now):
                if _can_be_slow(call):
                    yield call, worker, now - seconds
        for link in self._scheduler.links:
            for place in (link, link.lane_place):
                for call in place.outstanding.values():
                    if place.has_started(call) and _can_be_slow(call):
                        yield call, link, None

    def _name(self, call: Call, target: Any, seconds: float, usual: float) -> None:
        tell, number = self._loop.run_user_code, call.number
        about = printable(call.name, 200), number, seconds, usual
        if target.candidate is not None:
            tell(partial(log_slow, *about, f"at the peer at {printable(target.candidate.address, 200)}"))
            return

        def warn(stacks: list[TaskStack]) -> None:
            seen = next((each for each in stacks if each.task == number), None)
            stack = "" if seen is None else stack_note(seen.stack, seen.note) if seen.stack else seen.note
            tell(partial(log_slow, *about, f"in worker {target.known_pid}", stack))

        self._inspection().look(target, warn)


def _can_be_slow(call: Call) -> bool:
    return call.function.lane != LIFE and not (isinstance(call.receiver, Pulled) and call.receiver.is_open)


def log_slow(name: str, number: int, seconds: float, usual: float, where: str, stack: str = "") -> None:
    """Log that a task is slow."""
    import logging

    logging.getLogger("woolexec").warning(
        "%s (task %d) has run for %.1f s %s, and 95 %% of such tasks took at most %.3g s; logged once for each task; "
        "slow_after=None turns this off%s",
        name,
        number,
        seconds,
        where,
        usual,
        f"; {stack}" if stack else "",
    )


def log_more(count: int) -> None:
    """Log that more tasks are slow than were named."""
    import logging

    logging.getLogger("woolexec").warning(
        "%d more tasks have run much longer than others of their functions; the pool's stacks() shows all", count
    )
