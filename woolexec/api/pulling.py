"""
How a stream requests items, waits for them and takes them: the internal part of `Stream`.

A pull in a thread waits for a lock that the engine releases; a pull in a task waits in its event loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from woolexec.core.call import AT_ONCE
from woolexec.wire import context_vars
from woolexec.wire.exceptions import SHUT, as_exception, dump_failure
from woolexec.wire.frames import Cancel, Close, Next, Send, Throw
from woolexec.wire.payload import attach
from woolexec.wire.pickling import Pickled, dumps_value
from woolexec.wire.unpickling import Untrusted, loads

if TYPE_CHECKING:
    from woolexec.futures.latch import Latch, Sleeper

GRACE = 2.0
"""Seconds to wait, when a stream is closed, for the generator to clean up."""

_NONE = dumps_value(None)

_ROUND = 32
"""Number of already arrived items after which a task that takes them lets other tasks run."""

BUSY = "the stream is being pulled already"

_LEAVING = ("CancelledError", "Cancelled", "GeneratorExit", "WorkerLostError")
"""Exceptions at the end of a stream that `close` does not raise."""

T = TypeVar("T")


class _Buffer(Protocol):
    """What a stream needs of the buffer that the engine fills; see `woolexec.api.stream_buffer`."""

    items: deque[tuple[int, bytes, Any]]
    end: tuple[bool, Any] | None
    ended: Latch
    sleeper: Sleeper | None
    shut: str
    is_awaited: bool

    @property
    def has_news(self) -> bool:
        """Whether there is an item, or the end."""


class Pulling(Generic[T]):
    """The state of a stream at its consumer, and the operations behind its methods."""

    def __init__(self, buffer: Any, commander: Any, handle: Any, prefetch: int) -> None:  # made by `StreamBuffer`
        self._buffer: _Buffer = buffer
        self._commander: Any = commander  # see `stream_buffer`, which knows this module
        self._handle = handle
        self._prefetch = prefetch
        self._values: deque[Any] = deque()
        self._asked = self._taken = 0
        self._pulling = False
        self._over = False
        self._value: Any = None

    def _ask(self) -> None:
        """Request one item, or with `prefetch` as many as may be on their way."""
        if self._over or self._buffer.end is not None:
            return
        ahead = self._asked - self._taken
        if not self._prefetch:
            self._asked += 1
            self._commander.pull(self._handle)
        elif ahead <= self._prefetch // 2:
            self._asked += self._prefetch - ahead
            self._commander.command(self._handle, Next(call=0, credits=self._prefetch - ahead))

    def _throw(self, exc: BaseException | type[BaseException]) -> None:
        """Throw an exception into the generator; if it has ended, raise the exception here."""
        error = exc() if isinstance(exc, type) else exc
        if self._over:
            raise error
        self._command_with(Throw(call=0), dump_failure(error))

    def _command_with(self, frame: Any, payload: Any) -> None:
        if self._prefetch:
            raise RuntimeError("cannot send or throw into a generator with prefetch: it runs ahead of its consumer")
        if self._over or self._buffer.end is not None:
            return
        if not self._asked and isinstance(frame, Send) and payload != _NONE:  # in the worker it would end the stream
            raise TypeError("can't send non-None value to a just-started generator")
        file = attach(frame, payload)
        self._asked += 1
        self._commander.command(self._handle, frame, file)

    def _check_alone(self) -> None:
        if self._pulling:
            raise RuntimeError(BUSY)

    def _pull(self, ask: Callable[..., None], *args: Any) -> T:
        """Request an item and wait for it; if several threads pull, all but one are refused."""
        self._check_alone()
        self._pulling = True
        buffer = self._buffer
        try:
            self._begin(ask, *args)
            while not (self._values or buffer.has_news or self._over):
                self._wait()
        finally:
            self._pulling = buffer.is_awaited = False
        item, is_end = self._take()
        if is_end:
            raise StopIteration(item)
        return item  # type: ignore[no-any-return]  # pickle has no types

    def _begin(self, ask: Callable[..., None], *args: Any) -> None:
        """Request an item; after the pool's shutdown only items already on their way arrive, and then the end."""
        buffer = self._buffer
        buffer.is_awaited = True
        if buffer.shut or self._commander.closes_streams:
            buffer.is_awaited = False
        else:
            ask(*args)

    def _wait(self) -> None:
        buffer = self._buffer
        if self._commander.wait_for(lambda: buffer.has_news):
            return
        sleeper = threading.Lock()  # held until the engine has something for this stream
        sleeper.acquire()
        buffer.sleeper = sleeper
        if not buffer.has_news:
            sleeper.acquire()

    async def _apull(self, ask: Callable[..., None], *args: Any) -> T:
        self._check_alone()
        try:
            self._begin(ask, *args)
            if not (self._values or self._buffer.has_news or self._over) or self._taken % _ROUND == _ROUND - 1:
                await self._await()
        finally:
            self._buffer.is_awaited = False
        try:
            item, is_end = self._take()
        except StopAsyncIteration as exc:  # of a plain generator; here it would silently end the iteration
            raise RuntimeError("generator raised StopAsyncIteration") from exc
        if is_end:
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]  # pickle has no types

    async def _await(self) -> None:
        from woolexec.futures.loop_waiters import checkpoint, make_waiter, see

        buffer = self._buffer
        self._pulling = True
        try:
            if self._values or buffer.has_news:
                await checkpoint()
            while not (self._values or buffer.has_news or self._over):
                waiter = buffer.sleeper = make_waiter()
                if not buffer.has_news:
                    await waiter.wait()
        except BaseException:
            if self._leave(Cancel):
                await see(buffer.ended, GRACE)
            raise
        finally:
            self._pulling = False

    def _take(self) -> tuple[Any, bool]:
        """Return an item and False, or at the end the generator's value and True."""
        if self._values:
            self._taken += 1
            value = self._values.popleft()
            return value.load() if value.__class__ is Pickled else value, False
        if self._over:
            return None, True
        buffer = self._buffer
        if buffer.items:
            count, context, payload = buffer.items.popleft()
            if context:
                context_vars.restore(context)
            try:
                if isinstance(payload, OSError):  # out of descriptors when it was received
                    raise payload
                value = loads(payload)
                if isinstance(payload, Untrusted) and count and (type(value) is not list or len(value) != count):
                    from pickle import UnpicklingError

                    raise UnpicklingError(f"the peer sent something other than {count} items")
            except BaseException:  # unpickling runs user code
                self._taken += count or 1
                raise
            if not count:
                self._taken += 1
                return value, False
            self._values.extend(value)
            return self._take()
        assert buffer.end is not None
        self._over = True
        failed, payload = buffer.end
        if not failed:
            self._value = loads(payload)
            return self._value, True
        error = as_exception(payload)
        if buffer.shut == AT_ONCE and error.args != (SHUT,):  # no pull was in progress to raise it
            raise RuntimeError(SHUT) from (None if type(error).__name__ in _LEAVING else error)
        raise error

    def _close_soon(self) -> Latch | None:
        """Close the generator without waiting; return the latch that opens at its end, None if it has ended."""
        return self._buffer.ended if self._leave(Close) else None

    def _leave(self, frame: type) -> bool:
        """Yield no more items and send a frame that ends the generator; return False if it has already ended."""
        if self._over:
            return False
        self._over = True
        self._values.clear()
        if self._buffer.end is not None:
            return False
        self._commander.command(self._handle, frame(call=0))
        return True

    def _raise_late(self) -> None:
        """Raise what the generator raised while it was being closed."""
        end = self._buffer.end
        if end is None or not end[0] or end[1] is None:
            return
        error = as_exception(end[1])
        if type(error).__name__ not in _LEAVING and error.args != (SHUT,):
            raise error
