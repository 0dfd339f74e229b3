"""
Which peer gets a call: what a client knows about its peers, and the policies that choose.

::

    client                                     peer
      |--- Start, as an offer --------------->|  a place is free: the call runs there
      |<-- Load, refused ---------------------|  no place is free: the call waits at its client again
      |<-- Load, number of free places -------|  a place is free again: the longest-waiting client is told first

Binding is late: a call waits at its client until, as far as the client knows, a peer has a free place for it.  The
client's knowledge is never certain, because other clients use the peer too, so a peer may refuse.  The most recent
information is the most likely to be still true.  After a refusal a client waits until one of its own calls ends, until
a peer reports free places, or for a pause.  A client that is refused often, and has no credit, offers calls only to the
peer that it heard from last and to peers that no other client uses, and tries one other peer after each pause.

Calls that are short compared with `HORIZON` are sent ahead and are not refused; those that wait too long behind others
are recalled.

The design follows join-idle-queue (Lu et al., 2011) and late binding (Ousterhout et al., Sparrow, 2013); `tests/sim`
compares it with one ideal queue for all clients.
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
"""Largest credit and largest debt of a client.  A call that is placed earns one, a call that is refused costs two, and
a pause without a refusal cancels the debt.  A refusal costs three messages."""

PAUSE, PAUSES = 1 / 16, 5
"""The fraction of a call's run time (at most one second) after which another peer is tried, and how often this pause is
doubled while every call is refused and none of the client's calls ends.  After that, all peers of which nothing is
known are tried; if the client has no calls outstanding behind any link, all that are not known to be full."""

AHEAD_BYTES = 8 << 20
"""Maximum payload outstanding behind a link, in bytes, for calls sent beyond those that run."""

SLOW = 4.0
"""A peer that takes this many times longer than others gets only calls for which the others have no free place."""

_EPSILON = 1e-9

_LEARN = 0.1

_NEVER_REFUSED = 1 << 62
"""Freshness of a peer that no other client seems to use: what is known about it does not age."""


def weigh(seconds: float | None) -> float:
    """Return how much of one worker's horizon a call with this expected run time takes, in seconds."""
    return HORIZON if seconds is None or seconds > HORIZON else seconds


def taken_by(load: float) -> int:
    """Return the number of places that this much work takes."""
    return -int((_EPSILON - load) // HORIZON)


class Candidate:
    """
    What a client knows about one peer.

    `name` and `host` are what the peer reported, `tags` and `resources` what it offers, `width` is its number of
    workers.  `pace` is how long it takes for a task, as a multiple of the time taken elsewhere.
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
    """The peer is on this host."""
    is_full: bool
    """It has refused a task, and will report when a place is free."""
    is_known: bool
    """One of this client's calls has ended there."""
    taken: int
    """The number of its places that other clients take, as far as is known."""
    fresh: int
    """When it was last heard from, as a position in the order of reports from all peers."""

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
        """The number of this client's calls that are outstanding there."""
        return len(self._place.outstanding)

    @property
    def load(self) -> float:
        """The fraction of its places that this client's calls take."""
        load: float = self._place.load
        return load / (HORIZON * self.width)

    @property
    def free(self) -> int:
        """The number of free places, as far as is known."""
        if self.is_full:
            return 0
        return max(0, self.width - self.taken - taken_by(self._place.load))

    def matches(self, near: str) -> bool:
        """Return whether `near` is its host, its name or one of its tags."""
        return near in {self.host, self.name} or near in self.tags

    def heard(self, free: int, now: int) -> None:
        """Note how many places it reports as free; `now` is a counter that grows with each report from any peer."""
        self._note(now)
        self.is_full = False
        self.taken = 0
        self.taken = max(0, self.free - free)

    def ended(self, now: int) -> None:
        """Note that one of this client's calls has ended there and freed its place."""
        self._note(now)
        self.is_known = True

    def _note(self, now: int) -> None:
        """Note that what is known about it is current."""
        if self.is_contended:
            self.fresh = now

    @property
    def is_contended(self) -> bool:
        """It has refused a call, so other clients use it too."""
        return self.fresh < _NEVER_REFUSED

    def refused(self) -> None:
        """Note that it has no free place, and will report when it has one."""
        self.fresh = 0
        self.is_full = True
        self.taken = self.width

    def observe(self, seconds: float, expected: float | None) -> None:
        """Note the run time of a call there, whose function takes `expected` seconds on average everywhere."""
        if expected and seconds > 0:
            # The logarithm is averaged, so a peer is not slow because one call in twenty takes a hundred times as long.
            self.pace *= exp(_LEARN * (log(seconds / expected) - log(self.pace)))


class Placement(Protocol):
    """
    How peers are chosen.  The methods are called in the engine's thread: they must be quick and must not block.

    Only peers that may have a free place for the task are candidates; there are at least two.
    """

    def choose(self, candidates: Sequence[Candidate], task: str) -> Candidate:
        """Choose where the next task goes; `task` is its name."""

    def done(self, candidate: Candidate, seconds: float) -> None:
        """Note that a task has ended there after running for `seconds`."""


class Distant:
    """Limits on what may be sent to a place behind a link: a mixin for `Place`."""

    __slots__ = ()

    candidate: Any
    outstanding: dict[int, Call]
    load: float
    size: int
    width: int
    ready: bool
    recalling: int

    def has_room(self, cost: float | None, size: int) -> bool:
        """Return whether one more call with this expected run time and payload size may be sent."""
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
        """It has enough work ahead: refilling it in larger steps takes fewer messages."""
        return len(self.outstanding) > self.width and self.load > HORIZON * self.width / 2


class IdleFirst:
    """
    The default: a peer known to have free places, preferably on this host; else the better of two at random.

    The better one has fewer of this client's tasks per worker.

    :param random: source of random choices
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
