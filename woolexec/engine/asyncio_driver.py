"""
The engine's thread as an asyncio event loop, for engines that have links: grpc's coroutines run between the rounds.

So a frame passes from a link to a worker, or back, without a thread switch.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any

from woolexec.engine.asyncio_loop import EventLoop
from woolexec.engine.event_loop import no_timer

if TYPE_CHECKING:
    from woolexec.engine.event_loop import Loop

_TRIES, _PATIENCE = 3, 1.0
"""How often a guest is cancelled, and how many seconds it has to end each time."""

Guest = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


def run(step: Callable[[], bool], loop: Loop, guest: Guest) -> None:
    """
    Run rounds of the engine, concurrently with a guest, until `step` returns False.

    :param step: the part of a round before the sleep
    :param guest: runs until it is cancelled; its argument is a function to call when there is something to act on
    :raises Exception: what the guest or a round raised
    """
    try:
        with asyncio.Runner(loop_factory=EventLoop) as runner:  # ignores the user's policy
            runner.run(_run(step, loop, guest))
    finally:
        # The guest leaves many reference cycles, and the last object of grpc.aio to be freed joins grpc's thread.
        # If the program forks before the garbage collector runs, the child joins a thread that it lacks, and hangs.
        gc.collect()


async def _run(step: Callable[[], bool], loop: Loop, guest: Guest) -> None:
    rounds = _Rounds(step, loop)
    own = asyncio.get_running_loop()
    own.set_exception_handler(_pass_over)
    own.add_reader(loop.watched.fileno(), rounds.hear)
    task = own.create_task(guest(rounds.make))
    try:
        own.call_soon(rounds.make)
        await asyncio.wait({task, rounds.over}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        await rounds.over
    finally:
        own.remove_reader(loop.watched.fileno())
        rounds.stop()
        for _ in range(_TRIES):
            task.cancel()
            if (await asyncio.wait({task}, timeout=_PATIENCE))[0]:
                break


def _pass_over(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """
    Ignore two errors of grpc.aio, which are harmless and cannot be prevented.

    All loops of a process that use grpc.aio take events from one queue and pass on those of other loops.  The last
    events of a loop that has been closed meanwhile cannot be passed on.

    A request may end the task that accepts requests: `woolexec.mesh.server.listener` logs that and starts again.
    """
    exc = context.get("exception")
    if isinstance(exc, RuntimeError) and "PollerCompletionQueue" in repr(context.get("handle")):
        return
    if exc is not None and "future" in context and _is_of_grpc(exc):
        return
    loop.default_exception_handler(context)


def _is_of_grpc(exc: BaseException) -> bool:
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "grpc/_cython" in trace.tb_frame.f_code.co_filename


class _Rounds:
    """Runs the engine's rounds in callbacks: with a task, each round would take another iteration of the event loop."""

    def __init__(self, step: Callable[[], bool], loop: Loop) -> None:
        self._step = step
        self._loop = loop
        self._own = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf  # when it rings
        self.over: asyncio.Future[None] = self._own.create_future()
        loop.on_earlier = self._sleep

    def hear(self) -> None:
        """Handle ready descriptors and timers, then run a round."""
        self._make(self._loop.hear)

    def make(self) -> None:
        """Run a round, because there is something to act on."""
        self._make(None)

    def _make(self, hear: Callable[[float], None] | None) -> None:
        if self.over.done():
            return
        try:
            if hear is not None:
                hear(0.0)
            if not self._step():
                self.stop()
                self.over.set_result(None)
                return
        except BaseException as exc:  # a bug in Woolexec: it is raised in the engine's thread
            self.stop()
            self.over.set_exception(exc)
            return
        self._sleep(self._loop.due())

    def _sleep(self, due: float | None) -> None:
        """
        Schedule the next round; one that runs too early is harmless, and cheaper than setting the timer again.

        :param due: when it is due, by the clock of the engine's loop, which is that of asyncio's
        """
        if due is None or due >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._own.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer, self._due = None, inf
        self.hear()

    def stop(self) -> None:
        """Cancel the next round."""
        self._loop.on_earlier = no_timer
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
