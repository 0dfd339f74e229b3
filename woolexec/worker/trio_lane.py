"""The lane that runs coroutines on trio."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import trio

from woolexec.worker.loop_lane import LoopLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context

    from woolexec.worker.job import Job


class TrioLane(LoopLane):
    """Runs coroutines on trio."""

    name = "trio"
    _token: trio.lowlevel.TrioToken

    def run(self) -> None:
        """Run trio until the process ends."""
        self.ident = threading.get_ident()
        trio.run(self._main)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self.drain()
            await trio.sleep_forever()

    def wake(self) -> None:
        """Schedule `drain` in the loop's thread."""
        self._token.run_sync_soon(self.drain)

    def soon(self, piece: Callable[[], None]) -> None:
        """Call a function when the running task next waits."""
        self._token.run_sync_soon(piece)

    def spawn(self, job: Job, coroutine: Coroutine[Any, Any, None], ctx: Context) -> None:
        """Start a task."""
        scope = trio.CancelScope()
        self.tasks[job.number] = job, scope
        self.busy.set()
        # A task runs in a copy of the context that starts it.
        ctx.run(self.nursery.start_soon, self._run, job.number, scope, coroutine)

    async def _run(self, number: int, scope: trio.CancelScope, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            with scope:
                await coroutine
        finally:
            self.ended(number)

    def cancel(self, number: int) -> None:
        """Cancel a task."""
        self.tasks[number][1].cancel()

    def make_waiter(self) -> tuple[Callable[[], object], Awaitable[Any]]:
        """Return a function to call, and an awaitable that finishes at the call."""
        event = trio.Event()  # set to wake the task that waits
        return event.set, event.wait()
