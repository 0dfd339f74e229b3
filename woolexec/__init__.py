"""
woolexec: a `concurrent.futures` executor that replaces `ProcessPoolExecutor`.

    from woolexec import PeerPoolExecutor

    with PeerPoolExecutor() as pool:
        print(sum(pool.map(pow, range(1000), range(1000))))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.errors import InitializerError as InitializerError
    from woolexec.errors import PlatformError as PlatformError
    from woolexec.errors import ProtocolError as ProtocolError
    from woolexec.errors import RemoteError as RemoteError
    from woolexec.errors import RemoteTraceback as RemoteTraceback
    from woolexec.errors import WoolexecError as WoolexecError
    from woolexec.errors import WorkerLostError as WorkerLostError
    from woolexec.errors import WorkerStartError as WorkerStartError
    from woolexec.executor import PeerPoolExecutor as PeerPoolExecutor
    from woolexec.nested import current_executor as current_executor

__version__ = "0.1.0"

# Loaded when first used: a worker imports this package too, and needs none of it.
_WHERE = {
    "InitializerError": "woolexec.errors",
    "PeerPoolExecutor": "woolexec.executor",
    "PlatformError": "woolexec.errors",
    "ProtocolError": "woolexec.errors",
    "RemoteError": "woolexec.errors",
    "RemoteTraceback": "woolexec.errors",
    "WoolexecError": "woolexec.errors",
    "WorkerLostError": "woolexec.errors",
    "WorkerStartError": "woolexec.errors",
    "current_executor": "woolexec.nested",
}

__all__ = [  # the names of _WHERE
    "InitializerError",
    "PeerPoolExecutor",
    "PlatformError",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "WoolexecError",
    "WorkerLostError",
    "WorkerStartError",
    "__version__",
    "current_executor",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
