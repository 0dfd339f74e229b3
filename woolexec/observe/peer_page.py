"""
The page of a peer: like the page of a pool, but with all clients together.

Rows of functions and of tasks name the client: ``load of ada:4711 (certificate 'ada')``.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from concurrent.futures import Future
from dataclasses import astuple, replace
from functools import partial
from random import getrandbits
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.core.task_stack import Stacks
from woolexec.mesh.server.inspections import inspect
from woolexec.observe.page_data import page_data
from woolexec.platform.posix import host_name
from woolexec.printable import printable
from woolexec.statistics import Statistics, TaskStatistics, ValueStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.core.task_stack import TaskStack
    from woolexec.mesh.server.peer import Peer
    from woolexec.observe.dashboard import Dashboard

_log = logging.getLogger("woolexec.peer")

_PATIENCE, _MORE = 2.0, 5.0
"""Seconds for workers to report their running calls, and additional seconds for the engines."""

Sums = TypeVar("Sums", TaskStatistics, ValueStatistics)


def together(found: Sequence[tuple[str, Statistics]], about: Statistics) -> Statistics:
    """
    Return the statistics of clients as those of one pool.

    :param found: the name of each client, and its statistics
    :param about: the information about the peer itself: process, host, time, peers and values
    """
    functions, workers, peers = [], [], list(about.peers)
    lost = Counter(about.workers_lost)
    for client, each in found:
        functions += [replace(function, name=_of(function.name, client)) for function in each.functions]
        workers += [replace(worker, task=worker.task and _of(worker.task, client)) for worker in each.workers]
        peers += each.peers
        lost.update(each.workers_lost)
    return replace(
        about,
        tasks=_sum(TaskStatistics, [each.tasks for _, each in found]),
        functions=tuple(sorted(functions, key=lambda each: -each.run.total)),
        workers=tuple(workers),
        peers=tuple({each.address: each for each in peers}.values()),
        values=_sum(ValueStatistics, [about.values, *(each.values for _, each in found)]),
        workers_lost=dict(lost),
    )


def _of(name: str, client: str) -> str:
    return f"{name} of {client}"


def _sum(kind: type[Sums], values: Sequence[Sums]) -> Sums:
    return kind(*map(sum, zip(*map(astuple, values), strict=True))) if values else kind()


class PeerView:
    """The data that a page shows of a peer in this process."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._started = time()

    def snapshot(self) -> dict[str, Any] | None:
        """Return a snapshot; None: the peer has ended."""
        found = self._statistics()
        return None if found is None else page_data(found, self._started)

    def statistics(self) -> dict[str, Any] | None:
        """Return statistics, whole; None: the peer has ended."""
        found = self._statistics()
        return None if found is None else found.as_dict()

    def stacks(self) -> list[dict[str, Any]]:
        """Return the running tasks, longest-running first."""
        answer: Future[list[TaskStack]] = Future()
        if self._peer.ended:
            return []
        self._peer.engine.tell(partial(self._inspect, answer.set_result))
        return Stacks(answer.result(_PATIENCE + _MORE)).as_dict()

    def cancel(self, task: int, pid: int) -> bool:
        """Cancel a task that a worker here runs, by force, and log it; return False if it does not run."""

        def end() -> bool:
            for engine, client in self._peer._acceptor.everybody():
                if engine.links.end_task(task, pid):
                    about = task, pid, printable(client, 200)
                    _log.info("a program of this user has ended task %d in worker %d, of %s", *about)
                    return True
            return False

        return bool(self._peer.engine.loop.ask(end, default=False))

    def _statistics(self) -> Statistics | None:
        found = None if self._peer.ended else self._peer.engine.loop.ask(self._look)
        return None if found is None else together(*found).with_usage()

    def _look(self) -> tuple[list[tuple[str, Statistics]], Statistics]:
        """Return the statistics of the clients, and the information about the peer itself; in the peer's thread."""
        acceptor = self._peer._acceptor
        found = [(printable(client, 200), engine.statistics()) for engine, client in acceptor.everybody()]
        own = replace(
            acceptor.traffic.statistics(),
            address=self._peer.address,
            host=host_name(),
            workers=self._peer.width,
            outstanding=sum(each.tasks.running + each.tasks.sent for _, each in found),
            is_full=not acceptor.places.admission.free,
            trouble=acceptor.trouble or acceptor.places.shortage,
        )
        values = ValueStatistics(bytes=acceptor.places.stays.size)
        return found, Statistics(time=time(), pid=os.getpid(), host=own.host, peers=(own,), values=values)

    def _inspect(self, then: Callable[[list[TaskStack]], object]) -> None:
        inspect(self._peer._acceptor.everybody(), _PATIENCE, getrandbits(64), then)


def open_page(address: tuple[str, int], peer: Peer) -> Dashboard:
    """
    Open the page of a peer.

    :raises OSError: if it cannot listen on the address
    """
    from woolexec.observe.dashboard import Dashboard

    view = PeerView(peer)
    return Dashboard(address, view.snapshot, view.stacks, view.statistics, view.cancel)
