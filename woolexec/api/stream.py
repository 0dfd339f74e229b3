"""
Streams: generators that run in a worker, as the caller sees them.

::

    caller pulls --Next, Send, Throw, Close--> engine --> worker: the generator's code runs to its next yield
           ^                                                          |
           `------- item, or the end <------- engine <---- Yield, Return, Raise

With `prefetch=0` each pull is a round trip, and between pulls the generator is suspended.  With `prefetch=n` the worker
may be n items ahead; what comes is kept here, and when half of it has been taken, more is asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from woolexec.core.call import AT_ONCE
from woolexec.wire import context_vars
from woolexec.wire.codec import Cancel, Close, Next, Send, Throw
from woolexec.wire.exceptions import as_exception, dump_failure
from woolexec.wire.payload import fill
from woolexec.wire.pickling import Pickled, dumps_value, loads
from woolexec.worker.job import SHUT

if TYPE_CHECKING:
    from types import TracebackType

    from woolexec.api.stream_buffer import Commander, StreamBuffer
    from woolexec.futures.latch import Latch

GRACE = 2.0
"""Seconds that leaving a stream waits for the generator to clean up."""

T = TypeVar("T")


class Stream(Iterator[T], AsyncIterator[T], Generic[T]):
    """
    A generator, or an asynchronous generator, that runs in a worker.

    It is iterated with ``for`` or with ``async for``, whichever kind the generator is, and has the methods of both
    kinds: `send`, `throw`, `close`; `asend`, `athrow`, `aclose`.  One pull at a time.
    """

    def __init__(self, pipe: Any, commander: Any, handle: Any, prefetch: int) -> None:  # made by a `Pipe`
        self._pipe: StreamBuffer = pipe
        self._commander: Commander = commander
        self._handle = handle
        self._prefetch = prefetch
        self._values: deque[Any] = deque()
        self._asked = self._taken = 0
        self._pulling = False
        self._over = False
        self._value: Any = None

    # -- pulling --------------------------------------------------------------------------------------------------

    def __iter__(self) -> Stream[T]:
        return self

    def __aiter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        """
        Return the next item.

        :raises StopIteration: at the generator's end, with the value that it returned
        :raises WorkerLostError: if its worker died
        :raises Exception: what the generator raised
        """
        return self._pull(self._ask)

    def send(self, value: Any) -> T:
        """Send a value into the generator and return the next item; see `__next__`."""
        return self._pull(self._command_with, Send(call=0), dumps_value(value))

    def throw(self, exc: BaseException | type[BaseException]) -> T:
        """Raise an exception in the generator and return the next item; see `__next__`."""
        return self._pull(self._throw, exc)

    def close(self) -> None:
        """
        Close the generator, and wait until it has cleaned up, at most two seconds.

        :raises Exception: what it raised meanwhile
        """
        if self._leave(Close):
            self._pipe.ended.wait(GRACE)
            self._raise_late()

    async def __anext__(self) -> T:
        """
        Return the next item; cancelling this cancels the generator.

        :raises StopAsyncIteration: at the generator's end
        :raises WorkerLostError: if its worker died
        :raises Exception: what the generator raised
        """
        return await self._apull(self._ask)

    async def asend(self, value: Any) -> T:
        """Send a value into the generator and return the next item; see `__anext__`."""
        return await self._apull(self._command_with, Send(call=0), dumps_value(value))

    async def athrow(self, exc: BaseException | type[BaseException]) -> T:
        """Raise an exception in the generator and return the next item; see `__anext__`."""
        return await self._apull(self._throw, exc)

    async def aclose(self) -> None:
        """
        Close the generator, and wait until it has cleaned up, at most two seconds.

        :raises Exception: what it raised meanwhile
        """
        if self._leave(Close):
            from woolexec.api.async_api import see

            await see(self._pipe.ended, GRACE)
            self._raise_late()

    @property
    def value(self) -> Any:
        """What the generator returned; None before its end."""
        return self._value

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Stream[T]:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not getattr(self, "_over", True) and self._pipe.end is None:
            self._commander.command(self._handle, Close(call=0))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a stream cannot be pickled: it belongs to the process that opened it")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for what may be on its way."""
        if self._over or self._pipe.end is not None:
            return
        ahead = self._asked - self._taken
        if not self._prefetch:
            self._asked += 1
            self._commander.pull(self._handle)
        elif ahead <= self._prefetch // 2:
            self._asked += self._prefetch - ahead
            self._commander.command(self._handle, Next(call=0, credits=self._prefetch - ahead))

    def _throw(self, exc: BaseException | type[BaseException]) -> None:
        """A generator that has ended raises what is thrown into it."""
        error = exc() if isinstance(exc, type) else exc
        if self._over:
            raise error
        self._command_with(Throw(call=0), dump_failure(error))

    def _command_with(self, frame: Any, payload: Any) -> None:
        if self._prefetch:
            raise RuntimeError("with prefetch the generator runs ahead: nothing can be sent or thrown into it")
        if self._over or self._pipe.end is not None:
            return
        if not self._asked and isinstance(frame, Send) and payload != _NONE:  # it would end the stream there
            raise TypeError("can't send non-None value to a just-started generator")
        file = fill(frame, payload)
        self._asked += 1
        self._commander.command(self._handle, frame, file)

    def _check_alone(self) -> None:
        if self._pulling:
            raise RuntimeError(BUSY)

    def _pull(self, ask: Callable[..., None], *args: Any) -> T:
        """Ask for an item, and wait for it; of several threads that do so one may, the others are refused."""
        self._check_alone()
        self._pulling = True
        pipe = self._pipe
        try:
            self._begin(ask, *args)
            while not (self._values or pipe.has_news or self._over):
                self._wait()
        finally:
            self._pulling = pipe.is_awaited = False
        item, is_end = self._take()
        if is_end:
            raise StopIteration(item)
        return item  # type: ignore[no-any-return]  # pickle has no types

    def _begin(self, ask: Callable[..., None], *args: Any) -> None:
        """Ask for an item; after the pool's end only what is on its way still comes, and then the end."""
        pipe = self._pipe
        pipe.is_awaited = True
        if pipe.shut or self._commander.closes_streams:
            pipe.is_awaited = False
        else:
            ask(*args)

    def _wait(self) -> None:
        pipe = self._pipe
        if self._commander.wait_for(lambda: pipe.has_news):
            return
        sleeper = threading.Lock()
        sleeper.acquire()
        pipe.sleeper = sleeper
        if not pipe.has_news:
            sleeper.acquire()

    async def _apull(self, ask: Callable[..., None], *args: Any) -> T:
        self._check_alone()
        try:
            self._begin(ask, *args)
            if not (self._values or self._pipe.has_news or self._over) or self._taken % _ROUND == _ROUND - 1:
                await self._await()
        finally:
            self._pipe.is_awaited = False
        try:
            item, is_end = self._take()
        except StopAsyncIteration as exc:  # of a plain generator; here it would end the iteration in silence
            raise RuntimeError("generator raised StopAsyncIteration") from exc
        if is_end:
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]  # pickle has no types

    async def _await(self) -> None:
        from woolexec.api.async_api import checkpoint, make_waiter, see

        pipe = self._pipe
        self._pulling = True
        try:
            if self._values or pipe.has_news:
                await checkpoint()
            while not (self._values or pipe.has_news or self._over):
                waiter = pipe.sleeper = make_waiter()
                if not pipe.has_news:
                    await waiter.wait()
        except BaseException:
            if self._leave(Cancel):
                await see(pipe.ended, GRACE)
            raise
        finally:
            self._pulling = False

    def _take(self) -> tuple[Any, bool]:
        """Return an item, or the generator's value and True."""
        if self._values:
            self._taken += 1
            value = self._values.popleft()
            return value.load() if value.__class__ is Pickled else value, False
        if self._over:
            return None, True
        pipe = self._pipe
        if pipe.items:
            count, context, payload = pipe.items.popleft()
            if context:
                context_vars.restore(context)
            try:
                if isinstance(payload, OSError):  # no descriptor was left to receive it
                    raise payload
                value = loads(payload)
            except BaseException:  # unpickling runs user code
                self._taken += count or 1
                raise
            if not count:
                self._taken += 1
                return value, False
            self._values.extend(value)
            return self._take()
        assert pipe.end is not None
        self._over = True
        failed, payload = pipe.end
        if not failed:
            self._value = loads(payload)
            return self._value, True
        error = as_exception(payload)
        if pipe.shut == AT_ONCE and error.args != (SHUT,):  # no pull was in progress that this would belong to
            raise RuntimeError(SHUT) from (None if type(error).__name__ in _LEAVING else error)
        raise error

    def _close_soon(self) -> Latch | None:
        """Close the generator without waiting; return what opens at its end, None if that has come."""
        return self._pipe.ended if self._leave(Close) else None

    def _leave(self, frame: type) -> bool:
        """Give no more items; False if the end has come already."""
        if self._over:
            return False
        self._over = True
        self._values.clear()
        if self._pipe.end is not None:
            return False
        self._commander.command(self._handle, frame(call=0))
        return True

    def _raise_late(self) -> None:
        """What the generator raised while it was closed is the closer's."""
        end = self._pipe.end
        if end is None or not end[0] or end[1] is None:
            return
        error = as_exception(end[1])
        if type(error).__name__ not in _LEAVING and error.args != (SHUT,):
            raise error


_NONE = dumps_value(None)

_ROUND = 32
"""A task that takes items which are there already lets others run after so many."""

BUSY = "the stream is being pulled already"

_LEAVING = ("CancelledError", "Cancelled", "GeneratorExit", "WorkerLostError")
"""Ends of a stream that are no news to who closes it."""
