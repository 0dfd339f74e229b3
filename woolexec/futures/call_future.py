"""
A future whose outcome arrives encoded and is decoded when it is first requested.

To users and to the standard library it is a `concurrent.futures.Future`.  Internally it differs in two ways, both
chosen because of measurements: the condition and the lists of waiters and callbacks are created only when something
waits for the future, which reduces its memory from 1.4 KiB to 0.2 KiB; and an outcome is delivered with three
assignments when nothing waits.

`woolexec.futures.delivery` explains how an outcome is delivered, and why that needs no lock.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from concurrent.futures._base import FINISHED, PENDING
from time import monotonic

from woolexec.futures.delivery import CANCELS, ENDS, DeliveredFuture, Quick, wakes_a_loop
from woolexec.futures.latch import Latch
from woolexec.wire.exceptions import as_exception
from woolexec.wire.inputs import FutureMetError
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any, ClassVar, NoReturn, TypeVar

    T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that `cancel` waits for the answer of a peer."""


class CallFuture(DeliveredFuture["T"]):
    """The future of one task."""

    __slots__ = ()

    _wait_in_loop: ClassVar[Callable[..., Coroutine[Any, Any, Any]]]
    """How a task of an event loop waits for a future; set by `woolexec.futures.awaiting`, which imports this module."""

    def done(self) -> bool:
        """Return True if the task has ended or was cancelled."""
        return self._state in ENDS

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self._state in CANCELS

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """
        Call `fn` with this future when it is done; immediately if it is already done.

        Otherwise it is called in a thread of the executor, and may block there.
        """
        if self._state not in ENDS:
            callbacks = self._done_callbacks
            callbacks.append(fn)
            if self._state not in ENDS:
                return
            try:
                callbacks.remove(fn)  # the thread that ended the future may have run the callbacks before `append`
            except ValueError:  # or after it: then `fn` has been called
                return
        if wakes_a_loop(fn):
            self._call_when_here(fn)
        else:
            self._call(fn, Exception)

    def cancel(self, *, force: bool = False) -> bool:
        """
        Keep the task from running.

        A task that has been started keeps running, as PEP 3148 requires, unless `force` is true: then its worker is
        ended and replaced, and no other call is affected.

        :return: True if the future is now cancelled
        """
        if self._owner is None:
            return super().cancel()
        said: list[bool | None] = []
        answer = self._ask_to_cancel(said, force=force)
        if not isinstance(answer, Latch):
            return answer
        try:
            answer.wait(_PATIENCE)  # also opens when the link breaks
        finally:
            said.append(None)
        return (said[0] is True and self._cancel()) or self.cancelled()

    def cancel_soon(self, *, force: bool) -> bool | Latch:
        """Like `cancel`, but without waiting for a peer: return a latch that opens when the peer has answered."""
        return self.cancel() if self._owner is None else self._ask_to_cancel([None], force=force)

    def _ask_to_cancel(self, said: list[bool | None], *, force: bool) -> bool | Latch:
        """
        Cancel the task; return whether it is cancelled, or a latch that opens when a peer has answered.

        :param said: receives the answer of the peer; with None as its first element the caller does not wait, and the
            future ends by itself
        """
        if self._state in ENDS:
            return self.cancelled()
        call = self.outstanding_call
        answered = Latch()  # opens when a peer has answered

        def take(is_cancelled: bool) -> None:  # noqa: FBT001  # as the owner calls it
            said.append(is_cancelled)
            if said[0] is None and is_cancelled:
                call.receiver.deliver_failure(call, None)
            answered.open()

        assert self._owner is not None
        is_cancelled = self._owner.cancel(self, take, force=force)
        return answered if is_cancelled is None else (is_cancelled and self._cancel()) or self.cancelled()

    def __repr__(self) -> str:
        if self._outcome is not None and self._state is FINISHED:  # not decoded yet
            return f"<{type(self).__name__} at {id(self):#x} state=finished>"
        return super().__repr__()

    def __reduce__(self) -> NoReturn:
        # Arguments of tasks are pickled by another pickler, which supports futures.
        raise FutureMetError

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
        :raises TimeoutError: if the task is not done, or its value was not fetched, in time
        :raises WorkerLostError: if its worker died; `ValueLostError` if the peer that kept its value is gone
        :raises Exception: what the task raised
        """
        try:
            if self._state is not FINISHED:
                timeout = self._await(timeout)
            if self._outcome is not None:
                self._decode(timeout)
            if self._exception is not None:
                raise self._exception
            return self._result  # type: ignore[no-any-return]  # pickle has no types
        finally:
            self = None  # type: ignore[assignment]  # noqa: PLW0642  # break the cycle with the exception's traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """
        Return the exception that the task raised, or None; wait for it if necessary.  No value is fetched from a peer.

        :raises CancelledError: if the task was cancelled
        :raises TimeoutError: if the task is not done in time
        """
        if self._state is not FINISHED:
            self._await(timeout)
        kept = self.kept
        if kept is not None and kept.is_away:
            return None if kept.failure is None else as_exception(kept.failure)
        if self._outcome is not None:
            self._decode()
        return self._exception

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        # Called by asyncio since Python 3.14.
        if self._state is not FINISHED:
            return self.done(), self.cancelled(), None, None
        if self._outcome is not None:
            self._decode()
        return True, False, self._result, self._exception

    def __await__(self) -> Generator[Any, None, T]:
        """
        Wait for the outcome in a task of asyncio or trio, in any event loop; several tasks may wait.

        If the wait is cancelled, so is the call, as with `run`; `asyncio.shield` prevents that.

        :raises CancelledError: that of `concurrent.futures`, if the call was cancelled
        :raises Exception: what the call raised
        """
        return self._wait_in_loop(abandon=None).__await__()

    @property
    def encoded(self) -> Any:
        """The payload of the value; None if there is none, or it was decoded before it was to be retained."""
        outcome = self._outcome
        if outcome is None:
            return self.__dict__.get("retained")
        return None if self._failed or isinstance(outcome[0], Value) else outcome[0]

    def retain(self) -> None:
        """Keep the payload when it is decoded: tasks get the value as it arrived, even if the program changes it."""
        self.__dict__.setdefault("retained", None)

    def share(self, value: Any) -> None:
        """Resolve to a `Value`, which several calls may share."""
        self.value = value
        self.deliver(None, value.payload)

    @property
    def value(self) -> Any:
        """The `Value` that calls share if their arguments contain this future; None if there is none."""
        return self.__dict__.get("value")

    @value.setter
    def value(self, value: Any) -> None:
        self.__dict__["value"] = value

    @property
    def follower(self) -> Any:
        """The `Waiting` of the only call that waits for this outcome, if it lacks nothing else; otherwise None."""
        waiting = [each for each in self._callbacks or () if isinstance(each, Quick) and each.is_of_call]
        return waiting[0] if len(waiting) == 1 and waiting[0].lacks_one else None  # type: ignore[attr-defined]

    @property
    def failure(self) -> Any:
        """The exception of the task, as it was delivered or decoded; None if it has not raised any."""
        outcome = self._outcome
        if outcome is None:
            return self._exception
        if isinstance(outcome[0], Value):
            return outcome[0].failure  # type: ignore[attr-defined]  # a `KeptValue`
        return outcome[0] if self._failed else None

    @property
    def task(self) -> str:
        """The name of the task, once it has failed; empty if it is unknown."""
        return str(self.__dict__.get("task", ""))

    @property
    def abandons(self) -> bool:
        """Whether a running plain call keeps running when the task that awaits it is cancelled."""
        options = getattr(self.outstanding_call, "options", None)
        return options is not None and bool(options.abandon_on_cancel)

    def _await(self, timeout: float | None) -> float | None:
        """Wait until the future is done; return how many seconds are left."""
        deadline = None if timeout is None else monotonic() + timeout
        owner = self._owner
        if owner is None or not owner.wait(self, timeout):
            latch = self.latch
            if self._state not in ENDS:
                latch.wait(timeout)
        state = self._state
        if self.held is not None and state in ENDS:
            self._let_go()
        if state is FINISHED:
            return None if deadline is None else max(0.0, deadline - monotonic())
        if state in ENDS:
            raise CancelledError
        raise TimeoutError

    def _decode(self, timeout: float | None = None) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        payload, value, exception = outcome[0], None, None
        kept: Any = payload if payload.__class__ is not bytes and isinstance(payload, Value) else None
        is_retained = "retained" in self.__dict__
        if kept is not None and not kept.fetch().wait(timeout):
            raise TimeoutError
        try:
            if kept is not None:
                payload = kept.arrived()
            if not self._failed:
                value = loads(payload, again=is_retained or self.value is not None)
                if is_retained and kept is None:
                    self.__dict__["retained"] = payload
            else:
                exception = as_exception(payload)
        except KeyboardInterrupt:  # Ctrl-C in this process, not in the task; the next request decodes again
            raise
        except BaseException as exc:  # unpickling runs user code
            exception = exc
        outcome.append((value, exception))
        # If several threads decode at the same time, all of them use the value of the first.
        self._result, self._exception = outcome[1]
        self._outcome = None
        if self.held is not None:
            self._let_go()


class Nobody:
    """Receives and discards the frames of an abandoned call; `ended` opens at its end."""

    __slots__ = ("ended",)

    is_wanted = False

    def __init__(self) -> None:
        self.ended = Latch()  # opens when the call has ended

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the end."""
        self.ended.open()

    deliver_failure = deliver_kept = deliver

    def deliver_context(self, call: Any, context: bytes, payload: Any) -> None:
        """Take the end."""
        self.ended.open()

    def deliver_item(self, call: Any, frame: Any) -> None:
        """Ignore an item."""

    def deliver_start(self, call: Any) -> None:
        """Ignore the start of a stream."""
