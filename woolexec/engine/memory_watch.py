"""
Watches the memory of an engine's workers: see `woolexec.core.memory_limits`.

A timer checks them, so calls have no cost.  A worker that has run nothing since the last check is skipped.

A worker is ended in the same way as after a timeout: the calls behind the running one are recalled, and all frames are
read, so that no other call is lost.  See `woolexec.engine.cancellation`.
"""

from __future__ import annotations

from functools import partial
from time import thread_time

from woolexec.checks import size_text
from woolexec.core.memory_limits import END, KEEP, LONGEST, SHARE, SHORTEST, is_full, largest, pause_of
from woolexec.core.scheduler import retire
from woolexec.engine.worker_process import has_run
from woolexec.platform import memory
from woolexec.platform.posix import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.core.memory_limits import MemoryLimits
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.worker_process import Worker


class _Seen:
    """The result of a check of a worker, and when the next one is due."""

    __slots__ = ("due", "mark", "used", "walk_due", "walked")

    def __init__(self, mark: Any, used: int, due: float, walked: int | None, walk_due: float) -> None:
        self.mark = mark  # what it had started; None: it is busy
        self.used = used
        self.due = due
        self.walked = walked  # its memory when the kernel last walked through its pages, which takes long
        self.walk_due = walk_due  # when the kernel may be asked for that again


class MemoryWatch:
    """Checks the workers as long as there are any; all of it runs in the engine's thread."""

    def __init__(
        self, limits: MemoryLimits, loop: Loop, scheduler: Scheduler, dispatcher: Dispatcher, supervisor: Supervisor
    ) -> None:
        self._limits = limits
        self._loop, self._scheduler, self._dispatcher, self._supervisor = loop, scheduler, dispatcher, supervisor
        self._next = 0  # the number of the next check; other planned checks are skipped
        self._seen: dict[Worker, _Seen] = {}
        self._times_full = memory.reached_limit() if limits.end_above is not None else 0
        self._waited = (
            loop.clock(),
            0.0,
            0.0,
        )  # a time, how long the cgroup had waited by then, and the fraction before that

    def begin(self) -> None:
        """Start checking: a worker is being started."""
        self._plan(SHORTEST)

    def _plan(self, pause: float) -> None:
        self._next += 1
        self._loop.after(pause, partial(self._look, self._next))

    def _look(self, number: int) -> None:
        workers = list(self._supervisor.workers.values())
        if number != self._next or self not in self._supervisor.watches or not workers:
            return
        now, soonest = self._loop.clock(), LONGEST
        seen: dict[Worker, _Seen] = {}
        for worker in workers:
            if worker.is_dead or worker.stopping or worker.excess:
                continue
            if worker.pid is None:  # it is being forked
                soonest = SHORTEST
                continue
            about = self._look_at(worker, now)
            if about is not None:
                seen[worker] = about
                soonest = min(soonest, max(0.0, about.due - now))
        self._seen = seen
        if self._limits.end_above is not None:
            soonest = min(soonest, self._look_at_group(len(workers)))
        self._plan(soonest)

    def _look_at(self, worker: Worker, now: float) -> _Seen | None:
        """Check one worker, if it is time; return its state for the next check."""
        mark = None if worker.is_busy else (worker.page.started, worker.page.loop.started)
        before = self._seen.get(worker)
        if before is not None:
            if now < before.due:
                return before
            if mark is not None and mark == before.mark:
                before.due = now + self._limits.pause(before.used)
                return before
        assert worker.pid is not None
        found = memory.resident(worker.pid)
        if found is None:
            return None
        seen = _Seen(mark, 0, now, *((0, now) if before is None else (before.walked, before.walk_due)))
        seen.used = self._limits.measure(*found, partial(_walk, worker.pid, seen, now))
        seen.due = now + self._limits.pause(seen.used)
        todo = self._limits.judge(seen.used)
        if todo == END:
            limit = self._limits.end_above
            assert limit is not None
            self.end(worker, _told(seen.used, found[0], f"more than memory_limit={size_text(limit)}"))
        elif todo != KEEP and worker.actor is None and not worker.is_used_up and has_run(worker):
            self.replace(worker)  # a worker that needs more than the limit to start must still run a call
        return seen

    def replace(self, worker: Worker) -> None:
        """Replace a worker after the calls that it has begun."""
        self._dispatcher.revoke_permit(worker)
        retire(self._scheduler, worker)
        if not worker.is_busy:
            self._supervisor.dismiss(worker, is_replaced=True)

    def end(self, worker: Worker, why: str) -> None:
        """End a worker with the call that it runs; if it runs none, replace it."""
        self._dispatcher.revoke_permit(worker)
        if worker.actor is None:
            self.replace(worker)  # in case its call has just ended
            while not (worker.is_dead or worker.stopping) and self._dispatcher.hear(worker):
                pass
        if worker.is_dead or worker.stopping:
            return
        worker.excess = why
        self._supervisor.kill(worker, SIGKILL)

    def _look_at_group(self, workers: int) -> float:
        """
        End the largest worker if the cgroup is full; otherwise the kernel would soon kill a process of its choice.

        :return: the seconds until the next check
        """
        times, before = memory.reached_limit(), self._times_full
        self._times_full = times
        group = memory.memory_of_group()
        is_ending = any(worker.excess for worker in self._supervisor.workers.values())
        waiting = self._waiting(group)
        if group is None or is_ending or not is_full(group, had_to_free=times > before, waiting=waiting):
            return pause_of(group, workers)
        used = {
            worker: about.used
            for worker, about in self._seen.items()
            if worker.is_busy and not (worker.is_dead or worker.stopping)
        }
        worker = largest(used)
        if worker is not None:
            why = f"and the cgroup {size_text(group.used)} of {size_text(group.limit)}"
            self.end(worker, _told(used[worker], None, why))
        return pause_of(group, workers)

    def _waiting(self, group: Any) -> float:
        """Return the fraction of the last half second in which all processes of the cgroup waited for memory."""
        then, before, part = self._waited
        now, stalled = self._loop.clock(), 0.0 if group is None else group.stalled
        if now - then >= LONGEST:
            part = (stalled - before) / (now - then) if before else 0.0
            self._waited = (now, stalled, part)
        return part


def _walk(pid: int, seen: _Seen, now: float) -> int | None:
    """Let the kernel walk through a worker's pages and return its memory; if that was just done, the last result."""
    if now < seen.walk_due:
        return seen.walked
    began = thread_time()
    seen.walked = memory.proportional(pid)
    seen.walk_due = now + (thread_time() - began) * SHARE
    return seen.walked


def _told(used: int, resident: int | None, why: str) -> str:
    more = "" if resident is None else f" ({size_text(resident)} resident)"
    return f"it had {size_text(used)} of memory{more}, {why}"
