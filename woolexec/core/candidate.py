"""What a client knows about one of its peers; `offering` and the placement policies use it."""

from __future__ import annotations

from math import exp, log

from woolexec.core.window import HORIZON, taken_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEARN = 0.1

_NEVER_REFUSED = 1 << 62
"""Freshness of a peer that no other client seems to use: what is known about it does not age."""


class Candidate:
    """
    What a client knows about one peer.

    `name` and `host` are as the peer reported them; `tags` and `resources` are what it offers; `width` is its number of
    workers.  `pace` is the time that it takes for a task, as a multiple of the time taken elsewhere.
    """

    __slots__ = (
        "_place",
        "address",
        "fresh",
        "host",
        "is_full",
        "is_here",
        "is_known",
        "name",
        "pace",
        "refusals",
        "resources",
        "tags",
        "taken",
        "trouble",
        "width",
    )

    name: str
    address: str
    """The address at which it was reached."""
    host: str
    width: int
    tags: frozenset[str]
    resources: dict[str, float]
    pace: float
    is_here: bool
    """Whether the peer is on this host."""
    is_full: bool
    """Whether it has refused a task, and will report when a place is free."""
    trouble: str
    """Why it cannot run any task now, according to the peer; empty if it can."""
    is_known: bool
    """Whether one of this client's calls has ended there."""
    taken: int
    """The number of its places that other clients take, as far as is known."""
    refusals: int
    """The number of calls that it has refused."""
    fresh: int
    """When it was last heard from, as a position in the order of reports from all peers."""

    def __init__(self, place: Any, name: str, host: str, *, is_here: bool = False, address: str = "") -> None:
        self._place = place
        self.address = address or name
        self.name, self.host, self.is_here = name, host, is_here
        self.width = place.width
        self.tags, self.resources = place.offer.tags, place.offer.resources
        self.taken, self.trouble, self.refusals = 0, "", 0
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
        self.taken, self.trouble = 0, ""
        self.taken = max(0, self.free - free)

    def ended(self, now: int) -> None:
        """Note that one of this client's calls has ended there and freed its place."""
        if self.fresh < _NEVER_REFUSED:  # as in `_note`, which would cost each call two functions
            self.fresh = now
        self.is_known = True

    def _note(self, now: int) -> None:
        """Note that the knowledge about it is current."""
        if self.is_contended:
            self.fresh = now

    @property
    def is_contended(self) -> bool:
        """Whether it has refused a call, which means that other clients use it too."""
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
