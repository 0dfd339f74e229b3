"""
One peer on each node of an existing cluster, for as long as an executor uses it.

::

    the cluster --nodes()--> new: start_on -> Joined      gone, or its peer has ended: Left, and again
                             at the end: stop_on

A peer is a child of a process of the cluster on its node, and ends with that one (``serve --lifeline``).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic

from woolexec.checks import count
from woolexec.discovery.base import Discovery, Event, Joined, Left, Record
from woolexec.errors import DiscoveryError
from woolexec.mesh.security.credentials import Credentials

_LOOK = 1.0
"""Seconds between two looks at the nodes."""

_SILENCE = 20.0
"""Seconds for which a cluster may fail to answer before its peers are considered lost."""


@dataclass(frozen=True, slots=True)
class Node:
    """
    A node, and what its peer may use.

    :param key: identifies the node in its cluster
    :param cpus: number of processors
    :param gpus: number of GPUs
    """

    key: str
    cpus: int
    gpus: int

    @property
    def resources(self) -> Mapping[str, float]:
        """The resources that its peer offers, beside workers."""
        return {"gpu": self.gpus} if self.gpus else {}


class Nodes(Discovery):
    """
    The nodes of a cluster; subclass it for a kind of cluster.

    :param workers: number of workers of each peer; None: one for each processor that the cluster has on its node
    """

    def __init__(self, workers: int | None) -> None:
        self.workers = None if workers is None else count("workers", workers)

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[None]:
        """
        Return a context manager that connects to the cluster.

        :raises DiscoveryError: if it cannot be used
        """

    @abstractmethod
    async def nodes(self) -> Sequence[Node]:
        """
        Return the nodes that exist now.

        :raises DiscoveryError: if the nodes cannot be listed, and the cluster must be opened again
        :raises TimeoutError: if the cluster does not answer in time
        """

    @abstractmethod
    async def start_on(self, node: Node, token: bytes, workers: int) -> Sequence[str]:
        """
        Start a peer on a node, and return its addresses.

        :raises DiscoveryError: if it does not start
        """

    @abstractmethod
    async def has_ended(self, node: Node) -> bool:
        """Return whether the peer on a node has ended."""

    @abstractmethod
    async def stop_on(self, node: Node) -> None:
        """End the peer on a node, even if it is still starting."""

    async def watch(self) -> AsyncIterator[Event]:
        """
        Start a peer on each node, and yield those that serve and those that end; all end when this is closed.

        :raises DiscoveryError: if the cluster is lost or does not answer; if there are peers, only after a while
        """
        credentials = Credentials.with_new_token()
        starting: dict[str, asyncio.Task[Sequence[str]]] = {}
        known: dict[str, Node] = {}
        there: dict[str, Node] = {}
        answered = monotonic()
        async with self.opened():
            try:
                while True:
                    try:
                        there = {node.key: node for node in await self.nodes()}
                        answered = monotonic()
                    except TimeoutError as exc:
                        if not known or monotonic() > answered + _SILENCE:
                            raise DiscoveryError(f"{self}: no answer") from exc
                    for key in there.keys() - known.keys():
                        known[key] = there[key]
                        starting[key] = asyncio.ensure_future(self._start(there[key], credentials))
                    for key, node in list(known.items()):
                        if key in starting:
                            if not starting[key].done():
                                continue
                            task = starting.pop(key)
                            if (fault := task.exception()) is None:
                                yield Joined(Record(key, tuple(task.result()), credentials=credentials))
                                continue
                            reason = f"{self}: node {key}: {fault}"
                        elif key in there and not await self.has_ended(node):
                            continue
                        else:
                            reason = ""
                        del known[key]
                        await self.stop_on(node)
                        yield Left(key, reason)
                    await _first(starting.values())
            finally:
                for task in starting.values():
                    task.cancel()
                await asyncio.gather(*starting.values(), return_exceptions=True)
                await asyncio.gather(*map(self.stop_on, known.values()), return_exceptions=True)

    async def _start(self, node: Node, credentials: Credentials) -> Sequence[str]:
        assert credentials.token is not None
        return await self.start_on(node, credentials.token, self.workers or max(1, node.cpus))


async def _first(tasks: Collection[asyncio.Task[Sequence[str]]]) -> None:
    """Wait until one of the tasks has ended, for a short time at most."""
    if tasks:
        await asyncio.wait(tasks, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(_LOOK)
