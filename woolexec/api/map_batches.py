"""Send the items of a map, in chunks or each as a separate task, and keep their outcomes for its consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from woolexec.api.held import held
from woolexec.core.call import Call, Chunk
from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.futures.latch import Latch
from woolexec.wire.inputs import Unbound
from woolexec.wire.number_lists import dumps_numbers
from woolexec.wire.own_copies import has_state, share
from woolexec.wire.pickling import dumps_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from woolexec.core.call import Function
    from woolexec.engine.engine import Engine
    from woolexec.futures.call_future import CallFuture
    from woolexec.futures.latch import Sleeper
    from woolexec.options import TaskOptions

    Sender: TypeAlias = "ChunkSender | FutureSender | FailingSender"

AHEAD = 0.05
"""Default for the work read ahead from the source, in seconds of each worker's time."""

LEAST, MOST = 16, 32_768
"""Defaults for the minimum (for each worker) and maximum number of items read ahead."""

LOOP = 1_024
"""Default for the number of items read ahead for coroutines and streams, which run concurrently."""


class Unit:
    """
    Items that were sent together; takes their outcomes, in the engine's thread.

    :param index: index in the map of the first of them
    """

    __slots__ = ("_board", "_left", "chunk", "count", "future", "held", "index", "parts", "position")

    def __init__(self, board: Board, count: int, index: int) -> None:
        self._board = board
        self._left = self.count = count
        self.index = index
        self.position = 0
        self.chunk: Chunk | None = None
        self.future: CallFuture[Any] | None = None
        self.held: list[Any] | None = None  # what must live until all have outcomes
        self.parts: dict[int, tuple[int, Any, bool]] = {}

    @property
    def shown_in(self) -> Any:
        """Where the output of the items is shown."""
        return self._board.shown_in

    def deliver(self, call: Call, payload: Any) -> None:
        """Take the results of a span."""
        self.put(call.first, (call.count, payload, False))

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Take the failure of a whole span; None if it was cancelled."""
        self.put(call.first, (call.count, payload, True))

    def put(self, first: int, part: tuple[int, Any, bool]) -> None:
        """Store an outcome; wake the consumer if it waits for it."""
        self.parts[first] = part
        self._left -= part[0]
        if self._left <= 0:
            self.chunk = None  # breaks a reference cycle and frees the items
            kept, self.held = self.held, None
            if kept is not None:
                self._board.drop(kept)
        self._board.note(self, first, part[0])


class Board:
    """The outcomes that have arrived, and the waiting consumer: it waits for one unit if ordered, else for any."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.arrived: deque[tuple[Unit, int]] = deque()
        self.awaited: Unit | None = None
        self.shown_in: Any = None  # what a `ChunkSender` has
        self.drop: Callable[[list[Any]], object] = list.clear  # as its engine does it
        self.sleeper: Sleeper | None = None

    def note(self, unit: Unit, first: int, count: int) -> None:
        """Note that the outcomes of `count` items have been stored; wake the consumer if it waits for them."""
        if not self.ordered:
            self.arrived.append((unit, first))
        elif self.awaited is not unit:
            return
        self.wake()

    def wake(self) -> None:
        """Wake the consumer."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            sleeper.release()


class ChunkSender:
    """
    Sends items of a map as chunks, which the engine splits.

    :param function: the pickled form of `fn`
    """

    def __init__(
        self,
        engine: Engine,
        fn: Callable[..., Any],
        function: Function,
        options: TaskOptions | None,
        context: bytes,
        workers: int,
        check: Callable[[], None],
        *,
        fixed: bool,
        star: bool,
    ) -> None:
        self._check = check
        self._engine = engine
        self._fn = fn
        self._function = function
        self._options = options
        self._context = context
        self._workers = workers
        self._fixed = fixed
        self._star = star
        self._has_state = not fixed and has_state(fn, function.payload)
        self.size = 0

    shown_in: Any = None
    """Where the output of the items is shown: see `woolexec.api.output`."""

    @property
    def ahead(self) -> int:
        """Number of items that may be ahead of the consumer, by the measured run time of an item."""
        if self._function.lane:
            return LOOP
        seconds = self._function.seconds
        if seconds is None:
            return LEAST * self._workers
        return min(MOST, max(LEAST * self._workers, int(self._workers * AHEAD / max(seconds, 1e-9))))

    def forget_pool(self) -> None:
        """Drop the reference to the pool after everything was sent: the consumer must not keep the pool alive."""
        self._check = _pass

    def check_process(self) -> None:
        """
        Check that this is not a forked child.

        :raises RuntimeError: in a forked child, where no outcome will arrive
        """
        if self._engine.forked:
            raise RuntimeError(FORKED_CHILD)

    def send(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """
        Send items; one that cannot be pickled fails alone.

        :param index: index in the map of the first of them
        :raises RuntimeError: if the pool accepts no more tasks
        """
        self._check()
        board.shown_in = self.shown_in
        try:
            numbers = self._numbers(items)
            payload = self._payload(items) if numbers is None else numbers
        except BaseException as exc:  # pickling runs user code
            if len(items) == 1:
                unit = Unit(board, 1, index)
                unit.put(0, (1, exc, True))
                return [unit]
            return self._send_each(board, items, index)
        if payload is None or (payload.__class__ is Unbound and len(items) > 1):  # none waits for another's inputs
            return self._send_each(board, items, index)
        self.size = len(payload)
        unit = Unit(board, len(items), index)
        unit.held = held(self._fn, self._function, items if numbers is None else (), payload)
        if unit.held is not None:
            board.drop = self._engine.drop
        unit.chunk = Chunk(
            self._function,
            payload,
            len(items),
            unit,
            self._options,
            fixed=self._fixed,
            context=self._context,
        )
        if payload.__class__ is Unbound:
            from woolexec.api.inputs import hold

            if hold(unit.chunk, self._engine.inputs(), self._function.name):
                return [unit]
        self._engine.submit_chunk(unit.chunk)
        return [unit]

    def _numbers(self, items: list[Any]) -> Any:
        """Pickle the same as `_payload`; return None unless all items are numbers, which need no held objects."""
        if self._star:
            return None
        return dumps_numbers(items, (False, items, *self._how), 2)

    @property
    def _how(self) -> tuple[bool, ...]:
        """
        Return how the worker must deviate from its usual way: see `woolexec.worker.job.spread`.

        As in the standard library, only the items of a chunk whose size was given share anything, arguments or results.
        """
        return (self._has_state, False, self._fixed) if self._has_state or self._fixed else ()

    def _payload(self, items: list[Any]) -> Any:
        """
        Pickle `star`, the items and `_how`; return None if each item is so large that it is sent by itself.

        :raises Exception: any exception raised by pickling
        """
        parts = (self._star, items, *self._how)
        if not self._fixed and len(items) > 1 and share(items, star=self._star):
            alone = [dumps_arguments(item, "item") for item in items]
            if not all(each.__class__ is bytes for each in alone):  # large, or an item waits for futures
                return None
            parts = self._star, alone, self._has_state, True, False
        return dumps_arguments(parts, ("", "item"))

    def _send_each(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        return [unit for number, item in enumerate(items, index) for unit in self.send(board, [item], number)]

    def cancel(self, units: Iterable[Unit], ended: Latch | None = None, *, force: bool = False) -> None:
        """
        Cancel the items that have not been started; open the latch when the running ones have ended.

        :param force: end the running ones
        """
        self._engine.cancel_chunks([unit.chunk for unit in units if unit.chunk is not None], ended, force=force)


def _pass() -> None:
    """Check nothing."""


class FutureSender:
    """
    Sends each item of a map as a separate task.

    :param by_force: end running plain tasks when the map ends
    """

    def __init__(
        self, submit: Callable[[tuple[Any, ...]], CallFuture[Any]], *, star: bool, by_force: bool = True
    ) -> None:
        self._submit = submit
        self._star = star
        self._by_force = by_force
        self.size = 0
        self.ahead = LOOP

    def send(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """Send items."""
        units = []
        for number, item in enumerate(items, index):
            unit = Unit(board, 1, number)
            unit.future = self._submit(item if self._star else (item,))
            unit.future.add_done_callback(partial(self._done, unit))
            units.append(unit)
        return units

    def _done(self, unit: Unit, future: CallFuture[Any]) -> None:
        unit.put(0, (1, future, False))

    def forget_pool(self) -> None:
        """Do nothing: each task is submitted through the pool."""

    def check_process(self) -> None:
        """Do nothing: in a forked child nothing can be submitted."""

    def cancel(self, units: Iterable[Unit], ended: Latch | None = None, *, force: bool = False) -> None:
        """Cancel all tasks, and close the streams that were not yielded; open the latch when all have ended."""
        ended = ended or Latch()  # nothing waits for the end
        gates = [_end(unit.future, force or self._by_force) for unit in units if unit.future is not None]
        countdown = _Countdown(ended)
        for latch in gates:
            if latch is not None:
                countdown.watch(latch)
        countdown.release()


class FailingSender:
    """Fails every item of a map whose function cannot be pickled."""

    size = 0

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def send(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """Fail these items."""
        unit = Unit(board, len(items), index)
        unit.put(0, (len(items), self._error, True))
        return [unit]

    def forget_pool(self) -> None:
        """Do nothing: nothing is sent."""

    check_process = forget_pool

    def cancel(self, units: Iterable[Unit], ended: Latch | None = None, *, force: bool = False) -> None:
        """Cancel nothing."""
        if ended is not None:
            ended.open()


def _end(future: CallFuture[Any], by_force: bool) -> Latch | None:  # noqa: FBT001  # as `FutureSender` has it
    """End the call or stream of a future; return the latch that opens at its end, None if there is nothing to await."""
    call = future.outstanding_call
    answer = future.cancel_soon(force=by_force or future.is_lane)
    if isinstance(answer, Latch):
        return answer
    if answer:
        return future.ended or getattr(getattr(call, "receiver", None), "ended", None)
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    close = getattr(future.result(), "_close_soon", None)  # of a stream
    return None if close is None else close()


class _Countdown:
    """Opens a latch when several others are open and no more will be added."""

    def __init__(self, latch: Latch) -> None:
        self._latch = latch
        self._left = [None]

    def watch(self, latch: Latch) -> None:
        """Wait for this latch as well."""
        self._left.append(None)
        if not latch.add(self):
            self.release()

    def release(self) -> None:
        """Count one latch that has opened, or the call that says that no more will be added."""
        self._left.pop()
        if not self._left:
            self._latch.open()
