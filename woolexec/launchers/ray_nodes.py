"""
One peer on each node of a Ray cluster.

An actor on each node reserves all CPUs and GPUs that Ray has there, and has a peer as its child process.  Ray ends the
actors of programs that have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from woolexec.errors import DiscoveryError
from woolexec.launchers.nodes import Node, Nodes
from woolexec.mesh.server.child import ChildPeer


def ray(*, workers: int | None = None) -> Nodes:
    """
    Return a launcher for ``peers=`` with one peer on each node of the Ray cluster that this program is connected to.

    The peers reserve the CPUs and GPUs of their nodes in Ray, and release them when the executor or the program ends.

    :param workers: number of workers of each peer, each with one CPU; None: all CPUs that Ray has on the node
    """
    return _Ray(workers)


class _Ray(Nodes):
    def __init__(self, workers: int | None) -> None:
        super().__init__(workers)
        self._actors: dict[str, Any] = {}
        self._ends: dict[str, asyncio.Future[Any]] = {}

    def __str__(self) -> str:
        return "ray"

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Check that Ray is connected to a cluster."""
        from ray import is_initialized

        if not is_initialized():
            error = DiscoveryError("ray: not connected to a cluster: call ray.init() first")
            error.is_final = True
            raise error
        yield

    async def nodes(self) -> Sequence[Node]:
        """Return the live nodes that have CPUs."""
        from ray import nodes

        try:
            found = await asyncio.to_thread(nodes)
        except Exception as exc:  # Ray raises many types
            raise DiscoveryError(f"ray: {exc}") from exc
        alive = [(each["NodeID"], each["Resources"]) for each in found if each["Alive"]]
        return [Node(key, int(has["CPU"]), int(has.get("GPU", 0))) for key, has in alive if has.get("CPU", 0) >= 1]

    async def start_on(self, node: Node, token: bytes, workers: int) -> Sequence[str]:
        """Start an actor on a node; this waits until the node has as many free CPUs."""
        from ray import remote
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        make: Any = remote(_Actor)
        actor = make.options(
            num_cpus=workers,
            num_gpus=node.gpus,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.key, soft=False),
        ).remote()
        self._actors[node.key] = actor
        try:
            addresses = await actor.start.remote(token, workers, node.resources)
        except Exception as exc:  # raised by Ray or by the actor
            raise DiscoveryError(str(exc)) from exc
        self._ends[node.key] = asyncio.ensure_future(_wait(actor))
        return tuple(addresses)

    async def has_ended(self, node: Node) -> bool:
        """Return whether the actor or its peer has ended."""
        return self._ends[node.key].done()

    async def stop_on(self, node: Node) -> None:
        """End the actor: its peer ends with it."""
        from ray import kill

        end = self._ends.pop(node.key, None)
        if end is not None:
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)
        actor = self._actors.pop(node.key, None)
        if actor is not None:
            with contextlib.suppress(Exception):  # it has ended, or Ray has
                kill(actor)


async def _wait(actor: Any) -> None:
    with contextlib.suppress(Exception):  # of Ray: the actor has ended
        await actor.wait.remote()


class _Actor:
    """The parent of a peer; its methods run in an event loop of Ray."""

    async def start(self, token: bytes, workers: int, resources: Mapping[str, float]) -> Sequence[str]:
        """Start the peer, and return its addresses."""
        self._child = ChildPeer(token, workers, resources=resources)
        return await asyncio.to_thread(self._child.addresses)

    async def wait(self) -> None:
        """Wait until the peer has ended."""
        while not self._child.has_ended:  # noqa: ASYNC110  # a process, and no thread that would wait for it
            await asyncio.sleep(1.0)
