"""
Launchers: discoveries that also start and stop peers.

::

    the client's scaler --start(n), stop(handle)--> Launcher --sbatch, kubectl, ssh--> a batch system or a cluster
            ^                                          |
            '------ watch(): Joined, Left -------------'      a peer always has the key of its handle

1. All peers that a launcher has started end with `watch`, which the client closes when it ends.
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
"""Seconds without a client after which a peer that was started for one ends."""


@dataclass(frozen=True, slots=True)
class Handle:
    """
    A peer that a launcher has started, or is about to start.

    :param key: the key of its record, and of the events about it
    :param name: its name in the batch system or the cluster, for messages
    """

    key: str
    name: str


class Launcher(Discovery):
    """
    A way to start peers; subclass it to add another.

    ``PeerPoolExecutor(peers=...)`` accepts a launcher like any discovery.  The executor has it start peers when tasks
    wait, and stop idle ones.  A launcher belongs to one executor at a time.  All methods run in an asyncio event loop
    that is shared with other work: they must not block it.

    :param min: number of peers that are kept while the executor lives
    :param max: maximum number of peers
    :param workers: number of workers of each peer; None: one for each CPU that it may use
    :param idle_timeout: seconds after which an idle peer is stopped; None: they stay
    :raises ValueError: if a number is out of range
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
    """Why there may be fewer peers than were requested, for error messages; empty: no known problem."""

    async def start(self, count: int) -> Sequence[Handle]:
        """
        Start this number of peers, without waiting for them.

        `watch` then yields `Joined` for each when it can be reached, and `Left` when it has ended or could not start.

        :return: a handle for each peer that will be started; fewer, if not all can be
        :raises DiscoveryError: if none can be started now; the message must tell the user why.  If retrying is
            pointless, set its `is_final`: tasks that no other peer can run then fail
        """
        raise NotImplementedError

    async def stop(self, handle: Handle) -> None:
        """
        Drain and end a peer; do nothing if it has ended.

        :raises DiscoveryError: if that is not possible now; it is tried again
        """
        raise NotImplementedError
