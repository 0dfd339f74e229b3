"""A worker with the interface of a running `multiprocessing.Process`, as in the standard library's pools."""

from __future__ import annotations

import os
import time
from functools import partial

from woolexec.platform.posix import SIGKILL, SIGTERM, end_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.worker_process import Worker

_LOOK = 0.005


class WorkerProcess:
    """A worker process; any thread may use this object, even after the worker has ended."""

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
        if worker.exitcode is None and worker.is_closed:  # it is gone, and its exit code is unknown
            return -SIGKILL
        return worker.exitcode

    @property
    def sentinel(self) -> int:
        """
        A descriptor that can be read when the process has ended, for `multiprocessing.connection.wait`.

        :raises OSError: if no descriptor is left, or the platform has no `os.pidfd_open`
        """
        if self._sentinel < 0:
            self._sentinel = end_of(self.pid)
        return self._sentinel

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or for `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive():
            left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
            if left <= 0:
                return
            time.sleep(left)

    def terminate(self) -> None:
        """Send SIGTERM to the process and its children; the calls that it runs are lost."""
        self._signal(SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children; the calls that it runs are lost."""
        self._signal(SIGKILL)

    def close(self) -> None:
        """Do nothing: the pool cleans up after its workers."""

    def _signal(self, number: int) -> None:
        if self.is_alive():
            self._loop.tell(partial(self._supervisor.kill, self._worker, number))
