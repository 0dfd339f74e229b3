"""
The sync lane: the worker's main thread, which runs plain calls one after the other.

Before each call it writes to the shared page which call it starts, then checks whether that call has been recalled.
The engine does the same in the other order, so that each call is either started or recalled, never both, without a
message (Dekker's algorithm); see `woolexec.wire.shared_page` for the words and the fence.

A call that waits for a nested task (`wait_for`) gives up its place:

1. The worker sends Wait; the engine recalls all calls that this worker has not started, and marks the end with Recall
   (of no call, if there was none).
2. Calls queued before the mark are declined; those after it are tasks of the waiting call: they run here, nested in it.
3. When the outcome has arrived, the worker sends Resume and the call continues.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from time import monotonic
from types import CoroutineType

from woolexec.platform.posix import yield_processor
from woolexec.wire.atoms import SAFE, is_safe
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import Load, Recall, Recalled, Resume, Start, Wait, encode
from woolexec.wire.number_lists import dumps_numbers
from woolexec.wire.payload import APART
from woolexec.wire.pickling import dumps_value
from woolexec.wire.unpickling import loads
from woolexec.worker.job import (
    GIVEN,
    PICKLING,
    UNPICKLING,
    Job,
    Slot,
    dumps_item,
    dumps_results,
    dumps_together,
    jobs_of,
    pickled_alone,
    spread,
)
from woolexec.worker.nested_tasks import unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from woolexec.wire.shared_page import SharedPage
    from woolexec.worker.socket_transport import SocketTransport


_LONGEST = 0.001
"""Longest pause, in seconds, after which an idle worker polls for the next call before it sleeps; between polls it
yields the processor.  It polls for twice the time of the last pause if that was shorter than this, or not at all.
Waking a sleeping processor takes 30-50 µs on a virtual machine.  With polling a round trip takes 50 µs, without it
86 µs; through a link, where pauses last 500 µs, polling also saves 50 µs."""


class SyncLane:
    """Runs calls in the thread that calls `run`."""

    def __init__(
        self,
        transport: SocketTransport,
        page: SharedPage,
        receive: Callable[..., None],
        run_coroutine: Callable[[Job, Any], Any],
    ) -> None:
        self._transport = transport
        self._page = page
        self._receive = receive
        self._run_coroutine = run_coroutine
        self._ready: deque[Job | Recall] = deque()
        # Marks queued by the thread that reads, and removed by the main thread: a single counter would be written by
        # both threads.
        self._marks_in = self._marks_out = 0
        self._open: set[int] = set()
        self._answered: set[int] = set()
        self._serials = itertools.count(1)
        self._declined: list[int] = []
        self._chunk: Any = None
        self._items: Any = None
        self._outcome: tuple[int, bytes | None] = 0, None  # the last call that returned, and its value if it is small
        self.current: Job | None = None
        self.is_between = False
        """Whether an exception would lose an entry of the queue: see `woolexec.worker.interrupts`."""
        self._recursion = sys.getrecursionlimit()

    # -- the queue of calls, filled by the worker ---------------------------------------------------------------

    def start(self, frame: Start, slot: Slot) -> None:
        """Queue the calls of a Start frame."""
        if frame.count and not (frame.again or frame.values):
            self._chunk = frame.payload
        self._ready.extend(jobs_of(frame, slot, self._chunk))

    def enqueue(self, job: Job) -> None:
        """Queue one call."""
        self._ready.append(job)

    def recall(self, frame: Recall) -> None:
        """Queue the mark that ends a recall."""
        self._ready.append(frame)
        self._marks_in += 1

    # -- running ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """
        Run calls until an exception ends the loop.

        :raises EOFError: when the engine is gone, or has sent Stop and all calls are done
        """
        receive, ready = self._receive, self._ready
        pause = 0.0
        while True:
            while ready:
                self._step()
            patience = min(2 * pause, _LONGEST) if pause < _LONGEST else 0.0
            since = monotonic()
            while (pause := monotonic() - since) < patience:
                try:
                    receive(False)
                    break
                except BlockingIOError:
                    if ready:  # the reader thread saw this thread poll, and has handed reading back with a call queued
                        break
                    yield_processor()
            else:
                receive(True)
                pause = monotonic() - since

    def wait_for(self, is_done: Callable[[], bool], deadline: float | None = None) -> None:
        """
        Wait for the outcome of a task that the running call submitted; run the call's other tasks meanwhile.

        Return when `is_done()` is true or the deadline (on the monotonic clock, in seconds) has passed.
        """
        job = self.current
        if is_done() or job is None:
            return
        serial = next(self._serials)
        limit = sys.getrecursionlimit()
        try:  # from the first step: Ctrl-C that comes while Wait is written is raised as soon as it has been
            self._open.add(serial)
            self._transport.send(encode(Wait(call=job.number, serial=serial)))
            self._run_while_waiting(is_done, deadline, serial)
        finally:  # the wait may be interrupted
            sys.setrecursionlimit(limit)
            self._answered.discard(serial)
            self._open.discard(serial)
            self.current = job
            self._transport.send(encode(Resume(call=job.number)))

    def _run_while_waiting(self, is_done: Callable[[], bool], deadline: float | None, serial: int) -> None:
        while not is_done():
            if self._ready and (self._marks_in > self._marks_out or serial in self._answered):
                # A nested call may recurse as deeply as the first one.
                sys.setrecursionlimit(_stack_depth() + self._recursion)
                self.is_between = True
                try:
                    self._step(decline=serial not in self._answered)
                finally:
                    self.is_between = False
                    self._transport.interrupt_again()
                continue
            # The deadline applies only after Wait was answered: otherwise a polling caller would let no task start.
            if deadline is None or serial not in self._answered:
                self._receive(True)
                continue
            try:
                self._receive(True, max(0.0, deadline - monotonic()))
            except BlockingIOError:
                break

    def _step(self, *, decline: bool = False) -> None:
        """Handle the next entry of the queue; with `decline`, a call is given back instead of run."""
        job = self._ready.popleft()
        if job.__class__ is Recall:
            self._marks_out += 1
            if job.waiting in self._open:
                self._answered.add(job.waiting)
            if job.call:
                declined, self._declined = self._declined, []
                self._transport.send(encode(Recalled(call=declined)))
            return
        assert isinstance(job, Job)
        if job.after and not job.bind(*self._outcome):
            self._transport.send(encode(Load(refused=(job.number,))))
            return
        outer = self.current
        try:
            if self._items is not None and self._items[0] is not job.payload:
                self._items = None  # before the call counts as started: a destructor may end this process
            # A waiting call has asked the engine to recall everything: what is queued before the answer must not start.
            if decline or not self._page.start(job.number):
                self._declined.append(job.number)
                return
            self.current = job
            if self.is_between:
                self.is_between = False
                self._transport.interrupt_again()
            if job.frame.count:
                self._run_span(job)
            else:
                self._run_call(job)
        except KeyboardInterrupt as exc:  # raised outside the task's own code
            if not job.ended:
                job.fail(self._transport, 0.0, exc)
        finally:
            job.held = None
            self.current = outer

    def _run_call(self, job: Job) -> None:
        started = monotonic()
        try:
            function = job.slot.get(job, self._transport)
            args, kwargs = loads(job.payload)
            job.payload = None
            if job.frame.context:
                function = _in_context(job, function)
        except BaseException as exc:  # unpickling runs user code, which may raise anything
            job.fail(self._transport, monotonic() - started, exc, doing=UNPICKLING)
            return
        try:
            value = function(*args, **kwargs)
            if value.__class__ in unfinished:
                value = self._finished(job, value)
        except BaseException as exc:
            job.fail(self._transport, monotonic() - started, exc)
            return
        finally:
            seconds = monotonic() - started
        try:
            payload = dumps_value(value, goes_home=job.goes_home)
        except BaseException as exc:
            job.fail(self._transport, seconds, exc, doing=PICKLING)
            return
        # The arguments are dropped only after this: a destructor may end this process.
        job.succeed(self._transport, seconds, payload, self._page.up)
        self._outcome = job.number, payload if payload.__class__ is bytes and len(payload) < APART else None

    def _finished(self, job: Job, value: Any) -> Any:
        """Run the coroutine that a call has returned, or wait for the nested task whose future it has returned."""
        while value.__class__ in unfinished:
            value = self._run_coroutine(job, value) if value.__class__ is CoroutineType else value.result()
        return value

    def _run_span(self, job: Job) -> None:
        """Run some items of a chunk; an item that raises does not stop the others."""
        started = monotonic()
        try:
            function = self._function(job)
            first, end = job.frame.first, job.frame.first + job.frame.count
            if self._items is None or self._items[0] is not job.payload or self._items[1][1][first] is GIVEN:
                self._items = (job.payload, loads(job.payload, again=True))
            star, chunk, anew, alone, together = spread(self._items[1])
            items, chunk[first:end] = chunk[first:end], [GIVEN] * (end - first)
            if alone and len(items) == 1:
                items, alone = [loads(items[0])], False
        except BaseException as exc:
            job.fail(self._transport, monotonic() - started, exc, doing=UNPICKLING)
            return
        if job.frame.count == 1:
            self._run_item(job, function, items[0] if star else items, started)
        else:
            kept: list[Any] = []  # dropping a result may end this process, so its pickle is sent first
            may_stay: Callable[[object], bool] | None = None
            if together:
                from woolexec.wire.sure_classes import is_sure

                may_stay = is_sure
            values, errors = self._results(
                job, function, items, kept, star=star, anew=anew, alone=alone, may_stay=may_stay
            )
            payload = None if errors else dumps_numbers(values, (values, {}), 3)
            if payload is None and together:
                payload = dumps_together(values, errors, goes_home=job.goes_home)
            elif payload is None:
                payload = dumps_results(values, errors)
            job.succeed(
                self._transport,
                monotonic() - started,
                payload,
                self._page.up,
                raised=len(errors),
            )
        if end >= len(chunk):  # the chunk is done
            self._items = None

    def _function(self, job: Job) -> Callable[..., Any]:
        function = job.slot.get(job, self._transport)
        return _in_context(job, function) if job.frame.context else function

    def _results(
        self,
        job: Job,
        function: Callable[..., Any],
        items: list[Any],
        kept: list[Any],
        *,
        star: bool,
        anew: bool,
        alone: bool,
        may_stay: Callable[[object], bool] | None,
    ) -> tuple[list[Any], dict[int, bytes]]:
        """
        Run items one after the other; return their values, and the encoded exceptions of those that raised.

        A value that the next item may change is pickled at once.

        :param kept: receives each value that is pickled, to keep it alive
        :param anew: unpickle the function for each item
        :param alone: each item is the pickle of one
        :param may_stay: returns whether such a value can be pickled later; None: all are pickled at once
        """
        values: list[Any] = []
        errors: dict[int, bytes] = {}
        todo: Iterator[Any] = map(loads, items) if alone else iter(items)
        safe: type | None = None  # one of `SAFE`: most values are of one class
        while True:
            try:
                for item in todo:
                    if anew and values:
                        function = self._function(job)
                    value = function(*item) if star else function(item)
                    if value.__class__ is not safe:
                        if value.__class__ not in SAFE:
                            value = self._pickled(job, value, kept, may_stay)
                        elif safe is None:
                            safe = value.__class__
                    values.append(value)
                break
            except BaseException as exc:
                errors[len(values)] = dump_failure(exc, skip=1, goes_home=job.goes_home)
                values.append(None)
        return values, errors

    def _pickled(self, job: Job, value: Any, kept: list[Any], may_stay: Callable[[object], bool] | None) -> Any:
        """Finish the coroutine or nested task that a call returned; keep the value, and pickle it unless constant."""
        if value.__class__ in unfinished:
            value = self._finished(job, value)
        kept.append(value)
        stays = is_safe(value) or (may_stay is not None and may_stay(value))
        return value if stays else pickled_alone(value, goes_home=job.goes_home)

    def _run_item(self, job: Job, function: Callable[..., Any], args: Sequence[Any], started: float) -> None:
        """Run one item; an exception is the outcome of its call, which may be retried according to its options."""
        try:
            value = function(*args)
            if value.__class__ in unfinished:
                value = self._finished(job, value)
        except BaseException as exc:
            job.fail(self._transport, monotonic() - started, exc)
            return
        payload = dumps_numbers([value], ([value], {}), 3) or dumps_item(value, goes_home=job.goes_home)
        job.succeed(self._transport, monotonic() - started, payload, self._page.up)


def _in_context(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    from woolexec.wire import context_vars

    return context_vars.bind(job.frame.context, function, job.name)


def _stack_depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return depth
