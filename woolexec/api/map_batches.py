"""How the items of a map leave, and their outcomes wait for its consumer: in chunks, or each as a task of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.core.call import Call, Chunk
from woolexec.engine.engine import FORKED_CHILD
from woolexec.futures.latch import Latch
from woolexec.wire.pickling import dumps

if TYPE_CHECKING:
    from woolexec.core.call import Function
    from woolexec.engine.engine import Engine
    from woolexec.futures.call_future import CallFuture
    from woolexec.futures.latch import Sleeper
    from woolexec.options import TaskOptions

AHEAD = 0.05
"""Work that is taken from the source ahead of the consumer, in seconds of each worker's time, if nothing is said."""

LEAST, MOST = 16, 32_768
"""Items taken ahead, at least (for each worker) and at most, if nothing is said."""

LOOP = 1_024
"""The same for coroutines and streams, which wait together."""


class Unit:
    """
    Items that were sent together; takes their outcomes, from the engine's thread.

    :param index: of the first of them in the map
    """

    __slots__ = ("_board", "_left", "chunk", "count", "future", "index", "parts", "position")

    def __init__(self, board: Board, count: int, index: int) -> None:
        self._board = board
        self._left = self.count = count
        self.index = index
        self.position = 0
        self.chunk: Chunk | None = None
        self.future: CallFuture[Any] | None = None
        self.parts: dict[int, tuple[int, Any, bool]] = {}

    def deliver(self, call: Call, payload: Any) -> None:
        """Take the results of a span."""
        self.put(call.first, (call.count, payload, False))

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Take the failure of a whole span; None if it was cancelled."""
        self.put(call.first, (call.count, payload, True))

    def put(self, first: int, part: tuple[int, Any, bool]) -> None:
        """Keep an outcome; wake the consumer, if that is what it waits for."""
        self.parts[first] = part
        self._left -= part[0]
        if self._left <= 0:
            self.chunk = None  # which refers to us, and holds the items
        board = self._board
        if not board.ordered:
            board.arrived.append((self, first))
        elif board.awaited is not self:
            return
        board.wake()


class Board:
    """What has arrived, and the consumer that waits for it; in order it waits for one unit, else for any."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.arrived: deque[tuple[Unit, int]] = deque()
        self.awaited: Unit | None = None
        self.sleeper: Sleeper | None = None

    def wake(self) -> None:
        """Let the consumer look."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            sleeper.release()


class ChunkSender:
    """Sends items of a map as chunks, to be cut by the engine."""

    def __init__(
        self,
        engine: Engine,
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
        self._function = function
        self._options = options
        self._context = context
        self._workers = workers
        self._fixed = fixed
        self._star = star
        self.size = 0

    @property
    def ahead(self) -> int:
        """Say how many items may be ahead of the consumer, by what is known of their run time."""
        if self._function.lane:
            return LOOP
        seconds = self._function.seconds
        if seconds is None:
            return LEAST * self._workers
        return min(MOST, max(LEAST * self._workers, int(self._workers * AHEAD / max(seconds, 1e-9))))

    def forget_pool(self) -> None:
        """Everything was sent: whoever takes the results need not keep the pool alive."""
        self._check = _pass

    def check_process(self) -> None:
        """
        Check that this is the process that sends.

        :raises RuntimeError: in a forked child, where no outcome will come
        """
        if self._engine.forked:
            raise RuntimeError(FORKED_CHILD)

    def send(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """
        Send items; one that does not pickle fails alone.

        :param index: of the first of them in the map
        :raises RuntimeError: if the pool takes no more
        """
        self._check()
        try:
            payload = dumps((self._star, items), ("", "item"))
        except BaseException as exc:  # pickling runs user code
            if len(items) == 1:
                unit = Unit(board, 1, index)
                unit.put(0, (1, exc, True))
                return [unit]
            return [unit for number, item in enumerate(items, index) for unit in self.send(board, [item], number)]
        self.size = len(payload)
        unit = Unit(board, len(items), index)
        unit.chunk = Chunk(
            self._function, payload, len(items), unit, self._options, fixed=self._fixed, context=self._context
        )
        self._engine.submit_chunk(unit.chunk)
        return [unit]

    def cancel(self, units: Iterable[Unit], ended: Latch | None = None) -> None:
        """Keep what has not been started from being so; open the gate when what runs has ended."""
        self._engine.cancel_chunks([unit.chunk for unit in units if unit.chunk is not None], ended)


def _pass() -> None:
    """Check nothing."""


class FutureSender:
    """Sends each item of a map as a task of its own."""

    def __init__(self, submit: Callable[[tuple[Any, ...]], CallFuture[Any]], *, star: bool) -> None:
        self._submit = submit
        self._star = star
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

    def cancel(self, units: Iterable[Unit], ended: Latch) -> None:
        """Cancel all, and close the streams that nobody was given; open the gate when they have ended."""
        gates = [_end(unit.future) for unit in units if unit.future is not None]
        countdown = _Countdown(ended)
        for latch in gates:
            if latch is not None:
                countdown.watch(latch)
        countdown.release()


def _end(future: CallFuture[Any]) -> Latch | None:
    """End what is behind a future; return what opens at its end, if that is not known yet."""
    call = future.outstanding_call
    if future.cancel(force=True):
        return future.ended or getattr(getattr(call, "receiver", None), "ended", None)
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    close = getattr(future.result(), "_close_soon", None)  # of a stream
    return None if close is None else close()


class _Countdown:
    """Opens a gate when several others are open, and nobody adds any more."""

    def __init__(self, latch: Latch) -> None:
        self._latch = latch
        self._left = [None]

    def watch(self, latch: Latch) -> None:
        """Wait for this gate as well."""
        self._left.append(None)
        if not latch.add(self):
            self.release()

    def release(self) -> None:
        """Note that one of them is open, or that there will be no more."""
        self._left.pop()
        if not self._left:
            self._latch.open()
