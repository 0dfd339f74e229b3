"""
The pool that a task runs in, as the task sees it.

A task that waits for a task of its own, with `Future.result`, `concurrent.futures.wait` or `as_completed`, gives its
place up meanwhile, so recursion may be deeper than the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures._base import PENDING
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from woolexec.options import TaskOptions
from woolexec.wire.futures import CallFuture
from woolexec.wire.pickling import dumps, dumps_call
from woolexec.worker import context

if TYPE_CHECKING:
    from concurrent.futures import Future

_MOMENT = 0.001

P = ParamSpec("P")
T = TypeVar("T")


class NestedExecutor(Executor):
    """Submits tasks to the pool that the calling task runs in."""

    def __init__(self, options: TaskOptions | None = None) -> None:
        self._options = options

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Run ``fn(*args, **kwargs)`` on a worker of the pool that this task runs in.

        :raises RuntimeError: if no task is running
        """
        future: _NestedFuture[Any] = _NestedFuture(_OWNER)
        try:
            function = dumps(fn)
            if not isinstance(function, bytes):
                raise ValueError("a nested task's function is too large")  # noqa: TRY004  # of its size
            payload = dumps_call(args, kwargs)
        except BaseException as exc:  # pickling runs user code
            future.deliver_failure(None, exc)
            return future
        future.call = context.submit(future, function, payload, self._options)
        return future

    def with_options(self, **options: Any) -> NestedExecutor:
        """See `PeerPoolExecutor.with_options`."""
        return NestedExecutor(TaskOptions(**options))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # PEP 3148
        """Do nothing: the pool belongs to the process that made it."""


class _NestedFuture(CallFuture[T]):
    """A future in a worker: whoever waits for it reads the worker's socket meanwhile."""

    __slots__ = ()

    def done(self) -> bool:
        """Return True if the task is done or cancelled; gives it a moment, or a loop that asks would starve it."""
        if self._state is PENDING:
            context.wait_until(lambda: self._state is not PENDING, _MOMENT)
        return super().done()

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._waiting is None:
            self._waiting = _Waiters()
        return self._waiting


class _Waiters(list[Any]):
    """What `wait` and `as_completed` leave with a future; their events are replaced by ones that read."""

    def append(self, waiter: Any) -> None:
        """Take a waiter."""
        if not isinstance(waiter.event, _ReadingEvent):
            waiter.event = _ReadingEvent()
        super().append(waiter)


class _ReadingEvent:
    """A `threading.Event` whose `wait` reads the worker's socket."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        """Say whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it."""
        self._is_set = True

    def clear(self) -> None:
        """Clear it."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Read and run what comes until it is set, or for `timeout` seconds."""
        context.wait_until(self.is_set, timeout)
        return self._is_set


class _NestedOwner:
    """Who owns the calls behind the futures of nested tasks."""

    def cancel(self, future: CallFuture[Any], *, force: bool) -> bool:
        """Drop the task here; the engine drops it if it has not been started."""
        if future.call is not None:
            context.cancel(future.call)
        return False

    def is_running(self, future: CallFuture[Any]) -> bool:
        """Not known here."""
        return False

    def wait(self, future: CallFuture[Any], timeout: float | None) -> bool:
        """Give the place up and wait."""
        context.wait_until(lambda: not future.is_wanted, timeout)
        return True

    def run_elsewhere(self, piece: Callable[[], object]) -> None:
        """Do it at once: the thread that reads outcomes is the task's own."""
        piece()


_OWNER = _NestedOwner()


def current_executor() -> Executor:
    """
    Return the pool that the calling task runs in.

    :raises RuntimeError: outside of a task
    """
    if context.worker is None:
        raise RuntimeError("not in a task of a PeerPoolExecutor")
    return NestedExecutor()
