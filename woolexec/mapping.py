"""
``map``: items are pickled in chunks, sent in spans, and their results yielded in order.

::

    items --pickle--> chunk (up to 64 KiB) --cut late, by measured run time--> span = one call --> its results, a part

Without `buffersize` the source is read at once, as the standard library does; with it, at most so many items are
between the source and the consumer.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from operator import index
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.core.batching import next_pickle
from woolexec.core.call import Call, Chunk, Function
from woolexec.engine.engine import FORKED_CHILD
from woolexec.wire.failures import as_exception, load_failure
from woolexec.wire.payload import File, Parts
from woolexec.wire.pickling import dumps, loads
from woolexec.worker.job import Pickled

if TYPE_CHECKING:
    from woolexec.engine.engine import Engine
    from woolexec.options import TaskOptions

_FIRST_PICKLE = 16
"""Items in the first chunk."""


class _Parts:
    """Takes the outcomes of one chunk's spans; the consumer takes them out in order."""

    __slots__ = ("_parts", "_waiter", "chunk", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self.chunk: Chunk | None = None
        self._parts: dict[int, tuple[int, Any, bool]] = {}
        self._waiter: Any = None

    def deliver(self, call: Call, payload: Any) -> None:
        """Take the results of a span."""
        self.put(call.first, call.count, payload, failed=False)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Take the failure of a whole span; None if it was cancelled."""
        self.put(call.first, call.count, payload, failed=True)

    def put(self, first: int, count: int, payload: Any, *, failed: bool) -> None:
        """Keep the outcome of some items; wake the consumer."""
        self._parts[first] = count, payload, failed
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.release()

    def take(self, first: int, deadline: float | None) -> tuple[int, Any, bool]:
        """
        Wait for the part that begins with this item.

        :raises TimeoutError: if it is not there by the deadline
        """
        while (part := self._parts.pop(first, None)) is None:
            waiter = threading.Lock()
            waiter.acquire()
            self._waiter = waiter
            if first in self._parts:
                continue
            left = -1 if deadline is None else deadline - monotonic()
            if deadline is not None and left <= 0:
                raise TimeoutError
            if not waiter.acquire(timeout=left) and first not in self._parts:
                raise TimeoutError
        return part


class MapIterator(Iterator[Any]):
    """
    The results of a map, in the order of the items.

    An item's exception is raised in its turn and ends the iteration; what has not been started then, or when the
    iterator is closed or dropped, never is.
    """

    def __init__(
        self,
        engine: Engine,
        function: Function,
        iterables: tuple[Iterable[Any], ...],
        options: TaskOptions | None,
        context: bytes = b"",
        *,
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
    ) -> None:
        self._engine = engine
        self._function = function
        self._options = options
        self._context = context
        self._star = len(iterables) != 1
        self._source: Iterator[Any] = zip(*iterables) if self._star else iter(iterables[0])  # noqa: B905  # as map does
        self._deadline = None if timeout is None else monotonic() + timeout
        self._chunksize = chunksize
        self._line: deque[_Parts] = deque()
        self._values: deque[Any] = deque()
        self._index = 0
        self._errors: dict[int, bytes] = {}
        self._position = 0
        self._buffered = 0
        self._source_error: BaseException | None = None
        self._exhausted = False
        self._closed = False
        self._limit = None if buffersize is None else buffersize * (chunksize or 1)
        if self._limit is None:
            self._read_all()
        else:
            self._read_some()

    def __iter__(self) -> MapIterator:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Keep what has not been started from running."""
        if self._closed:
            return
        self._closed = True
        rest = [parts.chunk for parts in self._line if parts.chunk is not None]
        while self._line:
            self._line.popleft().chunk = None
        self._values.clear()
        if rest:
            self._engine.cancel_chunks(rest)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _next(self) -> Any:
        while True:
            if self._values:
                value = self._values.popleft()
                self._index += 1
                self._buffered -= 1
                if self._limit is not None:
                    self._read_some()
                if self._errors and self._index - 1 in self._errors:
                    raise _raised(load_failure(self._errors[self._index - 1]))
                return loads(value.payload) if value.__class__ is Pickled else value
            while self._line and self._position >= self._line[0].count:
                self._line.popleft().chunk = None  # which refers to them, and holds the items
                self._position = 0
            if not self._line:
                if self._limit is not None and not self._exhausted:
                    self._read_some()
                    if self._line:
                        continue
                if self._source_error is not None:
                    error, self._source_error = self._source_error, None
                    raise error
                raise StopIteration
            if self._engine.forked:
                raise RuntimeError(FORKED_CHILD)
            self._open(*self._line[0].take(self._position, self._deadline))

    def _open(self, count: int, payload: Any, failed: bool) -> None:  # noqa: FBT001  # a part as it is kept
        self._position += count
        if failed:
            raise _raised(as_exception(payload))
        values, self._errors = loads(payload)
        self._values = deque(values)
        self._index = 0

    # -- reading the source -------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        items = self._chunksize or _FIRST_PICKLE
        while not self._exhausted:
            size = self._read(items)
            if self._chunksize is None:
                items = next_pickle(items, size)

    def _read_some(self) -> None:
        assert self._limit is not None
        items = self._chunksize or max(1, min(self._limit // 4, _FIRST_PICKLE * 16))
        while not self._exhausted and self._buffered + items <= self._limit:
            self._read(items)

    def _read(self, count: int) -> int:
        """Read some items and submit them; return their size in bytes."""
        items: list[Any] = []
        try:
            items.extend(itertools.islice(self._source, count))
        except Exception as exc:  # the source is user code: its error comes after the results that come before it
            self._source_error = exc
            self._exhausted = True
        if len(items) < count:
            self._exhausted = True
        if not items:
            return 0
        self._buffered += len(items)
        try:
            payload = dumps((self._star, items), ("", "item"))
        except BaseException:  # pickling runs user code, as below
            payload = None
        if payload is not None:
            self._submit(payload, len(items))
            return len(payload)
        size = 0
        for item in items:  # one of them does not pickle: only that one fails
            try:
                alone = dumps((self._star, [item]), ("", "item"))
            except BaseException as exc:
                parts = _Parts(1)
                parts.put(0, 1, exc, failed=True)
                self._line.append(parts)
            else:
                self._submit(alone, 1)
                size += len(alone)
        return size

    def _submit(self, payload: bytes | File | Parts, count: int) -> None:
        parts = _Parts(count)
        fixed = self._chunksize is not None
        parts.chunk = Chunk(self._function, payload, count, parts, self._options, fixed=fixed, context=self._context)
        self._line.append(parts)
        self._engine.submit_chunk(parts.chunk)


def _raised(exc: BaseException) -> BaseException:
    """A StopIteration out of ``__next__`` would end the iteration in silence."""
    if isinstance(exc, StopIteration):
        error = RuntimeError("the task raised StopIteration")
        error.__cause__ = exc
        return error
    return exc


def check_map(chunksize: int | None, buffersize: int | None) -> None:
    """
    Check the arguments of a map, as the standard library does.

    :raises ValueError: for a size below 1
    :raises TypeError: for a size that is not an integer
    """
    if chunksize is not None:
        try:
            index(chunksize)
        except TypeError:
            raise TypeError("chunksize must be an integer or None") from None
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
    if buffersize is not None:
        if not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
