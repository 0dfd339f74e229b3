"""The upkeep of an engine's workers: when they are replaced or ended."""

from __future__ import annotations

from woolexec.core.memory_limits import MemoryLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Upkeep:
    """
    The settings of an executor for its workers.

    :param memory: the memory limits of each worker
    :param idle_timeout: seconds after which an idle worker is ended; None: never
    :param min_workers: number of workers that stay although they are idle
    :param finalizer: a pickled function that each worker runs before it exits; None: nothing
    """

    __slots__ = ("finalizer", "idle_timeout", "memory", "min_workers")

    def __init__(
        self,
        memory: MemoryLimits | None = None,
        idle_timeout: float | None = None,
        min_workers: int = 0,
        finalizer: Any = None,
    ) -> None:
        self.memory = memory or MemoryLimits()
        self.idle_timeout, self.min_workers = idle_timeout, min_workers
        self.finalizer = finalizer
