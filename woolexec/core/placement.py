"""
Which peer gets a call: what a client knows of its peers, and the policies that choose.

::

    client                                     peer
      |--- Start, as an offer --------------->|  a place is free: it runs there
      |<-- Load, refused ---------------------|  none is: the call waits at its client again,
      |<-- Load, so many are free ------------|  which is told when one is: who waits longest is told first

Binding is late: a call waits at its client until a peer has a place for it, as far as the client knows.  What it knows
is never certain (others use the peer as well), so a peer may refuse.  What was heard last is the most likely to be true
still.  After a refusal a client waits: for one of its own calls to end, to be told of room, or for a pause.  One that
is refused often, and has no credit, offers calls to the peer that it heard of last and to those that nobody else uses,
and tries one other after each pause.

Calls that are short against `HORIZON` are sent ahead and are not refused; what waits in vain behind others is recalled.

Join-idle-queue (Lu et al., 2011) and late binding (Ousterhout et al., Sparrow, 2013) are where this comes from;
`tests/sim` measures it against one ideal queue for all.
"""

from __future__ import annotations

from math import exp, log
from typing import Protocol

from woolexec.core.window import DEPTH, HORIZON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random
    from typing import Any

    from woolexec.core.call import Call

CREDIT = 6
"""The most that a client has, and owes: a call that is placed earns one, one that is refused costs two, and a pause
without a refusal pays what is owed.  A refusal costs three messages."""

PAUSE, PAUSES = 1 / 16, 5
"""After how much of a call's run time, taken as a second at most, another peer is tried, and how often this is doubled
while all is refused and none of our calls ends.  After that all peers are tried of which nothing is known, and if
nothing of ours is anywhere all that are not known to be full."""

AHEAD_BYTES = 8 << 20
"""Payload outstanding behind a link, in bytes, at most, beyond the calls that run."""

SLOW = 4.0
"""A peer that takes so many times longer than others gets only what these have no place for."""

_EPSILON = 1e-9

_LEARN = 0.1

_NEVER_REFUSED = 1 << 62
"""What is known of a peer that nobody else seems to use does not age."""


def weigh(seconds: float | None) -> float:
    """Return how much of one worker's horizon a call of this expected run time takes, in seconds."""
    return HORIZON if seconds is None or seconds > HORIZON else seconds


def taken_by(load: float) -> int:
    """Return how many places this much work takes."""
    return -int((_EPSILON - load) // HORIZON)


class Candidate:
    """
    What a client knows of one peer.

    `name` and `host` are what it has said of itself, `tags` and `resources` what it offers, `width` how many workers it
    has.  `pace` is how long it takes for a task, as a multiple of what it takes elsewhere.
    """

    __slots__ = (
        "_place",
        "fresh",
        "host",
        "is_full",
        "is_here",
        "is_known",
        "name",
        "pace",
        "resources",
        "tags",
        "taken",
        "width",
    )

    name: str
    host: str
    width: int
    tags: frozenset[str]
    resources: dict[str, float]
    pace: float
    is_here: bool
    """On this host."""
    is_full: bool
    """It has refused a task, and will tell when it has room."""
    is_known: bool
    """A call of ours has ended there."""
    taken: int
    """How many of its places others take, as far as we know."""
    fresh: int
    """When it was heard of last, among all peers."""

    def __init__(self, place: Any, name: str, host: str, *, is_here: bool = False) -> None:
        self._place = place
        self.name, self.host, self.is_here = name, host, is_here
        self.width = place.width
        self.tags, self.resources = place.offer.tags, place.offer.resources
        self.taken = 0
        self.is_full = self.is_known = False
        self.fresh = _NEVER_REFUSED
        self.pace = 1.0

    @property
    def outstanding(self) -> int:
        """How many calls of ours are there."""
        return len(self._place.outstanding)

    @property
    def load(self) -> float:
        """How much of ours is there: of the places that it has, the part that this takes."""
        load: float = self._place.load
        return load / (HORIZON * self.width)

    @property
    def free(self) -> int:
        """How many places are free, as far as we know."""
        if self.is_full:
            return 0
        return max(0, self.width - self.taken - taken_by(self._place.load))

    def matches(self, near: str) -> bool:
        """Say whether it is meant: by its host, its name, or a tag."""
        return near in {self.host, self.name} or near in self.tags

    def heard(self, free: int, now: int) -> None:
        """It says how many places are free; `now` grows with each time that anything is heard."""
        self._note(now)
        self.is_full = False
        self.taken = 0
        self.taken = max(0, self.free - free)

    def ended(self, now: int) -> None:
        """A call of ours has ended there, and left its place."""
        self._note(now)
        self.is_known = True

    def _note(self, now: int) -> None:
        """What is known of it is as of now."""
        if self.is_contended:
            self.fresh = now

    @property
    def is_contended(self) -> bool:
        """It has refused a call: others use it as well."""
        return self.fresh < _NEVER_REFUSED

    def refused(self) -> None:
        """It has none, and will tell when it has."""
        self.fresh = 0
        self.is_full = True
        self.taken = self.width

    def observe(self, seconds: float, expected: float | None) -> None:
        """A call has run so long there, where calls of its function take `expected` on the whole."""
        if expected and seconds > 0:
            # Of the logarithm: one call in twenty that takes a hundred times as long makes no peer slow.
            self.pace *= exp(_LEARN * (log(seconds / expected) - log(self.pace)))


class Placement(Protocol):
    """
    How peers are chosen.  Methods are called in the engine's thread: they must be quick, and not wait.

    Only peers that may have room for the task are candidates; there are at least two.
    """

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes; `task` is its name."""

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Hear that a task has ended there, having run so long."""


class Distant:
    """How much a place behind a link may be sent: a mixin for `Place`."""

    __slots__ = ()

    candidate: Any
    outstanding: dict[int, Call]
    load: float
    size: int
    width: int
    ready: bool
    recalling: int

    def has_room(self, cost: float | None, size: int) -> bool:
        """Say whether one more call, of this expected run time and payload size, may be sent."""
        if not self.ready or self.recalling or self.candidate.is_full:
            return False
        ahead = len(self.outstanding)
        if ahead < self.width:
            return True
        if ahead >= DEPTH * self.width or self.size + size > AHEAD_BYTES:
            return False
        return self.load + weigh(cost) <= HORIZON * self.width + _EPSILON

    @property
    def is_supplied(self) -> bool:
        """It has enough ahead: filling it up in larger steps costs fewer messages."""
        return len(self.outstanding) > self.width and self.load > HORIZON * self.width / 2


class IdleFirst:
    """
    The default: where places are known to be free, on this host first; else one of two, the one with less of ours.

    :param random: where its choices come from
    """

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
        """Nothing to learn."""


class LeastOutstanding:
    """Where the fewest of our tasks are, for each of its workers."""

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        return min(candidates, key=_per_worker)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Nothing to learn."""


class RoundRobin:
    """One after the other, those with more workers as much oftener."""

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        given = self._given
        if len(given) > 4 * len(candidates) + 1000:  # those that are long gone
            self._given = given = {each.name: given[each.name] for each in candidates if each.name in given}
        start = min(given.values(), default=0.0)  # who is new has missed nothing
        for candidate in candidates:
            given.setdefault(candidate.name, start)
        chosen = min(candidates, key=lambda candidate: given[candidate.name])
        given[chosen.name] += 1 / chosen.width
        return chosen

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Nothing to learn."""


class PowerOfTwoChoices:
    """
    Of two at random, the one with the fewer of our tasks for each worker (Mitzenmacher, 2001).

    :param random: where its choices come from
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or _own_random()

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes."""
        return _better_of_two(candidates, self._random)

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Nothing to learn."""


def _own_random() -> Random:
    from random import Random  # not before there is something to choose from

    return Random()  # noqa: S311  # no secret


def _better_of_two(candidates: Sequence[Candidate], random: Random) -> Candidate:
    if len(candidates) == 1:
        return candidates[0]
    one, other = random.sample(candidates, 2)
    return one if _per_worker(one) <= _per_worker(other) else other


def _per_worker(candidate: Candidate) -> float:
    return candidate.outstanding / candidate.width
