"""
The executor that a task uses to submit nested tasks to the pool that it runs in.

While a task waits for a nested task with `Future.result`, `concurrent.futures.wait` or `as_completed`, it gives up its
place, so recursion may be deeper than the number of workers.
"""

from __future__ import annotations

from woolexec.api.nested_submission import submission
from woolexec.api.pool_executor import PoolExecutor, ambient
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from woolexec.options import TaskOptions


class NestedExecutor(PoolExecutor):
    """Submits tasks to the pool that the calling task runs in."""

    def __init__(self, options: TaskOptions | None = None) -> None:
        self._options = options
        self._submission = submission

    def _view(self, options: TaskOptions) -> NestedExecutor:
        return NestedExecutor(options)

    def _new_actor(self, options: TaskOptions | None, cls: Any) -> Any:
        from woolexec.api.task_actors import new_actor

        return new_actor(options, cls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing, like `shutdown`."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # PEP 3148
        """Do nothing: the pool belongs to the process that made it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return current_executor, ()


def current_executor() -> PoolExecutor:
    """
    Return the pool of the innermost enclosing ``with`` or ``async with`` block, or else the one that this task runs in.

    :raises RuntimeError: if there is neither
    """
    pool = ambient.get()
    if pool is not None:
        return pool
    if nested_tasks.worker is None:
        raise RuntimeError("no current executor: not in a task of a PeerPoolExecutor or in its with block")
    return NestedExecutor()
