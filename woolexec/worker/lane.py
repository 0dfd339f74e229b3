"""
The lanes besides the main thread: an event loop of asyncio, one of trio, and threads for plain generators.

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

import threading
from collections import deque
from contextlib import nullcontext
from contextvars import copy_context
from time import monotonic

from woolexec.wire import context_vars
from woolexec.wire.atoms import is_safe
from woolexec.wire.exceptions import SHUT
from woolexec.wire.fast_frames import encode_yield
from woolexec.wire.frames import Cancel, Close, Started, Yield, encode
from woolexec.wire.payload import File, attach
from woolexec.wire.pickling import Pickled, dumps, dumps_value
from woolexec.wire.unpickling import loads
from woolexec.worker import nested_tasks
from woolexec.worker.job import GIVEN, PICKLING, Job, dumps_item, spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from typing import Any

    from woolexec.worker.frame_reader import Reading
    from woolexec.worker.socket_transport import SocketTransport


NOTHING = nullcontext()


RUN_AHEAD, FAST = 0.001, 0.0001
"""For a stream that runs ahead: maximum number of seconds for which it collects items, and between two of these."""


class Lane:
    """Base class of the lanes: the calls that they run, and how these send their outcomes."""

    can_borrow = False
    """Whether it can read the worker's socket: see `woolexec.worker.frame_reader`."""

    name = ""
    """The name of its event loop; empty if it has none."""

    ident = 0
    """The thread of its event loop; 0 if it has none."""

    def __init__(self, transport: SocketTransport, reading: Reading) -> None:
        self.transport = transport
        self.reading = reading
        self.streams: dict[int, Commands] = {}
        self.tasks: dict[int, Any] = {}
        self.heard = 0
        self._chunk: tuple[Any, Any] = None, ()  # the last chunk of a map: its payload, and the payload's contents

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
        payload, chunk = self._chunk
        if payload is not job.payload or chunk[1][first] is GIVEN:
            chunk = loads(job.payload, again=True)
            if job.payload.__class__ is bytes:  # small enough to keep until the next chunk arrives
                self._chunk = job.payload, chunk
        star, items, _, alone, _ = spread(chunk)
        item, items[first] = items[first], GIVEN
        return star, loads(item) if alone else item

    def send(self, frames: bytes, file: File | None = None, payload: Any = b"") -> None:
        """Send the frames of a call."""
        self.transport.send(frames, file, payload)

    def failed(self, job: Job, started: float, exc: BaseException) -> None:
        """Send the exception that a call raised."""
        job.fail(self, monotonic() - started, exc)

    def returned(self, job: Job, started: float, value: Any) -> None:
        """Send the value that a call returned."""
        seconds = monotonic() - started
        if job.frame.count:
            job.succeed(self, seconds, dumps_item(value, goes_home=job.goes_home))
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
        """Report that a stream can be pulled."""
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

        :raises Exception: any exception raised by pickling an item; the items before it have been sent
        """
        if self._error is not None:
            raise self._error
        items, self._items = self._items, []
        if not items:
            return
        try:
            # Items of other types are pickled one by one, because one may fail to unpickle.
            is_home = self._job.goes_home
            alone = [item if is_safe(item) else Pickled.of(item, goes_home=is_home) for item in items]
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
        file = attach(frame, payload)
        self._lane.send(encode(frame), file)


class Commands:
    """The pending commands for one stream."""

    def __init__(self) -> None:
        self.line: deque[Any] = deque()
        self.wake: Callable[[], object] | None = None
        self.arrived = threading.Lock()  # held while there is no new command for a thread
        self.arrived.acquire()
        self.running = False  # the stream's code runs, or waits for something
        self.thread = 0  # the thread that runs it, if it has its own
        self.shut = False  # by a shutdown

    def is_closing(self) -> bool:
        """Return whether the next command ends the stream."""
        return bool(self.line) and self.line[0].__class__ in (Close, Cancel)
