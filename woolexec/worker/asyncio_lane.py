"""The lane that runs coroutines on asyncio."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.platform.posix import yield_processor
from woolexec.worker.loop_lane import LoopLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context

    from woolexec.worker.job import Job


LOOKS = 0.0002
"""Seconds that a loop that reads the socket polls for the next command before it sleeps: waking a sleeping processor
takes 30-40 µs on a virtual machine.  Polling makes a stream that is pulled item by item 1.5 times as fast."""


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
        """Schedule `drain` in the loop's thread."""
        self._loop.call_soon_threadsafe(self.drain)

    def borrow(self, fd: int) -> None:
        """Start reading the worker's socket."""
        self.put(partial(self._start_hearing, fd))  # the loop may not exist yet

    def give_back(self, fd: int) -> None:
        """Stop reading the worker's socket."""
        self.put(partial(self._stop_hearing, fd))

    def _start_hearing(self, fd: int) -> None:
        self._loop.add_reader(fd, self._hear, fd)

    def _stop_hearing(self, fd: int) -> None:
        self._loop.remove_reader(fd)

    def _hear(self, fd: int) -> None:
        self.heard += 1
        self._scheduled = True  # `drain` is called below, so no wake-up is needed
        goes_on = self.reading.read_borrowed(self)
        if not goes_on:
            self._stop_hearing(fd)  # before `drain`, which may start it again
        self.drain()
        if not goes_on:
            return
        if self._looks_until is None:
            self._loop.call_soon(self._look)
        self._looks_until = monotonic() + LOOKS

    def _look(self) -> None:
        """Keep the loop from sleeping until `_looks_until`: see `woolexec.worker.sync_lane`."""
        if self._looks_until is not None and monotonic() < self._looks_until:
            yield_processor()
            self._loop.call_soon(self._look)
        else:
            self._looks_until = None

    def soon(self, piece: Callable[[], None]) -> None:
        """Call a function when the running task next waits."""
        self._loop.call_soon(piece)

    def spawn(self, job: Job, coroutine: Coroutine[Any, Any, None], ctx: Context) -> None:
        """Start a task."""
        task = self._loop.create_task(coroutine, context=ctx)
        self.tasks[job.number] = job, task
        self.busy.set()
        task.add_done_callback(lambda _: self.ended(job.number))

    def cancel(self, number: int) -> None:
        """Cancel a task."""
        self.tasks[number][1].cancel()

    def make_waiter(self) -> tuple[Callable[[], object], Awaitable[Any]]:
        """Return a function to call, and an awaitable that finishes at the call."""
        future = self._loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        return wake, future
