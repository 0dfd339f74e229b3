"""A worker as the standard library's pools show theirs: what `multiprocessing.Process` has of a process that runs."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.worker_process import Worker

_LOOK = 0.005


class WorkerProcess:
    """A worker process; any thread may use this, also after the worker's end."""

    def __init__(self, worker: Worker, pid: int, supervisor: Supervisor, loop: Loop) -> None:
        self.pid = self.ident = pid
        self.name = f"PeerPoolProcess-{worker.id}"
        self.daemon = False
        self._worker = worker
        self._supervisor = supervisor
        self._loop = loop
        self._sentinel = -1

    def __repr__(self) -> str:
        state = "started" if self.is_alive() else f"stopped exitcode={self.exitcode}"
        return f"<{type(self).__name__} name={self.name!r} pid={self.pid} {state}>"

    def __del__(self) -> None:
        if self._sentinel >= 0:
            os.close(self._sentinel)

    @property
    def exitcode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        worker = self._worker
        if worker.exitcode is None and worker.is_closed:  # it was seen to be gone, and nobody could tell how
            return -signal.SIGKILL
        return worker.exitcode

    @property
    def sentinel(self) -> int:
        """
        A descriptor that can be read when it has ended, for `multiprocessing.connection.wait`.

        :raises OSError: if there is no descriptor left, or the platform has no such thing
        """
        if self._sentinel < 0:
            if not hasattr(os, "pidfd_open"):
                raise OSError("this platform has no descriptors of processes")
            try:
                self._sentinel = os.pidfd_open(self.pid)
            except ProcessLookupError:
                self._sentinel, writer = os.pipe()
                os.close(writer)
        return self._sentinel

    def is_alive(self) -> bool:
        """Say whether it runs."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive():
            left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
            if left <= 0:
                return
            time.sleep(left)

    def terminate(self) -> None:
        """Send SIGTERM to it and its children; what it runs is lost."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to it and its children; what it runs is lost."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Do nothing: its end is the pool's matter."""

    def _signal(self, number: int) -> None:
        if self.is_alive():
            self._loop.tell(partial(self._supervisor.kill, self._worker, number))
