"""
The workers' lives: started when there is work for them, buried when they have ended, replaced when there is more work.

What a dead worker costs is decided in `bury`: its page says what it had started.  What it had not started is placed
again; what it had is lost, each call for itself, unless its options say that it is tried again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.retry import LOST, retries_left
from woolexec.engine.diagnostics import describe_exit, log_broken, lost_error
from woolexec.engine.fork_server import SAY_WHICH, ForkServer, import_path, interpreter
from woolexec.engine.worker_process import Worker
from woolexec.errors import ProtocolError
from woolexec.wire.codec import Broken, Cancel, Log, Raise, Recalled, Return, Yield
from woolexec.wire.descriptors import Reserve
from woolexec.wire.exceptions import load_failure
from woolexec.worker.records import EXITED, FAILED, FORKED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.event_loop import Loop
    from woolexec.wire.payload import File, Parts

GRACE = 2.0
"""Seconds that a worker has between SIGTERM and SIGKILL."""

INTERRUPT_GRACE = 1.0
"""Seconds that a task has to end after the user's Ctrl-C."""

_LOOK = 0.01
"""How often a worker that is to be ended is looked at while coroutines run there, in seconds."""

_STATUS_PATIENCE = 1.0
"""Seconds to wait for the exit code of a worker whose stream has ended."""

_START_PATIENCE = 15.0
"""Seconds that the program which is to be Python has to run the first line that it was given."""

_START_BUDGET = 5
"""So many workers in a row may die before their first call; then the executor is broken."""


class Supervisor:
    """
    The workers of one engine, and the template that they are forked from.

    :param limit: workers, at most
    :param initializer: pickled ``(function, arguments)`` for each worker to run first
    :param initializer_timeout: seconds that it may take; None for as long as it takes
    :param calls_limit: calls that one worker runs, at most
    :param threads: what thread-pool variables are set to in workers
    :param coroutines: coroutines and streams that one worker runs at once
    :param variables: of the workers' environment, beside those of this process
    """

    def __init__(
        self,
        loop: Loop,
        limit: int,
        *,
        initializer: bytes | File | Parts | None,
        initializer_timeout: float | None,
        calls_limit: int | None,
        threads: int,
        coroutines: int,
        variables: Mapping[str, str] | None,
    ) -> None:
        self.workers: dict[int, Worker] = {}
        self.limit = limit
        self.kept: list[tuple[Worker, int]] = []  # calls that keep their workers while they wait for tasks of their own
        self.broken: BaseException | None = None
        self.settings_of_user: dict[str, Any] = {}  # set before the first worker starts
        self.on_death: Callable[[Worker], object] | None = None  # of a worker that was not told to end
        self.dispatcher: Dispatcher  # set when it is made
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
        self._ending: set[Worker] = set()  # for one of their calls, and there still

    @property
    def most(self) -> int:
        """Workers, at most now: one whose call keeps it while it waits, or that is being ended, does not count."""
        if self.kept:
            self.kept = [(worker, call) for worker, call in self.kept if call in worker.outstanding]
        return self.limit + len(self.kept) + self.ending

    @property
    def ending(self) -> int:
        """How many workers are being ended for one of their calls, and are there still."""
        return len(self._ending)

    # -- birth --------------------------------------------------------------------------------------------------

    def start(self) -> Worker | None:
        """Start a worker; None if that is impossible now, then nobody waits in vain for one."""
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
        self.workers[worker.id] = worker
        self.dispatcher.join(worker)
        if self._variables is None:  # those of a peer belong to nobody who changes it
            worker.path = self._fork_server.path
            worker.follow_path(import_path())
        if self._initializer is not None:
            worker.initialize(self._initializer)
            self.dispatcher.due.add(worker)
        return worker

    def _start_failed(self, exc: OSError) -> None:
        if self.workers:  # go on with those there are; try again when one ends
            return
        error = errors.WorkerStartError(f"no worker could be started with {interpreter() or 'no interpreter'}: {exc}")
        error.__cause__ = exc
        self.dispatcher.fail_waiting(error)

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

    def _check_fork_server(self, template: ForkServer) -> None:
        """Give up on a program that runs, and is not Python."""
        if self._fork_server is not template or template.answers:
            return
        self._hear_fork_server()  # it may have answered while this thread had no time
        if self._fork_server is not template or template.answers:
            return
        text = f"{interpreter()} has not run what it was given with -c within {_START_PATIENCE:g} s, as Python does"
        self.give_up(errors.WorkerStartError(f"{text}; {SAY_WHICH}"))
        os.kill(template.pid, signal.SIGKILL)

    def _fork_server_died(self) -> None:
        """Its workers die with it, by their lifeline; the next call starts another."""
        template, self._fork_server = self._fork_server, None
        if template is not None:
            self._loop.watched.remove(template.socket.fileno())
            template.close()
        for worker in list(self.workers.values()):
            self.reap(worker)

    # -- the initializer ----------------------------------------------------------------------------------------

    def _check_initializer(self, worker: Worker) -> None:
        if self.workers.get(worker.id) is worker and worker.page.since == 0.0:
            text = f"the initializer ran longer than {self._initializer_timeout:g} s in worker {worker.pid}"
            self.give_up(errors.InitializerError(text))  # before its worker is seen to be gone
            self.kill(worker, signal.SIGKILL)

    def initializer_raised(self, worker: Worker, payload: bytes) -> None:
        """The initializer raised: break, when its exception has been decoded where user code may run."""
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
        """Be broken: fail everything that waits or runs, and whatever comes."""
        if self.broken is None:
            self.broken = error
            if not quietly:
                self._loop.run_user_code(partial(log_broken, error))
        self.dispatcher.take_inbox()
        self.dispatcher.fail_waiting(error)
        for worker in list(self.workers.values()):
            self.dispatcher.fail_outstanding(worker, error)
            self.kill(worker, signal.SIGTERM)

    # -- death --------------------------------------------------------------------------------------------------

    def kill(self, worker: Worker, number: int) -> None:
        """Send a signal to a worker and its children."""
        if self._fork_server is not None:
            self._fork_server.kill(worker.id, number)

    def dismiss(self, worker: Worker, grace: float = GRACE) -> None:
        """Let a worker leave when it has done what it was sent; end it if it does not within the grace (seconds)."""
        if not worker.stopping:
            worker.lane_place.ready = False
            worker.send_stop()
            self.dispatcher.due.add(worker)
            self._loop.after(grace, partial(self._kill_for_good, worker))

    def end(self, worker: Worker) -> None:
        """
        End a worker: SIGTERM, then, after the grace, SIGKILL.

        Coroutines and streams that run there have no part in it: they may take the time of a grace to end first.
        """
        self._ending.add(worker)
        worker.ready = worker.lane_place.ready = False
        if worker.lane_place.unstarted(worker.page.loop.started):
            self.dispatcher.recall(worker.lane_place)
        self._end_when_alone(worker, monotonic() + GRACE)

    def _end_when_alone(self, worker: Worker, deadline: float) -> None:
        if self.workers.get(worker.id) is not worker:
            return
        if worker.lane_place.outstanding and monotonic() < deadline:
            self._loop.after(_LOOK, partial(self._end_when_alone, worker, deadline))
            return
        self.dismiss(worker)  # if its call answers SIGTERM with an exception, it leaves at once
        self.kill(worker, signal.SIGTERM)

    def interrupt(self) -> None:
        """Let every running task have a KeyboardInterrupt, and its worker leave."""
        for worker in self.workers.values():
            for call in worker.lane_place.outstanding.values():
                self.dispatcher.command(call, Cancel(call=call.number))
            self.dismiss(worker, INTERRUPT_GRACE)
            if worker.outstanding:
                self.kill(worker, signal.SIGINT)

    def _kill_for_good(self, worker: Worker) -> None:
        if self.workers.get(worker.id) is worker:
            self.kill(worker, signal.SIGKILL)

    def stream_ended(self, worker: Worker) -> None:
        """A worker's stream has ended: its exit code is on the way."""
        if not worker.is_dead:
            self._unwatch(worker)
            worker.ready = worker.lane_place.ready = False
            self.kill(worker, signal.SIGKILL)
            self._loop.after(_STATUS_PATIENCE, partial(self.reap, worker))

    def _unwatch(self, worker: Worker) -> None:
        if not worker.is_dead:
            worker.is_dead = True
            self._loop.watched.remove(worker.sock.fileno())

    def reap(self, worker: Worker) -> None:
        """A worker is dead: deliver what it still said, place again what it had not started, report what is lost."""
        if self.workers.get(worker.id) is not worker:
            return
        dispatcher = self.dispatcher
        dispatcher.revoke_permit(worker)
        self._unwatch(worker)
        self._drain_socket(worker)
        del self.workers[worker.id]
        self._ending.discard(worker)
        dispatcher.due.discard(worker)
        started = worker.page.started or worker.page.loop.started
        lost = dispatcher.leave(worker)
        for call in lost:
            if not dispatcher.is_cancelled(call) and retries_left(call.options, call.attempts, (LOST,)):
                dispatcher.retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, lost_error(worker, call))
        dispatcher.nested.orphan(worker)
        worker.close()
        if self.on_death is not None and not worker.stopping:
            self.on_death(worker)
        if not lost and not worker.stopping and started == 0:
            self._died_early(worker)

    def _drain_socket(self, worker: Worker) -> None:
        with contextlib.suppress(EOFError, ProtocolError):
            while self.dispatcher.read(worker, only=(Return, Raise, Recalled, Broken, Log, Yield)):
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
            self.give_up(errors.WorkerStartError(f"{text}. Does {interpreter()} run, and can it import woolexec?"))

    def note_life(self) -> None:
        """A worker has given an outcome: they do start."""
        self._early_deaths = 0

    def close(self) -> None:
        """End them all, and the template."""
        if self._fork_server is not None:
            self._fork_server.close()
        for worker in list(self.workers.values()):
            worker.close()
        self.workers.clear()
        self._reserve.lend()

    def forget(self) -> None:
        """Close our descriptors in a forked child; the workers are the parent's."""
        if self._fork_server is not None:
            self._fork_server.forget()
        for worker in self.workers.values():
            worker.let_go()
        self._reserve.lend()
