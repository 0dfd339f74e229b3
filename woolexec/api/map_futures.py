"""``map`` with each item as a separate task: for streams, and for nested tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.api.map_parts import raise_for_item, with_item

if TYPE_CHECKING:
    from concurrent.futures import Future


def map_futures(
    submit: Callable[..., Future[Any]],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
) -> Generator[Any, None, None]:
    """Submit each item as a separate task; return the iterator over their results."""
    deadline = None if timeout is None else monotonic() + timeout
    futures = _Futures(submit, zip(*iterables), deadline, buffersize)  # noqa: B905  # as map does
    futures.fill()
    return _results_of(futures, ordered=ordered, return_exceptions=return_exceptions)


class _Futures:
    """Tasks that are outstanding or whose results were not yielded yet, and the indices of their items."""

    def __init__(
        self,
        submit: Callable[..., Future[Any]],
        source: Iterator[tuple[Any, ...]],
        deadline: float | None,
        limit: int | None,
    ) -> None:
        self.line: dict[Future[Any], int] = {}
        self._submit: Callable[..., Future[Any]] | None = submit
        self._source = source
        self._deadline = deadline
        self._limit = limit
        self._count = 0
        self._error: BaseException | None = None

    def fill(self) -> None:
        """
        Submit as many items as the limit allows.

        :raises RuntimeError: if the pool accepts no more tasks
        """
        while self._submit is not None and (self._limit is None or len(self.line) < self._limit):
            try:
                args = next(self._source, None)
            except Exception as exc:  # the source is user code: its error is raised after the earlier results
                self._error, args = exc, None
            if args is None:
                self._submit = None  # it keeps the pool alive
                return
            self.line[self._submit(*args)] = self._count
            self._count += 1

    def in_order(self) -> Iterator[Future[Any]]:
        """Yield the futures in the order of the items, each when it is done."""
        while self.line:
            self._wait_for_first()
            yield next(iter(self.line))

    def _wait_for_first(self) -> None:
        with contextlib.suppress(CancelledError):
            next(iter(self.line)).exception(self._left())

    def as_they_come(self) -> Iterator[Future[Any]]:
        """Yield the futures as they complete."""
        if self._limit is None:
            yield from as_completed(list(self.line), self._left())
            return
        while self.line:
            done, _ = wait(self.line, self._left(), FIRST_COMPLETED)
            if not done:
                raise TimeoutError
            while done:
                yield done.pop()

    def pop(self, future: Future[Any]) -> int:
        """Remove a future and submit as many items as the limit now allows; return the index of its item."""
        number = self.line.pop(future)
        try:
            self.fill()
        except RuntimeError as exc:  # the pool was shut down: raised after the earlier results
            self._error, self._submit = exc, None
        return number

    def finish(self) -> None:
        """Raise the exception of the source, if there is one."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())


def _results_of(futures: _Futures, *, ordered: bool, return_exceptions: bool) -> Generator[Any, None, None]:
    try:
        for future in futures.in_order() if ordered else futures.as_they_come():
            number = futures.pop(future)
            value, error = _outcome(future)
            del future
            if error is not None:
                if not return_exceptions:
                    raise_for_item(error, number)
                value = with_item(error, number)
            given = [value]
            del value, error
            yield given.pop()  # only the consumer refers to it
        futures.finish()
    finally:
        for future in futures.line:
            future.cancel()


def _outcome(future: Future[Any]) -> tuple[Any, BaseException | None]:
    error = CancelledError() if future.cancelled() else future.exception()
    return (future.result() if error is None else None), error
