"""
The exceptions that are also a `BrokenProcessPool`: see `woolexec.errors`, which has them from here.

A file of their own, which is loaded when one of them is first named: the standard library defines `BrokenProcessPool`
beside its own pool, and that module takes as long to import as all that a pool of ours needs.
"""

from __future__ import annotations

from woolexec.base_error import WoolexecError, rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
else:
    try:
        from concurrent.futures.process import BrokenProcessPool
    except Exception:
        # When the interpreter ends (the module registers an exit function, which is too late then), or where
        # multiprocessing does not work, nobody else can have that class either, so nobody can catch it.
        from concurrent.futures import BrokenExecutor as BrokenProcessPool


class WorkerLostError(WoolexecError, BrokenProcessPool):
    """
    A call was started, and its worker died before the outcome arrived.

    Only this call is lost; the pool goes on with a new worker.
    A call is tried again only if its options say so: see `PeerPoolExecutor.with_options`.
    """

    task: str | None = None
    """Name of the task."""
    pid: int | None = None
    """Process id of the worker."""
    host: str | None = None
    """Name of the host it ran on."""
    exitcode: int | None = None
    """As `multiprocessing.Process.exitcode`: minus the signal's number if a signal ended it; None if not known."""
    seconds: float | None = None
    """For how long the call had run."""
    attempts: int = 1
    """How often the task was started."""

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class InitializerError(WoolexecError, BrokenProcessPool):
    """The initializer failed, hung or killed its worker again and again; its exception is the ``__cause__``."""


class WorkerStartError(WoolexecError, BrokenProcessPool):
    """No worker could be started: no descriptors, processes or memory left, or an interpreter that does not start."""


class NoPeersError(WoolexecError, BrokenProcessPool):
    """Tasks waited for longer than `peers_timeout`, and no peer was there to run them; the message says why not."""


for _class in (WorkerLostError, InitializerError, WorkerStartError, NoPeersError):
    _class.__module__ = "woolexec.errors"  # where users, pickles and `retry_on` find them
