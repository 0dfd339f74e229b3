"""
The delivery of an outcome to a future: without a lock when nothing waits.

Why delivery needs no lock.  `concurrent.futures.wait` and `as_completed` acquire the conditions of all their futures,
and rely on no state changing until they release them.  So the end of a future and the first request for its condition
must see each other.  Both append to `_first` (appending is atomic), and its first element decides::

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

`tests/futures/test_delivery.py` runs every interleaving of these steps.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from functools import partial
from types import FunctionType

from woolexec.futures.latch import Latch
from woolexec.wire.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    class Owner(Protocol):
        """The object that controls the calls behind futures."""

        def cancel(self, future: Any, take: Callable[[bool], object], *, force: bool) -> bool | None:
            """
            Keep the call from running, or end it by force; return whether that was possible.

            :param take: if a peer must be asked, this returns None, and `take` is called with the answer, in a thread
                that must not block
            """

        def is_running(self, future: Any) -> bool:
            """Return whether the call has been started."""

        def wait(self, future: Any, timeout: float | None) -> bool:
            """Wait by the owner's own method; return False if it has none."""

        def run_elsewhere(self, piece: Callable[[], object]) -> None:
            """Run the rest of a delivery, which includes user code, without delaying other deliveries."""

        def drop(self, held: list[Any]) -> None:
            """Clear a list of objects whose destructors are user code, without delaying deliveries."""

    T = TypeVar("T")


CANCELS = (CANCELLED, CANCELLED_AND_NOTIFIED)
ENDS = (FINISHED, *CANCELS)

_END_OF = (PENDING, FINISHED, CANCELLED_AND_NOTIFIED)
_RETURNED, _CANCELLED, _SHARED = 1, 2, 3
"""Values of `DeliveredFuture._first`: how the future ended, an index into `_END_OF`, or that it has a condition."""


def wakes_a_loop(callback: Any) -> bool:
    """
    Return whether a callback is that of `asyncio.wrap_future`, and so of `run_in_executor`.

    It only schedules a callback in the loop, so no other thread is needed; that would take a fifth of the call's time.
    """
    return (
        callback.__class__ is FunctionType
        and callback.__module__ == "asyncio.futures"
        and callback.__name__ == "_call_set_state"
    )


class Quick:
    """A callback that the thread that delivers outcomes can call itself: it runs no user code, and does not block."""

    __slots__ = ()

    is_of_call = False
    """Whether a call waits for the future, as one of its inputs."""

    def at_once(self, future: Future[Any]) -> bool:
        """Do the work here; return False if it needs user code, so that another thread must call this object."""
        raise NotImplementedError

    def __call__(self, future: Future[Any]) -> None:
        """Do the work, in a thread that may run user code."""
        raise NotImplementedError


class Deferred:
    """A sleeper at a latch: a call that is made when the latch opens."""

    def __init__(self, release: Callable[[], object]) -> None:
        self.release = release


class DeliveredFuture(Future["T"]):
    """The part of `CallFuture` to which outcomes are delivered."""

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
        "held",
        "is_lane",
        "outstanding_call",
    )

    _exception: BaseException | None

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
        self.held: list[Any] | None = None  # what must live until the task has ended

    # -- properties in place of the attributes that Future's methods use ---------------------------------------------
    # Threads and signal handlers that create one of these at the same time get the same one from `dict.setdefault`.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        lock = self._lock
        if lock is None:
            # It guards the state, once something waits for it: see above.
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
            self._latch = self.__dict__.setdefault("latch", Latch())  # opens when the future is done
        return self._latch

    # -- for the engine ---------------------------------------------------------------------------------------------

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the encoded value; ignore it if the future is already done."""
        self._end(_RETURNED, payload)

    def deliver_kept(self, call: Any, value: Any) -> None:
        """Take a `KeptValue`, a value that a peer keeps: it is fetched when it is requested."""
        self.__dict__["value"] = value
        self._end(_RETURNED, value)

    @property
    def kept(self) -> Any:
        """The `KeptValue` that the future resolves to; None if there is none, or it has been decoded."""
        outcome = self._outcome
        return outcome[0] if outcome is not None and isinstance(outcome[0], Value) else None

    def deliver_failure(self, call: Any, payload: Any) -> None:
        """Take an encoded exception, or an exception object; None: the task was cancelled."""
        if payload is None:
            self._end(_CANCELLED, None)
            return
        call = self.outstanding_call
        if call is not None:
            self.__dict__["task"] = call.name
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
                # A waiting thread drops the held objects itself, so no other thread is needed.
                is_left = self.held is not None and not (self._latch is not None and self._latch.is_awaited)
                if self._latch is not None:
                    self._latch.open()
                if self._callbacks:
                    self._announce()
                if is_left:
                    self._let_go(elsewhere=True)
                return
        if first[0] != _SHARED:
            return  # it had already ended
        lock = self._condition
        if not lock.acquire(blocking=False):  # another thread may hold it while a signal handler runs
            self.run_elsewhere(partial(self._end_and_announce, end, payload, failed=failed))
            return
        try:
            ended = self._end_locked(end, payload, failed=failed)
        finally:
            lock.release()
        if ended:
            self._open()
            self._announce()
            self._let_go(elsewhere=True)

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
            self._let_go()
        return ended

    def _cancel(self) -> bool:
        """End the future as cancelled; return False if it had already ended."""
        return self._end_and_announce(_CANCELLED, None)

    def _let_go(self, *, elsewhere: bool = False) -> None:
        """Drop the objects that were held for the task; destructors are user code, and may need another thread."""
        held, self.held = self.held, None
        if elsewhere and held is not None and self._owner is not None:
            self._owner.drop(held)

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
            if isinstance(callback, Quick):
                if callback.at_once(self):
                    continue
            elif wakes_a_loop(callback):
                self._call_when_here(callback)
                continue
            self._callbacks.insert(0, callback)
            self.run_elsewhere(self._run_callbacks)
            return

    def run_elsewhere(self, rest: Callable[[], object]) -> None:
        """Run user code in a thread other than the one that delivers outcomes."""
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
            if wakes_a_loop(callback):
                self._call_when_here(callback)
            else:
                self._call(callback, caught)

    def _call_when_here(self, callback: Callable[[Any], object]) -> None:
        """Call a callback that makes an event loop take the value, once it is here: a loop must not wait for a peer."""
        kept = self.kept
        if kept is None or not kept.fetch().add(Deferred(partial(self._call, callback))):
            self._call(callback)

    def _call(self, callback: Callable[[Any], object], caught: type[BaseException] = BaseException) -> None:
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
