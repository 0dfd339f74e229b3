"""
A future whose outcome arrives encoded and is decoded when it is asked for.

To users and to the standard library it is a `concurrent.futures.Future`.  Internally it differs in two ways, both
chosen because of measurements: what a future needs only when something waits for it (a condition, the lists of waiters
and callbacks) is created at that moment, which reduces its memory from 1.4 KiB to 0.2 KiB; and an outcome is delivered
with three assignments when nothing waits.

Why delivery needs no lock.  `concurrent.futures.wait` and `as_completed` acquire the conditions of all their futures,
and rely on no state changing until they release them.  So the end of a future and the first request for its condition
must see each other; both append to `_first` (appending is atomic), and what is first in it decides::

    delivery                                       request for the condition
    D1. store the outcome                          W1. create the condition, unless there is one
    D2. append the end                             W2. append SHARED
    D3. the end is first: store the state          W3. an end is first: store the state, in case D3 has not run yet
        SHARED is first: acquire the lock, store       SHARED is first: from now on the state only changes under
        the state, notify the waiters                  the lock
    D4. open the latch, call the callbacks

- The end is first: the future ended at D2.  A later request for the condition sees that it has ended before it can
  look at the state (W3), so no waiter counts it as pending, and none needs to be notified.
- SHARED is first: the delivery acquires the lock (D3), as the standard library's does, after the waiters were added.

`tests/wire/test_delivery.py` runs every interleaving of these steps.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from functools import partial
from types import FunctionType
from typing import TypeVar

from woolexec.futures.latch import Latch
from woolexec.wire.exceptions import load_failure
from woolexec.wire.pickling import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any, ClassVar, Protocol

    class Owner(Protocol):
        """The object that controls the calls behind futures."""

        def cancel(self, future: CallFuture[Any], *, force: bool) -> bool:
            """Keep the call from running, or end it by force; return True if it will have no outcome."""

        def is_running(self, future: CallFuture[Any]) -> bool:
            """Return whether the call has been started."""

        def wait(self, future: CallFuture[Any], timeout: float | None) -> bool:
            """Wait in the owner's own way; return False if it has none."""

        def run_elsewhere(self, piece: Callable[[], object]) -> None:
            """Run the rest of a delivery, which includes user code, without delaying other deliveries."""


T = TypeVar("T")

_CANCELS = (CANCELLED, CANCELLED_AND_NOTIFIED)
_ENDS = (FINISHED, *_CANCELS)

_END_OF = (PENDING, FINISHED, CANCELLED_AND_NOTIFIED)
_RETURNED, _CANCELLED, _SHARED = 1, 2, 3
"""Values of `CallFuture._first`: how the future ended, an index into `_END_OF`, or that it has a condition."""


def _wakes_a_loop(callback: Any) -> bool:
    """
    Return whether a callback is that of `asyncio.wrap_future`, and so of `run_in_executor`.

    It only schedules a callback in the loop, so it needs no other thread, which would take a fifth of the call's time.
    """
    return (
        callback.__class__ is FunctionType
        and callback.__module__ == "asyncio.futures"
        and callback.__name__ == "_call_set_state"
    )


class CallFuture(Future[T]):
    """The future of one task."""

    __slots__ = (
        "_callbacks",
        "_exception",
        "_failed",
        "_first",
        "_latch",
        "_lock",
        "_outcome",
        "_owner",
        "_result",
        "_state",
        "_waiting",
        "context",
        "ended",
        "is_lane",
        "outstanding_call",
    )

    _exception: BaseException | None

    _wait_in_loop: ClassVar[Callable[..., Coroutine[Any, Any, Any]]]
    """How a task of an event loop waits for a future; set by `woolexec.api.async_api`, which knows event loops."""

    def __init__(self, owner: Owner | None = None) -> None:
        # Future.__init__ is not called: it creates the condition and the lists.
        self._state = PENDING
        self._first = bytearray()  # smaller than a list, and not tracked by the garbage collector
        self._outcome: list[Any] | None = None  # the payload; then also the result of decoding it
        self._result: Any = None
        self._exception = None
        self._lock: threading.Condition | None = None
        self._latch: Latch | None = None
        self._waiting: list[Any] | None = None
        self._callbacks: list[Any] | None = None
        self._owner = owner
        self.outstanding_call: Any = None
        self.context: bytes | None = None
        self.is_lane: bool = False
        self.ended: Latch | None = None

    # -- properties in place of the attributes that Future's methods use ---------------------------------------------
    # Threads and signal handlers that create one of these at the same time get the same one from `dict.setdefault`.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        lock = self._lock
        if lock is None:
            lock = self._lock = self.__dict__.setdefault("condition", threading.Condition())
        first = self._first
        if not first:
            first.append(_SHARED)
        if first[0] != _SHARED:
            self._state = _END_OF[first[0]]
        return lock

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._waiting is None:
            self._waiting = self.__dict__.setdefault("waiters", self._make_waiters())
        return self._waiting

    @staticmethod
    def _make_waiters() -> list[Any]:
        return []

    @property
    def _done_callbacks(self) -> list[Any]:
        if self._callbacks is None:
            self._callbacks = self.__dict__.setdefault("callbacks", [])
        return self._callbacks

    @property
    def latch(self) -> Latch:
        """The latch that opens when the future is done; check the future's state after getting it."""
        if self._latch is None:
            self._latch = self.__dict__.setdefault("latch", Latch())
        return self._latch

    # -- for the engine ---------------------------------------------------------------------------------------------

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the encoded value; ignore it if the future is already done."""
        self._end(_RETURNED, payload)

    def deliver_failure(self, call: Any, payload: Any) -> None:
        """Take an encoded exception, or an exception object; None: the task was cancelled."""
        if payload is None:
            self._end(_CANCELLED, None)
        else:
            self._end(_RETURNED, payload, failed=True)

    def deliver_context(self, call: Any, context: bytes, payload: Any) -> None:
        """Take the encoded value and the context variables that the task changed."""
        if self._state is PENDING:
            self.context = context
            self._end(_RETURNED, payload)

    def deliver_ready(self, value: Any) -> None:
        """Take a value that needs no decoding."""
        if self._state is PENDING:
            self._result = value
            self._end(_RETURNED, None)

    def _end(self, end: int, payload: Any, *, failed: bool = False) -> None:
        """End the future from a thread that must not block; see the module's docstring."""
        first = self._first
        if not first:
            self._failed = failed
            self._outcome = None if payload is None else [payload]
            first.append(end)
            if first[0] == end:
                self._state = _END_OF[end]
                self.outstanding_call = None
                if self._latch is not None:
                    self._latch.open()
                if self._callbacks:
                    self._announce()
                return
        if first[0] != _SHARED:
            return  # it had already ended
        lock = self._condition
        if not lock.acquire(blocking=False):  # another thread may hold it, for as long as a signal handler takes
            self._run_elsewhere(partial(self._end_and_announce, end, payload, failed=failed))
            return
        try:
            ended = self._end_locked(end, payload, failed=failed)
        finally:
            lock.release()
        if ended:
            self._open()
            self._announce()

    def _end_locked(self, end: int, payload: Any, *, failed: bool = False) -> bool:
        """End the future and notify its waiters, with its lock held; return False if it had already ended."""
        if self._state is not PENDING:
            return False
        self._failed = failed
        self._outcome = None if payload is None else [payload]
        self._state = _END_OF[end]
        for waiter in self._waiting or ():
            if end == _CANCELLED:
                waiter.add_cancelled(self)
            elif failed:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
        self._condition.notify_all()
        return True

    def _end_and_announce(self, end: int, payload: Any, *, failed: bool = False) -> bool:
        """End the future in a thread that may block and run user code; return False if it had already ended."""
        with self._condition:
            ended = self._end_locked(end, payload, failed=failed)
        if ended:
            self._open()
            self._run_callbacks()
        return ended

    def _open(self) -> None:
        self.outstanding_call = None
        if self._latch is not None:
            self._latch.open()

    def _announce(self) -> None:
        """Call the callbacks; those that are user code run in another thread."""
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # the thread that added it saw the state, and removed it
                return
            if not _wakes_a_loop(callback):
                self._callbacks.insert(0, callback)
                self._run_elsewhere(self._run_callbacks)
                return
            self._call(callback)

    def _run_elsewhere(self, rest: Callable[[], object]) -> None:
        if self._owner is not None:
            self._owner.run_elsewhere(rest)
        else:
            rest()

    def _run_callbacks(self, caught: type[BaseException] = BaseException) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # another thread removed it
                return
            self._call(callback, caught)

    def _call(self, callback: Callable[[CallFuture[T]], object], caught: type[BaseException] = BaseException) -> None:
        """Call a callback; an exception that it raises must not stop the engine."""
        try:
            callback(self)
        except caught:
            LOGGER.exception("exception calling callback for %r", self)

    def _invoke_callbacks(self) -> None:
        # Future.set_result and such call this when user code completes the future; they do not catch BaseException.
        if self._latch is not None:
            self._latch.open()
        self._run_callbacks(Exception)

    @property
    def is_wanted(self) -> bool:
        """Whether the future still waits for an outcome: nothing was delivered and it was not cancelled."""
        return self._state is PENDING

    # -- for the user -----------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Return True if the task has ended or was cancelled."""
        return self._state in _ENDS

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self._state in _CANCELS

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """
        Call `fn` with this future when it is done; immediately if it is already done.

        Otherwise it is called in a thread of the executor, and may block there.
        """
        if self._state not in _ENDS:
            callbacks = self._done_callbacks
            callbacks.append(fn)
            if self._state not in _ENDS:
                return
            try:
                callbacks.remove(fn)  # the thread that ended the future may have run the callbacks before `append`
            except ValueError:  # or after it: then `fn` has been called
                return
        self._call(fn, Exception)

    def cancel(self, *, force: bool = False) -> bool:
        """
        Keep the task from running.

        A task that has been started keeps running, as PEP 3148 says, unless `force` is true: then its worker is ended
        and replaced, and no other call is affected.

        :return: True if the future is now cancelled
        """
        if self._state in _CANCELS:
            return True
        if self._state is FINISHED or self._owner is None:
            return super().cancel() if self._owner is None else False
        if not self._owner.cancel(self, force=force):
            return self.cancelled()
        return self._end_and_announce(_CANCELLED, None) or self.cancelled()

    def __repr__(self) -> str:
        if self._outcome is not None and self._state is FINISHED:  # not decoded yet
            return f"<{type(self).__name__} at {id(self):#x} state=finished>"
        return super().__repr__()

    def __dir__(self) -> list[str]:
        # For completion: only the public names that `concurrent.futures.Future` has.
        return [name for name in super().__dir__() if name.startswith("_") or hasattr(Future, name)]

    def running(self) -> bool:
        """Return True if a worker is running the task."""
        if self._state is PENDING and self._owner is not None:
            return self._owner.is_running(self)
        return super().running()

    def result(self, timeout: float | None = None) -> T:
        """
        Return the value of the task; wait for it if necessary.

        :param timeout: seconds to wait; None: no limit
        :raises CancelledError: if the task was cancelled
        :raises TimeoutError: if it is not done in time
        :raises WorkerLostError: if the worker that ran it died
        :raises Exception: what the task raised
        """
        try:
            if self._state is not FINISHED:
                self._await(timeout)
            if self._outcome is not None:
                self._decode()
            if self._exception is not None:
                raise self._exception
            return self._result  # type: ignore[no-any-return]  # pickle has no types
        finally:
            self = None  # type: ignore[assignment]  # noqa: PLW0642  # break the cycle with the exception's traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """
        Return the exception that the task raised, or None; wait for it if necessary.

        :raises CancelledError: if the task was cancelled
        :raises TimeoutError: if it is not done in time
        """
        if self._state is not FINISHED:
            self._await(timeout)
        if self._outcome is not None:
            self._decode()
        return self._exception

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        # Called by asyncio since Python 3.14.
        if self._state is not FINISHED:
            return self.done(), self.cancelled(), None, None
        exception = self.exception()
        return True, False, self._result, exception

    def __await__(self) -> Generator[Any, None, T]:
        """
        Wait for the outcome in a task of asyncio or trio, in any event loop; several tasks may wait.

        If the wait is cancelled, so is the call, as with `run`; `asyncio.shield` prevents that.

        :raises CancelledError: that of `concurrent.futures`, if the call was cancelled
        :raises Exception: what the call raised
        """
        return self._wait_in_loop(abandon=None).__await__()

    @property
    def abandons(self) -> bool:
        """Whether a running plain call keeps running when the task that awaits it is cancelled."""
        options = getattr(self.outstanding_call, "options", None)
        return options is not None and bool(options.abandon_on_cancel)

    def _await(self, timeout: float | None) -> None:
        owner = self._owner
        if owner is None or not owner.wait(self, timeout):
            latch = self.latch
            if self._state not in _ENDS:
                latch.wait(timeout)
        state = self._state
        if state is FINISHED:
            return
        if state in _ENDS:
            raise CancelledError
        raise TimeoutError

    def _decode(self) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        payload, value, exception = outcome[0], None, None
        try:
            if not self._failed:
                value = loads(payload)
            elif isinstance(payload, BaseException):
                exception = payload
            else:
                exception = load_failure(payload)
        except KeyboardInterrupt:  # Ctrl-C in this process, not in the task; the next request decodes again
            raise
        except BaseException as exc:  # unpickling runs user code
            exception = exc
        outcome.append((value, exception))
        # If several threads decode at the same time, all of them use the value of the first.
        self._result, self._exception = outcome[1]
        self._outcome = None


class Nobody:
    """Receives and discards the frames of an abandoned call; `ended` opens at its end."""

    __slots__ = ("ended",)

    is_wanted = False

    def __init__(self) -> None:
        self.ended = Latch()

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the end."""
        self.ended.open()

    deliver_failure = deliver

    def deliver_context(self, call: Any, context: bytes, payload: Any) -> None:
        """Take the end."""
        self.ended.open()

    def deliver_item(self, call: Any, frame: Any) -> None:
        """Ignore an item."""

    def deliver_start(self, call: Any) -> None:
        """Ignore the start of a stream."""
