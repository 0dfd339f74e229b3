"""
Waiting in tasks of asyncio and trio for results from the engine's thread.

::

    engine's thread --release--> mailbox of the loop --one wake-up per burst--> the loop: each waiting task continues

Several loops in several threads may wait at once; each has its own mailbox.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from woolexec.api.map import check_map
from woolexec.checks import integer
from woolexec.engine.function_cache import trio_token
from woolexec.futures.call_future import CallFuture
from woolexec.futures.latch import Latch
from woolexec.imported import imported
from woolexec.wire import context_vars

if TYPE_CHECKING:
    import asyncio
    from typing import Literal, TypeAlias

    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.api.stream import Stream

GRACE = 2.0
"""Seconds that a cancelled task waits for its call to end."""

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    Items: TypeAlias = Iterator[T] | AsyncIterator[T]
    """The declared return type of a generator function, plain or asynchronous; `Generator` and such are subtypes."""

_here = threading.local()


class Waiter(Protocol):
    """One wait of one task."""

    def release(self) -> None:
        """End the wait; from any thread, before or while the task waits."""

    def wait(self) -> Awaitable[Any]:
        """Return an awaitable that finishes when the waiter is released."""


class Mailbox:
    """Released waiters, on their way to their loop."""

    def __init__(self, loop: Any, *, is_trio: bool) -> None:
        self._loop = weakref.ref(loop)  # the thread must not keep a loop alive that has ended
        self.is_trio = is_trio
        self._line: deque[Callable[[], object]] = deque()
        self._called = False

    def put(self, wake: Callable[[], object]) -> None:
        """Call a function in the loop's thread; from any thread."""
        self._line.append(wake)
        if not self._called:
            self._called = True
            loop = self._loop()
            if loop is None:
                return
            with contextlib.suppress(RuntimeError):  # the loop has been closed, so no task waits any more
                if self.is_trio:
                    loop.run_sync_soon(self._deliver)
                else:
                    loop.call_soon_threadsafe(self._deliver)

    @property
    def loop(self) -> Any:
        """The event loop, or trio's token."""
        return self._loop()

    def _deliver(self) -> None:
        self._called = False
        line = self._line
        while line:
            line.popleft()()


class _AsyncioWaiter:
    __slots__ = ("_future", "_mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._future: asyncio.Future[None] = mailbox.loop.create_future()

    def release(self) -> None:
        self._mailbox.put(self._wake)

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[Any]:
        return self._future


class _TrioWaiter:
    __slots__ = ("_event", "_mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._event = sys.modules["trio"].Event()

    def release(self) -> None:
        self._mailbox.put(self._event.set)

    def wait(self) -> Awaitable[Any]:
        return self._event.wait()  # type: ignore[no-any-return]  # trio may not be installed


def mailbox_here() -> Mailbox:
    """
    Return the mailbox of the running loop.

    :raises RuntimeError: outside of an event loop
    """
    mailbox: Mailbox | None = getattr(_here, "mailbox", None)
    token = trio_token()
    if token is not None:
        if mailbox is None or mailbox.loop is not token:
            mailbox = _here.mailbox = Mailbox(token, is_trio=True)
        return mailbox
    asyncio = imported("asyncio")
    if asyncio is None:
        raise RuntimeError("no running event loop")
    loop = asyncio.get_running_loop()
    if mailbox is None or mailbox.loop is not loop:
        mailbox = _here.mailbox = Mailbox(loop, is_trio=False)
    return mailbox


def make_waiter() -> Waiter:
    """
    Create a waiter for the running task.

    :raises RuntimeError: outside of an event loop
    """
    mailbox = mailbox_here()
    return _TrioWaiter(mailbox) if mailbox.is_trio else _AsyncioWaiter(mailbox)


async def outcome(future: CallFuture[T], *, abandon: bool | None) -> T:
    """
    Wait for the outcome of a call; if the wait is cancelled, cancel the call and wait for its end.

    :param abandon: let a running call continue if the wait is cancelled; None: as the call's options say
    :raises Exception: what the call raised
    """
    latch = future.latch
    if not future.done():
        waiter = make_waiter()
        if latch.add(waiter):
            try:
                await waiter.wait()
            except BaseException:
                latch.remove(waiter)
                await _cancel(future, abandon=future.abandons if abandon is None else abandon)
                raise
    else:
        await checkpoint()
    if future.context:
        context_vars.restore(future.context)
    try:
        return future.result()
    finally:
        del future  # break the cycle with the exception's traceback


CallFuture._wait_in_loop = outcome


async def all_done(futures: Sequence[CallFuture[Any]], *, abandon: bool) -> None:
    """Wait until all calls are done, whatever their outcomes; if the wait is cancelled, cancel the calls."""
    for future in futures:
        waiter = make_waiter()
        if not future.done() and future.latch.add(waiter):
            try:
                await waiter.wait()
            except BaseException:
                for each in futures:
                    await _cancel(each, abandon=abandon)
                raise


async def _cancel(future: CallFuture[Any], *, abandon: bool) -> None:
    call = future.outstanding_call
    if future.cancel() or (abandon and not future.is_lane) or not future.cancel(force=True):
        return
    ended: Latch | None = future.ended or getattr(getattr(call, "receiver", None), "ended", None)
    if ended is not None:  # a coroutine or a stream, which may have to clean up
        await see(ended, GRACE)


async def see(latch: Latch, timeout: float | None) -> bool:  # noqa: ASYNC109  # shielded, unlike the caller's scope
    """Wait up to `timeout` seconds for a latch, also in a cancelled task; return whether the latch is open."""
    import anyio

    waiter = make_waiter()
    if latch.add(waiter):
        with anyio.move_on_after(timeout, shield=True):
            await waiter.wait()
        latch.remove(waiter)
    return latch.is_open


async def join(wait: Callable[[], None], interrupt: Callable[[], None]) -> None:
    """
    Run a blocking function in a new thread, to its end.

    :param interrupt: called if the wait is cancelled, to make the function end soon
    """
    ended = Latch()

    def run() -> None:
        try:
            wait()
        finally:
            ended.open()

    threading.Thread(target=run, name="woolexec-join", daemon=True).start()
    waiter = make_waiter()
    try:
        if ended.add(waiter):
            await waiter.wait()
    except BaseException:
        ended.remove(waiter)
        interrupt()
        await see(ended, None)
        raise


def is_cancellation(cls: type[BaseException]) -> bool:
    """Return whether the running loop cancels tasks with an exception of this class."""
    if mailbox_here().is_trio:
        return issubclass(cls, sys.modules["trio"].Cancelled)
    return issubclass(cls, sys.modules["asyncio"].CancelledError)


async def checkpoint() -> None:
    """Let other tasks run, and let a pending cancellation take effect."""
    from anyio.lowlevel import checkpoint

    await checkpoint()


class AsyncFace:
    """The methods of executors for tasks of asyncio and trio."""

    def _start(self, fn: Any, args: Any, kwargs: Any, *, stream: bool = False, prefetch: int = 0) -> CallFuture[Any]:
        raise NotImplementedError

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        raise NotImplementedError

    @property
    def _abandons(self) -> bool:
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

        :param prefetch: number of items that the generator may be ahead of the consumer; with 0 it is suspended between
            pulls
        :raises ValueError: if `prefetch` is negative
        """
        prefetch = integer("prefetch", prefetch)
        if prefetch < 0:
            raise ValueError(f"prefetch must not be negative: {prefetch}")
        return StreamScope(lambda: self._start(fn, args, kwargs, stream=True, prefetch=prefetch))

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

        The return value is an asynchronous iterator, and an asynchronous context manager, which when it is left stops
        outstanding tasks and waits for their end.  A synchronous iterable is read in the event loop.

        :param ordered: give the results in the order of the items; else as they arrive
        :param chunksize: number of items that are sent together; None: chosen by measuring
        :param buffersize: maximum number of items that are taken from the iterables ahead of the consumer; None: as
            many as keep the workers busy, by measured run times, at most 32,768, and at most 1,000 from an iterator,
            which has no length
        :param star: each item is a tuple of arguments
        :param timeout: seconds from this call until the last result is requested
        :param return_exceptions: give an item's exception as its result, and continue; in both cases the exception has
            a note that says which item it was
        :raises TimeoutError: from the iterator, if a result does not arrive in time
        :raises ValueError: for a size below 1, or without iterables
        """
        chunksize, buffersize, timeout = check_map(chunksize, buffersize, timeout)
        if not iterables:
            raise ValueError("map_async needs at least one iterable")
        from woolexec.api.map_async import Settings

        settings = Settings(ordered, chunksize, buffersize, star, timeout, return_exceptions)
        return self._map_async(fn, iterables, settings)


class StreamScope(Generic[T]):
    """The scope of a stream; see `AsyncFace.stream`."""

    def __init__(self, start: Callable[[], CallFuture[Any]]) -> None:
        self._start = start
        self._stream: Stream[T] | None = None

    def __enter__(self) -> Stream[T]:
        self._stream = self._start().result()
        return self._stream

    def __exit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Stream[T]:
        stream: Stream[T] = await outcome(self._start(), abandon=False)
        self._stream = stream
        return stream

    async def __aexit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            await self._stream.aclose()
