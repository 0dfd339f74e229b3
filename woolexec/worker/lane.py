"""
The lanes in addition to the main thread: an event loop of asyncio, one of trio, and threads for plain generators.

::

    reader thread --start, control--> inbox --one wake-up per burst--> the lane's thread: tasks
                                                                              |
    socket <------------- Return, Raise, Started, Yield ----------------------'

Each call is a task.  So is each stream: its task takes the caller's commands in order (Next, Send, Throw, Close) and
answers each with Yield, or with the stream's end.  A command that arrives while the generator's code runs waits, except
Close and Cancel: they cancel the code, as leaving the scope of a local generator does.  The Close of a shutdown waits
until the code has yielded the item that it is producing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import CancelledError
from contextlib import nullcontext
from contextvars import copy_context
from time import monotonic, sleep
from types import AsyncGeneratorType, CoroutineType

from woolexec.core.call import ASYNCIO, THREAD, TRIO
from woolexec.wire import context_vars
from woolexec.wire.codec import Cancel, Close, Send, Started, Throw, Yield, encode, encode_yield
from woolexec.wire.exceptions import dump_failure, load_failure
from woolexec.wire.payload import File, fill
from woolexec.wire.pickling import Pickled, dumps, dumps_value, loads
from woolexec.worker import nested_tasks
from woolexec.worker.job import PICKLING, SAFE, SHUT, UNPICKLING, Job, dumps_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextvars import Context
    from typing import Any

    from woolexec.worker.process import Worker

BLOCKED = 1.0
"""Seconds that a coroutine may block its loop before a warning is logged."""

FEW = 8
"""With more tasks than this on a loop, their frames are collected and sent once per loop iteration."""

NOTHING = nullcontext()

_CANCELS = ("CancelledError", "Cancelled")
"""Names of the exceptions that asyncio and trio raise in cancelled code."""

RUN_AHEAD, FAST = 0.001, 0.0001
"""Seconds that a stream that runs ahead collects items before it sends them, and the longest time between two items at
which it collects them."""


_GIVEN: Any = object()
"""Placeholder for an item of a chunk that has been given to a call."""


def make_lane(number: int, worker: Worker) -> Lane:
    """Create the lane with this number (see `woolexec.core.call`)."""
    if number == ASYNCIO:
        from woolexec.worker.asyncio_lane import AsyncioLane

        return AsyncioLane(worker)
    if number == TRIO:
        from woolexec.worker.trio_lane import TrioLane

        return TrioLane(worker)
    assert number == THREAD
    return ThreadLane(worker)


class Lane:
    """Base class of the lanes: the calls that they run, and how these send their outcomes."""

    can_borrow = False
    """Whether it can read the worker's socket: see `woolexec.worker.frame_reader`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport = worker.transport
        self.streams: dict[int, Commands] = {}
        self.tasks: dict[int, Any] = {}
        self.heard = 0
        self._chunk: tuple[Any, bool, list[Any]] = None, False, []  # of a map: its payload, `star`, its items

    def borrow(self, fd: int) -> None:
        """Start reading the worker's socket."""
        raise NotImplementedError

    def give_back(self, fd: int) -> None:
        """Stop reading the worker's socket."""
        raise NotImplementedError

    def start(self, job: Job) -> None:
        """Start a call; called in the thread that reads."""
        raise NotImplementedError

    def control(self, frame: Any) -> None:
        """Act on a command for one of the calls, or on its cancellation; called in the thread that reads."""
        raise NotImplementedError

    def run_for(self, job: Job, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine for the calling thread, which waits."""
        raise NotImplementedError

    def finish(self, timeout: float | None) -> None:
        """Wait until all calls are done; with a timeout (seconds), cancel them and wait no longer than that."""
        raise NotImplementedError

    # -- calls and streams --------------------------------------------------------------------------------------

    def prepare(self, job: Job) -> tuple[Callable[..., Any], Any, Any, Context]:
        """Unpickle a call; return its function, its arguments and the context in which it runs."""
        function = job.slot.get(job, self.transport)
        ctx = copy_context()
        ctx.run(nested_tasks.current.set, job)
        if job.frame.context:
            ctx.run(context_vars.restore, job.frame.context)
        if job.frame.count:
            star, job.held = self._item(job)
            return function, tuple(job.held) if star else (job.held,), {}, ctx
        job.held = args, kwargs = loads(job.payload)
        job.payload = None
        return function, args, kwargs, ctx

    def _item(self, job: Job) -> tuple[bool, Any]:
        """Return whether a job's item is a tuple of arguments, and the item; each object is given to one call only."""
        first = job.frame.first
        payload, star, items = self._chunk
        if payload is not job.payload or items[first] is _GIVEN:
            star, items = loads(job.payload, again=True)
            if job.payload.__class__ is bytes:  # small enough to keep until the next chunk arrives
                self._chunk = job.payload, star, items
        item, items[first] = items[first], _GIVEN
        return star, item

    def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
        """Send the frames of a call."""
        self.transport.send(frames, file, payload)

    def failed(self, job: Job, started: float, exc: BaseException) -> None:
        """Send the exception that a call raised."""
        seconds = monotonic() - started
        if job.frame.count:
            errors = {0: dump_failure(exc, skip=1, goes_home=job.goes_home)}
            job.succeed(self, seconds, dumps_span([None], errors, {type(None)}, goes_home=False))
        else:
            job.fail(self, seconds, exc)

    def returned(self, job: Job, started: float, value: Any) -> None:
        """Send the value that a call returned."""
        seconds = monotonic() - started
        if job.frame.count:
            job.succeed(self, seconds, dumps_span([value], {}, {type(value)}, goes_home=job.goes_home))
            return
        try:
            payload = dumps_value(value, goes_home=job.goes_home)
            changed = context_vars.changed(job.frame.context) if job.frame.context_back else b""
        except BaseException as exc:
            job.fail(self, seconds, exc, doing=PICKLING)
            return
        job.succeed(self, seconds, payload, context=changed)

    def closed(self, job: Job, started: float, frame: Any) -> None:
        """Send the end of a closed stream: a return for the caller's Close, an error for the next pull at shutdown."""
        if frame.__class__ is Close and frame.shutdown:
            self.failed(job, started, RuntimeError(SHUT))
        else:
            self.returned(job, started, None)

    def ready(self, job: Job) -> None:
        """Send that a stream can be pulled."""
        self.send(encode(Started(call=(job.number,))))


class Outlet:
    """
    The output of a stream: sends items one by one or, if the stream runs ahead and is fast, several together.

    :param soon: schedules a function to be called when the stream's code next waits
    """

    def __init__(self, lane: Lane, job: Job, soon: Callable[[Callable[[], None]], None]) -> None:
        self._lane = lane
        self._job = job
        self._soon = soon
        self._items: list[Any] = []
        self._error: BaseException | None = None
        self._since = self._last = 0.0

    def give(self, item: Any) -> None:
        """Send one item."""
        self._send(dumps_value(item, goes_home=self._job.goes_home), 0)

    def go_on(self) -> None:
        """Start a new batch of requested items: the time since the last item says nothing about the stream's speed."""
        self._last = monotonic()

    def gather(self, item: Any) -> None:
        """Take an item; send it together with others if they follow fast."""
        now = monotonic()
        if not self._items:
            if now - self._last > FAST:
                self._last = now
                self.give(item)
                return
            self._since = now
            self._soon(self._flush_quietly)
        self._last = now
        self._items.append(item)
        if now - self._since > RUN_AHEAD:
            self.flush()

    def flush(self) -> None:
        """
        Send the collected items.

        :raises Exception: what pickling an item raised; the items before it have been sent
        """
        if self._error is not None:
            raise self._error
        items, self._items = self._items, []
        if not items:
            return
        try:
            # Items of other types are pickled one by one, because one may fail to unpickle.
            is_home = self._job.goes_home
            alone = [item if type(item) in SAFE else Pickled.of(item, goes_home=is_home) for item in items]
            payload = dumps(alone, is_outcome=True)
        except BaseException:
            for item in items:
                self.give(item)
        else:
            self._send(payload, len(items))

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except BaseException as exc:  # pickling runs user code; the next flush raises it
            self._error = exc

    def _send(self, payload: Any, count: int) -> None:
        if payload.__class__ is bytes and not count and not self._job.frame.context_back:
            self._lane.send(encode_yield(self._job.number, payload))
            return
        frame = Yield(call=self._job.number)
        if count:
            frame.count = count
        if self._job.frame.context_back:
            frame.context = context_vars.changed(self._job.frame.context)
        file = fill(frame, payload)
        self._lane.send(encode(frame), file)


class Commands:
    """The pending commands for one stream."""

    def __init__(self) -> None:
        self.line: deque[Any] = deque()
        self.wake: Callable[[], object] | None = None
        self.arrived = threading.Lock()  # held while there is no new command for a thread
        self.arrived.acquire()
        self.running = False
        self.shut = False  # by a shutdown

    def is_closing(self) -> bool:
        """Return whether the next command ends the stream."""
        return bool(self.line) and self.line[0].__class__ in (Close, Cancel)


class ThreadLane(Lane):
    """Runs each plain generator in its own thread, so that a slow one does not block others."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._ends = threading.Condition()  # guards removal from `streams`

    def start(self, job: Job) -> None:
        """Start a stream."""
        self.streams[job.number] = Commands()
        threading.Thread(target=self._run, args=(job,), name=f"woolexec-stream-{job.number}", daemon=True).start()

    def control(self, frame: Any) -> None:
        """Pass a command to a stream."""
        commands = self.streams.get(frame.call)
        if commands is None:
            return
        commands.line.append(frame)
        try:
            commands.arrived.release()
        except RuntimeError:  # the thread has not acquired it since the last time
            pass

    def finish(self, timeout: float | None) -> None:
        """Wait until all streams have ended; with a timeout (seconds), close them and wait no longer than that."""
        if timeout is not None:
            for number in tuple(self.streams):
                self.control(Close(call=number))
        with self._ends:
            self._ends.wait_for(lambda: not self.streams, timeout)

    def _run(self, job: Job) -> None:
        try:
            started = monotonic()
            try:
                function, args, kwargs, ctx = self.prepare(job)
            except BaseException as exc:
                job.fail(self.transport, 0.0, exc, doing=UNPICKLING)
                return
            ctx.run(self._serve, job, function, args, kwargs, started)
        finally:
            job.held = None
            with self._ends:
                self.streams.pop(job.number, None)
                self._ends.notify_all()

    def _serve(self, job: Job, function: Any, args: Any, kwargs: Any, started: float) -> None:
        commands, outlet = self.streams[job.number], Outlet(self, job, _never)
        try:
            generator = iter(function(*args, **kwargs))
        except BaseException as exc:
            self.failed(job, started, exc)
            return
        self.ready(job)
        try:
            while True:
                frame = self._next_command(commands)
                if frame.__class__ is Close or frame.__class__ is Cancel:
                    close = getattr(generator, "close", None)
                    if close is not None:
                        close()
                    self.closed(job, started, frame)
                    return
                with context_vars.span(job.frame.context, job.name) if job.frame.context else NOTHING:
                    self._obey(generator, frame, outlet, commands)
        except StopIteration as stop:
            self.returned(job, started, stop.value)
        except BaseException as exc:
            self.failed(job, started, exc)

    @staticmethod
    def _obey(generator: Any, frame: Any, outlet: Outlet, commands: Commands) -> None:
        if frame.__class__ is Send:
            outlet.give(generator.send(loads(frame.payload)))
        elif frame.__class__ is Throw:
            outlet.give(generator.throw(load_failure(frame.payload)))
        else:  # one by one: no thread could send collected items while the generator's code runs
            for _ in range(frame.credits or 1):
                outlet.give(next(generator))
                if commands.is_closing():
                    break

    def _next_command(self, commands: Commands) -> Any:
        while not commands.line:
            commands.arrived.acquire()
        return commands.line.popleft()


class LoopLane(Lane):
    """
    Runs coroutines and asynchronous generators on an event loop, in a thread.

    Subclasses define how the loop is woken, and how a task is started and cancelled.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.busy = threading.Event()  # set while there are tasks
        self._inbox: deque[Callable[[], None]] = deque()
        self._scheduled = True  # until the loop runs
        self._said: list[bytes] = []
        self._held: list[Any] = []  # what the calls hold whose outcomes are in `_said`
        self._finished: threading.Event | None = None
        self.ident = 0
        threading.Thread(target=self.run, name=f"woolexec-{self.name}", daemon=True).start()
        threading.Thread(target=self._watch, name=f"woolexec-{self.name}-watch", daemon=True).start()

    name = ""

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
        """Run a function of woolexec's own in the loop's thread."""
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
        done = threading.Event()

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
        done = threading.Event()

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
        """Drop what a call holds, after its outcome has been sent."""
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
            came_round = threading.Event()
            self.put(came_round.set)
            if came_round.wait(BLOCKED):
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


def _never(piece: Callable[[], None]) -> None:
    """Do nothing: a stream in a thread collects no items."""
