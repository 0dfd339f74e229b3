"""How tasks submit nested tasks, and how they wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future  # before `_base`, as asyncio does in another thread: see the test
from concurrent.futures._base import PENDING

from woolexec.api.submission import Submission
from woolexec.core.call import Function
from woolexec.engine.function_cache import Functions
from woolexec.futures.call_future import CallFuture
from woolexec.platform.posix import renewed_at_fork
from woolexec.wire.frames import Next
from woolexec.worker import nested_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar

    from woolexec.core.call import Call
    from woolexec.futures.latch import Latch
    from woolexec.task_progress import Reports
    from woolexec.wire.frames import Progress
    from woolexec.wire.payload import File
    from woolexec.wire.values import Value

    T = TypeVar("T")

_MOMENT = 0.001


class NestedFuture(CallFuture["T"]):
    """A future in a worker: the thread that waits for it reads the worker's socket, if no other thread does."""

    __slots__ = ()

    def done(self) -> bool:
        """Return True if the task is done or cancelled; wait briefly, because a polling loop would starve the task."""
        if self._state is PENDING and self._latch is None and self._callbacks is None and nested_tasks.must_read():
            nested_tasks.wait_until(lambda: self._state is not PENDING, _MOMENT)
        return super().done()

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call a function when the task is done; the caller does not read the socket meanwhile."""
        nested_tasks.wait_lane()
        super().add_done_callback(fn)

    @property
    def latch(self) -> Latch:
        """The latch that opens when the future is done; a thread that waits for it does not read the socket."""
        nested_tasks.wait_lane()
        return super().latch

    @staticmethod
    def _make_waiters() -> list[Any]:
        return _Waiters()


nested_tasks.unfinished.add(NestedFuture)


class _Waiters(list["Any"]):
    """The waiters that `wait` and `as_completed` add to a future; their events are replaced by ones that read."""

    def append(self, waiter: Any) -> None:
        """Add a waiter."""
        if not isinstance(waiter.event, _ReadingEvent):
            waiter.event = _ReadingEvent()
        super().append(waiter)


class _ReadingEvent(threading.Event):
    """An event whose `wait` reads the worker's socket, or makes another thread read it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds."""
        if not nested_tasks.must_read():
            nested_tasks.wait_lane()
            return super().wait(timeout)
        nested_tasks.wait_until(self.is_set, timeout)
        return self.is_set()


class _NestedOwner:
    """The owner of the calls behind the futures and streams of nested tasks."""

    closes_streams = False

    def cancel(self, future: CallFuture[Any], _take: object, *, force: bool) -> bool:
        """Drop the task here; the engine drops it too if it has not been started, or ends it with `force`."""
        call = future.outstanding_call
        if call is not None and (holder := claim(call)):
            holder.let_go(call)
            return True
        if call is not None:
            if force:
                future.ended = nested_tasks.when_ended(call.number)
            nested_tasks.cancel(call.number, force=force)
        return force

    def is_running(self, future: CallFuture[Any]) -> bool:
        """Return False: the worker does not know."""
        return False

    def wait(self, future: CallFuture[Any], timeout: float | None) -> bool:
        """Give up the place and wait, if this thread must read; otherwise return False."""
        if not nested_tasks.must_read():
            return False
        nested_tasks.wait_until(lambda: not future.is_wanted, timeout)
        return True

    def wait_for(self, is_done: Callable[[], bool]) -> bool:
        """Like `wait`, for a stream."""
        if not nested_tasks.must_read():
            return False
        nested_tasks.wait_until(is_done, None)
        return True

    def command(self, call: Call, frame: Any, file: File | None = None) -> None:
        """Send a command to the engine."""
        frame.call = call.number
        nested_tasks.send(frame, file)

    def pull(self, call: Call) -> None:
        """Send the command for one item to the engine."""
        nested_tasks.send(Next(call=call.number))

    def run_elsewhere(self, piece: Callable[[], object]) -> None:
        """Run user code in a new thread: the thread that reads outcomes must not wait for it."""
        try:
            threading.Thread(target=piece, name="woolexec-callbacks", daemon=True).start()
        except RuntimeError:  # no thread can be started
            piece()

    def drop(self, held: list[Any]) -> None:
        """Clear the list here: the garbage collector, too, runs destructors in any thread."""
        held.clear()


def _report(call: Call, frame: Progress) -> None:
    """Schedule the `on_progress` callback of a nested task."""
    global _reports  # made with the first
    from woolexec.task_progress import Reports, progress_of  # imported late: creating the class takes a while

    if _reports is None:
        _reports = Reports(OWNER.run_elsewhere)
    _reports.tell(call, progress_of(frame, call.name))


_reports: Reports | None = None
nested_tasks.report = _report


def hand_on(call: Call, use: object = None) -> None:
    """Send a task to the engine; hold `use` until the task has ended."""
    if call.function.is_stream:
        nested_tasks.open_worker()
    nested_tasks.submit(call, use=use)


class NestedHolder:
    """
    Holds the tasks of one call that lack values; they are sent to the engine once they have them.

    :param use: held until these tasks have ended
    """

    shares: ClassVar[bool] = True

    def __init__(self, use: object = None) -> None:
        self._job = nested_tasks.submitting_job()
        self._use = use

    def takes(self, value: Value) -> bool:
        """Return whether the value is in this process, as all values are that a task has put."""
        return not value.is_kept

    def hold(self, entry: Call) -> None:
        """Hold a task; the outcomes of its inputs are read meanwhile."""
        _unclaimed[entry] = self
        nested_tasks.held.add(entry)
        nested_tasks.open_worker()

    def release(self, entry: Call, payload: Any) -> None:
        """Send a task, unless it was cancelled."""
        if claim(entry):
            entry.payload = payload
            self.send(entry)
            self.let_go(entry)

    def send(self, entry: Call) -> None:
        """Send a task."""
        nested_tasks.submit(entry, self._job, self._use)

    def let_go(self, entry: Call) -> None:
        """Forget a task that was sent or has ended."""
        nested_tasks.held.discard(entry)

    def drop(self, entry: Call, payload: Any) -> None:
        """End a task that will not get its values."""
        if claim(entry):
            _ending.append((self, entry, payload))
            while _ending and _ends.acquire(blocking=False):  # one after the other: a long chain is no recursion
                try:
                    while _ending:
                        holder, ended, payload = _ending.popleft()
                        ended.receiver.deliver_failure(ended, payload)
                        holder.let_go(ended)
                finally:
                    _ends.release()


_unclaimed: dict[Call, NestedHolder] = {}
_ending: deque[tuple[NestedHolder, Call, Any]] = deque()
_ends = renewed_at_fork(threading.Lock())  # held by the thread that ends tasks


def claim(call: Call) -> NestedHolder | None:
    """Take the holder of a held task; atomic: of the threads that send, end and cancel it, exactly one gets it."""
    return _unclaimed.pop(call, None)


class _NestedSubmission(Submission):
    def _holder(self) -> NestedHolder:
        return NestedHolder()


OWNER = _NestedOwner()
submission = _NestedSubmission(OWNER, Functions(Function, is_nested=True), hand_on, NestedFuture)
