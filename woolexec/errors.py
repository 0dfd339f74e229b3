"""
Every public exception.

WoolexecError
├── WorkerLostError     a call was started and its worker died (also a BrokenProcessPool)
├── InitializerError    the initializer failed in every worker (also a BrokenProcessPool)
├── WorkerStartError    no worker could be started (also a BrokenProcessPool)
├── NoPeersError        tasks waited, and no peer was there (also a BrokenProcessPool)
├── UnsatisfiableError  nobody offers what a task requires
├── PeerRefusedError    the other end of a link does not fit, or has not proved who it is
├── PeerStartError      a peer cannot listen where it should
├── CredentialsError    a token or a certificate that cannot be used
├── DiscoveryError      peers cannot be found, or not be announced
├── RemoteError         stands for an exception that could not travel
├── PlatformError       this platform cannot run the pool (also an ImportError)
└── ProtocolError       the other end sent what it must not send

RemoteTraceback         the ``__cause__`` of an exception that came from a worker: where it was raised there

Where Python has the word it is used: `TimeoutError` (a call ran longer than its ``timeout``),
`concurrent.futures.CancelledError`, `RuntimeError` (submit after shutdown), `ValueError`, `pickle.PicklingError`.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool


class WoolexecError(Exception):
    """The base of the exceptions that woolexec defines."""


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
        return _rebuild, (type(self), self.args, self.__dict__)


class InitializerError(WoolexecError, BrokenProcessPool):
    """The initializer failed, hung or killed its worker again and again; its exception is the ``__cause__``."""


class WorkerStartError(WoolexecError, BrokenProcessPool):
    """No worker could be started: no descriptors, processes or memory left, or an interpreter that does not start."""


class NoPeersError(WoolexecError, BrokenProcessPool):
    """Tasks waited for longer than `peers_timeout`, and no peer was there to run them; the message says why not."""


class UnsatisfiableError(WoolexecError):
    """A task requires what neither this process nor any of its peers offers; the message says what they do offer."""


class PeerRefusedError(WoolexecError):
    """The other end of a link speaks another version, or has not proved that it has the token."""


class PeerStartError(WoolexecError):
    """A peer cannot listen at the address that it was given."""


class CredentialsError(WoolexecError):
    """A file of a token, a key or certificates that others can read, or that does not hold what it should."""


class DiscoveryError(WoolexecError):
    """Peers cannot be found where they were to be looked for, or a peer cannot be announced there."""


class RemoteError(WoolexecError):
    """
    Stands for an exception that could not be pickled, or not be unpickled here.

    The message holds its type, its text (cut) and the reason; the remote traceback is the ``__cause__``.
    """

    type_name: str = ""
    """The original class, as ``module.qualname``."""


class PlatformError(WoolexecError, ImportError):
    """This platform has no Unix sockets to talk to workers."""


class ProtocolError(WoolexecError):
    """The other end sent bytes or frames that it must not send."""


class RemoteTraceback(Exception):
    """Where an exception was raised in the worker, as text."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return f'\n"""\n{self.tb}"""'


def _rebuild(cls: type[WorkerLostError], args: tuple[object, ...], state: dict[str, object]) -> WorkerLostError:
    error = cls(*args)
    error.__dict__.update(state)
    return error
