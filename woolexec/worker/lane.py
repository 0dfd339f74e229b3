"""
The lanes beside the main thread: an event loop of asyncio, one of trio, and threads for plain generators.

::

    reader thread --start, control--> inbox --one wake for a burst--> the lane's thread: tasks
                                                                             |
    socket <------------- Return, Raise, Started, Yield ---------------------'

A call is a task of its own.  So is a stream: its task takes the caller's commands in order (Next, Send, Throw, Close)
and answers each with Yield, or with the stream's end.  A command that finds the generator's code running waits, but for
Close and Cancel, which are what leaving the generator's scope is where it runs locally: the code is cancelled.  The
Close of a shutdown waits until the code has given the item that it is at.
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
"""A coroutine that keeps its loop from running for so long (seconds) is warned of."""

FEW = 8
"""With more tasks than this on a loop, what they send is gathered until the loop comes round."""

NOTHING = nullcontext()

_CANCELS = ("CancelledError", "Cancelled")
"""What asyncio and trio raise in code that is cancelled."""

RUN_AHEAD, FAST = 0.001, 0.0001
"""A stream that runs ahead gathers items for so long (seconds) before it sends them, if no more than the other lies
between two of them."""


_GIVEN: Any = object()
"""Stands for an item of a chunk that a call was given."""


def make_lane(number: int, worker: Worker) -> Lane:
    """Make the lane with this number (see `woolexec.core.call`)."""
    if number == ASYNCIO:
        from woolexec.worker.asyncio_lane import AsyncioLane

        return AsyncioLane(worker)
    if number == TRIO:
        from woolexec.worker.trio_lane import TrioLane

        return TrioLane(worker)
    assert number == THREAD
    return ThreadLane(worker)


class Lane:
    """What all lanes have in common: which calls they run, and how these answer."""

    can_borrow = False
    """It can read the worker's socket: see `woolexec.worker.frame_reader`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport = worker.transport
        self.streams: dict[int, Commands] = {}
        self.tasks: dict[int, Any] = {}
        self.heard = 0
        self._chunk: tuple[Any, bool, list[Any]] = None, False, []  # of a map: its payload, and what is in it

    def borrow(self, fd: int) -> None:
        """Read what comes for the worker."""
        raise NotImplementedError

    def give_back(self, fd: int) -> None:
        """Stop that."""
        raise NotImplementedError

    def start(self, job: Job) -> None:
        """Begin a call; from the thread that reads."""
        raise NotImplementedError

    def control(self, frame: Any) -> None:
        """Act on a command for one of the calls, or on its cancellation; from the thread that reads."""
        raise NotImplementedError

    def run_for(self, job: Job, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on behalf of the calling thread, which waits."""
        raise NotImplementedError

    def finish(self, timeout: float | None) -> None:
        """Wait until all calls are done; with a timeout (seconds), cancel them, and do not wait longer than that."""
        raise NotImplementedError

    # -- what calls and streams do ------------------------------------------------------------------------------

    def prepare(self, job: Job) -> tuple[Callable[..., Any], Any, Any, Context]:
        """Unpickle a call; return its function, its arguments, and the context that it runs in."""
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
        """Return whether a job's item is one of several arguments, and the item; each object is given once."""
        first = job.frame.first
        payload, star, items = self._chunk
        if payload is not job.payload or items[first] is _GIVEN:
            star, items = loads(job.payload, again=True)
            if job.payload.__class__ is bytes:  # small: it does no harm to keep it until the next one comes
                self._chunk = job.payload, star, items
        item, items[first] = items[first], _GIVEN
        return star, item

    def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
        """Send what a call has to say."""
        self.transport.send(frames, file, payload)

    def failed(self, job: Job, started: float, exc: BaseException) -> None:
        """Send what a call raised."""
        seconds = monotonic() - started
        if job.frame.count:
            errors = {0: dump_failure(exc, skip=1, goes_home=job.goes_home)}
            job.succeed(self, seconds, dumps_span([None], errors, {type(None)}, goes_home=False))
        else:
            job.fail(self, seconds, exc)

    def returned(self, job: Job, started: float, value: Any) -> None:
        """Send what a call returned."""
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
        """Send that a stream was closed: to who closed it, or, at a shutdown, to who will pull it."""
        if frame.__class__ is Close and frame.shutdown:
            self.failed(job, started, RuntimeError(SHUT))
        else:
            self.returned(job, started, None)

    def ready(self, job: Job) -> None:
        """Say that a stream can be pulled."""
        self.send(encode(Started(call=(job.number,))))


class Outlet:
    """
    What a stream gives out: items that go up alone, or, when it runs ahead and is fast, several together.

    :param soon: calls a function when the stream's code next waits for something
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
        """Items are wanted again: what time has passed meanwhile says nothing of how fast they come."""
        self._last = monotonic()

    def gather(self, item: Any) -> None:
        """Take an item that may go with others, if they come fast."""
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
        Send what was gathered.

        :raises Exception: what pickling an item raises; those before it have been sent
        """
        if self._error is not None:
            raise self._error
        items, self._items = self._items, []
        if not items:
            return
        try:
            # Others by themselves, for one may fail to unpickle.
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
        except BaseException as exc:  # pickling runs user code; whoever next flushes hears of it
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
    """The commands for one stream that were not obeyed yet."""

    def __init__(self) -> None:
        self.line: deque[Any] = deque()
        self.wake: Callable[[], object] | None = None
        self.arrived = threading.Lock()  # held while a thread has nothing new to look at
        self.arrived.acquire()
        self.running = False
        self.shut = False  # by a shutdown

    def is_closing(self) -> bool:
        """Say whether what comes next is the end."""
        return bool(self.line) and self.line[0].__class__ in (Close, Cancel)


class ThreadLane(Lane):
    """Runs each plain generator in a thread of its own, so that one that takes long holds up no other."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._ends = threading.Condition()  # guards taking streams out

    def start(self, job: Job) -> None:
        """Begin a stream."""
        self.streams[job.number] = Commands()
        threading.Thread(target=self._run, args=(job,), name=f"woolexec-stream-{job.number}", daemon=True).start()

    def control(self, frame: Any) -> None:
        """Give a command to a stream."""
        commands = self.streams.get(frame.call)
        if commands is None:
            return
        commands.line.append(frame)
        try:
            commands.arrived.release()
        except RuntimeError:  # it has not looked since the last time
            pass

    def finish(self, timeout: float | None) -> None:
        """Wait until all streams have ended."""
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
        else:  # one by one, for nobody could send what was gathered while the generator's code runs
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

    Subclasses say how a loop is woken, how it begins a task, and how it cancels one.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.busy = threading.Event()  # set while there are tasks
        self._inbox: deque[Callable[[], None]] = deque()
        self._scheduled = True  # until the loop runs
        self._said: list[bytes] = []
        self._held: list[Any] = []  # of the calls whose outcomes are among that
        self._finished: threading.Event | None = None
        self.ident = 0
        threading.Thread(target=self.run, name=f"woolexec-{self.name}", daemon=True).start()
        threading.Thread(target=self._watch, name=f"woolexec-{self.name}-watch", daemon=True).start()

    name = ""

    # -- what a backend does ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the loop, in its thread; call `drain` when it runs."""
        raise NotImplementedError

    def wake(self) -> None:
        """Have `drain` called in the loop's thread."""
        raise NotImplementedError

    def spawn(self, job: Job, coroutine: Coroutine[Any, Any, None], ctx: Context) -> None:
        """Begin a task; put it into `tasks` under the job's number, and call `ended` when it is over."""
        raise NotImplementedError

    def soon(self, piece: Callable[[], None]) -> None:
        """Call a function when the running task next waits; from the loop's thread."""
        raise NotImplementedError

    def cancel(self, number: int) -> None:
        """Cancel the task with this number."""
        raise NotImplementedError

    def make_waiter(self) -> tuple[Callable[[], object], Awaitable[Any]]:
        """Make what is called, once or more, and what is awaited until then."""
        raise NotImplementedError

    # -- from other threads -------------------------------------------------------------------------------------

    def put(self, piece: Callable[[], None]) -> None:
        """Run a piece of our own code in the loop's thread."""
        self._inbox.append(piece)
        if not self._scheduled:
            self._scheduled = True
            self.wake()

    def start(self, job: Job) -> None:
        """Begin a call."""
        self.put(lambda: self._begin(job))

    def control(self, frame: Any) -> None:
        """Act on a command, or on a cancellation."""
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
        inner.ended = True  # its outcome goes up when the main thread has it
        self.put(lambda: self.spawn(inner, run(), ctx))
        done.wait()
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def finish(self, timeout: float | None) -> None:
        """Wait until all calls are done."""
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
        """Send what a call has to say; where many run, with what others have to say before the loop comes round."""
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
        del held  # now

    def drain(self) -> None:
        """Take what has come."""
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
        """Drop what a call holds, when its outcome has been sent."""
        if self._said:
            self._held.append(job.held)
        job.held = None

    def ended(self, number: int) -> None:
        """Forget a task; send the outcome of one that was cancelled before it began."""
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
                if commands.is_closing() and not commands.shut:  # the end came before this was begun: nobody waits
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
        """Close a generator whose stream has ended for another reason than its own; else this does nothing."""
        close = getattr(agen, "aclose", None)
        if close is not None:
            try:
                await close()
            except BaseException:  # the stream ends as it does already
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

    # -- a coroutine that blocks --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Warn when the loop does not come round; looks only while there is something to run."""
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
            "a coroutine has kept the %s loop of worker %d from running for %g s; others wait for it:\n%s",
            self.name,
            os.getpid(),
            BLOCKED,
            where,
        )


def _never(piece: Callable[[], None]) -> None:
    """A thread's stream gathers nothing."""
