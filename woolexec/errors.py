"""
All public exceptions.

WoolexecError
├── WorkerLostError     the worker died while it ran the call (also a BrokenProcessPool)
│   ├── WorkerMemoryError  the pool ended the worker because it used too much memory
│   ├── ActorLostError     the process of an actor died, or the actor has ended
│   └── ValueLostError     the peer that kept the value of a task is gone
├── InitializerError    the initializer failed in every worker (also a BrokenProcessPool)
├── WorkerStartError    no worker could be started (also a BrokenProcessPool)
├── NoPeersError        tasks waited too long for a connected peer (also a BrokenProcessPool)
├── StoreFullError      `put` found no room for a value (also a MemoryError)
├── PoolFullError       too many tasks are unfinished, and waiting would block an event loop
├── UnsatisfiableError  neither this machine nor any peer offers what a task requires
├── PeerRefusedError    the other end of a link is not compatible, or failed to authenticate
├── PeerStartError      a peer cannot listen at its address
├── CredentialsError    a token or a certificate cannot be used
├── DiscoveryError      peers cannot be found or announced
├── RemoteError         replaces an exception that could not be pickled or unpickled
├── PlatformError       this platform cannot run the pool (also an ImportError)
└── ProtocolError       the other end sent something that the protocol does not allow

RemoteTraceback         the ``__cause__`` of an exception from a worker: the traceback there

Python's own exceptions are used where they fit: `TimeoutError` (a call ran longer than its ``timeout``),
`concurrent.futures.CancelledError`, `RuntimeError` (submit after shutdown), `ValueError`, `pickle.PicklingError`.
"""

from __future__ import annotations

from woolexec.base_error import WoolexecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.broken_pool import (
        ActorLostError,
        InitializerError,
        NoPeersError,
        ValueLostError,
        WorkerLostError,
        WorkerMemoryError,
        WorkerStartError,
    )

__all__ = [
    "ActorLostError",
    "CredentialsError",
    "DiscoveryError",
    "InitializerError",
    "NoPeersError",
    "PeerRefusedError",
    "PeerStartError",
    "PlatformError",
    "PoolFullError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "StoreFullError",
    "UnsatisfiableError",
    "ValueLostError",
    "WoolexecError",
    "WorkerLostError",
    "WorkerMemoryError",
    "WorkerStartError",
]

# Imported on first use: `concurrent.futures.process`, which defines BrokenProcessPool, imports 30 more modules.
_BROKEN_POOL = (
    "ActorLostError",
    "InitializerError",
    "NoPeersError",
    "ValueLostError",
    "WorkerLostError",
    "WorkerMemoryError",
    "WorkerStartError",
)


class StoreFullError(WoolexecError, MemoryError):
    """The values that were `put` have reached `store_limit` bytes, and the pool has no `spill_dir`."""


class PoolFullError(WoolexecError):
    """`submit` was called in an event loop while `max_outstanding` tasks were unfinished."""


class UnsatisfiableError(WoolexecError):
    """Neither the workers on this machine nor any peer offers what a task requires; the message says what they do."""


class PeerRefusedError(WoolexecError):
    """The other end of a link has an incompatible version, or did not prove that it has the token."""

    is_final: bool = False
    """Whether retrying is pointless."""


class PeerStartError(WoolexecError):
    """A peer cannot listen at the address that it was given."""


class CredentialsError(WoolexecError):
    """A token, key or certificate file is readable by other users, or does not contain what it should."""

    is_final: bool = False
    """Whether retrying is pointless."""


class DiscoveryError(WoolexecError):
    """Peers cannot be found by a discovery, or a peer cannot be announced to it."""

    is_final: bool = False
    """Whether retrying is pointless; if so, tasks that wait only for this discovery fail at once."""


class RemoteError(WoolexecError):
    """
    Replaces an exception that could not be pickled in the worker or unpickled in this process.

    The message holds the exception's type, its text (shortened) and the reason; the remote traceback is the
    ``__cause__``.
    """

    type_name: str = ""
    """The original class, as ``module.qualname``."""


class PlatformError(WoolexecError, ImportError):
    """This platform lacks the Unix sockets through which the pool talks to its workers."""


class ProtocolError(WoolexecError):
    """The other end sent bytes or frames that the protocol does not allow."""


class RemoteTraceback(Exception):
    """The traceback of an exception in the worker, as text."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return f'\n"""\n{self.tb}"""'


def __getattr__(name: str) -> object:
    if name not in _BROKEN_POOL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from woolexec import broken_pool  # the import lock: one thread executes the module, the others wait

    value = getattr(broken_pool, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
