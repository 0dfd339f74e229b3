"""
Every call of a run and its outcome, checked against the guarantees in the documentation.

1. ``accept`` notes a call before it is submitted, ``end`` its outcome, at each time that its future calls back.
2. ``overdue`` names calls that should have ended long ago.
3. ``faults`` compares all of it with the starts that the tasks themselves have noted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

SHOWN = 10
"""Number of faults of one sort that are spelled out."""


@dataclass(frozen=True, slots=True)
class Expected:
    """
    What the calls of a kind may end with.

    :param is_right: whether a value is right for the call with this number
    :param errors: exceptions that they may raise instead
    :param starts: how often they may start; 0 if they note no starts
    """

    kind: str
    is_right: Callable[[int, Any], bool]
    errors: tuple[type[BaseException], ...]
    starts: int = 1


class Ledger:
    """All calls of a run, by their numbers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._clock = clock
        self._lock = threading.Lock()  # guards all that follows: callbacks run in threads of the executor
        self._last = 0
        self._pending: dict[int, tuple[float, Expected]] = {}
        self._more_starts: dict[int, int] = {}  # of those calls that may start more than once
        self._started: set[int] = set()  # those that must have started, for they had a value
        self._cancelled: dict[int, str] = {}  # those that must not have started, and of which kind they are
        self._forced: set[int] = set()
        self._also: tuple[type[BaseException], ...] = ()

    def accept(self, expected: Expected) -> int:
        """Note a call that is about to be submitted; return its number."""
        with self._lock:
            self._last += 1
            self._pending[self._last] = self._clock(), expected
            if expected.starts != 1:
                self._more_starts[self._last] = expected.starts
            return self._last

    def shortage(self, *errors: type[BaseException]) -> None:
        """Permit these errors to every call until this is called again, because something is missing."""
        self._also = errors

    def forced(self, number: int) -> None:
        """Note that a call is being cancelled even if it has started."""
        with self._lock:
            self._forced.add(number)

    def end(self, number: int, outcome: Callable[[], Any]) -> None:
        """
        Note the outcome of a call.

        :param outcome: returns its value or raises its error
        """
        try:
            value = outcome()
        except BaseException as exc:
            with self._lock:
                self._ended(number, exc)
            return
        with self._lock:
            self._returned(number, value)

    def _returned(self, number: int, value: Any) -> None:
        expected = self._take(number)
        if expected is None:
            return
        self.counts[f"{expected.kind}: value"] += 1
        if expected.starts:
            self._started.add(number)
        if not expected.is_right(number, value):
            self.wrong.append(f"call {number} ({expected.kind}) has the value {value!r:.200}")

    def _ended(self, number: int, exc: BaseException) -> None:
        expected = self._take(number)
        if expected is None:
            return
        self.counts[f"{expected.kind}: {type(exc).__name__}"] += 1
        if isinstance(exc, CancelledError):
            # One that may start again may have started before it was cancelled.
            if number not in self._forced and expected.starts <= 1:
                self._cancelled[number] = expected.kind
        elif not isinstance(exc, (*expected.errors, *self._also)):
            self.wrong.append(f"call {number} ({expected.kind}) raised {exc!r:.400}")

    def _take(self, number: int) -> Expected | None:
        _, expected = self._pending.pop(number, (0.0, None))
        if expected is None:
            self.wrong.append(f"call {number} ended twice")
        return expected

    @property
    def is_short(self) -> bool:
        """Whether something is missing."""
        return bool(self._also)

    @property
    def pending(self) -> int:
        """The number of calls that have not ended."""
        return len(self._pending)

    @property
    def values(self) -> int:
        """The number of calls that have had a value."""
        return sum(count for what, count in self.counts.copy().items() if what.endswith(": value"))

    @property
    def accepted(self) -> int:
        """The number of calls so far."""
        return self._last

    def overdue(self, seconds: float) -> list[str]:
        """Name the calls that have been pending for longer than this."""
        now = self._clock()
        with self._lock:
            late = [(number, now - since, each.kind) for number, (since, each) in self._pending.items()]
        return [f"call {number} ({kind}) has not ended for {age:.0f} s" for number, age, kind in late if age > seconds]

    def faults(self, starts: Mapping[int, int]) -> list[str]:
        """
        Name everything that broke a promise.

        :param starts: how often each call has started, as the tasks themselves have noted
        """
        with self._lock:
            often = [
                f"call {number} started {count} times, and may {self._more_starts.get(number, 1)} times"
                for number, count in starts.items()
                if count > self._more_starts.get(number, 1)
            ]
            never = [f"call {number} has a value and never started" for number in self._started if not starts[number]]
            cancelled = [
                f"call {number} ({kind}) was cancelled and started"
                for number, kind in self._cancelled.items()
                if starts[number]
            ]
            pending = [f"call {number} ({each.kind}) has not ended" for number, (_, each) in self._pending.items()]
            sorts = [self.wrong, often, never, cancelled, pending]
        return [text for sort in sorts for text in _shortened(sort)]


def _shortened(faults: list[str]) -> list[str]:
    more = len(faults) - SHOWN
    return faults if more <= 0 else [*faults[:SHOWN], f"... and {more} more like these"]
