"""A task of an event loop that belongs to an object, not to the call that started it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from woolexec.futures.awaiting import GRACE
from woolexec.futures.latch import Latch
from woolexec.futures.loop_waiters import mailbox_here, see


class Background:
    """
    A task of asyncio or trio that outlives the call that started it.

    An iterator cannot hold a task group open between two items; closing the iterator stops this task.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self._mailbox = mailbox_here()
        self._ended = Latch()  # opens when the task has ended
        if self._mailbox.is_trio:
            trio = sys.modules["trio"]
            self._scope = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._run_trio, work, context=copy_context())
        else:
            self._task = self._mailbox.loop.create_task(self._run(work))
            self._task.add_done_callback(lambda _: self._ended.open())  # also if it never started

    async def _run(self, work: Callable[[], Any]) -> None:
        await work()

    async def _run_trio(self, work: Callable[[], Any]) -> None:
        try:
            with self._scope:
                await work()
        finally:
            self._ended.open()

    def cancel(self) -> None:
        """Cancel the task; from any thread."""
        self._mailbox.put(self._scope.cancel if self._mailbox.is_trio else self._task.cancel)

    async def stop(self) -> None:
        """Cancel the task and wait for its end."""
        self.cancel()
        await see(self._ended, GRACE)
