"""
Streams: the caller's view of generators that run in a worker.

::

    caller pulls --Next, Send, Throw, Close--> engine --> worker: the generator's code runs to its next yield
           ^                                                          |
           `------- item, or the end <------- engine <---- Yield, Return, Raise

With `prefetch=0` each pull is a round trip, and the generator is suspended between pulls.  With `prefetch=n` the worker
may be n items ahead; items that arrive are kept here, and when half of them have been taken, more are requested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.api.pulling import GRACE, Pulling
from woolexec.wire.frames import Close, Send
from woolexec.wire.pickling import dumps_value

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


class Stream(Pulling[T], Iterator[T], AsyncIterator[T]):
    """
    A generator, or an asynchronous generator, that runs in a worker.

    Both kinds can be iterated over with ``for`` and with ``async for``, and have the methods of both: `send`, `throw`,
    `close`; `asend`, `athrow`, `aclose`.  Only one pull may be in progress at a time.
    """

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
            self._buffer.ended.wait(GRACE)
            self._raise_late()

    async def __anext__(self) -> T:
        """
        Return the next item; if this is cancelled, so is the generator.

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
            from woolexec.futures.loop_waiters import see

            await see(self._buffer.ended, GRACE)
            self._raise_late()

    @property
    def value(self) -> Any:
        """The value that the generator returned; None before its end."""
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
        if not getattr(self, "_over", True) and self._buffer.end is None:
            self._commander.command(self._handle, Close(call=0))

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a stream cannot be pickled: it belongs to the process that opened it")
