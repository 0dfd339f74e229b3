"""
One peer on each host of a Dask cluster.

A separate Dask client, in the engine's event loop, lets one Dask worker of each host run `_start`.  The peer is a child
process of that Dask worker, and has one worker for each thread of all Dask workers on the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from woolexec.engine.gpus import hiding
from woolexec.errors import DiscoveryError, PeerStartError
from woolexec.launchers.nodes import Node, Nodes
from woolexec.mesh.server.child import ChildPeer

_ANSWER = 5.0
"""Seconds that the scheduler or a Dask worker may take to answer; Dask itself waits 30 s for lost ones."""

_ENDING = 40.0
"""Seconds that a peer may take to end."""

_START = 120.0
"""Seconds that a peer may take to start."""


def dask(client: Any, *, workers: int | None = None) -> Nodes:
    """
    Return a launcher for ``peers=`` with one peer on each host of a Dask cluster.

    The peers end with the executor, or with the cluster.
    :param client: a connected ``distributed.Client``
    :param workers: number of workers of each peer; None: as many as Dask's workers have threads on its host
    """
    return _Dask(client, workers)


class _Dask(Nodes):
    def __init__(self, client: Any, workers: int | None) -> None:
        super().__init__(workers)
        self._address, self._security = client.scheduler.address, client.security
        self._make = type(client)
        self._client: Any = None
        self._of_host: dict[str, list[str]] = {}  # by host: the scheduler's names of its workers
        self._owners: dict[str, str] = {}  # by host: the worker whose child the peer is

    def __str__(self) -> str:
        return f"dask at {self._address}"

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connect to the scheduler."""
        options = {"security": self._security, "asynchronous": True, "set_as_default": False, "timeout": _ANSWER}
        try:
            self._client = await self._make(self._address, **options)
        except (OSError, TypeError, ValueError) as exc:  # TimeoutError too
            raise DiscoveryError(f"{self}: no connection: {exc}") from exc
        try:
            yield
        finally:
            await self._client.close()
            self._client = None

    async def nodes(self) -> Sequence[Node]:
        """Return the hosts that have Dask workers."""
        try:
            async with asyncio.timeout(_ANSWER):
                found = await self._client.scheduler.identity(n_workers=-1)
        except TimeoutError:
            raise
        except (OSError, TypeError) as exc:
            raise DiscoveryError(f"{self}: {exc}") from exc
        hosts: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for address, about in found["workers"].items():
            hosts.setdefault(about["host"], []).append((address, about))
        self._of_host = {host: [address for address, _ in workers] for host, workers in hosts.items()}
        return [
            Node(
                host,
                sum(about["nthreads"] for _, about in workers),
                int(sum(about["resources"].get("GPU", 0) for _, about in workers)),
            )
            for host, workers in hosts.items()
        ]

    async def start_on(self, node: Node, token: bytes, workers: int) -> Sequence[str]:
        """Let a Dask worker on a host start a peer."""
        owner = self._owners[node.key] = self._of_host[node.key][0]
        found = await self._run(_START, owner, _start, self._client.id, token, workers, node.resources)
        if isinstance(found, str):
            raise DiscoveryError(found)
        return tuple(found)

    async def has_ended(self, node: Node) -> bool:
        """Ask the Dask worker whose child the peer is."""
        owner = self._owners[node.key]
        if owner not in self._of_host.get(node.key, ()):
            return True
        try:
            return bool(await self._run(_ANSWER, owner, _has_ended, self._client.id))
        except DiscoveryError:
            return False  # the worker is busy, or will be missing in the next list

    async def stop_on(self, node: Node) -> None:
        """Let the Dask worker end its peer."""
        owner = self._owners.pop(node.key, "")
        if owner in self._of_host.get(node.key, ()):
            with contextlib.suppress(DiscoveryError):  # then the worker is gone, and the peer with it
                await self._run(_ENDING, owner, _stop, self._client.id)

    async def _run(self, timeout: float, worker: str, function: Any, *args: Any) -> Any:  # noqa: ASYNC109  # for all
        try:
            async with asyncio.timeout(timeout):
                found = await self._client.run(function, *args, workers=[worker], on_error="return")
        except (OSError, ValueError, KeyError) as exc:
            raise DiscoveryError(f"{worker}: {str(exc) or type(exc).__name__}") from exc
        said = found.get(worker)
        if isinstance(said, BaseException):
            raise DiscoveryError(f"{worker}: {said!r}")
        return said


# -- in a worker of Dask ----------------------------------------------------------------------------------------------

_children: dict[str, ChildPeer] = {}


async def _start(key: str, token: bytes, workers: int, resources: Mapping[str, float]) -> Sequence[str] | str:
    """Start a peer; return its addresses, or an error message."""
    # The peer gets the devices of all Dask workers of the host; this worker may see only its own.
    hidden = hiding(int(resources.get("gpu", 0)), os.environ)
    child = _children[key] = ChildPeer(token, workers, resources=resources, without=hidden)
    try:
        return await asyncio.to_thread(child.addresses)
    except PeerStartError as exc:
        return f"{exc}; the log of Dask's worker says why"


async def _has_ended(key: str) -> bool:
    child = _children.get(key)
    return child is None or child.has_ended


async def _stop(key: str) -> None:
    child = _children.pop(key, None)
    if child is not None:
        await asyncio.to_thread(child.end)
