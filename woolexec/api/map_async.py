"""
``map_async``: a map whose source, function and consumer may all be asynchronous.

::

    source --pulled by the consumer, or, if it is asynchronous, by a separate task--> batch --> workers
                                                                                                   |
    consumer <-- values <-- parts, in order or as they arrive <-- mailbox of the loop <-- engine <-'

At most `buffersize` items are between the source and the consumer, ordered or not; by default enough to keep the
workers busy, and at most 1,000 from an iterator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from woolexec.api.background import Background
from woolexec.api.map_batches import Board, ChunkSender, FutureSender, Unit
from woolexec.api.map_parts import FailedItem, opened
from woolexec.class_attributes import defines
from woolexec.core.batching import next_pickle
from woolexec.futures.awaiting import GRACE
from woolexec.futures.latch import Latch
from woolexec.futures.loop_waiters import Mailbox, checkpoint, is_cancellation, mailbox_here, make_waiter, see

if TYPE_CHECKING:
    from woolexec.api.gate import Gate
    from woolexec.futures.loop_waiters import Waiter

T = TypeVar("T")

UNSIZED_LIMIT = 1_000
"""Default for the maximum number of items taken from an iterator ahead of the consumer: they may never be used, and the
iterator cannot yield them again.  From an iterable with a length more are taken where that is faster."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of a `map_async`."""

    ordered: bool
    chunksize: int | None
    buffersize: int | None
    star: bool
    timeout: float | None
    return_exceptions: bool


class _Flow:
    """The state of a map, without a reference to its consumer, so that an unreferenced map is collected."""

    def __init__(self, sender: ChunkSender | FutureSender, iterables: tuple[Any, ...], settings: Settings) -> None:
        self.sender = sender
        self.settings = settings
        self.board = Board(ordered=settings.ordered)
        self.line: deque[Unit] = deque()
        self.pulled = self.taken = 0
        self.error: BaseException | None = None
        self.exhausted = False
        self.stopped = False
        self.mailbox: Mailbox | None = None
        self.pending: list[Any] = []
        self.room: Waiter | None = None
        self._gate: Gate | None = getattr(sender, "gate", None)
        self.in_line = False  # the map waits until fewer tasks are unfinished
        self.was_woken = False  # fewer tasks are unfinished now
        self._items = settings.chunksize or 1
        self._single = len(iterables) == 1
        self.is_async = any(hasattr(iterable, "__aiter__") for iterable in iterables)
        self._is_sized = all(map(_has_length, iterables))
        if self.is_async:
            self._sources = [aiter(each) if hasattr(each, "__aiter__") else iter(each) for each in iterables]
        elif self._single:
            self._source = iter(iterables[0])
        else:
            self._source = zip(*iterables)  # noqa: B905  # as map does

    @property
    def limit(self) -> int:
        """Number of items that may be ahead of the consumer."""
        if self.settings.buffersize is not None:
            return self.settings.buffersize
        return self.sender.ahead if self._is_sized else min(self.sender.ahead, UNSIZED_LIMIT)

    @property
    def space(self) -> int:
        """Number of items that may be taken from the source now."""
        return self.limit - (self.pulled - self.taken)

    # -- a synchronous source -------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Take as many items from the source as the limit allows."""
        while not self.exhausted and (space := self.space) > 0:
            step = self._items if self.settings.chunksize is None else min(self._items, max(1, self.limit // 2))
            if step > space and self.pulled > self.taken:
                return  # wait until a whole batch may be taken
            count = min(self._items, space)
            if self._gate is not None and not (count := self._admit(count)):
                return
            items = []
            try:
                for item in self._source:
                    items.append(item)
                    if len(items) >= count:
                        break
            except Exception as exc:  # the source is user code: its error is raised after the earlier results
                self.error = exc
            except BaseException:  # Ctrl-C
                if self._gate is not None:
                    self._gate.leave(count)
                raise
            self.pulled += len(items)
            if len(items) < count:
                self.exhausted = True
                if self._gate is not None:
                    self._gate.leave(count - len(items))
            if items:
                self._send(items)

    def _admit(self, count: int) -> int:
        """Return how many of these items may be sent without exceeding `max_outstanding`; 0: the map waits."""
        assert self._gate is not None
        if self.in_line:
            return 0
        admitted = self._gate.enter_some(count, self._wake_reader)
        self.in_line = not admitted
        return admitted

    def _wake_reader(self) -> None:
        self.in_line, self.was_woken = False, True
        self.board.wake()

    def _send(self, items: list[Any]) -> None:
        sender: Any = self.sender
        try:
            send = sender.send if self._gate is None else sender.send_entered
            self.line.extend(send(self.board, items, self.pulled - len(items)))
        except BaseException as exc:  # the pool was shut down: raised after the earlier results
            self.error, self.exhausted = exc, True
        if self.settings.chunksize is None:
            self._items = min(next_pickle(max(16, self._items), self.sender.size), max(1, self.limit // 4))

    # -- an asynchronous source -----------------------------------------------------------------------------------

    async def pull(self) -> None:
        """Take items from the source as the limit allows; runs in a separate task."""
        try:
            await self._pull_all()
        except StopAsyncIteration:
            pass
        except BaseException as exc:  # the source is user code: its error is raised in the consumer
            if self.stopped:
                raise
            self.error = exc
        finally:
            self.flush()
            self.exhausted = True
            self.board.wake()
            try:
                await self._close_sources()
            except BaseException as exc:
                if is_cancellation(type(exc)):
                    raise
                self.error = self.error or exc

    async def _pull_all(self) -> None:
        soon = partial(copy_context().run, self.flush)
        while self.error is None:
            while self.space <= 0:
                self.flush()
                waiter = self.room = make_waiter()
                if self.space <= 0:
                    await waiter.wait()
            item = await self._next()  # before it is counted: the source may wait for tasks of the same pool
            if self._gate is not None and not self._gate.try_to_enter(1):
                self.flush()
                await self._gate.enter_async()
            self.pulled += 1
            if not self.pending and self.mailbox is not None:
                self.mailbox.put(soon)  # runs when the source next waits
            self.pending.append(item)
            if len(self.pending) >= self._items:
                self.flush()
                await checkpoint()

    async def _close_sources(self) -> None:
        """Close asynchronous generators and maps that were not read to their end: nothing else reads them."""
        import anyio

        with anyio.move_on_after(GRACE, shield=True):
            for source in self._sources:
                close = getattr(source, "aclose", None)
                if close is not None:
                    await close()

    async def _next(self) -> Any:
        values = []
        for source in self._sources:
            value = await anext(source) if hasattr(source, "__anext__") else next(source, _END)
            if value is _END:
                raise StopAsyncIteration
            values.append(value)
        return values[0] if self._single else tuple(values)

    def flush(self) -> None:
        """Send the items that were taken."""
        items, self.pending = self.pending, []
        if items and not self.stopped:
            self._send(items)
            self.board.wake()
        elif items and self._gate is not None:
            self._gate.leave(len(items))


class AsyncMap(AsyncIterator[T], Generic[T]):
    """The results of a map; see `PeerPoolExecutor.map_async`."""

    def __init__(self, sender: Any, iterables: tuple[Any, ...], settings: Settings) -> None:  # made by `map_async`
        self._flow = _Flow(sender, iterables, settings)
        self._settings = settings
        self._deadline = None if settings.timeout is None else monotonic() + settings.timeout
        self._values: deque[Any] = deque()
        self._puller: Background | None = None
        self._closed = self._busy = False

    def __aiter__(self) -> AsyncMap[T]:
        return self

    async def __aenter__(self) -> AsyncMap[T]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def __anext__(self) -> T:
        """
        Return the next result.

        :raises StopAsyncIteration: when there are no more
        :raises TimeoutError: if it does not arrive in time
        :raises RuntimeError: if another task waits for the next result
        :raises Exception: what an item, or the source, raised
        """
        if self._busy:
            raise RuntimeError("another task is already reading this map")
        if not self._values:
            if self._closed:
                raise StopAsyncIteration
            self._busy = True
            try:
                await self._more()
            except BaseException:
                await self._stop()
                raise
            finally:
                self._busy = False
        value = self._values.popleft()
        flow = self._flow
        flow.taken += 1
        if flow.room is not None:
            room, flow.room = flow.room, None
            room.release()
        if value.__class__ is not FailedItem:
            return value  # type: ignore[no-any-return]  # pickle has no types
        if self._settings.return_exceptions:
            return value.exception(is_raised=False)  # type: ignore[return-value]  # as asked for
        await self._stop()
        raise value.exception(is_raised=True)

    async def aclose(self) -> None:
        """
        Cancel tasks that have not been started and wait for running ones, at most two seconds.

        :raises Exception: what the source raised when it was closed
        """
        await self._stop()
        error, self._flow.error = self._flow.error, None
        if error is not None:
            raise error

    async def _stop(self) -> None:
        if self._closed:
            return
        self._closed = self._flow.stopped = True
        ended = Latch()  # opens when no call of this map runs any more
        units = self._outstanding()
        self._values.clear()
        self._flow.line.clear()
        self._flow.board.wake()
        self._flow.sender.cancel(units, ended)  # first: neither the source nor a second cancellation may delay it
        try:
            if self._puller is not None:
                await self._puller.stop()
        finally:
            await see(ended, GRACE)

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        self._flow.stopped = True
        if self._puller is not None:
            self._puller.cancel()
        units = self._outstanding()
        if units:
            self._flow.sender.cancel(units, Latch())  # nothing waits for the end

    def _outstanding(self) -> list[Unit]:
        return [unit for unit in self._flow.line if unit.position < unit.count]

    async def _more(self) -> None:
        """Wait until there is a value."""
        flow = self._flow
        if flow.is_async and self._puller is None:
            flow.mailbox = mailbox_here()
            self._puller = Background(flow.pull)
        await checkpoint()
        while not self._values:
            if self._closed:  # by another task
                raise StopAsyncIteration
            if not flow.is_async:
                flow.fill()
            while flow.line and flow.line[0].position >= flow.line[0].count:
                flow.line.popleft().chunk = None  # breaks a reference cycle and frees the items
            if self._take_part():
                continue
            if not flow.line and not flow.pending and flow.exhausted:
                self._closed = True
                if flow.error is not None:
                    error, flow.error = flow.error, None
                    raise error
                raise StopAsyncIteration
            await self._wait()

    def _take_part(self) -> bool:
        """Decode the next part, if it has arrived; return whether it has."""
        flow = self._flow
        if self._settings.ordered:
            if not flow.line:
                return False
            unit = flow.line[0]
            first = unit.position
            part = unit.parts.pop(first, None)
            if part is None:
                return False
        else:
            if not flow.board.arrived:
                return False
            unit, first = flow.board.arrived.popleft()
            part = unit.parts.pop(first)
        count, payload, failed = part
        unit.position += count
        self._values.extend(opened(unit.index + first, count, payload, failed=failed))
        return True

    async def _wait(self) -> None:
        board, flow = self._flow.board, self._flow
        board.awaited = flow.line[0] if flow.line else None
        waiter = board.sleeper = make_waiter()
        if self._settings.ordered:
            ready = bool(flow.line) and flow.line[0].position in flow.line[0].parts
        else:
            ready = bool(board.arrived)
        if ready or flow.was_woken or (flow.exhausted and not flow.line):
            flow.was_woken = False
            return
        if self._deadline is None:
            await waiter.wait()
            return
        import anyio

        with anyio.move_on_after(max(0.0, self._deadline - monotonic())) as scope:
            await waiter.wait()
        if scope.cancelled_caught:
            raise TimeoutError


_END = object()


def _has_length(iterable: Any) -> bool:
    """Return whether an iterable is a collection, so that taking items that are never used does no harm."""
    cls = type(iterable)
    return defines(cls, "__len__") and not defines(cls, "__next__", "__anext__")
