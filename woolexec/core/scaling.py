"""
How many peers a launcher should have: when to start more, and when to stop one.

::

    started -> starting --found, ready--> idle <--> busy --stop--> stopping --gone--> (forgotten)
                  |                         '------- lost ---------------------------> (forgotten)
                  '---- failed: a pause, which doubles -------------------------------> (forgotten)

1. There should be enough peers to finish the waiting and running work within a horizon: the measured time that a peer
   takes to start, but at least `HORIZON`.  More peers would mostly become ready after the work is done.
2. The run time of a call is measured too.  Before a call has ended, the age of the oldest one is the lower bound.
3. A peer is stopped when it has been idle for `idle_timeout` and is not wanted; a starting peer, when there have been
   too many for that long.  So a short gap or a short burst does not stop and start peers.
4. After a failed start, or if a peer is lost soon after its start, the next start waits, at first for `PAUSE`.
"""

from __future__ import annotations

from math import ceil, inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HORIZON = 5.0
"""Seconds within which the work should be done, if peers start that fast."""

GUESS = 1.0
"""Assumed run time of a call, in seconds, while nothing is known."""

PAUSE, LONGEST = 1.0, 300.0
"""Seconds before the next start after a failed one: at first, and the maximum."""

EARLY = 10.0
"""A peer that is lost within this many seconds counts as a failed start."""

CONNECTS = 10.0
"""Seconds within which a peer that was found should be connected."""

_LEARN = 0.3


class _Peer:
    __slots__ = ("found", "idle_since", "is_busy", "is_ready", "is_stopping", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.found = inf
        self.idle_since = now
        self.is_ready = self.is_busy = self.is_stopping = False


class Scaling:
    """
    The peers of one launcher, by their keys.

    :param least: number of peers that are kept even without work
    :param most: maximum number of peers, including those that are starting or stopping
    :param idle_timeout: seconds after which an idle peer is stopped
    """

    def __init__(self, least: int, most: int, idle_timeout: float) -> None:
        self.least, self.most, self.idle_timeout = least, most, idle_timeout
        self.start_seconds: float | None = None
        """How long a peer takes from its start until it is ready; None if none has been ready yet."""
        self.failures = 0
        """Number of starts that failed in a row."""
        self._peers: dict[str, _Peer] = {}
        self._asked = 0  # requested starts that have neither begun nor failed
        self._next_start = 0.0
        self._surplus_since: float | None = None

    # -- what happened ------------------------------------------------------------------------------------------

    def started(self, keys: Iterable[str], asked: int, now: float) -> None:
        """Note the result of a request for `asked` peers: those with these keys are starting."""
        keys = list(keys)
        self._asked -= asked
        for key in keys:
            self._peers.setdefault(key, _Peer(now))
        if len(keys) < asked:
            self._failed(now)

    def found(self, key: str, now: float) -> None:
        """Note that the address of a peer is known."""
        peer = self._peers.setdefault(key, _Peer(now))
        peer.found = min(peer.found, now)

    def ready(self, key: str, now: float) -> None:
        """Note that a peer is connected."""
        peer = self._peers.setdefault(key, _Peer(now))
        if peer.is_ready:
            return
        peer.is_ready, peer.idle_since = True, now
        took = now - peer.since
        peer.since = now
        if self.start_seconds is None:
            self.start_seconds = took
        else:
            self.start_seconds += _LEARN * (took - self.start_seconds)

    def busy(self, key: str, now: float, *, is_busy: bool) -> None:
        """Note whether calls are outstanding at a peer."""
        peer = self._peers.get(key)
        if peer is None:
            return
        if is_busy:
            self.failures = 0
        elif peer.is_busy:
            peer.idle_since = now
        peer.is_busy = is_busy

    def gone(self, key: str, now: float) -> None:
        """Note that a peer has ended, was lost, or will never start."""
        peer = self._peers.pop(key, None)
        if peer is not None and not peer.is_stopping and (not peer.is_ready or now - peer.since < EARLY):
            self._failed(now)

    def _failed(self, now: float) -> None:
        self._next_start = now + min(PAUSE * 2**self.failures, LONGEST)
        self.failures = min(self.failures + 1, 16)

    def retry(self) -> None:
        """Start the next peers without a pause: the cause of failures may be gone."""
        self._next_start, self.failures = 0.0, 0

    # -- what to do ---------------------------------------------------------------------------------------------

    def is_starting(self, now: float) -> bool:
        """Return whether peers are requested or starting; a peer that cannot be connected counts as started."""
        return self._asked > 0 or any(
            not peer.is_ready and now < peer.found + CONNECTS for peer in self._peers.values()
        )

    def wanted(self, lines: Sequence[tuple[int, int]], seconds: float | None, oldest: float) -> int:
        """
        Return how many peers there should be.

        :param lines: for each kind of call, how many wait or run, and how many of them one peer runs at once
        :param seconds: mean run time of a call; None if none has ended
        :param oldest: seconds for which the oldest call has run
        """
        each = max(oldest, GUESS if seconds is None else seconds)
        horizon = max(HORIZON, self.start_seconds or 0.0)
        peers = sum(count * min(1.0, each / horizon) / slots for count, slots in lines)
        return max(self.least, min(self.most, ceil(peers - 1e-9)))

    def step(
        self, lines: Sequence[tuple[int, int]], seconds: float | None, oldest: float, now: float
    ) -> tuple[int, list[str]]:
        """
        Return how many peers to start now, and which to stop.

        The parameters are those of `wanted`.  The returned peers count as requested, or as stopping, from now on.
        """
        wanted = self.wanted(lines, seconds, oldest)
        staying = {key: peer for key, peer in self._peers.items() if not peer.is_stopping}
        count = len(staying) + self._asked
        if count < wanted:
            self._surplus_since = None
            more = min(wanted - count, self.most - len(self._peers) - self._asked)
            if more <= 0 or now < self._next_start:
                return 0, []
            if self.failures:
                more = 1  # one is enough to see whether starts work again
            self._asked += more
            return more, []
        return 0, self._stop(staying, count - wanted, now)

    def _stop(self, staying: dict[str, _Peer], surplus: int, now: float) -> list[str]:
        """Choose which surplus peers to stop: first those that are not ready, the youngest first."""
        if surplus <= 0:
            self._surplus_since = None
            return []
        if self._surplus_since is None:
            self._surplus_since = now
        starting = [key for key, peer in staying.items() if not peer.is_ready]
        if now - self._surplus_since < self.idle_timeout:
            starting = []
        idle = [
            (peer.idle_since, key)
            for key, peer in staying.items()
            if peer.is_ready and not peer.is_busy and now - peer.idle_since >= self.idle_timeout
        ]
        idle.sort(key=lambda each: each[0])
        chosen = [*reversed(starting), *(key for _, key in idle)][:surplus]
        for key in chosen:
            self._peers[key].is_stopping = True
        return chosen
