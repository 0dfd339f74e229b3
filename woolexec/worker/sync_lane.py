"""
The sync lane: the worker's main thread, which runs plain calls one after the other.

Before each call it tells the shared page which call it starts, then looks whether that call has been recalled.  The
engine does the same in the other order, so that each call is either started or recalled, never both, without a
message (Dekker's algorithm); see `page` for the words and the fence.

A call that waits for a task of its own (`wait_for`) gives its place up:

1. Wait goes up; the engine recalls all that this worker has not started, and marks the end with Recall (of no call,
   if there was nothing).
2. What stands before the mark is declined, what comes behind it are tasks of the waiting call: they run here, on top.
3. When the outcome is there, Resume goes up and the call goes on.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import deque
from time import monotonic

from woolexec.wire.codec import (
    Raise,
    Recall,
    Recalled,
    Resume,
    Return,
    Start,
    Wait,
    encode,
    encode_apart,
    encode_return,
)
from woolexec.wire.failures import dump_failure, put, types_of
from woolexec.wire.payload import APART, File, Parts
from woolexec.wire.pickling import dumps, dumps_inline, dumps_value, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.worker.page import Page
    from woolexec.worker.road import Road


_LOOKS = 50
"""How often an idle worker looks for the next call before it sleeps: about 2 µs each, with the processor offered to
others in between.  Waking a sleeping processor takes 30-40 µs on a virtual machine, and the next call of a round trip
comes within 50: with this a round trip takes 50 µs, without it 86."""


class Slot:
    """A function as it came, unpickled at its first call."""

    __slots__ = ("_function", "_payload")

    def __init__(self, payload: Any) -> None:
        self._payload: Any = payload
        self._function: Callable[..., Any] | None = None

    def get(self) -> Callable[..., Any]:
        """
        Return the function.

        :raises Exception: what unpickling it raised, every time anew
        """
        function = self._function
        if function is None:
            function = self._function = loads(self._payload)
            self._payload = None
        return function


class _Job:
    """One entry of the ready line: a call, and where its arguments are."""

    __slots__ = ("attempt", "count", "ended", "first", "name", "number", "payload", "slot")

    def __init__(self, number: int, slot: Slot, payload: Any, count: int, first: int, attempt: int, name: str) -> None:
        self.number = number
        self.slot = slot
        self.payload = payload
        self.count = count
        self.first = first
        self.attempt = attempt
        self.name = name
        self.ended = False


class SyncLane:
    """Runs calls in the thread that calls `run`."""

    def __init__(self, road: Road, page: Page, receive: Callable[[bool], None]) -> None:
        self._road = road
        self._page = page
        self._receive = receive
        self._ready: deque[_Job | Recall] = deque()
        self._marks = 0
        self._open: set[int] = set()
        self._answered: set[int] = set()
        self._serials = itertools.count(1)
        self._declined: list[int] = []
        self._chunk: Any = None
        self._items: Any = None
        self.current: _Job | None = None
        self._recursion = sys.getrecursionlimit()

    # -- what the worker puts in line ---------------------------------------------------------------------------

    def start(self, frame: Start, slot: Slot) -> None:
        """Put the calls of a Start in line."""
        payload = frame.payload
        if frame.count:
            if frame.again:
                payload = self._chunk
            else:
                self._chunk = payload
            self._ready.append(_Job(frame.call[0], slot, payload, frame.count, frame.first, frame.attempt, frame.name))
        elif len(frame.call) == 1:
            self._ready.append(_Job(frame.call[0], slot, payload, 0, 0, frame.attempt, frame.name))
        else:
            pos = 0
            for number, size in zip(frame.call, frame.size, strict=True):
                self._ready.append(_Job(number, slot, payload[pos : pos + size], 0, 0, frame.attempt, frame.name))
                pos += size

    def recall(self, frame: Recall) -> None:
        """Put the mark that ends a recall in line."""
        self._ready.append(frame)
        self._marks += 1

    # -- running ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """
        Run calls for ever.

        :raises EOFError: when the engine is gone
        :raises SystemExit: when it said Stop and all calls are done
        """
        receive, ready = self._receive, self._ready
        yield_processor = getattr(os, "sched_yield", int)
        while True:
            while ready:
                self._step()
            for _ in range(_LOOKS):
                try:
                    receive(False)
                    break
                except BlockingIOError:
                    yield_processor()
            else:
                receive(True)

    def wait_for(self, is_done: Callable[[], bool], deadline: float | None = None) -> None:
        """
        Wait for the outcome of a task that the running call submitted; run its other tasks meanwhile.

        Returns when `is_done`, or when the deadline (monotonic seconds) has passed.
        """
        job = self.current
        if is_done() or job is None:
            return
        serial = next(self._serials)
        self._open.add(serial)
        self._road.send(encode(Wait(call=job.number, serial=serial)))
        limit = sys.getrecursionlimit()
        while not is_done():
            if self._ready and (self._marks or serial in self._answered):
                # Each call on top of another gets as much stack as the first one had.
                sys.setrecursionlimit(_stack_depth() + self._recursion)
                self._step(decline=serial not in self._answered)
                continue
            # Not before the Wait is answered, or asking again and again would never let a task be placed.
            if deadline is not None and serial in self._answered:
                left = deadline - monotonic()
                if left <= 0 or not self._page.wait_readable(left):
                    try:  # whatever is there may be what was waited for
                        self._receive(False)
                        continue
                    except BlockingIOError:
                        break
            self._receive(True)
        sys.setrecursionlimit(limit)
        self._answered.discard(serial)
        self._open.discard(serial)
        self.current = job
        self._road.send(encode(Resume(call=job.number)))

    def _step(self, *, decline: bool = False) -> None:
        """Take the next entry of the line; with `decline`, a call is given back."""
        job = self._ready.popleft()
        if job.__class__ is Recall:
            self._marks -= 1
            if job.waiting in self._open:
                self._answered.add(job.waiting)
            if job.call:
                self._road.send(encode(Recalled(call=self._declined)))
                self._declined = []
            return
        assert isinstance(job, _Job)
        outer = self.current
        try:
            # A call that waits has asked for everything to be taken back: what stands before the answer may not start.
            if decline or not self._page.start(job.number):
                self._declined.append(job.number)
                return
            self.current = job
            if job.count:
                self._run_span(job)
            else:
                self._run_call(job)
        except KeyboardInterrupt as exc:  # it came between the task's code and ours
            if not job.ended:
                self._fail(job, exc, 0.0)
        finally:
            self.current = outer

    def _run_call(self, job: _Job) -> None:
        started = monotonic()
        try:
            function = job.slot.get()
            args, kwargs = loads(job.payload)
            job.payload = None
        except BaseException as exc:  # unpickling runs user code, which may raise anything
            self._fail(job, exc, monotonic() - started, doing="unpickling the function and its arguments")
            return
        try:
            value = function(*args, **kwargs)
        except BaseException as exc:
            self._fail(job, exc, monotonic() - started)
            return
        finally:
            seconds = monotonic() - started
        del args, kwargs
        try:
            payload = dumps_value(value)
        except BaseException as exc:
            self._fail(job, exc, seconds, doing="pickling the result")
            return
        self._return(job, seconds, payload)

    def _run_span(self, job: _Job) -> None:
        """Run some items of a chunk; an item that raises does not keep the others from running."""
        started = monotonic()
        try:
            function = job.slot.get()
            if self._items is None or self._items[0] is not job.payload:
                self._items = (job.payload, loads(job.payload))
            star, items = self._items[1]
            items = items[job.first : job.first + job.count]
        except BaseException as exc:
            self._fail(job, exc, monotonic() - started, doing="unpickling the function and its arguments")
            return
        values: list[Any] = []
        errors: dict[int, bytes] = {}
        keep = values.append
        todo = iter(items)
        while True:
            try:
                if star:
                    for item in todo:
                        keep(function(*item))
                else:
                    for item in todo:
                        keep(function(item))
                break
            except BaseException as exc:
                errors[len(values)] = dump_failure(exc, skip=1)
                keep(None)
        seconds = monotonic() - started
        try:
            payload = dumps((values, errors))
            may_fail_to_load = not all(map(_ATOMS.__contains__, map(type, values)))
        except BaseException:  # one of the values does not pickle: find out which
            may_fail_to_load = True
        if may_fail_to_load:
            payload = dumps(_pickled_alone(values, errors))
        self._return(job, seconds, payload)

    def _return(self, job: _Job, seconds: float, payload: Any) -> None:
        number = job.number
        job.ended = True
        if payload.__class__ is bytes and len(payload) < APART:
            self._road.send(encode_return(number, seconds, payload))
            return
        frame = Return(call=(number,), seconds=(seconds,))
        if isinstance(payload, File):
            frame.extent = payload.extent
            self._road.send(encode(frame), payload)
            return
        parts: list[Any] = [payload]
        if isinstance(payload, Parts):
            frame.extent = payload.extent
            parts = payload.parts
        frame.size = (len(payload),)
        frame.arena = self._page.up.put(parts, len(payload))
        if frame.arena:
            self._road.send(encode(frame))
        else:
            frame.payload = payload
            self._road.send(encode_apart(frame), payload=payload)

    def _fail(self, job: _Job, exc: BaseException, seconds: float, *, doing: str = "") -> None:
        if doing:
            _add_note(exc, f"while {doing} in worker {os.getpid()} on {_host()}")
        job.ended = True
        types = types_of(exc)
        payload = dump_failure(exc, skip=0 if doing else 1)
        put(exc, "__traceback__", None)  # the frames hold the arguments
        self._road.send(encode(Raise(call=job.number, seconds=seconds, payload=payload, type=types)))


_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})
"""Values of these types can always be loaded; others may run code then, and fail."""


class Pickled:
    """A value that was pickled alone, because its neighbours could not be."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        return Pickled, (self.payload,)


def _pickled_alone(values: list[Any], errors: dict[int, bytes]) -> tuple[list[Any], dict[int, bytes]]:
    alone: list[Any] = []
    for index, value in enumerate(values):
        try:
            alone.append(Pickled(dumps_inline(value)))
        except BaseException as exc:
            _add_note(exc, f"while pickling the result in worker {os.getpid()} on {_host()}")
            errors[index] = dump_failure(exc)
            alone.append(None)
    return alone, errors


def _add_note(exc: BaseException, note: str) -> None:
    try:
        BaseException.add_note(exc, note)
    except BaseException:  # it sets __notes__ through the class's own code
        pass


def _host() -> str:
    return os.uname().nodename


def _stack_depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return depth
