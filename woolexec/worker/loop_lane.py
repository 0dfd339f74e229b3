"""A lane that is an event loop: the base class of the lanes of asyncio and trio."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import CancelledError
from contextvars import copy_context
from time import monotonic, sleep
from types import AsyncGeneratorType, CoroutineType

from woolexec.wire import context_vars
from woolexec.wire.exceptions import SHUT, load_failure
from woolexec.wire.frames import Cancel, Close, Send, Throw
from woolexec.wire.payload import File
from woolexec.wire.stack_area import A_LOOP
from woolexec.wire.unpickling import loads
from woolexec.worker import nested_tasks
from woolexec.worker.job import PICKLING, UNPICKLING, Job
from woolexec.worker.lane import NOTHING, Commands, Lane, Outlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context
    from typing import Any

    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.socket_transport import SocketTransport


BLOCKED = 1.0
"""Seconds that a coroutine may block its loop before a warning is logged."""

FEW = 8
"""With more tasks than this on a loop, their frames are collected and sent once per loop iteration."""

_CANCELS = ("CancelledError", "Cancelled")
"""Names of the exceptions that asyncio and trio raise in cancelled code."""


class LoopLane(Lane):
    """
    Runs coroutines and asynchronous generators on an event loop, in a thread.

    Subclasses define how the loop is woken, and how a task is started and cancelled.
    """

    def __init__(self, transport: SocketTransport, reading: Reading) -> None:
        super().__init__(transport, reading)
        self.busy = threading.Event()  # set while there are tasks
        self._inbox: deque[Callable[[], None]] = deque()
        self._scheduled = True  # until the loop runs
        self._said: list[bytes] = []
        self._held: list[Any] = []  # objects held by the calls whose outcomes are in `_said`
        self._finished: threading.Event | None = None
        thread = threading.Thread(target=self.run, name=f"woolexec-{self.name}", daemon=True)
        thread.start()
        reading.page.stacks.note_thread(A_LOOP, thread.native_id or 0)
        threading.Thread(target=self._watch, name=f"woolexec-{self.name}-watch", daemon=True).start()

    # -- defined by each backend --------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the loop in its thread; call `drain` when it runs."""
        raise NotImplementedError

    def wake(self) -> None:
        """Schedule `drain` in the loop's thread."""
        raise NotImplementedError

    def spawn(self, job: Job, coroutine: Coroutine[Any, Any, None], ctx: Context) -> None:
        """Start a task; add it to `tasks` under the job's number, and call `ended` at its end."""
        raise NotImplementedError

    def soon(self, piece: Callable[[], None]) -> None:
        """Call a function when the running task next waits; called in the loop's thread."""
        raise NotImplementedError

    def cancel(self, number: int) -> None:
        """Cancel the task with this number."""
        raise NotImplementedError

    def make_waiter(self) -> tuple[Callable[[], object], Awaitable[Any]]:
        """Return a function to call, once or more, and an awaitable that finishes at the first call."""
        raise NotImplementedError

    # -- called in other threads --------------------------------------------------------------------------------

    def put(self, piece: Callable[[], None]) -> None:
        """Run an internal function in the loop's thread."""
        self._inbox.append(piece)
        if not self._scheduled:
            self._scheduled = True
            self.wake()

    def start(self, job: Job) -> None:
        """Start a call."""
        self.put(lambda: self._begin(job))

    def control(self, frame: Any) -> None:
        """Act on a command or a cancellation."""
        self.put(lambda: self._control(frame))

    def run_for(self, job: Job, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine for another thread."""
        outcome: list[Any] = []
        done = threading.Event()  # set when the coroutine has ended

        async def run() -> None:
            try:
                outcome.append((await coroutine, None))
            except BaseException as exc:
                outcome.append((None, exc))
            finally:
                done.set()

        ctx = copy_context()
        ctx.run(nested_tasks.current.set, job)
        inner = Job(-job.number, job.slot, None, job.frame)
        inner.ended = True  # the main thread sends its outcome
        self.put(lambda: self.spawn(inner, run(), ctx))
        done.wait()
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def finish(self, timeout: float | None) -> None:
        """Wait until all calls are done; with a timeout (seconds), cancel them and wait no longer than that."""
        done = threading.Event()  # set when all calls are done

        def look() -> None:
            self._finished = done
            if timeout is not None:
                for number in tuple(self.tasks):
                    self.cancel(number)
            if not self.tasks:
                done.set()

        self.put(look)
        done.wait(timeout)

    # -- in the loop's thread -----------------------------------------------------------------------------------

    def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
        """Send the frames of a call; if many calls run, together with those of others in the same loop iteration."""
        if len(self.tasks) > FEW and file is None and not payload and threading.get_ident() == self.ident:
            if not self._said:
                self.soon(self._speak)
            self._said.append(frames)
            return
        self._speak()
        self.transport.send(frames, file, payload)

    def _speak(self) -> None:
        said, self._said = self._said, []
        held, self._held = self._held, []
        if said:
            self.transport.send_all(said)
        del held  # only now: after the frames were sent

    def drain(self) -> None:
        """Run the functions in the inbox."""
        self._scheduled = False
        inbox = self._inbox
        while inbox:
            inbox.popleft()()

    def _begin(self, job: Job) -> None:
        started = monotonic()
        try:
            function, args, kwargs, ctx = self.prepare(job)
        except BaseException as exc:
            job.fail(self, monotonic() - started, exc, doing=UNPICKLING)
            self._release(job)
            return
        try:
            value = ctx.run(function, *args, **kwargs)
        except BaseException as exc:
            self.failed(job, started, exc)
            self._release(job)
            return
        if isinstance(value, AsyncGeneratorType) or hasattr(value, "__anext__"):
            self.streams[job.number] = Commands()
            self.spawn(job, self._serve(job, value, started), ctx)
        elif hasattr(value, "__await__"):
            job.payload = value
            self.spawn(job, self._call(job, value, started), ctx)
        else:
            self.returned(job, started, value)
            self._release(job)

    def _release(self, job: Job) -> None:
        """Drop the objects that a call holds, after its outcome has been sent."""
        if self._said:
            self._held.append(job.held)
        job.held = None

    def ended(self, number: int) -> None:
        """Remove a task; if it was cancelled before it started, send its outcome."""
        job, _ = self.tasks.pop(number)
        self.streams.pop(number, None)
        if not job.ended:
            if isinstance(job.payload, CoroutineType):
                job.payload.close()
            job.fail(self, 0.0, CancelledError())
        self._release(job)
        if not self.tasks:
            self.busy.clear()
            if self._finished is not None:
                self._finished.set()

    def _control(self, frame: Any) -> None:
        number, is_end = frame.call, frame.__class__ in (Close, Cancel)
        commands = self.streams.get(number)
        if commands is None:
            if is_end and number in self.tasks:
                self.cancel(number)
            return
        if frame.__class__ is Close and frame.shutdown:
            commands.shut = True
        elif is_end and commands.running:
            self.cancel(number)
            return
        commands.line.append(frame)
        if commands.wake is not None:
            commands.wake()

    async def _call(self, job: Job, awaitable: Any, started: float) -> None:
        try:
            with context_vars.span(job.frame.context, job.name) if job.frame.context else NOTHING:
                value = await awaitable
                while value.__class__ in nested_tasks.unfinished:
                    value = await value
        except BaseException as exc:
            self.failed(job, started, exc)
            return
        self.returned(job, started, value)

    async def _serve(self, job: Job, agen: Any, started: float) -> None:
        commands, outlet = self.streams[job.number], Outlet(self, job, self.soon)
        self.ready(job)
        try:
            while True:
                while not commands.line:
                    commands.wake, waiting = self.make_waiter()
                    await waiting
                    commands.wake = None
                frame = commands.line.popleft()
                if frame.__class__ is Close or frame.__class__ is Cancel:
                    close = getattr(agen, "aclose", None)
                    if close is not None:
                        await close()
                    self.closed(job, started, frame)
                    return
                if commands.is_closing() and not commands.shut:  # closed before this was started: nothing waits for it
                    continue
                commands.running = True
                with context_vars.span(job.frame.context, job.name) if job.frame.context else NOTHING:
                    await self._obey(agen, frame, outlet, commands)
                commands.running = False
        except BaseException as exc:
            await self._close(agen)
            try:
                outlet.flush()
            except BaseException as error:
                job.fail(self, monotonic() - started, error, doing=PICKLING)
                return
            if isinstance(exc, StopAsyncIteration):
                self.returned(job, started, None)
            elif commands.shut and type(exc).__name__ in _CANCELS:
                self.failed(job, started, RuntimeError(SHUT))
            else:
                self.failed(job, started, exc)

    async def _close(self, agen: Any) -> None:
        """Close a generator whose stream was ended from outside; does nothing if the generator has ended."""
        close = getattr(agen, "aclose", None)
        if close is not None:
            try:
                await close()
            except BaseException:  # the stream already has an outcome
                pass

    async def _obey(self, agen: Any, frame: Any, outlet: Outlet, commands: Commands) -> None:
        if frame.__class__ is Send:
            outlet.give(await agen.asend(loads(frame.payload)))
        elif frame.__class__ is Throw:
            outlet.give(await agen.athrow(load_failure(frame.payload)))
        elif frame.credits > 1:
            outlet.go_on()
            for _ in range(frame.credits):
                outlet.gather(await agen.__anext__())
                if commands.is_closing():
                    break
            outlet.flush()
        else:
            outlet.give(await agen.__anext__())

    # -- the warning about blocking coroutines ------------------------------------------------------------------

    def _watch(self) -> None:
        """Warn when the loop is blocked; checks only while there are tasks."""
        while True:
            self.busy.wait()
            came_round = threading.Event()  # set by the loop, if it is not blocked
            self.put(came_round.set)
            if came_round.wait(BLOCKED):
                if self.reading.runs_call():  # its C code may release the GIL, but lets no signal handler run
                    self.reading.urged()
                sleep(BLOCKED)
                continue
            frame = sys._current_frames().get(self.ident)
            self._warn(frame)
            came_round.wait()

    def _warn(self, frame: Any) -> None:
        import logging
        import traceback

        where = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
        logging.getLogger("woolexec").warning(
            "a coroutine has blocked the %s loop of worker %d for %g s; other coroutines are waiting:\n%s",
            self.name,
            os.getpid(),
            BLOCKED,
            where,
        )
