"""
The exceptions that are also a `BrokenProcessPool`; `woolexec.errors` re-exports them.

They are in a separate module, imported when one of them is first used: the standard library defines
`BrokenProcessPool` in the module of its own pool, which takes as long to import as everything that our pool needs.
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
        # At interpreter shutdown (the module registers an exit function, which is no longer allowed then), or where
        # multiprocessing does not work, no other code can import that class either, so none can catch it.
        from concurrent.futures import BrokenExecutor as BrokenProcessPool


class WorkerLostError(WoolexecError, BrokenProcessPool):
    """
    The worker died after it started the call and before the outcome arrived.

    Only this call is lost; the pool replaces the worker and continues.
    A call is retried only if its options say so: see `PeerPoolExecutor.with_options`.
    """

    task: str | None = None
    """Name of the task."""
    pid: int | None = None
    """Process id of the worker."""
    host: str | None = None
    """Name of the host it ran on."""
    exitcode: int | None = None
    """Like `multiprocessing.Process.exitcode`: the negative signal number if a signal ended it; None if unknown."""
    seconds: float | None = None
    """How long the call had run, in seconds."""
    attempts: int = 1
    """Number of times that the task was started."""

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class WorkerMemoryError(WorkerLostError):
    """
    The pool ended the worker because it used more memory than `memory_limit` or nearly filled its cgroup's memory.

    It is treated like any other lost worker; the message gives the figures.
    """


class ActorLostError(WorkerLostError):
    """
    The process of an actor died before a method call ended, or the actor has already ended.

    If the actor has ``restarts`` left, its calls that were not started still run; see `PeerPoolExecutor.actor`.
    """


class ValueLostError(WorkerLostError):
    """
    The value of a task is lost: a peer kept it (``keep=True``), and then the link to that peer, or the pool, ended.

    ``result()`` of its future raises this, and so do the futures of tasks that need the value.
    """


class InitializerError(WoolexecError, BrokenProcessPool):
    """The initializer raised, timed out or ended its worker repeatedly; its exception is the ``__cause__``."""


class WorkerStartError(WoolexecError, BrokenProcessPool):
    """No worker could be started: no descriptors, processes or memory left, or the interpreter does not start."""


class NoPeersError(WoolexecError, BrokenProcessPool):
    """Tasks waited for `peers_timeout` seconds while no peer was connected; the message says why."""


for _class in (
    *(WorkerLostError, WorkerMemoryError, ActorLostError, ValueLostError),
    *(InitializerError, WorkerStartError, NoPeersError),
):
    _class.__module__ = "woolexec.errors"  # users, pickles and `retry_on` look them up there
