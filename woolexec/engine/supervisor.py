"""
The workers' lifecycle: they are started when there is work, reaped when they have ended, and replaced if work is left.

`reap` decides which calls are lost with a dead worker: its shared page says which calls it had started.  These are
lost, unless their options allow a retry; all others are placed again.
"""

from __future__ import annotations

import contextlib
from functools import partial

from woolexec import errors
from woolexec.core.scheduler import fail_outstanding
from woolexec.engine.diagnostics import describe_exit, log_broken, lost_error
from woolexec.engine.fork_server import check_level, import_path, interpreter
from woolexec.engine.initializer import Initializer
from woolexec.engine.losses import Losses
from woolexec.engine.settings import settings_for_peers, settings_of_user, with_devices
from woolexec.engine.starts import Starts
from woolexec.engine.worker_process import Worker, has_run
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGINT, SIGKILL, SIGTERM
from woolexec.wire.descriptors import Reserve
from woolexec.wire.frames import Broken, Cancel, Load, Log, Raise, Recalled, Return, Yield

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from woolexec.core.actor import Actor
    from woolexec.core.call import Call
    from woolexec.core.devices import Bound
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.forks import Forks
    from woolexec.engine.said import Said
    from woolexec.wire.payload import File, Parts
    from woolexec.wire.protobuf import Message
    from woolexec.wire.socket_stream import HugeBatches

    class Dispatcher(Protocol):
        """What the supervisor needs of the dispatcher."""

        due: set[Any]

        def joined(self, worker: Worker) -> None:
            """Listen to a new worker, and send it calls."""

        def take_inbox(self) -> None:
            """Queue what was submitted."""

        def revoke_permit(self, worker: Worker) -> None:
            """Revoke a worker's permit."""

        def command(self, call: Call, frame: Message) -> None:
            """Send a command to the place where a call is outstanding."""

    class Outcomes(Protocol):
        """What the supervisor needs of the part that reads frames."""

        said: Said | None

        def read(self, worker: Worker, only: frozenset[type]) -> bool:
            """Read once from a worker and handle the frames of these kinds; return False if there were none."""

    class Watch(Protocol):
        """Checks the workers periodically."""

        def begin(self) -> None:
            """Start checking: a worker is being started."""

    class NestedTasks(Protocol):
        """What the supervisor needs of the nested tasks."""

        def orphan(self, worker: Worker) -> None:
            """End the tasks of a dead worker's calls."""


_LAST_FRAMES = frozenset({Return, Raise, Recalled, Load, Broken, Log, Yield})
"""Frames of a dead worker that are still handled."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for a worker."""

FINALIZING = 10.0
"""Seconds that a finalizer may take."""

INTERRUPT_GRACE = 1.0
"""Seconds that a task has to end after the user's Ctrl-C."""

_LOOK = 0.01
"""Seconds between two checks of a worker that is being ended while coroutines still run there."""

_STATUS_PATIENCE = 1.0
"""Seconds to wait for the exit code of a worker whose stream has ended."""

_START_BUDGET = 5
"""Number of workers in a row that die before their first call, in the same way, after which the executor is broken."""

_LONGEST_BREAK = 60.0
"""Maximum seconds for which a client's engine at a peer is broken then; at first one second, doubled each time."""


class Supervisor:
    """
    The workers of one engine.

    :param initializer: pickled ``(function, arguments)`` that each worker runs first
    :param initializer_timeout: maximum seconds that the initializer may take; None for no limit
    :param calls_limit: maximum number of calls that one worker runs
    :param coroutines: maximum number of coroutines and streams that one worker runs at once
    :param forks: starts and signals their processes
    :param follows_path: the program here may change its import path, and workers follow it
    """

    def __init__(
        self,
        loop: Loop,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        *,
        initializer: bytes | File | Parts | None,
        initializer_timeout: float | None,
        calls_limit: int | None,
        coroutines: int,
        forks: Forks,
        follows_path: bool,
    ) -> None:
        self.workers: dict[int, Worker] = scheduler.all_workers
        self.broken: BaseException | None = None
        self.huge_batches: HugeBatches | None = None  # counts those of workers that are not trusted
        self.settings_of_user: dict[str, Any] = {}  # set before the first worker starts
        self.watches: list[Watch] = []
        self.finalizer: Any = None  # a pickled function that each worker runs before it exits
        self.on_death: Callable[..., object] | None = None  # called for a worker that ended without being told to
        self.outcomes: Outcomes  # refers to the supervisor too
        self.nested: NestedTasks
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self.loop = loop
        self.initializer = Initializer(initializer, initializer_timeout, loop, self)
        self.starts = Starts(loop, scheduler, forks)
        self._calls_limit = calls_limit
        self._coroutines = coroutines
        self._forks = forks
        self._follows_path = follows_path
        self.reserve = Reserve()
        self.losses = Losses()
        self.early_deaths: dict[int | None, int] = {}  # in a row, by exit code

    def note_settings(self) -> None:
        """Collect the settings of the thread that first uses the engine; user code may run here."""
        check_level()
        self.settings_of_user = settings_of_user()

    def settings_for_peers(self) -> bytes:
        """Return the pickled settings for workers of peers: of this process, or of the client that it serves."""
        of_client = self.settings_of_user.get("client")
        return settings_for_peers(self.settings_of_user) if of_client is None else of_client

    # -- starting -----------------------------------------------------------------------------------------------

    def start(self, actor: Actor | None = None, devices: Bound | None = None) -> Worker | None:
        """
        Start a worker; None if that is impossible now, in which case no call is left waiting for one.

        :param actor: the actor that it is for; None: it is for any calls
        :param devices: the devices that it has until its end
        """
        if self.broken is not None or not self.starts.may_try(actor):
            return None
        if actor is None:
            worker = Worker(self._forks.number(), self._calls_limit, self._coroutines)
        else:
            worker = Worker(self._forks.number(), None, actor.limit + 1)  # its life is one of the calls in the lane
            worker.actor = actor
        said = self.outcomes.said
        if said is not None:
            said.prepare(worker)
        settings = self.settings_of_user
        if devices is not None:
            worker.devices, settings = devices, with_devices(settings, devices)
        try:
            self._forks.start(worker, self.reserve, settings, self)
        except OSError as exc:
            self._load_errors()
            self.starts.failed(exc, actor)
            return None
        worker.reader.huge = self.huge_batches
        self.reserve.hold()  # handling the worker's death may need it before anything is received
        self._dispatcher.joined(worker)
        for watch in self.watches:
            watch.begin()
        if said is not None:
            said.watch(worker)
        if self._follows_path:
            worker.path = self._forks.path
            worker.follow_path(import_path())
        if self.initializer.payload is not None:
            worker.initialize(self.initializer.payload)
            self._dispatcher.due.add(worker)
        return worker

    def _load_errors(self) -> None:
        """Import the error classes that are imported on first use, with the spare descriptor if no other is left."""
        with self.reserve.lent():
            _ = errors.WorkerLostError

    # -- what the fork server reports ---------------------------------------------------------------------------

    def forked(self, number: int, pid: int) -> None:
        """Note the process id of a worker."""
        worker = self.workers.get(number)
        if worker is not None:
            worker.pid = pid
            if worker.actor is not None and self._scheduler.actors is not None:
                self._scheduler.actors.forked(worker)
                self.loop.wake()  # other actors may wait for that
            self.initializer.watch(worker)

    def ended(self, number: int, exitcode: int | None) -> None:
        """Note that a worker has ended; without an exit code, because the fork server has died or could not fork."""
        worker = self.workers.get(number)
        if worker is not None:
            worker.exitcode = exitcode
            self.reap(worker, by_itself=exitcode is not None)
            self.loop.wake()  # at a peer other clients' workers have the same fork server, and only one engine acts

    def fork_server_died(self, in_a_row: int) -> None:
        """Break the executor if the fork server dies again and again before a worker is forked."""
        if in_a_row >= _START_BUDGET and not self._forks.is_peer:
            text = f"the fork server ended {in_a_row} times in a row before it had forked a worker; check that "
            self.give_up(errors.WorkerStartError(f"{text}{interpreter()} runs and can import woolexec"))

    def failed(self, number: int, error: OSError) -> None:
        """Note that a worker could not be forked."""
        self.ended(number, None)
        self.starts.failed(error)

    def give_up(self, error: BaseException, *, quietly: bool = False) -> None:
        """Break the executor: fail everything that waits or runs, and all later calls."""
        if self.broken is None:
            self.broken = error
            if not quietly:
                self.loop.run_user_code(partial(log_broken, error))
        self._dispatcher.take_inbox()
        self._scheduler.fail_waiting(error)
        for worker in list(self.workers.values()):
            fail_outstanding(worker, error)
            self.kill(worker, SIGTERM)

    # -- ending -------------------------------------------------------------------------------------------------

    def kill(self, worker: Worker, number: int) -> None:
        """Send a signal to a worker and its children."""
        self._forks.kill(worker.id, number)

    def dismiss(self, worker: Worker, grace: float = GRACE, *, well: bool = True, is_replaced: bool = False) -> None:
        """
        Let a worker exit when it has finished its calls; kill it if it has not exited after `grace` seconds.

        :param well: it runs the finalizer, which may take `FINALIZING` more seconds
        :param is_replaced: another worker may be started before this one is gone
        """
        if worker.stopping:
            return
        if is_replaced and worker.actor is None:
            self._scheduler.workforce.ending.add(worker)
        finalizer = self.finalizer if well and (has_run(worker) or not self._forks.is_peer) else None
        worker.lane_place.ready = False
        worker.send_stop(finalizer)
        self._dispatcher.due.add(worker)
        self.loop.after(grace + (0.0 if finalizer is None else FINALIZING), partial(self._kill_for_good, worker))

    def end(self, worker: Worker) -> None:
        """
        End a worker: send SIGTERM, then, after the grace period, SIGKILL.

        Coroutines and streams that run there are not the reason, so they first get a grace period to finish.
        """
        if worker.actor is None:
            self._scheduler.workforce.ending.add(worker)
        worker.ready = worker.lane_place.ready = False
        if worker.lane_place.unstarted(worker.page.loop.started):
            self._scheduler.recall(worker.lane_place)
        self._end_when_alone(worker, self.loop.clock() + GRACE)

    def _end_when_alone(self, worker: Worker, deadline: float) -> None:
        if self.workers.get(worker.id) is not worker:
            return
        if len(worker.lane_place.outstanding) > (worker.actor is not None) and self.loop.clock() < deadline:
            self.loop.after(_LOOK, partial(self._end_when_alone, worker, deadline))
            return
        self.dismiss(worker, well=False)  # if its call turns SIGTERM into an exception, the worker exits at once
        self.kill(worker, SIGTERM)

    def interrupt(self) -> None:
        """Interrupt running tasks (KeyboardInterrupt; in lanes, cancellation) and dismiss the workers."""
        for worker in self.workers.values():
            for call in worker.lane_place.outstanding.values():
                self._dispatcher.command(call, Cancel(call=call.number))
            self.dismiss(worker, INTERRUPT_GRACE, well=False)
            if worker.outstanding:
                self.kill(worker, SIGINT)

    def _kill_for_good(self, worker: Worker) -> None:
        if self.workers.get(worker.id) is worker:
            self.kill(worker, SIGKILL)

    def stream_ended(self, worker: Worker) -> None:
        """Note that a worker's stream has ended; its exit code follows."""
        if not worker.is_dead:
            self._unwatch(worker)
            worker.ready = worker.lane_place.ready = False
            self.kill(worker, SIGKILL)
            self.loop.after(_STATUS_PATIENCE, partial(self.reap, worker))

    def _unwatch(self, worker: Worker) -> None:
        if not worker.is_dead:
            worker.is_dead = True
            self.loop.watched.remove(worker.sock.fileno())

    def reap(self, worker: Worker, *, by_itself: bool = True) -> None:
        """
        Settle the calls of a dead worker: deliver its last outcomes, queue unstarted calls again, fail lost ones.

        :param by_itself: the worker died by itself, not because of the fork server
        """
        if self.workers.get(worker.id) is not worker:
            return
        self._dispatcher.revoke_permit(worker)
        self._unwatch(worker)
        self._drain(worker)
        self._dispatcher.due.discard(worker)
        has_begun = has_run(worker)
        self.losses.note(worker)
        lost = self._scheduler.left(worker)
        if lost:
            self._load_errors()
        self._scheduler.settle(lost, partial(lost_error, worker))
        self.nested.orphan(worker)
        worker.close()
        is_early = by_itself and not lost and not worker.stopping and not has_begun
        if self.on_death is not None and not worker.stopping:
            self.on_death(worker, is_early=is_early)
        if is_early:
            self._died_early(worker)

    def _drain(self, worker: Worker) -> None:
        """Take the frames and the output of the worker."""
        with contextlib.suppress(EOFError, ProtocolError):
            while self.outcomes.read(worker, _LAST_FRAMES):
                pass
        if self.outcomes.said is not None:
            self.outcomes.said.end(worker)

    def _died_early(self, worker: Worker) -> None:
        count = self.early_deaths[worker.exitcode] = self.early_deaths.get(worker.exitcode, 0) + 1
        if count < _START_BUDGET or self.broken is not None:
            return
        text = f"{sum(self.early_deaths.values())} workers in a row ended before their first call"
        text += f"; the last {describe_exit(worker.exitcode)}"
        if self.initializer.payload is not None:
            self.give_up(errors.InitializerError(f"{text}, in the initializer"))
        else:
            self.give_up(errors.WorkerStartError(f"{text}; check that {interpreter()} runs and can import woolexec"))
        if self._forks.is_peer:  # the cause may pass, and the client stays
            pause = min(_LONGEST_BREAK, 2.0 ** min(count - _START_BUDGET, 30))
            error = self.broken

            def mend() -> None:
                self.broken = None if self.broken is error else self.broken

            self.loop.after(pause, mend)

    def note_life(self) -> None:
        """Note that a worker has sent an outcome, which shows that workers can start."""
        if self.early_deaths:
            self.early_deaths.clear()

    def close(self) -> None:
        """Close the resources of the workers, which have ended or are about to."""
        for worker in list(self.workers.values()):
            if self.outcomes.said is not None:
                self.outcomes.said.leave(worker)
            worker.close()
        self.workers.clear()
        self.reserve.lend()

    def forget(self) -> None:
        """Close the descriptors in a forked child; the workers belong to the parent."""
        for worker in self.workers.values():
            worker.let_go()
        self.reserve.lend()
