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

from woolexec.base_error import WoolexecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.broken_pool import InitializerError, NoPeersError, WorkerLostError, WorkerStartError

__all__ = [
    "CredentialsError",
    "DiscoveryError",
    "InitializerError",
    "NoPeersError",
    "PeerRefusedError",
    "PeerStartError",
    "PlatformError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "UnsatisfiableError",
    "WoolexecError",
    "WorkerLostError",
    "WorkerStartError",
]

# Defined when first used: `concurrent.futures.process`, which has BrokenProcessPool, loads 30 more modules.
_BROKEN_POOL = ("InitializerError", "NoPeersError", "WorkerLostError", "WorkerStartError")


class UnsatisfiableError(WoolexecError):
    """A task requires what neither this process nor any of its peers offers; the message says what they do offer."""


class PeerRefusedError(WoolexecError):
    """The other end of a link speaks another version, or has not proved that it has the token."""

    is_final: bool = False
    """No later try can succeed."""


class PeerStartError(WoolexecError):
    """A peer cannot listen at the address that it was given."""


class CredentialsError(WoolexecError):
    """A file of a token, a key or certificates that others can read, or that does not hold what it should."""

    is_final: bool = False
    """No later try can succeed."""


class DiscoveryError(WoolexecError):
    """Peers cannot be found where they were to be looked for, or a peer cannot be announced there."""

    is_final: bool = False
    """No later try can succeed: tasks that wait for nothing else fail at once."""


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


def __getattr__(name: str) -> object:
    if name not in _BROKEN_POOL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from woolexec import broken_pool  # the import system lets one thread execute it, and the others wait

    value = getattr(broken_pool, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
