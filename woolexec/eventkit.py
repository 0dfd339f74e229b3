"""eventkit's pipelines with stages that run in a pool: `register`, then ``event.poolmap(pool, fn)``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from eventkit import Event, Op
from eventkit.util import get_event_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from woolexec.api.base_executor import BaseExecutor

__all__ = ["PoolMap", "register"]


def register() -> None:
    """Add the method `poolmap`, which returns a `PoolMap`, to eventkit's events."""

    def poolmap(
        self: Any,
        pool: BaseExecutor,
        func: Callable[..., Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        ordered: bool = True,  # noqa: FBT001, FBT002  # as in Distex
    ) -> PoolMap:
        return PoolMap(pool, func, timeout, chunksize, ordered, self)

    poolmap.__doc__ = PoolMap.__doc__
    Event.poolmap = poolmap


class PoolMap(Op):  # type: ignore[misc]  # eventkit has no types
    """
    A stage of a pipeline that applies a function, in a pool, to what the previous stage emits.

    :param func: a function or coroutine function; the values of one emit are its arguments
    :param timeout: seconds from the start until the last result; None: no limit
    :param chunksize: number of values that are sent together; None: chosen from measured run times
    :param ordered: emit the results in the order of the values; otherwise as they arrive
    """

    __slots__ = ("_arrived", "_func", "_how", "_pool", "_task")

    def __init__(
        self,
        pool: BaseExecutor,
        func: Callable[..., Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        ordered: bool = True,  # noqa: FBT001, FBT002  # as in Distex
        source: Any = None,
    ) -> None:
        self._pool = pool
        self._func = func
        self._how: dict[str, Any] = {"timeout": timeout, "chunksize": chunksize, "ordered": ordered}
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._task: Any = None
        Op.__init__(self, source)

    def set_source(self, source: Any) -> None:
        """Set the event whose values this stage takes."""
        Op.set_source(self, source)
        if self._task is None and not self.done():  # a source that is done emits nothing
            self._task = get_event_loop().create_task(self._run())

    def on_source(self, *args: Any) -> None:
        """Take a value that the source emitted."""
        self._arrived.put_nowait(args)

    def on_source_done(self, source: Any) -> None:
        """Note that the source is done."""
        self._arrived.put_nowait(None)

    async def _values(self) -> AsyncIterator[Any]:
        while (args := await self._arrived.get()) is not None:
            yield args

    async def _run(self) -> None:
        try:
            async with self._pool.map_async(self._func, self._values(), star=True, **self._how) as results:
                async for result in results:
                    self.emit(result)
        except Exception as error:  # what the function raised becomes an error of eventkit
            self.on_source_error(self, error)
        self._task = None
        self.set_done()

    def __del__(self) -> None:
        if self._task is not None:
            self._task.cancel()
