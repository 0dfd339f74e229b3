"""
Statistics of calls by function: how many there were, how long they ran and waited, how many bytes they took.

Counts are exact, and so is the total run time, except for calls at peers, which report a function's moving average.
Everything else is measured for the first calls, for each call that ran for long, and for one in `EVERY` of the others,
which represents those since the last one.  For the rest only the run time is added to a list of the function, which
has no noticeable cost.  Reading the statistics does no work for each call.

A call waits from its creation until its outcome is read, except while it runs.
"""

from __future__ import annotations

from woolexec.core.call import MAIN
from woolexec.core.histogram import Histogram
from woolexec.core.retry import LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from woolexec.core.call import Call, Chunk

EVERY = 64
LONG = 1e-3
"""All calls that ran for at least this long, in seconds, are measured."""

_FIRST = 256
"""Number of calls of a function that are all measured; of later ones only some are."""

_FUNCTIONS = 1000
OTHERS = "(other functions)"
"""The common name of all functions after the first thousand."""


class Tally:
    """
    The calls of one function; items of maps count as calls.

    `recent` has the run times of the short calls since one was measured, in seconds.
    """

    __slots__ = (
        "_measured",
        "_total",
        "bytes_in",
        "bytes_out",
        "cancelled",
        "failures",
        "lost",
        "recent",
        "retries",
        "runs",
        "waits",
    )

    def __init__(self) -> None:
        self._measured = 0  # number of calls that the measurements represent
        self._total = 0.0  # their total run time
        self.recent: list[float] = []
        self.failures = 0
        """Calls that raised, or exceeded their timeout."""
        self.lost = 0
        """Calls that were lost with a worker or a peer and not started again."""
        self.cancelled = 0
        self.retries = 0
        """Calls that were started again."""
        self.bytes_in = self.bytes_out = 0
        self.runs = Histogram()
        self.waits = Histogram()

    @property
    def count(self) -> int:
        """The number of calls that returned or raised."""
        return self._measured + len(self.recent)

    @property
    def total(self) -> float:
        """Run time of all calls that ended, in seconds."""
        return self._total + sum(self.recent)

    @property
    def is_known(self) -> bool:
        """Whether enough calls were measured, so that only some of the further short calls are."""
        return self._measured >= _FIRST

    def measure(self, total: float, waited: float, bytes_in: int, bytes_out: int, items: int = 1) -> None:
        """
        Add a call that ended.

        :param total: its run time, of all `items` together, in seconds
        """
        self._measured += items
        self._total += total
        self._measure(total / items, waited, items, bytes_in, bytes_out)

    def measure_recent(self, waited: float, bytes_in: int, bytes_out: int) -> None:
        """Add those of `recent`, measured at the last one of them."""
        count, seconds = len(self.recent), self.recent[-1]
        self._measured += count
        self._total += sum(self.recent)
        self.recent.clear()
        self._measure(seconds, waited - seconds, count, bytes_in * count, bytes_out * count)

    def _measure(self, seconds: float, waited: float, times: int, bytes_in: int, bytes_out: int) -> None:
        self.runs.add(seconds, times)
        self.waits.add(max(0.0, waited), times)
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out


class Tallies:
    """
    The calls of one engine.  Only the engine's thread uses it, except for `cancelled` and `cancel_chunks`.

    :param clock: returns monotonic seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._functions: dict[str, Tally] = {}
        self._cancelled: list[tuple[str, int]] = []  # appended to by any thread

    def _named(self, name: str) -> Tally:
        found = self._functions.get(name)
        if found is None:
            if len(self._functions) >= _FUNCTIONS:
                name = OTHERS
            found = self._functions.setdefault(name, Tally())
        return found

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

    def returned(self, call: Call, size: int) -> None:
        """Note that a call returned whose function has `recent`; `Outcomes.read` does the same for many at once."""
        recent = call.function.recent
        if recent is None or call.cost > LONG:
            self.ended(call, call.cost, size)
        else:
            recent.append(call.cost)
            if len(recent) >= EVERY:
                self.measure_recent(call, size)

    def measure_recent(self, call: Call, size: int) -> None:
        """
        Measure a short call, and those of its function before it that were not.

        :param size: bytes of its value
        """
        self._named(call.function.name).measure_recent(self._clock() - call.since, len(call.payload), size)
        if self._cancelled:  # so that the list does not grow between requests
            self._count_cancelled()

    def ended(self, call: Call, seconds: float, size: int, raised: int = 0) -> None:
        """
        Note that a call, or one for some items of a map, returned or raised.

        :param size: bytes of the value, or of the exception
        :param raised: the number of calls or items that raised
        """
        function, items = call.function, call.count or 1
        tally = self._named(function.name)
        tally.failures += min(raised, items)  # a peer may report any number
        tally.measure(seconds, self._clock() - call.since - seconds, _size_of(call), size, items)
        if function.recent is None and function.lane == MAIN and tally.is_known:
            function.recent = tally.recent
        if self._cancelled:  # as above
            self._count_cancelled()

    def unfinished(self, call: Call, types: Sequence[str] = (LOST,), *, is_retried: bool = False) -> None:
        """
        Note that a call ended without its own outcome, or is started again.

        :param types: names of the error's classes
        """
        tally, items = self._named(call.function.name), call.count or 1
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
        """Note that a call was cancelled, and change its state."""
        call.move("cancel")
        self.cancelled(call)

    def cancel_chunks(self, chunks: Iterable[Chunk]) -> None:
        """Cancel the items of maps that have not been sent; from any thread."""
        for chunk in chunks:
            if not chunk.cancelled and chunk.next < chunk.count:
                self._cancelled.append((chunk.function.name, chunk.count - chunk.next))
            chunk.cancelled = True


def _size_of(call: Call) -> int:
    """Return the bytes of a call's arguments; for items of a map, their part of the common pickle."""
    if isinstance(call.payload, OSError):
        return 0
    size = len(call.payload)
    return size if call.chunk is None or not call.count else size * call.count // max(1, call.chunk.count)
