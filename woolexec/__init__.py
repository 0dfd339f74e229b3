"""
woolexec: a `concurrent.futures` executor that replaces `ProcessPoolExecutor`.

    from woolexec import PeerPoolExecutor

    with PeerPoolExecutor() as pool:
        print(sum(pool.map(pow, range(1000), range(1000))))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.api.actor import Actor as Actor
    from woolexec.api.map_async import AsyncMap as AsyncMap
    from woolexec.api.progress import progress as progress
    from woolexec.api.propagation import propagate as propagate
    from woolexec.api.routines import routine as routine
    from woolexec.api.stream import Stream as Stream
    from woolexec.api.task_executor import current_executor as current_executor
    from woolexec.api.task_info import TaskInfo as TaskInfo
    from woolexec.api.task_info import current_task as current_task
    from woolexec.core.candidate import Candidate as Candidate
    from woolexec.core.policies import LeastOutstanding as LeastOutstanding
    from woolexec.core.policies import Placement as Placement
    from woolexec.core.policies import PowerOfTwoChoices as PowerOfTwoChoices
    from woolexec.core.policies import RoundRobin as RoundRobin
    from woolexec.core.task_stack import Stacks as Stacks
    from woolexec.core.task_stack import TaskStack as TaskStack
    from woolexec.discovery.base import Discovery as Discovery
    from woolexec.errors import ActorLostError as ActorLostError
    from woolexec.errors import CredentialsError as CredentialsError
    from woolexec.errors import DiscoveryError as DiscoveryError
    from woolexec.errors import InitializerError as InitializerError
    from woolexec.errors import NoPeersError as NoPeersError
    from woolexec.errors import PeerRefusedError as PeerRefusedError
    from woolexec.errors import PeerStartError as PeerStartError
    from woolexec.errors import PlatformError as PlatformError
    from woolexec.errors import PoolFullError as PoolFullError
    from woolexec.errors import ProtocolError as ProtocolError
    from woolexec.errors import RemoteError as RemoteError
    from woolexec.errors import RemoteTraceback as RemoteTraceback
    from woolexec.errors import StoreFullError as StoreFullError
    from woolexec.errors import UnsatisfiableError as UnsatisfiableError
    from woolexec.errors import ValueLostError as ValueLostError
    from woolexec.errors import WoolexecError as WoolexecError
    from woolexec.errors import WorkerLostError as WorkerLostError
    from woolexec.errors import WorkerMemoryError as WorkerMemoryError
    from woolexec.errors import WorkerStartError as WorkerStartError
    from woolexec.executor import PeerPoolExecutor as PeerPoolExecutor
    from woolexec.integrations.bar import bar as bar
    from woolexec.integrations.pool import as_pool as as_pool
    from woolexec.mesh.security.credentials import Credentials as Credentials
    from woolexec.statistics import Statistics as Statistics
    from woolexec.task_progress import TaskProgress as TaskProgress
    from woolexec.worker.frozen import freeze_support as freeze_support

__version__ = "0.1.0"

# Imported on first use: a worker imports this package too, and needs none of these names.
_WHERE = {
    "Actor": "woolexec.api.actor",
    "ActorLostError": "woolexec.errors",
    "AsyncMap": "woolexec.api.map_async",
    "Candidate": "woolexec.core.candidate",
    "Credentials": "woolexec.mesh.security.credentials",
    "CredentialsError": "woolexec.errors",
    "Discovery": "woolexec.discovery.base",
    "DiscoveryError": "woolexec.errors",
    "InitializerError": "woolexec.errors",
    "LeastOutstanding": "woolexec.core.policies",
    "NoPeersError": "woolexec.errors",
    "PeerPoolExecutor": "woolexec.executor",
    "PeerRefusedError": "woolexec.errors",
    "PeerStartError": "woolexec.errors",
    "Placement": "woolexec.core.policies",
    "PlatformError": "woolexec.errors",
    "PoolFullError": "woolexec.errors",
    "PowerOfTwoChoices": "woolexec.core.policies",
    "ProtocolError": "woolexec.errors",
    "RemoteError": "woolexec.errors",
    "RemoteTraceback": "woolexec.errors",
    "RoundRobin": "woolexec.core.policies",
    "Stacks": "woolexec.core.task_stack",
    "Statistics": "woolexec.statistics",
    "StoreFullError": "woolexec.errors",
    "Stream": "woolexec.api.stream",
    "TaskInfo": "woolexec.api.task_info",
    "TaskProgress": "woolexec.task_progress",
    "TaskStack": "woolexec.core.task_stack",
    "UnsatisfiableError": "woolexec.errors",
    "ValueLostError": "woolexec.errors",
    "WoolexecError": "woolexec.errors",
    "WorkerLostError": "woolexec.errors",
    "WorkerMemoryError": "woolexec.errors",
    "WorkerStartError": "woolexec.errors",
    "as_pool": "woolexec.integrations.pool",
    "bar": "woolexec.integrations.bar",
    "current_executor": "woolexec.api.task_executor",
    "current_task": "woolexec.api.task_info",
    "freeze_support": "woolexec.worker.frozen",
    "progress": "woolexec.api.progress",
    "propagate": "woolexec.api.propagation",
    "routine": "woolexec.api.routines",
}

__all__ = [  # the names of _WHERE
    "Actor",
    "ActorLostError",
    "AsyncMap",
    "Candidate",
    "Credentials",
    "CredentialsError",
    "Discovery",
    "DiscoveryError",
    "InitializerError",
    "LeastOutstanding",
    "NoPeersError",
    "PeerPoolExecutor",
    "PeerRefusedError",
    "PeerStartError",
    "Placement",
    "PlatformError",
    "PoolFullError",
    "PowerOfTwoChoices",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "RoundRobin",
    "Stacks",
    "Statistics",
    "StoreFullError",
    "Stream",
    "TaskInfo",
    "TaskProgress",
    "TaskStack",
    "UnsatisfiableError",
    "ValueLostError",
    "WoolexecError",
    "WorkerLostError",
    "WorkerMemoryError",
    "WorkerStartError",
    "__version__",
    "as_pool",
    "bar",
    "current_executor",
    "current_task",
    "freeze_support",
    "progress",
    "propagate",
    "routine",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        value = getattr(import_module(_WHERE[name]), name)
    except AttributeError as exc:  # which an import statement would replace by an error that says nothing of it
        raise ImportError(f"{name} cannot be imported: {exc}") from exc
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
