"""
A future whose outcome arrives encoded, and is decoded where it is asked for.

It is a `concurrent.futures.Future` in all that users and the standard library see.  Beneath, it differs in two ways
that were measured to matter: what a future needs only when somebody waits for it (a condition, the lists of waiters
and callbacks) is made at that moment, which takes its memory from 1.4 KiB to 0.2 KiB; and an outcome is delivered with
three assignments when nobody waits.

Why delivery needs no lock.  `concurrent.futures.wait` and `as_completed` take the conditions of all their futures, and
rely on it that no state changes until they give them back.  So the end of a future, and the first request for its
condition, must know of each other; who comes first in `_first`, to which both append, decides (appending is atomic)::

    delivery                                       who asks for the condition
    D1. store the outcome                          W1. make the condition, unless there is one
    D2. append the end                             W2. append SHARED
    D3. the end is first: store the state          W3. an end is first: store the state, should D3 not have come yet
        SHARED is first: take the lock, store          SHARED is first: from now on the state only changes under
        the state, tell the waiters                    the lock
    D4. open the gate, call the callbacks

- The end is first: it ended at D2.  Whoever asks for the condition later sees that it has ended, before he can look at
  the state (W3), so nobody counts it as pending, and nobody is to be told.
- SHARED is first: the delivery takes the lock (D3), as the standard library's does, after the waiters are in place.

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
        """Who can tell about, and act on, the call behind a future."""

        def cancel(self, future: CallFuture[Any], *, force: bool) -> bool:
            """Keep the call from running, or end it by force; True if it will give no outcome."""

        def is_running(self, future: CallFuture[Any]) -> bool:
            """Say whether the call has been started."""

        def wait(self, future: CallFuture[Any], timeout: float | None) -> bool:
            """Wait in the owner's own way; False if it has none."""

        def run_elsewhere(self, piece: Callable[[], object]) -> None:
            """Run what is left of a delivery, user code among it, without delay for anybody else."""


T = TypeVar("T")

_CANCELS = (CANCELLED, CANCELLED_AND_NOTIFIED)
_ENDS = (FINISHED, *_CANCELS)

_END_OF = (PENDING, FINISHED, CANCELLED_AND_NOTIFIED)
_RETURNED, _CANCELLED, _SHARED = 1, 2, 3
"""What is appended to `CallFuture._first`: how it has ended, by the state's index above, or that it has a condition."""


def _wakes_a_loop(callback: Any) -> bool:
    """
    Say whether a callback is that of `asyncio.wrap_future`, and so of `run_in_executor`.

    It only has the loop called, so it needs no thread of its own, which is a fifth of the time of such a call.
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
    """How a task of an event loop waits for a future: `woolexec.api.async_api`, which knows event loops, says it."""

    def __init__(self, owner: Owner | None = None) -> None:
        # Not Future.__init__: it makes the condition and the lists.
        self._state = PENDING
        self._first = bytearray()  # smaller than a list, and nothing for the garbage collector
        self._outcome: list[Any] | None = None  # the payload; then what came of decoding it
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

    # -- what Future's methods find instead of attributes -----------------------------------------------------------
    # Threads and signal handlers that make one of these at the same time get the same one from `dict.setdefault`.

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
        """What opens when the future is done; look at the future's state after asking for it."""
        if self._latch is None:
            self._latch = self.__dict__.setdefault("latch", Latch())
        return self._latch

    # -- the engine's end -------------------------------------------------------------------------------------------

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the encoded value; ignored if the future is done already."""
        self._end(_RETURNED, payload)

    def deliver_failure(self, call: Any, payload: Any) -> None:
        """Take an encoded exception, or one of our own; None: the task was cancelled."""
        if payload is None:
            self._end(_CANCELLED, None)
        else:
            self._end(_RETURNED, payload, failed=True)

    def deliver_context(self, call: Any, context: bytes, payload: Any) -> None:
        """Take the encoded value, and context variables that the task has changed."""
        if self._state is PENDING:
            self.context = context
            self._end(_RETURNED, payload)

    def deliver_ready(self, value: Any) -> None:
        """Take a value that needs no decoding."""
        if self._state is PENDING:
            self._result = value
            self._end(_RETURNED, None)

    def _end(self, end: int, payload: Any, *, failed: bool = False) -> None:
        """End the future, from a thread that must not wait; see the top of this file."""
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
            return  # it has ended before
        lock = self._condition
        if not lock.acquire(blocking=False):  # somebody may hold it for as long as a signal handler likes
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
        """End the future and tell its waiters, under its lock; False if it has ended before."""
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
        """End the future, in a thread that may wait for its lock and run user code; False if it has ended before."""
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
        """Have the callbacks called, elsewhere if they are user code."""
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # who added it has seen the state, and taken it
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
            except IndexError:  # another thread took it
                return
            self._call(callback, caught)

    def _call(self, callback: Callable[[CallFuture[T]], object], caught: type[BaseException] = BaseException) -> None:
        """Call a callback; whatever it raises must not stop the engine."""
        try:
            callback(self)
        except caught:
            LOGGER.exception("exception calling callback for %r", self)

    def _invoke_callbacks(self) -> None:
        # What Future's methods do at the end where somebody completes the future himself, and what they let through.
        if self._latch is not None:
            self._latch.open()
        self._run_callbacks(Exception)

    @property
    def is_wanted(self) -> bool:
        """Nothing was delivered and nobody cancelled."""
        return self._state is PENDING

    # -- the user's end ---------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Return True if the task has ended, or was cancelled."""
        return self._state in _ENDS

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self._state in _CANCELS

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """
        Call `fn` with this future when it is done; at once, if it is done already.

        Otherwise it is called in a thread of the executor's, and may take its time there.
        """
        if self._state not in _ENDS:
            callbacks = self._done_callbacks
            callbacks.append(fn)
            if self._state not in _ENDS:
                return
            try:
                callbacks.remove(fn)  # whoever made it so may have looked before
            except ValueError:  # or after
                return
        self._call(fn, Exception)

    def cancel(self, *, force: bool = False) -> bool:
        """
        Keep the task from running.

        A task that has been started is left alone, as PEP 3148 says, unless `force` is true: then its worker is ended
        and replaced, and no other call suffers.

        :return: True if the future is cancelled now
        """
        if self._state in _CANCELS:
            return True
        if self._state is FINISHED or self._owner is None:
            return super().cancel() if self._owner is None else False
        if not self._owner.cancel(self, force=force):
            return self.cancelled()
        return self._end_and_announce(_CANCELLED, None) or self.cancelled()

    def __repr__(self) -> str:
        if self._outcome is not None and self._state is FINISHED:  # what it is has not been asked for
            return f"<{type(self).__name__} at {id(self):#x} state=finished>"
        return super().__repr__()

    def __dir__(self) -> list[str]:
        # What completion offers: PEP 3148's, and what is ours under the same names.
        return [name for name in super().__dir__() if name.startswith("_") or hasattr(Future, name)]

    def running(self) -> bool:
        """Return True if the task is being run by a worker now."""
        if self._state is PENDING and self._owner is not None:
            return self._owner.is_running(self)
        return super().running()

    def result(self, timeout: float | None = None) -> T:
        """
        Return the value of the task, wait for it if need be.

        :param timeout: seconds to wait, None for as long as it takes
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
        Return what the task raised, or None; wait for it if need be.

        :raises CancelledError: if the task was cancelled
        :raises TimeoutError: if it is not done in time
        """
        if self._state is not FINISHED:
            self._await(timeout)
        if self._outcome is not None:
            self._decode()
        return self._exception

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        # asyncio of Python 3.14 asks this way.
        if self._state is not FINISHED:
            return self.done(), self.cancelled(), None, None
        exception = self.exception()
        return True, False, self._result, exception

    def __await__(self) -> Generator[Any, None, T]:
        """
        Wait for the outcome in a task of asyncio or trio, in any event loop; several tasks may.

        When the waiting is cancelled, so is the call, as it is by `run`: `asyncio.shield` keeps it from that.

        :raises CancelledError: that of `concurrent.futures`, if the call was cancelled
        :raises Exception: what the call raised
        """
        return self._wait_in_loop(abandon=None).__await__()

    @property
    def abandons(self) -> bool:
        """A plain call that runs is left alone when who awaits it is cancelled."""
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
        except KeyboardInterrupt:  # the user's Ctrl-C is not the task's; asked again, it is decoded again
            raise
        except BaseException as exc:  # unpickling runs user code
            exception = exc
        outcome.append((value, exception))
        # Of several threads that decode at the same time the first one's value is everybody's.
        self._result, self._exception = outcome[1]
        self._outcome = None


class Nobody:
    """Takes what a call that was given up still says; `ended` opens at its end."""

    __slots__ = ("ended",)

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
        """Ignore that a stream can be pulled."""
