"""
What became of calls, counted by function: how many, how long they ran and waited, how many bytes they took.

Counts are exact, and so is the total run time, except of calls at peers, which tell the moving average of a function.
All else is measured at each of the first calls, and at each one that ran for long; then at one of `EVERY`, which stands
for those since the last one.  So it costs nothing that can be noticed, and nothing at all is done for a call when
somebody asks.

A call waits from the moment in which it is made until its outcome is read, but for the time in which it runs.
"""

from __future__ import annotations

from woolexec.core.histogram import Histogram
from woolexec.core.retry import LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from woolexec.core.call import Call, Chunk, Function

EVERY = 16
LONG = 1e-3
"""Calls that ran for at least this long, in seconds, are measured, all of them."""

_FIRST = 256
"""The number of calls of a function that are measured before only some are."""

_FUNCTIONS = 1000
OTHERS = "(other functions)"
"""The name of all functions but the first thousand."""


class Tally:
    """
    The calls of one function; items of maps count as calls.

    `left` is the number of short calls that are not measured before the next one is.
    """

    __slots__ = (
        "_measured",
        "_pause",
        "bytes_in",
        "bytes_out",
        "cancelled",
        "failures",
        "left",
        "lost",
        "retries",
        "runs",
        "total",
        "waits",
    )

    def __init__(self) -> None:
        self._measured = 0  # calls that what was measured stands for
        self._pause = 1  # > 1: only some are measured
        self.left = 0
        self.total = 0.0
        """Run time of all calls that ended, in seconds."""
        self.failures = 0
        """Calls that raised, or exceeded their timeout."""
        self.lost = 0
        """Calls whose worker or peer was lost, and that were not started again."""
        self.cancelled = 0
        self.retries = 0
        """Calls that were started again."""
        self.bytes_in = self.bytes_out = 0
        self.runs = Histogram()
        self.waits = Histogram()

    @property
    def count(self) -> int:
        """The number of calls that returned or raised."""
        return self._measured + self._pause - 1 - self.left

    def measure(self, seconds: float, waited: float, bytes_in: int, bytes_out: int, items: int = 1) -> None:
        """
        Add a call that ended.

        :param seconds: its run time, of all `items` together
        """
        weight = items
        if self.left < 0:
            weight = self._pause
            if weight == 1 and self._measured >= _FIRST:
                self._pause = EVERY
            self.left = self._pause - 1
        self._measured += weight
        self.runs.add(seconds / items, weight)
        self.waits.add(max(0.0, waited), weight)
        self.bytes_in += bytes_in * weight // items
        self.bytes_out += bytes_out * weight // items


class Tallies:
    """
    The calls of one engine.  Only the engine's thread uses it, but for `cancelled` and `cancel_chunks`.

    :param clock: returns monotonic seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._functions: dict[str, Tally] = {}
        self._cancelled: list[tuple[str, int]] = []  # appended to by any thread

    def of(self, function: Function) -> Tally:
        """Return the tally of a function, which it has from then on."""
        tally: Tally | None = function.tally
        if tally is None:
            tally = function.tally = self._named(function.name)
        return tally

    def _named(self, name: str) -> Tally:
        if name not in self._functions and len(self._functions) >= _FUNCTIONS:
            name = OTHERS
        return self._functions.setdefault(name, Tally())

    def functions(self) -> dict[str, Tally]:
        """Return the tallies by the names of the functions."""
        self._count_cancelled()
        return self._functions

    def _count_cancelled(self) -> None:
        cancelled = self._cancelled[:]
        del self._cancelled[: len(cancelled)]
        for name, count in cancelled:
            self._named(name).cancelled += count

    # -- how calls ended ------------------------------------------------------------------------------------------

    def measure(self, call: Call, seconds: float, size: int) -> None:
        """Measure a call that was counted in `left` of its tally."""
        tally: Tally = call.function.tally
        if seconds > LONG:  # it stands for no other call
            tally.left += 1
        tally.measure(seconds, self._clock() - call.since - seconds, len(call.payload), size)
        if self._cancelled:  # it does not grow although nobody asks
            self._count_cancelled()

    def returned(self, call: Call, size: int) -> None:
        """Note that a call returned whose function has a tally; `Outcomes.read` does the same for many at once."""
        tally: Tally = call.function.tally
        tally.total += call.cost
        tally.left -= 1
        if tally.left < 0 or call.cost > LONG:
            self.measure(call, call.cost, size)

    def ended(self, call: Call, seconds: float, size: int, raised: int = 0) -> None:
        """
        Note that a call, or one for some items of a map, returned or raised.

        :param size: bytes of the value, or of the exception
        :param raised: the number of calls or items that raised
        """
        tally, items = self.of(call.function), call.count or 1
        tally.failures += min(raised, items)  # a peer may say anything
        tally.total += seconds
        tally.measure(seconds, self._clock() - call.since - seconds, _size_of(call), size, items)
        if self._cancelled:  # as above
            self._count_cancelled()

    def unfinished(self, call: Call, types: Sequence[str] = (LOST,), *, is_retried: bool = False) -> None:
        """
        Note that a call ended without an outcome of its own, or is started again.

        :param types: names of the error's classes
        """
        tally, items = self.of(call.function), call.count or 1
        if is_retried:
            tally.retries += items
        elif LOST in types:
            tally.lost += items
        else:
            tally.failures += items

    def cancelled(self, call: Call) -> None:
        """Note that a call was cancelled; from any thread."""
        self._cancelled.append((call.function.name, call.count or 1))

    def cancel(self, call: Call) -> None:
        """Note that a call was cancelled, in its state too."""
        call.move("cancel")
        self.cancelled(call)

    def cancel_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Cancel the items of maps that have not been sent; from any thread."""
        for chunk in chunks:
            if not chunk.cancelled and chunk.next < chunk.count:
                self._cancelled.append((chunk.function.name, chunk.count - chunk.next))
            chunk.cancelled = True


def _size_of(call: Call) -> int:
    """Return the bytes of the arguments of a call; of the items of a map, their part of what was pickled together."""
    if isinstance(call.payload, OSError):
        return 0
    size = len(call.payload)
    return size if call.chunk is None or not call.count else size * call.count // max(1, call.chunk.count)
