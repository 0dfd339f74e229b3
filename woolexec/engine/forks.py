"""
The workers' processes, and the fork server, which is started when a worker is needed and replaced when it has died.

A fork server that owes an answer and was stopped by a signal is told to continue, and killed if it still does not
answer.  If no worker can be started, the circuit breaker decides when to try again.

A fork server may serve several engines: its reports are passed on to the owner of the worker.
"""

from __future__ import annotations

import itertools
import os
from functools import partial
from math import inf

from woolexec import errors
from woolexec.core.circuit_breaker import CircuitBreaker
from woolexec.engine.fork_server import SAY_WHICH, ForkServer, interpreter
from woolexec.platform.posix import SIGCONT, SIGKILL, is_stopped, kill, kill_leaderless
from woolexec.worker.records import EXITED, FAILED, FORKED, KILL, SPAWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Protocol

    from woolexec.engine.event_loop import Loop
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.descriptors import Reserve

    class Runs(Protocol):
        """The loop of an engine."""

        def run(self, piece: Callable[[], object]) -> None:
            """Run a piece of the engine now."""

    class Owner(Protocol):
        """Receives the reports about its workers, by their numbers; its loop makes the calls."""

        @property
        def loop(self) -> Runs:
            """Runs its pieces, so that a failure does not affect other owners."""

        def forked(self, number: int, pid: int) -> None:
            """Note the process id of a worker."""

        def ended(self, number: int, exitcode: int | None) -> None:
            """Note that a worker has ended; without an exit code, because the fork server has died."""

        def failed(self, number: int, error: OSError) -> None:
            """Note that a worker could not be forked."""

        def fork_server_died(self, in_a_row: int) -> None:
            """Note that all workers end, and how many fork servers in a row died before they forked a worker."""

        def give_up(self, error: BaseException) -> None:
            """Note that no worker can be started."""


_START_PATIENCE = 15.0
"""Seconds that the program started as the fork server's interpreter has to run its first line of code."""

_LOOK, _LOOKS = 0.5, 2
"""Seconds between two checks of a fork server that owes an answer, and the number of checks that must find it stopped:
when all processes of a program are stopped and continued, the fork server may be the last."""

_PATIENCE = 30.0
"""Seconds for each answer of a fork server that is not stopped: the machine may be slow."""


class Forks:
    """
    Starts and signals the workers' processes.

    :param threads: value of the thread-pool variables in workers
    :param variables: environment variables for the workers, in addition to those of this process
    :param is_peer: this process is a peer: see `ForkServer`
    """

    def __init__(
        self, loop: Loop, threads: int, variables: Mapping[str, str] | None = None, *, is_peer: bool = False
    ) -> None:
        self.number = itertools.count(1).__next__
        self.breaker = CircuitBreaker(loop.clock)
        self.on_failure: Callable[[], object] | None = None  # called when no worker could be started
        self.is_peer = is_peer
        self._loop = loop
        self._threads = threads
        self._variables = variables
        self._server: ForkServer | None = None
        self._owners: dict[int, Owner] = {}
        self._pids: dict[int, int] = {}  # of workers whose end the fork server has not reported
        self._has_forked = False  # the fork server in use
        self._died_early = 0  # fork servers in a row that forked no worker
        self._owed: dict[tuple[int, int], float] = {}  # by operation and worker: since when an answer is owed
        self._heard_at = -inf  # when it last answered
        self._is_behind = False  # it has not read everything that was sent
        self._is_watching = False
        self._stops = 0  # number of checks that found it stopped

    @property
    def path(self) -> list[str]:
        """The import path that new workers have."""
        return [] if self._server is None else self._server.path

    def start(self, worker: Worker, reserve: Reserve, settings: Mapping[str, Any], owner: Owner) -> None:
        """
        Open the engine's end of a worker, and start its process.

        :param reserve: the reserve of the engine's thread
        :raises OSError: if that is impossible
        """
        try:
            self._running()  # first: its interpreter starts while the rest is made
        except OSError as exc:
            self._failed("fork server", str(exc))
            raise
        try:
            frames, descriptors, page_fd = worker.open(reserve)
        except OSError as exc:
            self._failed("open", str(exc))
            raise
        pipes = () if worker.pipes is None else worker.pipes.open()
        try:
            self.spawn(worker.id, [frames.fileno(), descriptors.fileno(), page_fd, *pipes], settings, owner)
        except OSError as exc:
            worker.close()
            self._failed("fork server", str(exc))
            raise
        finally:
            frames.close()
            descriptors.close()
            for fd in (page_fd, *pipes):
                os.close(fd)

    def _failed(self, cause: str, reason: str, *, for_good: bool = False) -> None:
        self.breaker.failed(cause, reason, for_good=for_good)
        if self.on_failure is not None:
            self.on_failure()

    def spawn(self, number: int, fds: Sequence[int], settings: Mapping[str, Any], owner: Owner) -> None:
        """
        Request a worker with these descriptors.

        :param number: number of the worker
        :param settings: applied in the worker, in addition to those of this process
        :raises OSError: if the fork server cannot be started, or is gone
        """
        server = self._running()
        server.spawn(number, fds, settings)
        self._flush(server)
        self._owners[number] = owner
        self._expect(SPAWN, number)

    def _flush(self, server: ForkServer) -> None:
        """Send the kept records as soon as the fork server reads."""
        is_behind = not server.flush()
        if is_behind != self._is_behind:
            self._is_behind = is_behind
            self._loop.watched.change(server.socket.fileno(), self._hear, writing=is_behind)

    def prepare(self) -> None:
        """Start the fork server before a worker is needed; if that fails, the first worker tries again."""
        try:
            self._running()
        except OSError as exc:
            self._failed("fork server", str(exc))

    def _running(self) -> ForkServer:
        if self._server is None:
            self._server = ForkServer(self._threads, self._variables, is_peer=self.is_peer)
            self._loop.watched.add(self._server.socket.fileno(), self._hear)
            self._loop.after(_START_PATIENCE, partial(self._check, self._server))
        return self._server

    def kill(self, number: int, signal: int) -> None:
        """Send a signal to a worker and its children."""
        if self._server is not None:
            self._server.kill(number, signal)
            self._flush(self._server)
            if signal == SIGKILL and number in self._owners:
                self._expect(KILL, number)

    def dump(self, number: int, thread: int) -> None:
        """Make a worker dump the stack of a thread; 0: of its main thread."""
        if self._server is not None:
            self._server.dump(number, thread)
            self._flush(self._server)

    def _expect(self, operation: int, number: int) -> None:
        """Watch the fork server until it has answered."""
        self._owed.setdefault((operation, number), self._loop.clock())
        if not self._is_watching:
            self._is_watching = True
            self._loop.after(_LOOK, self._watch)

    def _watch(self) -> None:
        server = self._server
        self._is_watching = bool(self._owed)
        if server is None or not self._owed:
            return
        if is_stopped(server.pid):
            self._stops += 1
            if self._stops == _LOOKS:
                kill(server.pid, SIGCONT)  # its workers would end with it
            elif self._stops >= 2 * _LOOKS:
                kill(server.pid, SIGKILL)
        elif self._loop.clock() - max(self._asked_at, self._heard_at) > _PATIENCE:
            kill(server.pid, SIGKILL)
        self._loop.after(_LOOK, self._watch)

    @property
    def _asked_at(self) -> float:
        """When the worker that it has owed longest was requested; ends of killed workers do not count."""
        return min((since for (operation, _), since in self._owed.items() if operation == SPAWN), default=inf)

    def _hear(self) -> None:
        server = self._server
        assert server is not None
        try:
            self._flush(server)
            for operation, number, value in server.reports():
                self._owed.pop((SPAWN, number), None)
                self._stops = 0
                self._heard_at = self._loop.clock()
                if operation == FORKED:
                    self._died_early = 0
                    self._has_forked = True
                    self.breaker.worked()
                    self._pids[number] = value
                    owner = self._owners.get(number)
                    if owner is not None:
                        owner.loop.run(partial(owner.forked, number, value))
                    continue
                self._owed.pop((KILL, number), None)
                self._pids.pop(number, None)
                if operation == FAILED:
                    self._failed("fork", os.strerror(value))
                owner = self._owners.pop(number, None)
                if owner is None:
                    continue
                if operation == EXITED:
                    owner.loop.run(partial(owner.ended, number, value))
                elif operation == FAILED:
                    owner.loop.run(partial(owner.failed, number, OSError(value, os.strerror(value))))
        except EOFError:
            self._died()

    def _check(self, server: ForkServer) -> None:
        """Give up on a program that runs but is not Python."""
        if self._server is not server or server.answers:
            return
        self._hear()  # it may have answered while this thread was busy
        if self._server is not server or server.answers:
            return
        text = f"{interpreter()} did not run its -c code within {_START_PATIENCE:g} s, as Python would"
        self._failed("fork server", text, for_good=True)
        for owner in set(self._owners.values()):
            owner.loop.run(partial(owner.give_up, errors.WorkerStartError(f"{text}; {SAY_WHICH}")))
        kill(server.pid, SIGKILL)

    def _died(self) -> None:
        """Report the workers as ended: their lifeline ends them with the fork server.  The next call starts another."""
        server, self._server = self._server, None
        if server is not None:
            self._loop.watched.remove(server.socket.fileno())
            server.close()
        if not self._has_forked:
            self._failed("fork server", "the fork server ended before it had forked a worker")
        self._died_early += 1
        self._has_forked = False
        self._owed.clear()
        self._stops = 0
        self._is_behind = False
        kill_leaderless(set(self._pids.values()))  # workers that it had no time to reap
        self._pids.clear()
        owners, self._owners = self._owners, {}
        for number, owner in owners.items():
            owner.loop.run(partial(owner.ended, number, None))
        for owner in set(owners.values()):
            owner.loop.run(partial(owner.fork_server_died, self._died_early))

    def close(self) -> None:
        """End the fork server and all its workers."""
        if self._server is not None:
            self._server.close()

    def forget(self) -> None:
        """Close the socket in a forked child; the workers belong to the parent."""
        if self._server is not None:
            self._server.forget()
