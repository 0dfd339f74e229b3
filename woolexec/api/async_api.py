"""The asynchronous API: what executors offer to tasks of asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager

from woolexec.checks import check_map, integer
from woolexec.futures.awaiting import outcome
from woolexec.futures.call_future import CallFuture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

    from woolexec.api.gate import Gate
    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.api.stream import Stream

    P = ParamSpec("P")
    T = TypeVar("T")
    Items: TypeAlias = Iterator[T] | AsyncIterator[T]
    """The declared return type of a generator function, plain or asynchronous; `Generator` and such are subtypes."""
else:
    from woolexec.api.overload import overload


class AsyncFace:
    """The methods of executors for tasks of asyncio and trio."""

    def _start(self, fn: Any, args: Any, kwargs: Any, *, stream: bool = False, prefetch: int = 0) -> CallFuture[Any]:
        raise NotImplementedError

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        raise NotImplementedError

    @property
    def _abandons(self) -> bool:
        raise NotImplementedError

    @property
    def _gate(self) -> Gate | None:
        raise NotImplementedError

    @overload
    async def run(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, fn: Callable[P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]: ...
    @overload
    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """
        Run ``fn(*args, **kwargs)`` on a worker and wait for its value; `fn` may be a coroutine function.

        If the wait is cancelled, so is the call: if it has not been started, it does not run; a coroutine is cancelled
        in its worker, and this waits for its end, at most two seconds; a running plain call is ended with its worker,
        unless it has the option ``abandon_on_cancel=True`` (see `with_options`).

        :raises WorkerLostError: if the worker died
        :raises Exception: what the call raised
        """
        gate = self._gate
        if gate is not None:
            await gate.enter_async()
            return await outcome(gate.entered(lambda: self._start(fn, args, kwargs)), abandon=self._abandons)
        return await outcome(self._start(fn, args, kwargs), abandon=self._abandons)

    # A parameter between *args and **kwargs cannot be type-checked together with them.
    @overload
    def stream(self, fn: Callable[..., Items[T]], /, *args: Any, prefetch: int, **kwargs: Any) -> StreamScope[T]: ...
    @overload
    def stream(self, fn: Callable[P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> StreamScope[T]: ...
    def stream(self, fn: Callable[..., Any], /, *args: Any, prefetch: Any = 0, **kwargs: Any) -> StreamScope[Any]:
        """
        Run a generator function, or an asynchronous one, on a worker.

        Use it in ``with`` or ``async with``, which gives a `Stream`; leaving the block closes the generator.  The
        generator's body starts at the first pull.

        :param prefetch: number of items that the generator may be ahead of the consumer; with 0 the generator is
            suspended between pulls
        :raises ValueError: if `prefetch` is negative
        """
        prefetch = integer("prefetch", prefetch)
        if prefetch < 0:
            raise ValueError(f"prefetch must not be negative: {prefetch}")
        start = lambda: self._start(fn, args, kwargs, stream=True, prefetch=prefetch)  # noqa: E731  # it has no name
        return StreamScope(start, self._gate)

    @overload
    def map_async(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncMap[T]: ...
    @overload
    def map_async(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: bool,
    ) -> AsyncMap[T | BaseException]: ...
    @overload
    def map_async(
        self,
        fn: Callable[..., Items[T]],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncMap[Stream[T]]: ...
    @overload
    def map_async(
        self,
        fn: Callable[..., Items[T]],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: bool,
    ) -> AsyncMap[Stream[T] | BaseException]: ...
    @overload
    def map_async(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncMap[T]: ...
    @overload
    def map_async(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: bool,
    ) -> AsyncMap[T | BaseException]: ...
    def map_async(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        chunksize: int | None = None,
        buffersize: int | None = None,
        star: bool = False,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> AsyncMap[Any]:
        """
        Apply `fn` to the items of the iterables, which may be asynchronous and endless; iterate over the results.

        The return value is an asynchronous iterator and an asynchronous context manager.  Leaving its block stops the
        outstanding tasks and waits for their end.  Synchronous iterables are read in the event loop.

        :param ordered: yield the results in the order of the items; otherwise as they arrive
        :param chunksize: number of items that are sent together; None: chosen from measured run times
        :param buffersize: maximum number of items that are taken from the iterables ahead of the consumer; None: enough
            to keep the workers busy, according to measured run times, but at most 32,768, and at most 1,000 from an
            iterator, which has no length
        :param star: each item is a tuple of arguments
        :param timeout: seconds from this call until the last result is requested
        :param return_exceptions: yield an item's exception as its result and continue, instead of raising it; either
            way the exception has a note that names the item
        :raises TimeoutError: from the iterator, if a result does not arrive in time
        :raises ValueError: for a size below 1, or without iterables
        """
        chunksize, buffersize, timeout = check_map(chunksize, buffersize, timeout)
        if not iterables:
            raise ValueError("map_async needs at least one iterable")
        from woolexec.api.map_async import Settings

        settings = Settings(ordered, chunksize, buffersize, star, timeout, return_exceptions)
        return self._map_async(fn, iterables, settings)


class StreamScope(AbstractAsyncContextManager["Stream[T]"]):
    """The scope of a stream; see `PeerPoolExecutor.stream`."""

    def __init__(self, start: Callable[[], CallFuture[Any]], gate: Gate | None = None) -> None:
        self._start, self._gate = start, gate
        self._stream: Stream[T] | None = None

    def __enter__(self) -> Stream[T]:
        self._stream = self._start().result()
        return self._stream

    def __exit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Stream[T]:
        if self._gate is not None:
            await self._gate.enter_async()
        future = self._start() if self._gate is None else self._gate.entered(self._start)
        stream: Stream[T] = await outcome(future, abandon=False)
        self._stream = stream
        return stream

    async def __aexit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            await self._stream.aclose()
