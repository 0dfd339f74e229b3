"""
The workers' lifecycle: they are started when there is work, reaped when they have ended, and replaced if work is left.

What is lost with a dead worker is decided in `reap`: its shared page says which calls it had started.  Calls that it
had not started are placed again.  Each call that it had started is lost, unless the options of that call allow a retry.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.scheduler import fail_outstanding
from woolexec.engine.diagnostics import describe_exit, log_broken, lost_error
from woolexec.engine.fork_server import SAY_WHICH, ForkServer, import_path, interpreter
from woolexec.engine.settings import settings_of_user
from woolexec.engine.worker_process import Worker
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGINT, SIGKILL, SIGTERM, kill
from woolexec.wire.descriptors import Reserve
from woolexec.wire.exceptions import load_failure
from woolexec.wire.frames import Broken, Cancel, Log, Raise, Recalled, Return, Yield
from woolexec.worker.records import EXITED, FAILED, FORKED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.wire.payload import File, Parts
    from woolexec.wire.protobuf import Message

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

        def read(self, worker: Worker, only: frozenset[type]) -> bool:
            """Read once from a worker and handle the frames of these kinds; return False if there were none."""

    class NestedTasks(Protocol):
        """What the supervisor needs of the nested tasks."""

        def orphan(self, worker: Worker) -> None:
            """End the tasks of a dead worker's calls."""


_LAST_FRAMES = frozenset({Return, Raise, Recalled, Broken, Log, Yield})
"""Frames of a dead worker that are still handled."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for a worker."""

INTERRUPT_GRACE = 1.0
"""Seconds that a task has to end after the user's Ctrl-C."""

_LOOK = 0.01
"""Seconds between two checks of a worker that is being ended while coroutines still run there."""

_STATUS_PATIENCE = 1.0
"""Seconds to wait for the exit code of a worker whose stream has ended."""

_START_PATIENCE = 15.0
"""Seconds that the program started as the fork server's interpreter has to run its first line of code."""

_START_BUDGET = 5
"""Number of workers that die in a row before their first call after which the executor is broken."""


class Supervisor:
    """
    The workers of one engine, and the fork server from which they are forked.

    :param initializer: pickled ``(function, arguments)`` that each worker runs first
    :param initializer_timeout: maximum seconds that the initializer may take; None for no limit
    :param calls_limit: maximum number of calls that one worker runs
    :param threads: value of the thread-pool variables in workers
    :param coroutines: maximum number of coroutines and streams that one worker runs at once
    :param variables: environment variables for the workers, in addition to those of this process
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
        threads: int,
        coroutines: int,
        variables: Mapping[str, str] | None,
    ) -> None:
        self.workers: dict[int, Worker] = scheduler.workers
        self.broken: BaseException | None = None
        self.settings_of_user: dict[str, Any] = {}  # set before the first worker starts
        self.on_death: Callable[[Worker], object] | None = None  # called for a worker that was not told to end
        self.outcomes: Outcomes  # these two know the supervisor too
        self.nested: NestedTasks
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._loop = loop
        self._initializer = initializer
        self._initializer_timeout = initializer_timeout
        self._calls_limit = calls_limit
        self._threads = threads
        self._coroutines = coroutines
        self._variables = variables
        self._ids = itertools.count(1)
        self._fork_server: ForkServer | None = None
        self._reserve = Reserve()
        self._early_deaths = 0

    def note_settings(self) -> None:
        """Collect the settings of the thread that first uses the engine; user code may run here."""
        self.settings_of_user = settings_of_user()

    # -- starting -----------------------------------------------------------------------------------------------

    def start(self) -> Worker | None:
        """Start a worker; None if that is impossible now, in which case no call is left waiting for one."""
        if self.broken is not None:
            return None
        worker = Worker(next(self._ids), self._calls_limit, self._coroutines)
        try:
            if self._fork_server is None:
                self._fork_server = ForkServer(self._threads, self._variables)
                self._loop.watched.add(self._fork_server.socket.fileno(), self._hear_fork_server)
                self._loop.after(_START_PATIENCE, partial(self._check_fork_server, self._fork_server))
            frames, descriptors, page_fd = worker.open(self._reserve)
            fds = [frames.fileno(), descriptors.fileno(), page_fd]
            try:
                self._fork_server.spawn(worker.id, fds, self.settings_of_user)
            except OSError:
                worker.close()
                raise
            finally:
                frames.close()
                descriptors.close()
                os.close(page_fd)
        except OSError as exc:
            self._start_failed(exc)
            return None
        self._dispatcher.joined(worker)
        if self._variables is None:  # not at a peer, where no program changes the import path
            worker.path = self._fork_server.path
            worker.follow_path(import_path())
        if self._initializer is not None:
            worker.initialize(self._initializer)
            self._dispatcher.due.add(worker)
        return worker

    def _start_failed(self, exc: OSError) -> None:
        if self.workers:  # continue with the existing workers; try again when one ends
            return
        error = errors.WorkerStartError(f"no worker could be started with {interpreter() or 'no interpreter'}: {exc}")
        error.__cause__ = exc
        self._scheduler.fail_waiting(error)

    def _hear_fork_server(self) -> None:
        assert self._fork_server is not None
        try:
            for operation, number, value in self._fork_server.reports():
                worker = self.workers.get(number)
                if worker is None:
                    continue
                if operation == FORKED:
                    worker.pid = value
                    if self._initializer is not None and self._initializer_timeout is not None:
                        self._loop.after(self._initializer_timeout, partial(self._check_initializer, worker))
                elif operation == EXITED:
                    worker.exitcode = value
                    self.reap(worker)
                elif operation == FAILED:
                    self.reap(worker)
                    self._start_failed(OSError(value, os.strerror(value)))
        except EOFError:
            self._fork_server_died()

    def _check_fork_server(self, fork_server: ForkServer) -> None:
        """Give up on a program that runs but is not Python."""
        if self._fork_server is not fork_server or fork_server.answers:
            return
        self._hear_fork_server()  # it may have answered while this thread was busy
        if self._fork_server is not fork_server or fork_server.answers:
            return
        text = f"{interpreter()} did not run its -c code within {_START_PATIENCE:g} s, as Python would"
        self.give_up(errors.WorkerStartError(f"{text}; {SAY_WHICH}"))
        kill(fork_server.pid, SIGKILL)

    def _fork_server_died(self) -> None:
        """Reap the workers, which end with the fork server by their lifeline; the next call starts another one."""
        fork_server, self._fork_server = self._fork_server, None
        if fork_server is not None:
            self._loop.watched.remove(fork_server.socket.fileno())
            fork_server.close()
        for worker in list(self.workers.values()):
            self.reap(worker)

    # -- the initializer ----------------------------------------------------------------------------------------

    def _check_initializer(self, worker: Worker) -> None:
        if self.workers.get(worker.id) is worker and worker.page.since == 0.0:
            text = f"the initializer ran longer than {self._initializer_timeout:g} s in worker {worker.pid}"
            self.give_up(errors.InitializerError(text))  # before its worker is reaped
            self.kill(worker, SIGKILL)

    def initializer_raised(self, worker: Worker, payload: bytes) -> None:
        """Break the executor because the initializer raised, after decoding its exception in a thread for user code."""
        worker.stopping = True
        worker.ready = worker.lane_place.ready = False
        self._loop.run_user_code(partial(self._decode_failure, worker, payload))

    def _decode_failure(self, worker: Worker, payload: bytes) -> None:
        try:
            exc = load_failure(payload)
            text = f"the initializer raised {type(exc).__name__} in worker {worker.pid}: {exc}"
        except BaseException as error:  # unpickling runs user code
            exc = error
            text = f"the initializer raised in worker {worker.pid}"
        failure = errors.InitializerError(text)
        failure.__cause__ = exc
        self._loop.tell(partial(self.give_up, failure))

    def give_up(self, error: BaseException, *, quietly: bool = False) -> None:
        """Break the executor: fail everything that waits or runs, and all later calls."""
        if self.broken is None:
            self.broken = error
            if not quietly:
                self._loop.run_user_code(partial(log_broken, error))
        self._dispatcher.take_inbox()
        self._scheduler.fail_waiting(error)
        for worker in list(self.workers.values()):
            fail_outstanding(worker, error)
            self.kill(worker, SIGTERM)

    # -- ending -------------------------------------------------------------------------------------------------

    def kill(self, worker: Worker, number: int) -> None:
        """Send a signal to a worker and its children."""
        if self._fork_server is not None:
            self._fork_server.kill(worker.id, number)

    def dismiss(self, worker: Worker, grace: float = GRACE) -> None:
        """Let a worker exit when it has finished its calls; kill it if it has not exited after `grace` seconds."""
        if not worker.stopping:
            worker.lane_place.ready = False
            worker.send_stop()
            self._dispatcher.due.add(worker)
            self._loop.after(grace, partial(self._kill_for_good, worker))

    def end(self, worker: Worker) -> None:
        """
        End a worker: send SIGTERM, then, after the grace period, SIGKILL.

        Coroutines and streams that run there are not the reason, so they first have a grace period to finish.
        """
        self._scheduler.workforce.ending.add(worker)
        worker.ready = worker.lane_place.ready = False
        if worker.lane_place.unstarted(worker.page.loop.started):
            self._scheduler.recall(worker.lane_place)
        self._end_when_alone(worker, self._loop.clock() + GRACE)

    def _end_when_alone(self, worker: Worker, deadline: float) -> None:
        if self.workers.get(worker.id) is not worker:
            return
        if worker.lane_place.outstanding and self._loop.clock() < deadline:
            self._loop.after(_LOOK, partial(self._end_when_alone, worker, deadline))
            return
        self.dismiss(worker)  # if its call turns SIGTERM into an exception, the worker exits at once
        self.kill(worker, SIGTERM)

    def interrupt(self) -> None:
        """Interrupt running tasks (KeyboardInterrupt; in lanes, cancellation) and dismiss the workers."""
        for worker in self.workers.values():
            for call in worker.lane_place.outstanding.values():
                self._dispatcher.command(call, Cancel(call=call.number))
            self.dismiss(worker, INTERRUPT_GRACE)
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
            self._loop.after(_STATUS_PATIENCE, partial(self.reap, worker))

    def _unwatch(self, worker: Worker) -> None:
        if not worker.is_dead:
            worker.is_dead = True
            self._loop.watched.remove(worker.sock.fileno())

    def reap(self, worker: Worker) -> None:
        """Settle the calls of a dead worker: deliver its last outcomes, queue unstarted calls again, fail lost ones."""
        if self.workers.get(worker.id) is not worker:
            return
        self._dispatcher.revoke_permit(worker)
        self._unwatch(worker)
        self._drain_socket(worker)
        self._dispatcher.due.discard(worker)
        started = worker.page.started or worker.page.loop.started
        lost = self._scheduler.left(worker)
        self._scheduler.settle(lost, partial(lost_error, worker))
        self.nested.orphan(worker)
        worker.close()
        if self.on_death is not None and not worker.stopping:
            self.on_death(worker)
        if not lost and not worker.stopping and started == 0:
            self._died_early(worker)

    def _drain_socket(self, worker: Worker) -> None:
        with contextlib.suppress(EOFError, ProtocolError):
            while self.outcomes.read(worker, _LAST_FRAMES):
                pass

    def _died_early(self, worker: Worker) -> None:
        self._early_deaths += 1
        if self._early_deaths < _START_BUDGET:
            return
        text = f"{self._early_deaths} workers in a row ended before their first call"
        text += f"; the last {describe_exit(worker.exitcode)}"
        if self._initializer is not None:
            self.give_up(errors.InitializerError(f"{text}, in the initializer"))
        else:
            self.give_up(errors.WorkerStartError(f"{text}; check that {interpreter()} runs and can import woolexec"))

    def note_life(self) -> None:
        """Note that a worker has sent an outcome, so workers do start."""
        self._early_deaths = 0

    def close(self) -> None:
        """End all workers and the fork server."""
        if self._fork_server is not None:
            self._fork_server.close()
        for worker in list(self.workers.values()):
            worker.close()
        self.workers.clear()
        self._reserve.lend()

    def forget(self) -> None:
        """Close the descriptors in a forked child; the workers belong to the parent."""
        if self._fork_server is not None:
            self._fork_server.forget()
        for worker in self.workers.values():
            worker.let_go()
        self._reserve.lend()
