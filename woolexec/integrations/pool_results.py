"""
The results of a ``Pool``: like those of `multiprocessing.pool`, built on the parts of a map's results.

A result is ready when its callback has returned, as in `multiprocessing.pool`.  Outcomes are delivered in the engine's
thread, which runs no user code.  It opens the result's latch itself if there is no callback; otherwise the callback
thread does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures._base import LOGGER
from multiprocessing import TimeoutError as PoolTimeoutError
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from woolexec.api.map import Reader
from woolexec.api.map_batches import Board, Unit
from woolexec.api.map_parts import FailedItem, opened
from woolexec.checks import seconds
from woolexec.futures.delivery import Quick
from woolexec.futures.latch import Latch

if TYPE_CHECKING:
    from concurrent.futures import Future

    from woolexec.api.map_batches import Sender
    from woolexec.engine.engine import Engine

T = TypeVar("T")
Callback = Callable[[Any], object] | None

GRACE = 2.0
"""Seconds that `join` waits for tasks that were terminated."""


class AsyncResult(Generic[T]):
    """
    The result of a task of a ``Pool``, or of a whole map.

    :param unfinished: the results that the pool's `join` waits for
    """

    # Internal types are not part of the public signatures.
    def __init__(self, engine: Any, unfinished: set[Any], callback: Callback, error_callback: Callback) -> None:
        self._engine: Engine = engine
        self._unfinished = unfinished
        self._callbacks = callback, error_callback
        self._ended = Latch()  # opens when the outcome is here and the callback has returned
        unfinished.add(self)

    def ready(self) -> bool:
        """Return whether the outcome has arrived and its callback has returned."""
        return self._ended.is_open

    def successful(self) -> bool:
        """
        Return whether the task raised no exception.

        :raises ValueError: if the result is not ready
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._outcome()[1] is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is ready, or for `timeout` seconds."""
        timeout = seconds("timeout", timeout)
        if not self._ended.is_open:
            self._engine.wait_for(self.ready)  # raises in a forked child
            self._ended.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """
        Return the result; wait for it if necessary.

        :param timeout: seconds to wait; None: no limit
        :raises multiprocessing.TimeoutError: if it is not ready in time
        :raises CancelledError: that of `concurrent.futures`, if the pool was terminated
        :raises Exception: what the task raised; for a map, what its first failed item raised
        """
        self.wait(timeout)
        if not self._ended.is_open:
            raise PoolTimeoutError
        value, error = self._outcome()
        if error is None:
            return value  # type: ignore[no-any-return]  # pickle has no types
        try:
            raise error
        finally:
            del error, self  # break the cycle with the exception's traceback

    def _outcome(self) -> tuple[Any, BaseException | None]:
        """Return the value and the exception, one of which is None."""
        raise NotImplementedError

    def _terminate(self) -> None:
        """Cancel tasks that have not been started, and end those that run."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Wait until none of its tasks runs any more."""
        self._ended.wait()

    def _end(self) -> None:
        self._unfinished.discard(self)
        self._ended.open()

    def _call_back(self) -> None:
        """Call the callback, in a thread for user code."""
        value, error = self._outcome()
        callback, error_callback = self._callbacks
        try:
            if error is None and callback is not None:
                callback(value)
            elif error is not None and error_callback is not None:
                error_callback(error)
        except Exception:  # user code
            LOGGER.exception("exception calling callback for %r", self)
        finally:
            del error
            self._end()


class CallResult(AsyncResult[T]):
    """The result of one task."""

    def __init__(
        self, future: Future[T], engine: Engine, unfinished: set[Any], callback: Callback, error_callback: Callback
    ) -> None:
        super().__init__(engine, unfinished, callback, error_callback)
        self._future = future
        future.add_done_callback(_Ending(self))

    def _outcome(self) -> tuple[Any, BaseException | None]:
        try:
            return self._future.result(), None
        except BaseException as exc:  # SystemExit and such too, raised by the task
            return None, exc

    def _terminate(self) -> None:
        self._future.cancel(force=True)  # type: ignore[call-arg]  # it is one of ours


class _Ending(Quick):
    """Completes a result when its future is done."""

    __slots__ = ("_result",)

    def __init__(self, result: CallResult[Any]) -> None:
        self._result = result

    def at_once(self, future: Future[Any]) -> bool:
        if any(self._result._callbacks):
            return False
        self._result._end()
        return True

    def __call__(self, future: Future[Any]) -> None:
        self._result._call_back()


class Tally(Board):
    """
    A board that also counts the outcomes.

    :param complete: called when all outcomes are stored, in the thread that stored the last one
    """

    def __init__(self, complete: Callable[[], object], *, ordered: bool) -> None:
        super().__init__(ordered=ordered)
        self._complete = complete
        self._counting = threading.Lock()  # guards the two counts
        self._expected: int | None = None
        self._count = 0

    def note(self, unit: Unit, first: int, count: int) -> None:
        """Count outcomes that have been stored."""
        super().note(unit, first, count)
        self._add(count, None)

    def expect(self, total: int) -> None:
        """Set the total number of outcomes."""
        self._add(0, total)

    def _add(self, count: int, expected: int | None) -> None:
        with self._counting:
            self._count += count
            if expected is not None:
                self._expected = expected
            is_complete = self._count == self._expected
        if is_complete:
            self._complete()


class MapResult(AsyncResult[list[T]]):
    """All results of a map as one result."""

    def __init__(
        self,
        sender: Sender,
        items: list[Any],
        chunksize: int | None,
        engine: Engine,
        unfinished: set[Any],
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> None:
        super().__init__(engine, unfinished, callback, error_callback)
        self._sender = sender
        self._opening = threading.RLock()  # held by the one thread that decodes the parts; others wait for it
        self._opened: tuple[Any, BaseException | None] | None = None
        self._stopped = Latch()  # opens when nothing runs any more after `_terminate`
        tally = Tally(self._complete, ordered=True)
        self._reader: Reader | None = Reader(sender, iter(items), tally, chunksize, None)
        try:
            self._reader.read()
        except BaseException:
            self._end()
            raise
        tally.expect(len(items))

    def _complete(self) -> None:
        if not any(self._callbacks):
            self._end()
        elif threading.current_thread() is self._engine.thread:
            self._engine.run_elsewhere(self._call_back)
        else:  # all outcomes were here before the items were counted; the caller may hold what its callback waits for
            threading.Thread(target=self._call_back, name="woolexec-callbacks", daemon=True).start()

    def _outcome(self) -> tuple[Any, BaseException | None]:
        with self._opening:
            if self._opened is None:
                assert self._reader is not None
                self._opened = _together(self._reader)
                self._reader = None
            return self._opened

    def _terminate(self) -> None:
        with self._opening:
            reader, self._reader = self._reader, None
            if reader is None or self._ended.is_open:
                return
            self._opened = None, CancelledError()
        self._sender.cancel([unit for unit in reader.line if unit.position < unit.count], self._stopped, force=True)
        self._ended.open()

    def _settle(self) -> None:
        self._ended.wait()
        if self in self._unfinished:
            self._stopped.wait(GRACE)
            self._unfinished.discard(self)


def _together(reader: Reader) -> tuple[Any, BaseException | None]:
    """Decode the parts of a map, all of which have arrived."""
    values: list[Any] = []
    error: BaseException | None = None
    while (part := reader.take()) is not None:
        first, count, payload, failed = part
        some = opened(first, count, payload, failed=failed)
        if some.__class__ is tuple and error is None:
            failures = [value for value in some if value.__class__ is FailedItem]
            error = failures[0].exception(is_raised=False) if failures else None
        values.extend(some)
    return (values, None) if error is None else (None, error)


class ImapIterator(Iterator[T]):
    """
    The results of `imap` and `imap_unordered`, one by one.

    An item that failed raises its exception, and the next call returns the next result.

    :param ordered: in the order of the items; otherwise as they arrive
    """

    def __init__(
        self,
        sender: Any,
        source: Iterator[Any],
        chunksize: int | None,
        limit: int | None,
        unfinished: set[Any],
        *,
        ordered: bool,
    ) -> None:
        self._sender: Sender = sender
        self._unfinished = unfinished
        self._values: deque[Any] = deque()
        self._taking = threading.Lock()  # held by the thread that takes a result
        self._arrived = Latch()  # opens when all outcomes are here
        self._stopped = Latch()  # opens when nothing runs any more after `_terminate`
        self._is_terminated = False
        self._tally = Tally(self._complete, ordered=ordered)
        self._reader = Reader(sender, source, self._tally, chunksize, limit)
        unfinished.add(self)
        self._read(self._reader.read)

    def _complete(self) -> None:
        self._unfinished.discard(self)
        self._arrived.open()

    def _read(self, read: Callable[[], object]) -> None:
        was_exhausted = self._reader.exhausted
        read()
        if self._reader.exhausted and not was_exhausted:
            self._tally.expect(self._reader.count)

    def __iter__(self) -> ImapIterator[T]:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """
        Return the next result; wait for it if necessary.

        :param timeout: seconds to wait; None: no limit
        :raises StopIteration: after the last one, or if the pool was terminated
        :raises multiprocessing.TimeoutError: if it has not arrived in time; a later call returns it
        :raises Exception: what the item raised, or, after the results of earlier items, what the iterable raised
        """
        timeout = seconds("timeout", timeout)
        with self._taking:
            reader = self._reader
            if not self._values:
                self._take(None if timeout is None else monotonic() + timeout)
            value = self._values.popleft()
            if reader.limit is not None:
                self._read(reader.go_on)
        if value.__class__ is FailedItem:
            _raise(value)
        return value  # type: ignore[no-any-return]  # pickle has no types

    def _take(self, deadline: float | None) -> None:
        if self._is_terminated:
            raise StopIteration
        self._reader.deadline = deadline
        try:
            part = self._reader.take()
        except TimeoutError:
            if deadline is None:  # the source raised it
                raise
            raise PoolTimeoutError from None
        if part is None:
            raise StopIteration
        first, count, payload, failed = part
        self._values.extend(opened(first, count, payload, failed=failed))

    def _terminate(self) -> None:
        self._is_terminated = True
        units = [unit for unit in list(self._reader.line) if unit.position < unit.count]
        self._sender.cancel(units, self._stopped, force=True)
        self._tally.wake()

    def _settle(self) -> None:
        """Read the rest of the source, and wait until none of its tasks runs any more."""
        if self._is_terminated:
            self._stopped.wait(GRACE)
            self._unfinished.discard(self)
            return
        with self._taking:
            self._reader.limit = None
            self._read(self._reader.read)
        self._arrived.wait()


def _raise(failed: FailedItem) -> NoReturn:
    raise failed.exception(is_raised=True)
