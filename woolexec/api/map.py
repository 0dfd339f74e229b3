"""
``map``: pickles items in chunks, sends them in spans, and yields their results in order or as they arrive.

::

    items --pickle--> chunk (up to 64 KiB) --split late, by measured run time--> span = one call --> a part: its results

Without `buffersize` the source is read at once, as the standard library does; with it, at most that many items are
between the source and the consumer.

The parts come from a generator.  If it was not started, closing or dropping it runs no code, so all tasks run; if it
was, that cancels the tasks that have not been started.  The standard library's map does the same.  The user iterates
over a `chain` of the parts, with the methods of a generator: an item costs a third of ``yield from`` a list.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from threading import Lock
from time import monotonic

from woolexec.api.map_batches import Board, Unit
from woolexec.api.map_parts import Failed, part_in, raise_for_item, value_of, with_item
from woolexec.core.batching import next_pickle
from woolexec.wire.exceptions import as_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.api.map_batches import ChunkSender, Sender

_FIRST_PICKLE = 16
"""Items in the first chunk."""


def map_chunks(
    sender: ChunkSender,
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
) -> Generator[Any, None, None]:
    """Send the items in chunks; return the iterator over their results."""
    source = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables)  # noqa: B905  # as map does
    deadline = None if timeout is None else monotonic() + timeout
    limit = None if buffersize is None else buffersize * (chunksize or 1)
    reader = Reader(sender, source, Board(ordered=ordered), chunksize, limit)
    reader.deadline = deadline
    reader.read()
    return Results.of(_parts(reader, return_exceptions=return_exceptions))


class Results(chain):  # type: ignore[type-arg]  # a chain has no type arguments at run time
    """The return value of `map`, which behaves like a generator."""

    __slots__ = ("_parts",)
    _parts: Generator[Iterable[Any], None, None]

    @classmethod
    def of(cls, parts: Generator[Iterable[Any], None, None]) -> Generator[Any, None, None]:
        """Chain parts, which are empty once their generator has ended."""
        self: Any = cls.from_iterable(_Source(parts))
        self._parts = parts
        return self  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the iteration."""
        self._parts.close()

    def send(self, value: None) -> Any:
        """Return the next result, as `next` does; the value is ignored."""
        return next(self)

    def throw(self, *error: Any) -> Any:
        """End the iteration with an exception."""
        return self._parts.throw(*error)


Generator.register(Results)


class _Source:
    """Takes the parts from their generator; several threads may iterate."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Generator[Iterable[Any], None, None]) -> None:
        self._parts: Any = parts

    def __iter__(self) -> Iterator[Iterable[Any]]:
        return self

    def __next__(self) -> Iterable[Any]:
        try:
            return next(self._parts)
        except ValueError as exc:
            if not self._parts.gi_running:
                raise
            return _raising(exc)  # in this thread only: a chain whose source raises has ended for all threads


def _raising(error: ValueError) -> Iterator[Any]:
    yield from ()
    raise error


class Reader:
    """
    Reads the source, sends chunks, and takes their parts in turn.

    :param limit: maximum number of items between the source and the consumer; None: the source is read at once
    """

    def __init__(
        self,
        sender: Sender,
        source: Iterator[Any],
        board: Board,
        chunksize: int | None,
        limit: int | None,
    ) -> None:
        self.limit = limit
        self.deadline: float | None = None
        self.buffered = 0
        self.count = 0
        self.exhausted = False
        self.line: deque[Unit] = deque()
        self._sender = sender
        self._source = source
        self._chunksize = chunksize
        self._board = board
        self._error: BaseException | None = None

    # -- reading --------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """
        Read and send the items that may be read now.

        :raises RuntimeError: if the pool accepts no more tasks
        """
        if self.limit is None:
            items = self._chunksize or _FIRST_PICKLE
            while not self.exhausted:
                self._read(items)
                if self._chunksize is None:
                    items = next_pickle(items, self._sender.size)
            self._sender.forget_pool()
            return
        items = self._chunksize or max(1, min(self.limit // 4, _FIRST_PICKLE * 16))
        while not self.exhausted and self.buffered + items <= self.limit:
            self._read(items)

    def _read(self, count: int) -> None:
        items: list[Any] = []
        try:
            items.extend(itertools.islice(self._source, count))
        except Exception as exc:  # the source is user code: its error is raised after the earlier results
            self._error = exc
            self.exhausted = True
        if len(items) < count:
            self.exhausted = True
        if items:
            self.buffered += len(items)
            self.line.extend(self._sender.send(self._board, items, self.count))
            self.count += len(items)

    def go_on(self) -> None:
        """Read more after an item was yielded; if the pool was shut down, raise that after the earlier results."""
        self.buffered -= 1
        try:
            self.read()
        except RuntimeError as exc:
            self._error = exc
            self.exhausted = True

    # -- parts ----------------------------------------------------------------------------------------------------

    def take(self) -> tuple[int, int, Any, bool] | None:
        """
        Wait for the next part; return the index of its first item, the number of items, its payload, and whether it
        failed as a whole.

        :return: None if there are no more parts
        :raises TimeoutError: if it does not arrive by the deadline
        """
        line, board = self.line, self._board
        while line and line[0].position >= line[0].count:
            line.popleft()
        if not line:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None
        self._sender.check_process()
        if board.ordered:
            unit, first = line[0], line[0].position
            self._wait(unit, lambda: first in unit.parts)
        else:
            self._wait(None, lambda: bool(board.arrived))
            unit, first = board.arrived.popleft()
        count, payload, failed = unit.parts.pop(first)
        unit.position += count
        return unit.index + first, count, payload, failed

    def _wait(self, awaited: Unit | None, is_there: Callable[[], bool]) -> None:
        board = self._board
        while not is_there():
            sleeper = Lock()  # held until the engine has stored what is awaited
            sleeper.acquire()
            board.awaited, board.sleeper = awaited, sleeper
            if is_there():  # the engine stores the part, then looks for a sleeper: one of the two sees the other
                return
            left = -1.0 if self.deadline is None else self.deadline - monotonic()
            if self.deadline is not None and left <= 0:
                raise TimeoutError
            if not sleeper.acquire(timeout=left) and not is_there():
                raise TimeoutError

    def close(self) -> None:
        """Cancel the items that have not been started."""
        rest = [unit for unit in self.line if unit.chunk is not None]
        self.line.clear()
        if rest:
            self._sender.cancel(rest)


def _parts(reader: Reader, *, return_exceptions: bool) -> Generator[Iterable[Any], None, None]:
    """Yield iterables of results: a part, or one result; each is empty once this generator has ended."""
    left: list[Any] | deque[Any] = []
    try:
        while (part := reader.take()) is not None:
            first, count, payload, failed = part
            del part
            if not failed:
                try:
                    values, errors, has_objects = part_in(payload, count)
                except KeyboardInterrupt:  # the user's Ctrl-C
                    raise
                except BaseException as exc:  # unpickling runs user code
                    payload, failed = exc, True
            if failed:
                failures = _failed(reader, first, count, payload, return_exceptions=return_exceptions)
                del payload
                for value in failures:
                    left = deque((value,))
                    yield _popped(left)
                continue
            # In this case all values may stay in memory until the last is yielded.
            is_small = payload.__class__ is bytes and not has_objects
            del payload
            if errors or values.__class__ is tuple or reader.limit is not None:
                number = len(values)
                take = _taking(reader, first, values, errors, return_exceptions=return_exceptions)
                del values
                for _ in range(number):
                    left = deque((take(),))
                    yield _popped(left)
            elif is_small:
                left = values
                yield values
            else:
                left = deque(values)
                del values
                yield _popped(left)
    finally:
        left.clear()
        reader.close()


def _popped(values: deque[Any]) -> Iterator[Any]:
    """Yield values and drop the references to them, so that only the consumer refers to them."""
    while values:
        yield values.popleft()


def _failed(
    reader: Reader, first: int, count: int, payload: Any, *, return_exceptions: bool
) -> Generator[Any, None, None]:
    """Raise or yield the exception of a whole span."""
    error = as_exception(payload)
    is_shared = isinstance(payload, BaseException)
    if not return_exceptions:
        raise_for_item(error, first, count, is_shared=is_shared)
    with_item(error, first, count, is_shared=is_shared)
    for _ in range(count):
        if reader.limit is not None:
            reader.go_on()
        yield error


def _taking(
    reader: Reader, first: int, values: Any, errors: dict[int, bytes], *, return_exceptions: bool
) -> Callable[[], Any]:
    """Return a function that returns a part's values one by one: for failed or separately pickled ones, and limits."""
    alone = values.__class__ is tuple
    left = deque(values)
    numbers = itertools.count()

    def take() -> Any:
        value, number = left.popleft(), next(numbers)
        if reader.limit is not None:
            reader.go_on()
        if alone or number in errors:
            value = value_of(value, errors.get(number))
            if value.__class__ is Failed:
                value = value.error
                if not return_exceptions:
                    raise_for_item(value, first + number)
                with_item(value, first + number)
        return value

    return take
