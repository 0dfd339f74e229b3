"""A worker that runs nothing, to find out whether workers can be started."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from woolexec.engine.worker_process import Worker
from woolexec.platform.posix import SIGKILL
from woolexec.wire.descriptors import Reserve

if TYPE_CHECKING:
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.forks import Forks

PATIENCE = 5.0
"""Seconds after which such a worker is killed."""


class Probe:
    """
    The owner of one such worker; the circuit breaker of `forks` learns whether it was forked.

    :param forks: starts its process
    """

    def __init__(self, forks: Forks, loop: Loop) -> None:
        self._forks = forks
        self.loop = loop
        reserve = Reserve()
        self._worker = worker = Worker(forks.number(), 1, 1)
        with contextlib.suppress(OSError):
            forks.start(worker, reserve, {}, self)
            worker.send_stop()
            worker.flush()
            loop.after(PATIENCE, partial(forks.kill, worker.id, SIGKILL))
        reserve.lend()  # nothing is received from it

    def forked(self, number: int, pid: int) -> None:
        """Do nothing: the worker has been told to end."""

    def ended(self, number: int, exitcode: int | None) -> None:
        """Close the sockets."""
        self._worker.close()

    def failed(self, number: int, error: OSError) -> None:
        """Close the sockets."""
        self.ended(number, None)

    def fork_server_died(self, in_a_row: int) -> None:
        """Do nothing."""

    def give_up(self, error: BaseException) -> None:
        """Do nothing."""
