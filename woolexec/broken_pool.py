"""
The exceptions that are also a `BrokenProcessPool`; `woolexec.errors` re-exports them.

They are in a module of their own, imported when one of them is first used: the standard library defines
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
    """As `multiprocessing.Process.exitcode`: minus the signal number if a signal ended it; None if not known."""
    seconds: float | None = None
    """How long the call had run, in seconds."""
    attempts: int = 1
    """Number of times that the task was started."""

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class WorkerMemoryError(WorkerLostError):
    """
    The pool has ended the worker, which had more memory than `memory_limit` or filled the memory of its cgroup.

    It is treated as any other lost worker; the message has the figures.
    """


class ActorLostError(WorkerLostError):
    """
    The process of an actor died before the call of a method had ended, or the actor has ended.

    The calls of an actor that were not started are run if it has ``restarts`` left; see `PeerPoolExecutor.actor`.
    """


class ValueLostError(WorkerLostError):
    """
    The value of a task is lost: it had stayed with a peer (``keep=True``), and the link to that or the pool has ended.

    ``result()`` of its future raises this, and so do the tasks that need it.
    """


class InitializerError(WoolexecError, BrokenProcessPool):
    """The initializer raised, timed out or ended its worker repeatedly; its exception is the ``__cause__``."""


class WorkerStartError(WoolexecError, BrokenProcessPool):
    """No worker could be started: out of descriptors, processes or memory, or the interpreter does not start."""


class NoPeersError(WoolexecError, BrokenProcessPool):
    """Tasks waited longer than `peers_timeout` and no peer was connected to run them; the message says why."""


for _class in (
    *(WorkerLostError, WorkerMemoryError, ActorLostError, ValueLostError),
    *(InitializerError, WorkerStartError, NoPeersError),
):
    _class.__module__ = "woolexec.errors"  # users, pickles and `retry_on` look them up there
