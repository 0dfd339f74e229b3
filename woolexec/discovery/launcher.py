"""
Launchers: discoveries that also start peers, and let them go.

::

    the client's scaler --start(n), stop(handle)--> Launcher --sbatch, kubectl, ssh--> an engine that hands out machines
            ^                                          |
            '------ watch(): Joined, Left -------------'      a peer is known by the key of its handle all the time

1. What a launcher has started ends with `watch`, which the client closes when it ends.
2. If the client dies, its peers end too: they are started with ``woolexec serve --lease``, and end when no client has
   been connected for that time.
3. The credentials of the peers are made for one run, and are not part of any command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from woolexec.checks import count, integer, seconds
from woolexec.discovery.base import Discovery

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE = 60.0
"""Seconds without a client after which a peer ends that was started for one."""


@dataclass(frozen=True, slots=True)
class Handle:
    """
    A peer that a launcher has started, or is about to.

    :param key: the key of its record, and of the events about it
    :param name: what its engine calls it, for messages
    """

    key: str
    name: str


class Launcher(Discovery):
    """
    A way to start peers; subclass it to add another.

    ``PeerPoolExecutor(peers=...)`` takes a launcher like any discovery.  It starts peers when tasks wait, and stops
    those that have been idle.  A launcher belongs to one executor at a time.  All methods run in an asyncio event loop
    that is shared with other work: they must not block it.

    :param min: number of peers that are kept while the executor lives
    :param max: maximum number of peers
    :param workers: number of workers of each peer; None: one for each CPU that it may use
    :param idle_timeout: seconds after which an idle peer is stopped; None: they stay
    :raises ValueError: if the numbers make no sense
    """

    def __init__(
        self,
        *,
        min: int = 0,  # noqa: A002  # as in the URL
        max: int = 16,  # noqa: A002
        workers: int | None = None,
        idle_timeout: float | None = 60.0,
    ) -> None:
        self.min, self.max = integer("min", min), count("max", max)
        if not 0 <= self.min <= self.max:
            raise ValueError(f"min must be between 0 and max={self.max}, not {self.min}")
        self.workers = None if workers is None else count("workers", workers)
        timeout = seconds("idle_timeout", idle_timeout)
        if timeout is not None and timeout < 0:
            raise ValueError(f"idle_timeout must not be negative: {timeout:g}")
        self.idle_timeout = float("inf") if timeout is None else timeout
        """Seconds; infinity: peers are not stopped while the executor lives."""

    trouble: str = ""
    """Why fewer peers may be there than were asked for, for error messages; empty: nothing is known to be wrong."""

    async def start(self, count: int) -> Sequence[Handle]:
        """
        Have this number of peers started, without waiting for them.

        `watch` then yields `Joined` for each when it can be reached, and `Left` when it has ended or could not start.

        :return: a handle for each one that will be started; fewer, if not all can be
        :raises DiscoveryError: if none can be started now; the message tells the user why.  If that is so for good, it
            `is_final`, and tasks fail that no other peer can run
        """
        raise NotImplementedError

    async def stop(self, handle: Handle) -> None:
        """
        Have a peer drain and end; do nothing if it has ended.

        :raises DiscoveryError: if that cannot be done now; it is tried again
        """
        raise NotImplementedError
