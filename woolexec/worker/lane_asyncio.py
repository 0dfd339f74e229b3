"""The lane of coroutines for asyncio."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from woolexec.worker.lanes import LoopLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context

    from woolexec.worker.job import Job


class AsyncioLane(LoopLane):
    """Runs coroutines on an event loop of asyncio."""

    name = "asyncio"
    _loop: asyncio.AbstractEventLoop

    def run(self) -> None:
        """Run the loop until the process ends."""
        self.ident = threading.get_ident()
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.call_soon(self.drain)
        loop.run_forever()

    def wake(self) -> None:
        """Have `drain` called."""
        self._loop.call_soon_threadsafe(self.drain)

    def soon(self, piece: Callable[[], None]) -> None:
        """Call a function when the running task next waits."""
        self._loop.call_soon(piece)

    def spawn(self, job: Job, coroutine: Coroutine[Any, Any, None], ctx: Context) -> None:
        """Begin a task."""
        task = self._loop.create_task(coroutine, context=ctx)
        self.tasks[job.number] = job, task
        self.busy.set()
        task.add_done_callback(lambda _: self.ended(job.number))

    def cancel(self, number: int) -> None:
        """Cancel a task."""
        self.tasks[number][1].cancel()

    def make_waiter(self) -> tuple[Callable[[], object], Awaitable[Any]]:
        """Make what is called, and what is awaited until then."""
        future = self._loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        return wake, future
