"""The lane of coroutines for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.worker.lane import LoopLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context

    from woolexec.worker.job import Job


LOOKS = 0.0002
"""For so long (seconds) a loop that reads the socket looks for the next command before it sleeps: waking a processor
that sleeps takes 30-40 µs on a virtual machine.  A stream that is pulled item by item is half as fast again with it."""

_yield_processor = getattr(os, "sched_yield", int)


class AsyncioLane(LoopLane):
    """Runs coroutines on an event loop of asyncio."""

    name = "asyncio"
    can_borrow = True
    _loop: asyncio.AbstractEventLoop
    _looks_until: float | None = None

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

    def borrow(self, fd: int) -> None:
        """Read what comes for the worker."""
        self.put(partial(self._start_hearing, fd))  # there may be no loop yet

    def give_back(self, fd: int) -> None:
        """Stop that."""
        self.put(partial(self._stop_hearing, fd))

    def _start_hearing(self, fd: int) -> None:
        self._loop.add_reader(fd, self._hear, fd)

    def _stop_hearing(self, fd: int) -> None:
        self._loop.remove_reader(fd)

    def _hear(self, fd: int) -> None:
        self.heard += 1
        self._scheduled = True  # what comes is taken here, and nobody has to wake us for it
        goes_on = self.worker.reading.read_borrowed(self)
        if not goes_on:
            self._stop_hearing(fd)  # before what is in line, which may be that we are to hear again
        self.drain()
        if not goes_on:
            return
        if self._looks_until is None:
            self._loop.call_soon(self._look)
        self._looks_until = monotonic() + LOOKS

    def _look(self) -> None:
        """Keep the loop from sleeping for a while: see `woolexec.worker.sync_lane`."""
        if self._looks_until is not None and monotonic() < self._looks_until:
            _yield_processor()
            self._loop.call_soon(self._look)
        else:
            self._looks_until = None

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
