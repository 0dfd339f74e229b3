"""
Which peers a client avoids for a while, because calls fail there for reasons that are due to the peer.

This is what load balancers call outlier detection.  A peer that fails calls several times in a row, or about every
third time, is ejected: for `BASE` seconds, then for twice as long each time, up to `LONGEST`.  After that one more
failure ejects it again, and a success clears its record.  Failures of the tasks themselves do not count.

A peer is avoided only for calls that another place could run.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from woolexec.core.place import Place
    from woolexec.resources import Requirement

    P = TypeVar("P", bound=Place)

LIMIT = 3.0
"""Failures at which a peer is ejected: in a row, or more with some successes in between."""

KEPT, NONE = 0.8, 0.1
"""The factor by which each success reduces the number of failures, and the number that counts as none."""

BASE, LONGEST = 1.0, 60.0
"""Seconds of the first ejection, and of the longest."""

_MOST = 1000
"""Maximum number of peers with failures that are remembered."""


class _Score:
    """The record of a peer that has failed."""

    __slots__ = ("ejections", "failures", "until")

    def __init__(self) -> None:
        self.failures = 0.0
        self.ejections = 0  # number since a call last succeeded there outside of an ejection
        self.until = 0.0  # when the last ejection ends


class Outliers:
    """
    The peers that have failed, by the addresses at which they were reached.

    :param clock: returns monotonic seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._scores: dict[str, _Score] = {}

    @property
    def has_any(self) -> bool:
        """Whether any peer has failed."""
        return bool(self._scores)

    def failed(self, address: str) -> float:
        """Note that a peer has failed; return the seconds for which this ejects it; 0.0 if it does not."""
        score = self._scores.get(address)
        if score is None:
            if len(self._scores) >= _MOST:
                del self._scores[next(iter(self._scores))]
            score = self._scores[address] = _Score()
        now = self._clock()
        if now < score.until:
            return 0.0
        score.failures += 1.0
        if score.failures < LIMIT:
            return 0.0
        seconds = min(LONGEST, BASE * 2.0**score.ejections)
        score.ejections = min(score.ejections + 1, 30)
        score.failures, score.until = LIMIT - 1.0, now + seconds
        return seconds

    def succeeded(self, address: str) -> None:
        """Note that a peer has run a call, with any outcome."""
        if not self._scores:
            return
        score = self._scores.get(address)
        if score is None or self._clock() < score.until:  # during an ejection, a call that was sent before
            return
        score.ejections = 0
        score.failures *= KEPT
        if score.failures < NONE:
            del self._scores[address]

    def without(self, fitting: list[P], places: Iterable[Place], requirement: Requirement | None) -> list[P]:
        """
        Leave out the peers that must be avoided.

        :param fitting: the places that could run a call now
        :param places: all places
        :param requirement: what the call requires
        """
        if not self._scores:
            return fitting
        now = self._clock()
        sound = [place for place in fitting if not self._is_ejected(place, now)]
        if len(sound) == len(fitting):
            return fitting
        has_others = any(
            place.ready and place.offer.meets(requirement) and not self._is_ejected(place, now) for place in places
        )
        return sound if sound or has_others else fitting

    def _is_ejected(self, place: Place, now: float) -> bool:
        score = None if place.candidate is None else self._scores.get(place.candidate.address)
        return score is not None and now < score.until
