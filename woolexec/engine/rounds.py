"""
The engine's thread: the parts that run in it, its rounds, and its end.

One round: take the inbox; let the scheduler act; sleep until a socket is ready or a timer is due; read outcomes and
deliver them.
"""

from __future__ import annotations

import contextlib
from functools import cached_property, partial

from woolexec import errors
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.scheduler import Scheduler, fail_outstanding
from woolexec.engine import permit
from woolexec.engine.cancellation import Cancellation
from woolexec.engine.dispatcher import FORKED_CHILD, Dispatcher
from woolexec.engine.event_loop import Loop
from woolexec.engine.forks import Forks
from woolexec.engine.last_look import LastLook
from woolexec.engine.nested import NestedTasks
from woolexec.engine.outcomes import Outcomes
from woolexec.engine.supervisor import GRACE, INTERRUPT_GRACE, Supervisor
from woolexec.platform.posix import SIGKILL, SIGTERM
from woolexec.wire.payload import lenders, spares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any, ClassVar, Protocol

    from woolexec.core.policies import Placement
    from woolexec.core.seats import Share
    from woolexec.core.task_stack import TaskStack
    from woolexec.core.upkeep import Upkeep
    from woolexec.engine.said import Said
    from woolexec.engine.stacks import Inspection
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.frames import Inspected

    class Host(Protocol):
        """Provides an engine's thread, loop, fork server and seats: its own, or shared ones."""

        serves_others: ClassVar[bool]

        def room_for_nested(self) -> int:
            """Return the maximum size of the arguments of nested tasks, in bytes."""

        def loop_for(self, rounds: Rounds) -> Loop:
            """Create the engine's loop, or a substitute."""

        def forks_for(self, loop: Loop) -> Forks:
            """Return the object that starts the engine's workers."""

        def share_for(self, loop: Loop) -> Share | None:
            """Create the engine's share of the seats; None: the number of workers is the only limit."""


class Alone:
    """
    The host of an engine that has its own thread.

    :param threads: value of the thread-pool variables in workers
    :param variables: environment variables for the workers, in addition to those of this process
    """

    serves_others: ClassVar[bool] = False

    def __init__(self, threads: int, variables: Mapping[str, str] | None) -> None:
        self._threads, self._variables = threads, variables

    def room_for_nested(self) -> int:
        """Return a limit that is never reached, because all tasks are the program's own."""
        return 1 << 62

    def loop_for(self, rounds: Rounds) -> Loop:
        """Create the engine's loop."""
        return rounds.loop_type(rounds.is_outstanding)

    def forks_for(self, loop: Loop) -> Forks:
        """Create the object that starts the engine's workers."""
        return Forks(loop, self._threads, self._variables)

    def share_for(self, _loop: Loop) -> None:
        """Share nothing."""


class Rounds:
    """
    The half of an engine that runs in its thread; for the parameters see `Engine`.

    :param on_end: called when the engine has ended
    :param host: provides its thread, loop, fork server and seats, if they are shared; None: it has its own
    """

    loop_type: ClassVar[type[Loop]] = Loop
    supervisor_type: ClassVar[type[Supervisor]] = Supervisor
    dispatcher_type: ClassVar[type[Dispatcher]] = Dispatcher

    def __init__(
        self,
        limit: int,
        *,
        guest: Callable[[Callable[[], None]], Coroutine[Any, Any, None]] | None,
        policy: Placement | None,
        offer: Offer = NOTHING,
        threads: int = 1,
        variables: Mapping[str, str] | None = None,
        on_worker_death: Callable[..., object] | None = None,
        on_end: Callable[[], object],
        host: Host | None = None,
        **of_workers: Any,
    ) -> None:
        self._guest = guest
        self._on_end = on_end
        self.stall = 0.0  # the longest time that the thread took to answer a request for statistics
        self._state = "open"  # then "draining"
        if guest is not None:
            from woolexec.engine import asyncio_driver  # noqa: F401  # not later: a fork in mid-import breaks the child
        if policy is not None:
            from woolexec.engine.policy_guard import guarded

            policy = guarded(policy)
        host = host or Alone(threads, variables)
        self.loop = loop = host.loop_for(self)
        self.forks = forks = host.forks_for(loop)
        self.dispatcher = dispatcher = self.dispatcher_type(loop)
        self.share = share = host.share_for(loop)
        self.scheduler = scheduler = Scheduler(
            dispatcher, limit, offer=offer, policy=policy, clock=loop.clock, share=share
        )
        self.supervisor = supervisor = self.supervisor_type(
            loop, scheduler, dispatcher, forks=forks, follows_path=not host.serves_others, **of_workers
        )
        self.cancellation = Cancellation(loop, scheduler, dispatcher, supervisor)
        self.cancellation.last_look = LastLook(lambda: self.inspection)
        nested = NestedTasks(
            scheduler, dispatcher, partial(self.cancellation.cancel, force=True), host.room_for_nested()
        )
        self.outcomes = Outcomes(loop, scheduler, supervisor, nested)
        self.outcomes.on_inspected = self._inspected
        self.outcomes.handles_records = not host.serves_others
        supervisor.on_death, supervisor.outcomes, supervisor.nested = on_worker_death, self.outcomes, nested
        dispatcher.connect(scheduler, supervisor, nested, self.outcomes, self.cancellation.watch)
        dispatcher.values.check = partial(_check_process, loop)
        scheduler.balancing.grants_permits = permit.works and not host.serves_others

    def look_after(self, upkeep: Upkeep) -> None:
        """Apply an upkeep to the workers that start from now on."""
        supervisor = self.supervisor
        supervisor.finalizer = upkeep.finalizer
        supervisor.watches = []
        parts = self.loop, self.scheduler, self.dispatcher, supervisor
        if upkeep.memory:
            from woolexec.engine.memory_watch import MemoryWatch

            supervisor.watches.append(MemoryWatch(upkeep.memory, *parts))
        if upkeep.idle_timeout is not None:
            from woolexec.engine.idle_watch import IdleWatch

            supervisor.watches.append(IdleWatch(upkeep.idle_timeout, upkeep.min_workers, *parts))
        for watch in supervisor.watches if supervisor.workers else ():
            watch.begin()

    def warn_of_slow(self, after: float) -> None:
        """
        Enable warnings of tasks that run much longer than others of their function; called before the first use.

        :param after: minimum seconds that a task must have run
        """

        def begin() -> None:
            try:
                from woolexec.engine.slow_watch import SlowWatch  # imported late: few programs run for so long
            except OSError:  # no descriptor is left now
                self.loop.after(after, begin)
                return
            parts = self.loop, self.scheduler, self.dispatcher, self.supervisor
            SlowWatch(after, *parts, lambda: self.inspection).look()

        self.loop.after(after, begin)

    @cached_property
    def inspection(self) -> Inspection:
        """Asks workers for the tasks that they run; imported on first use."""
        with self.supervisor.reserve.lent():  # the engine's thread must not fail because of an import
            from woolexec.engine.stacks import Inspection

        return Inspection(self.loop, self.forks)

    def inspect(self, then: Callable[[list[TaskStack]], object], timeout: float, request: int) -> None:
        """
        Find out which tasks run, here and at peers.

        :param request: a random number
        """
        self.dispatcher.take_inbox()
        self.dispatcher.revoke_permits()
        workers, links = tuple(self.supervisor.workers.values()), tuple(self.scheduler.links)
        self.inspection.everywhere(workers, links, then, timeout, request)

    def _inspected(self, link: Remote, frame: Inspected) -> None:
        self.inspection.answered(link, frame)

    def run(self) -> None:
        """Run rounds until the engine has drained; this is what its thread does."""
        try:
            if self._guest is None:
                lenders.add(id(self))
                while self.step():
                    self.loop.sleep()
            else:
                from woolexec.engine import asyncio_driver

                asyncio_driver.run(self.step, self.loop, self._guest)
        except BaseException as exc:  # a bug in woolexec: no caller may wait indefinitely because of it
            self.fail_everything(exc)
            raise
        finally:
            self._close()

    def said(self) -> Said:
        """Return the `Said` that passes on the output of tasks; imported when it is wanted."""
        if self.outcomes.said is None:
            from woolexec.engine.said import Said

            self.outcomes.said = Said(self.loop, partial(_note_permitted, self.dispatcher), self.outcomes.above)
        return self.outcomes.said

    def step(self) -> bool:
        """Do all work that is due before the next sleep; return False when the engine has drained."""
        if self.loop.inbox:
            self.dispatcher.take_inbox()
        if self._state == "draining" and self._is_drained():
            self.dispatcher.values.end()
            return False
        self.dispatcher.act()
        return True

    @property
    def is_open(self) -> bool:
        """Calls are accepted."""
        return self._state == "open"

    def is_outstanding(self, about: tuple[int, int]) -> bool:
        """Return whether a call, given by its worker and its number, is outstanding."""
        worker = self.supervisor.workers.get(about[0])
        return worker is not None and about[1] in worker.place_of(about[1]).outstanding

    def shut(self, *, cancel: bool, close_streams: bool = True, hand_out: bool = False) -> None:
        """
        Accept no more calls.

        :param hand_out: with `cancel`, a call that was sent to an idle worker counts as started, even while that worker
            is starting.  In the standard library, too, some tasks run if the pool is shut down right after `submit`
        """
        self.loop.has_urgent = False
        if cancel and hand_out and self._state == "open":
            self.dispatcher.act()
        self._state = "draining"
        self.scheduler.balancing.grants_permits = False
        if cancel:
            self.cancellation.cancel_waiting(keep_first=hand_out)
        if close_streams:
            self.cancellation.close_streams()

    def _is_drained(self) -> bool:
        """Dismiss the workers when no calls are left; return True when all workers have ended."""
        workers = self.supervisor.workers
        self.dispatcher.revoke_permits()
        if self.scheduler.has_waiting:
            return False
        if any(map(self.cancellation.is_busy, workers.values())) or any(
            map(self.cancellation.is_busy, self.scheduler.links)
        ):
            return False
        if self.scheduler.actors is not None:
            self.scheduler.actors.is_closing = True
        for worker in workers.values():
            self.supervisor.dismiss(worker, INTERRUPT_GRACE if worker.lane_place.outstanding else GRACE)
        return not workers

    def interrupt(self) -> None:
        """Cancel calls that have not been started and interrupt those that run."""
        self.shut(cancel=True)
        self.supervisor.interrupt()
        self.cancellation.interrupt_links()

    def end_by_force(self, why: str) -> None:
        """Cancel calls that have not been started, and end those that run with their workers."""
        self.end_workers(SIGTERM, why)
        self.loop.after(GRACE, partial(self.end_workers, SIGKILL, why))

    def end_workers(
        self, number: int, why: str = "the workers were ended by terminate_workers or kill_workers"
    ) -> None:
        """Cancel calls that have not been started, send a signal to all workers, and mark the engine as broken."""
        self.shut(cancel=True)
        for worker in self.supervisor.workers.values():
            worker.stopping = True
            self.supervisor.kill(worker, number)
        error = errors.WorkerLostError(why)
        self.supervisor.give_up(error, quietly=True)
        for link in self.scheduler.links:
            fail_outstanding(link, error)
            link.close()

    def fail_everything(self, exc: BaseException) -> None:
        """Fail all calls, and all later ones, because of a bug in woolexec."""
        error: Exception = RuntimeError(f"the engine failed: {exc!r}")
        with contextlib.suppress(Exception):  # the import of its module may fail without a free descriptor
            error = errors.WorkerLostError(*error.args)
        error.__cause__ = exc
        self.supervisor.broken = error
        with contextlib.suppress(BaseException):
            self.dispatcher.take_inbox()
        with contextlib.suppress(BaseException):
            self.scheduler.fail_waiting(error)
        for place in self.scheduler.places:
            for call in place.outstanding.values():
                with contextlib.suppress(BaseException):
                    call.receiver.deliver_failure(call, error)

    def _close(self) -> None:
        if self.outcomes.said is not None:
            self.outcomes.said.close()
        self.dispatcher.values.close()
        self.forks.close()
        self.release()
        self.loop.close()
        self.dispatcher.refuse_late()
        self.loop.ended()

    def release(self) -> None:
        """Release what the engine holds, after its end."""
        self._on_end()
        self.dispatcher.close()
        self.supervisor.close()
        lenders.discard(id(self))
        if spares and not lenders:
            from woolexec.wire.spare_files import drop_spares

            drop_spares()


def _note_permitted(dispatcher: Dispatcher, worker: Worker) -> None:
    """Record the call that was sent to a worker under its permit, if there is one."""
    if worker.has_permit:
        dispatcher.take_inbox()
        dispatcher.revoke_permit(worker)


def _check_process(loop: Loop) -> None:
    """Raise RuntimeError in a forked child, where nothing arrives."""
    if loop.forked:
        raise RuntimeError(FORKED_CHILD)
