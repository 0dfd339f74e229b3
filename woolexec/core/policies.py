"""The placement policies: they choose among the peers that may have a free place for a call."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from woolexec.core.candidate import Candidate

SLOW = 4.0
"""A peer that takes this many times longer than others gets only calls for which the others have no free place."""


class Placement(Protocol):
    """
    How peers are chosen.  The methods are called in the engine's thread: they must be quick and must not block.

    Only peers that may have a free place for the task are candidates; there are at least two.
    """

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Return the candidate for the next task; `task` is its name."""

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Note that a task has ended at this candidate after running for `seconds`."""


class IdleFirst:
    """
    The default: a peer known to have free places, preferably on this host; otherwise the better of two at random.

    The better one has fewer of this client's tasks per worker.

    :param random: source of random choices
    """

    weighs_bytes = True
    """A peer with a free place that has the values of a task is preferred to peers that would have to be sent them."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        random = self._random = self._random or _own_random()
        best, most = [], (False, False, 0, 0.0)
        for candidate in candidates:
            free = candidate.free
            if free:
                rank = candidate.pace < SLOW, candidate.is_here, candidate.fresh, free / candidate.width
                if rank > most:
                    best, most = [candidate], rank
                elif rank == most:
                    best.append(candidate)
        if best:
            return best[0] if len(best) == 1 else random.choice(best)
        return _better_of_two(candidates, random)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Do nothing: this policy does not learn."""


class LeastOutstanding:
    """The peer with the fewest of this client's tasks per worker."""

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        return min(candidates, key=_per_worker)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Do nothing: this policy does not learn."""


class RoundRobin:
    """Each peer in turn, in proportion to its number of workers."""

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        given = self._given
        if len(given) > 4 * len(candidates) + 1000:  # drop peers that left long ago
            self._given = given = {each.name: given[each.name] for each in candidates if each.name in given}
        start = min(given.values(), default=0.0)  # a new peer starts level with the one that was given the least
        for candidate in candidates:
            given.setdefault(candidate.name, start)
        chosen = min(candidates, key=lambda candidate: given[candidate.name])
        given[chosen.name] += 1 / chosen.width
        return chosen

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Do nothing: this policy does not learn."""


class PowerOfTwoChoices:
    """
    Of two peers chosen at random, the one with fewer of this client's tasks per worker (Mitzenmacher, 2001).

    :param random: source of random choices
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or _own_random()

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        return _better_of_two(candidates, self._random)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Do nothing: this policy does not learn."""


def _own_random() -> Random:
    from random import Random  # imported only when there is something to choose from

    return Random()  # noqa: S311  # not used for secrets


def _better_of_two(candidates: Sequence[Candidate], random: Random) -> Candidate:
    if len(candidates) == 1:
        return candidates[0]
    one, other = random.sample(candidates, 2)
    return one if _per_worker(one) <= _per_worker(other) else other


def _per_worker(candidate: Candidate) -> float:
    return candidate.outstanding / candidate.width
