"""A pool of local workers, and its faults: dead and stopped processes, forks, missing descriptors."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from random import Random
from typing import NoReturn

from tests.chaos import tasks
from tests.chaos.plan import action
from tests.chaos.processes import fork_servers, go_on, send, workers
from tests.chaos.world import World
from woolexec import PeerPoolExecutor, WorkerStartError

WORKERS = 3

DEADLY = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT]

AFTERMATH = 5.0
"""Seconds after a shortage within which calls may still fail because of it."""


class Local(World):
    """A pool on this machine."""

    _ended_at_last_kill = -1
    _shortages = 0

    def make_pool(self) -> PeerPoolExecutor:
        return PeerPoolExecutor(WORKERS, initializer=tasks.open_journal, initargs=(self.journal,))

    def pids(self) -> dict[str, int]:
        return {"client": os.getpid(), **{f"fork server {pid}": pid for pid in fork_servers(os.getpid())}}

    @action(6)
    def kill_a_worker(self, dice: Random) -> str | None:
        """End a worker by a signal; not before some call has had a value, as five deaths in a row break the pool."""
        number, ended = dice.choice(DEADLY), self.ledger.values
        if ended == self._ended_at_last_kill:
            return None
        self._ended_at_last_kill = ended
        return _signal_one(workers(os.getpid()), number, dice)

    @action(3)
    def stop_a_worker(self, dice: Random) -> str | None:
        """Stop a worker for a while."""
        found = workers(os.getpid())
        if not found:
            return None
        pid = dice.choice(found)
        send(pid, signal.SIGSTOP)
        self.later(dice.random() * 1.5, lambda: go_on(pid))
        return f"process {pid}"

    @action(0.5)
    def kill_the_fork_server(self, dice: Random) -> str | None:
        """End the fork server, and with it all workers."""
        return _signal_one(fork_servers(os.getpid()), signal.SIGKILL, dice)

    @action(0.5)
    def stop_the_fork_server(self, dice: Random) -> str | None:
        """Stop the fork server for a while."""
        found = fork_servers(os.getpid())
        for pid in found:
            send(pid, signal.SIGSTOP)
            self.later(dice.random() * 2.0, lambda pid=pid: go_on(pid))
        return f"processes {found}"

    @action(1)
    def fork(self, dice: Random) -> str:
        """Fork this process; the child may not use the pool, and is told so."""
        if not self.ledger.accepted:
            return "not yet: a pool that nobody has used belongs to every child"
        pid = os.fork()
        if pid == 0:
            self._be_forked()
        deadline = time.monotonic() + 20.0
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)
        if ended == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.ledger.wrong.append("a forked child hung when it used the pool")
        elif ended[1]:
            self.ledger.wrong.append(f"a forked child that used the pool ended with {ended[1]}")
        return f"process {pid}"

    def _be_forked(self) -> NoReturn:
        try:
            self.pool.submit(abs, 1)
        except RuntimeError:
            os._exit(0)
        finally:
            os._exit(1)

    @action(0.5)
    def take_all_descriptors(self, dice: Random) -> str:
        """Leave no descriptor for a while."""
        taken: list[int] = []
        self._shortages += 1
        self.ledger.shortage(OSError, WorkerStartError, ImportError)  # what Python raises if it cannot load a module
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(2))
        self.later(dice.random() * 0.5, lambda: self._give_back(taken))
        return f"{len(taken)} descriptors"

    def _give_back(self, taken: list[int]) -> None:
        for fd in taken:
            os.close(fd)
        self.later(AFTERMATH, self._relieve)

    def _relieve(self) -> None:
        self._shortages -= 1
        if not self._shortages:
            self.ledger.shortage()


def _signal_one(pids: list[int], number: signal.Signals, dice: Random) -> str | None:
    if not pids:
        return None
    pid = dice.choice(pids)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return f"{number.name} to process {pid}"
