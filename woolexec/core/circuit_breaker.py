"""
Whether workers can be started: a circuit breaker, as in Nygard, "Release It!" (2007).

::

    closed --too many failures of one cause--> open --pause--> half-open --worked--> closed
                                                ^---------------failed----'

Each failure is followed by a pause, during which nothing is tried; pauses grow while nothing works.
"""

from __future__ import annotations

from math import inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT, PERIOD = 3, 10.0
"""Failures of one cause within this many seconds, with no success in between, that open the breaker."""

FIRST, SLOWEST = 0.05, 5.0
"""Seconds until the next attempt: after the first failure, and the maximum."""


class CircuitBreaker:
    """
    Counts the failures of an operation that is tried repeatedly, by cause.

    :param clock: returns monotonic seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.reason = ""
        """Why the last attempt failed."""
        self._clock = clock
        self._failures: dict[str, list[float]] = {}  # by cause: the times of the last `LIMIT` failures
        self._in_a_row = 0
        self._tries_at = -inf
        self._opened_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether attempts are expected to fail."""
        return self._opened_at is not None

    @property
    def open_for(self) -> float:
        """The number of seconds since it opened; 0.0 if it is closed."""
        return 0.0 if self._opened_at is None else self._clock() - self._opened_at

    @property
    def pause(self) -> float:
        """The number of seconds until the next attempt is allowed."""
        return max(0.0, self._tries_at - self._clock())

    def may_try(self) -> bool:
        """Return whether an attempt is allowed now; after a failure one is, followed by a pause."""
        if not self._in_a_row:
            return True
        if self.pause:
            return False
        self._wait()
        return True

    def failed(self, cause: str, reason: str, *, for_good: bool = False) -> None:
        """
        Note that an attempt failed.

        :param cause: the kind of failure; failures are counted by kind
        :param reason: a description for users
        :param for_good: it will not work soon, so one failure opens the breaker
        """
        now = self._clock()
        times = [time for time in self._failures.get(cause, []) if time > now - PERIOD]
        self._failures[cause] = [*times[1 - LIMIT :], now]
        self._in_a_row += 1
        self.reason = reason
        if self._opened_at is None and (for_good or len(self._failures[cause]) >= LIMIT):
            self._opened_at = now
        self._wait()

    def worked(self) -> None:
        """Note that an attempt succeeded."""
        if self._in_a_row:
            self._failures.clear()
            self._in_a_row, self._tries_at, self._opened_at, self.reason = 0, -inf, None, ""

    def _wait(self) -> None:
        self._tries_at = self._clock() + min(SLOWEST, FIRST * 2.0 ** min(self._in_a_row - 1, 30))
