"""`as_pool`: an executor with the methods of `multiprocessing.Pool`, for libraries that require one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.api.map_batches import FailingSender
from woolexec.api.options_view import EngineExecutor
from woolexec.checks import count, wrong_type
from woolexec.integrations.pool_results import AsyncResult, CallResult, ImapIterator, MapResult

if TYPE_CHECKING:
    from typing import NoReturn, Self

    from woolexec.api.map_batches import Sender

S = TypeVar("S")
T = TypeVar("T")

_AHEAD = 1_000
"""Maximum number of items that `imap` takes from an iterator ahead of the consumer."""


class _State(enum.Enum):
    RUN = "running"
    CLOSE = "closed"
    TERMINATE = "terminated"


def as_pool(executor: EngineExecutor) -> Pool:
    """
    Return a pool with the methods of `multiprocessing.Pool` whose tasks run in this executor.

    :param executor: a `PeerPoolExecutor`, or a view of one; it stays open when the pool is closed or terminated
    :raises TypeError: for anything else
    """
    return Pool(executor)


class Pool:
    """
    The methods of `multiprocessing.Pool`, for an executor; made by `as_pool`.

    `close`, `terminate` and the end of a ``with`` block affect only the tasks of this pool.  Its executor stays open
    until its owner shuts it down, or it is collected.
    """

    def __init__(self, executor: EngineExecutor) -> None:
        if not isinstance(executor, EngineExecutor):
            raise wrong_type("executor", "a PeerPoolExecutor or a view of one", executor)
        self._executor = executor
        self._engine = executor._submission.engine
        self._state = _State.RUN
        self._unfinished: set[Any] = set()

    @property
    def _processes(self) -> int:
        """The maximum number of workers on this machine; libraries read it."""
        return self._executor._pool._max_workers  # type: ignore[attr-defined, no-any-return]  # of PeerPoolExecutor

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> T:
        """Return ``func(*args, **kwds)``, run by a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """
        Submit ``func(*args, **kwds)``; return its ``AsyncResult``.

        :param callback: called with the result, in a thread of the executor
        :param error_callback: called with the exception, in a thread of the executor
        :raises ValueError: if the pool was closed
        """
        self._check_running()
        future = self._executor.submit(func, *args, **(kwds or {}))
        return CallResult(future, self._engine, self._unfinished, callback, error_callback)

    def map(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> list[T]:
        """
        Apply `func` to each item; return the results as a list.

        All items run, even if one fails.

        :param chunksize: number of items that are sent together; None: chosen from measured run times
        :raises Exception: what the first item that failed raised
        """
        return self._map(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Like `map`, without waiting: return one result for all items; the callbacks are called once, for all."""
        return self._map(func, iterable, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """Like `map`, but each item is unpacked as the arguments: ``func(*item)``."""
        return self._map(func, map(tuple, iterable), chunksize, star=True).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Like `map_async`, but each item is unpacked as the arguments: ``func(*item)``."""
        return self._map(func, map(tuple, iterable), chunksize, callback, error_callback, star=True)

    def imap(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> ImapIterator[T]:
        """
        Apply `func` to each item; return an iterator over the results, in order.

        An iterable with a length is read at once.  Any other is read by the consumer, at most 1,000 items ahead of it,
        and each item is sent when it is read; `join` reads the rest.

        :param chunksize: number of items that are sent together; None: chosen from measured run times, or 1 if the
            iterable has no length
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None
    ) -> ImapIterator[T]:
        """Like `imap`, with the results as they arrive."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def close(self) -> None:
        """Accept no more tasks."""
        if self._state is _State.RUN:
            self._state = _State.CLOSE

    def terminate(self) -> None:
        """Accept no more tasks, cancel those of this pool that have not been started, and end those that run."""
        self._state = _State.TERMINATE
        for result in list(self._unfinished):
            result._terminate()

    def join(self) -> None:
        """
        Wait until all tasks of this pool have ended.

        :raises ValueError: if the pool was neither closed nor terminated
        """
        if self._state is _State.RUN:
            raise ValueError("Pool is still running")
        while unfinished := list(self._unfinished):
            for result in unfinished:
                result._settle()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Terminate."""
        self.terminate()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} state={self._state.name} of {self._executor!r}>"

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def _check_running(self) -> None:
        if self._state is not _State.RUN:
            raise ValueError("Pool not running")

    def _map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        star: bool = False,
    ) -> MapResult[T]:
        self._check_running()
        chunksize = _checked(chunksize)
        items = list(iterable)
        sender = self._sender(func, chunksize, star=star)
        return MapResult(sender, items, chunksize, self._engine, self._unfinished, callback, error_callback)

    def _imap(
        self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None, *, ordered: bool
    ) -> ImapIterator[T]:
        self._check_running()
        chunksize, limit = _checked(chunksize), None
        sender: Sender = self._sender(func, chunksize, star=False)
        if not isinstance(iterable, Sized):
            chunksize = chunksize or 1
            limit = max(_AHEAD, 4 * chunksize)
        return ImapIterator(sender, iter(iterable), chunksize, limit, self._unfinished, ordered=ordered)

    def _sender(self, func: Callable[..., Any], chunksize: int | None, *, star: bool) -> Any:
        self._executor._submission.check()
        try:
            return self._executor._sender(func, chunksize, star=star)
        except Exception as exc:  # the function cannot be pickled: the result raises it, as with `multiprocessing.Pool`
            return FailingSender(exc)


def _checked(chunksize: int | None) -> int | None:
    return None if chunksize is None else count("chunksize", chunksize, "an integer or None")
