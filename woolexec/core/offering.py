"""
Which calls are offered to which peers.

::

    client                                     peer
      |--- Start, as an offer --------------->|  a place is free: the call runs there
      |<-- Load, refused ---------------------|  no place is free: the call waits at the client again
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

from math import inf

from woolexec.core.call import Call, Chunk, run_time
from woolexec.core.outliers import Outliers
from woolexec.core.place import AnyOf
from woolexec.core.window import HORIZON, weigh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.candidate import Candidate
    from woolexec.core.group import Group
    from woolexec.core.policies import Placement
    from woolexec.core.remote_place import RemotePlace
    from woolexec.resources import Line

CREDIT = 6
"""Largest credit and largest debt of a client.  A call that is placed earns one, a call that is refused costs two, and
a pause without a refusal cancels the debt.  A refusal costs three messages."""

PAUSE, PAUSES = 1 / 16, 5
"""The fraction of a call's run time (at most one second) after which another peer is tried, and how often this pause is
doubled while every call is refused and none of the client's calls ends.  After that, all peers about which nothing is
known are tried; if the client has no outstanding calls at any peer, all peers that are not known to be full."""


class Offering:
    """
    Offers the calls of a queue to peers.

    :param group: the queue, and what is outstanding
    :param policy: chooses among the peers that may have a free place
    :param clock: returns monotonic seconds
    """

    def __init__(self, group: Group, policy: Placement, actions: Actions, clock: Callable[[], float]) -> None:
        self.may_try = True  # whether a peer that is not known to have a free place may be tried
        self.outliers = Outliers(clock)
        self.heard = 0  # counts the reports of peers
        self._group = group
        self._policy = policy
        self._weighs_bytes = getattr(policy, "weighs_bytes", False)
        self._actions = actions
        self._clock = clock
        self._tries_at = inf
        self._credit = CREDIT
        self._pause, self._failures, self._has_failed = PAUSE, 0, False
        self._is_idle = True  # no call is outstanding behind a link

    def join(self) -> None:
        """Note that there is a new peer, which may be idle."""
        self._credit = max(1, self._credit)

    def feed(self, links: Collection[RemotePlace], *, near: bool = False) -> None:
        """Send calls to peers; for `near` see `place`."""
        for link, calls in self.place(links, near=near):
            self._actions.send(link, calls)
        if not self.may_try and (pause := self.pause()) + self._clock() < self._tries_at:
            self._tries_at = self._clock() + pause
            self._actions.after(pause, self._try_in_time)

    def _try_in_time(self) -> None:
        if self._clock() >= self._tries_at:  # otherwise an earlier try has been scheduled meanwhile
            self._tries_at = inf
            self.try_again()

    def place(self, places: Collection[RemotePlace], *, near: bool = False) -> list[tuple[RemotePlace, list[Call]]]:
        """
        Choose the calls to send to places behind links, and record them as outstanding there.

        :param near: place only calls whose options name one of these places as `near`, and only there
        """
        able = [
            place
            for place in places
            if place.ready and not (place.recalling or place.candidate.is_full or place.is_supplied)
        ]
        queue, offers = self._group.queue, AnyOf(able)
        stuck: set[Line | None] = set()
        chosen: dict[RemotePlace, list[Call]] = {}
        has_tried = False
        self._pause = PAUSE
        self._is_idle = not any(place.outstanding for place in places)
        while able and (entry := queue.head(offers, stuck)) is not None:
            line = entry.line
            if (near and (line is None or not line.near)) or (line is not None and line.client is not None):
                stuck.add(line)  # a call that came from a client is not passed on to another peer
                continue
            fitting = able
            named: list[RemotePlace] = []
            if line is not None:
                fitting = [place for place in able if place.has(line.requirement)]
            fitting = self.outliers.without(fitting, self._group.places, None if line is None else line.requirement)
            if line is not None and line.near:
                named = [place for place in fitting if place.candidate.matches(line.near)]
            count = self._group.span_of(entry) if isinstance(entry, Chunk) else 0
            values = getattr(entry.payload, "values", ())
            if values and self._weighs_bytes and not named and not near and len(fitting) > 1:
                named = _sparing(fitting, values)
            found = self._choose(named, entry, count) if named else None
            if found is None and not near:
                found = self._choose(fitting, entry, count)
            if found is None:
                stuck.add(line)
                continue
            place, cost = found
            if self._credit <= 0 and _is_long(entry, count) and not self._is_sure(place.candidate):
                stuck.add(line)  # one call of each line may be tried
                has_tried = True
            call = queue.cut(entry, count)
            if call is None:
                continue
            self._group.record(place, call, cost)
            self._credit = min(CREDIT, self._credit + 1)
            chosen.setdefault(place, []).append(call)
        if has_tried:
            self.may_try = False
        return list(chosen.items())

    def _choose(self, places: list[RemotePlace], entry: Call | Chunk, count: int) -> tuple[RemotePlace, float] | None:
        """
        Return the place for a call, and how much of it the call would take; None if the call must wait.

        Places that cannot take it are removed from the list.
        """
        size = len(entry.payload)
        if entry.line is not None and entry.line.ranked:
            places = [place for place in places if place.has_room_for_outcome(entry)]
        if _is_long(entry, count):
            self._pause = min(self._pause, PAUSE * (entry.function.seconds or 1.0) * (count or 1))
            if not self.may_try or self._credit <= 0:
                places = [place for place in places if place.has_room(_cost_of(entry, count, place), size)]
                sure = [place for place in places if self._is_sure(place.candidate)]
                if not (sure or self.may_try):
                    return None
                places = sure or places
        while places:
            at = 0
            if len(places) > 1:
                candidates = [place.candidate for place in places]
                at = candidates.index(self._policy.choose(candidates, entry.function.name))
            place = places[at]
            cost = _cost_of(entry, count, place)
            if place.has_room(cost, size):
                return place, cost
            del places[at]
        return None

    def _is_sure(self, candidate: Candidate) -> bool:
        """Return whether an offer to this peer does not count as a try."""
        if candidate.is_contended:
            is_last = candidate.fresh == self.heard and candidate.free > 0
            return is_last or (self._is_idle and self._failures > PAUSES)
        return candidate.is_known or self._credit > 0 or self._is_idle or self._failures > PAUSES

    def finish(self, place: RemotePlace, number: int, seconds: float) -> Call | None:
        """Note that a call ended behind a link, with any outcome; return it, or None if it is not outstanding there."""
        call = self._group.finish(place, number, seconds)
        if call is not None:
            place.page.since = self._clock()
            if place.candidate.is_contended:
                self.heard += 1
            place.candidate.ended(self.heard)
            self.may_try = self.may_try or self._credit > 0
            self._failures = 0
        return call

    def failed(self, place: RemotePlace) -> float:
        """Note a failure that is due to a peer; return the seconds for which the peer is now avoided."""
        seconds = self.outliers.failed(place.candidate.address)
        if seconds:
            self._actions.after(seconds, _nothing)
        return seconds

    def observe(self, place: RemotePlace, call: Call, seconds: float) -> None:
        """Let the policy learn from a call that ended behind a link, before that is noted."""
        seconds = run_time(seconds)
        place.candidate.observe(seconds / (call.count or 1), call.function.seconds)
        self._policy.done(place.candidate, seconds)

    def refuse(self, place: RemotePlace, numbers: Iterable[int], *, is_full: bool = True) -> None:
        """
        Queue again the calls that a place behind a link refused; it will report when a place is free.

        :param is_full: it had no free place; otherwise it cannot run any call
        """
        place.candidate.refused()
        numbers = sorted(place.outstanding.keys() & set(numbers), reverse=True)
        if numbers and is_full:
            self._credit = max(-CREDIT, self._credit - 2 * len(numbers))
            self.may_try, self._has_failed = False, True
        self._group.withdraw(place, numbers)

    def tell_free(self, place: RemotePlace, free: int) -> None:
        """Note how many calls a place behind a link can take now."""
        self.heard += 1
        place.candidate.heard(free, self.heard)
        self.may_try = self.may_try or self._credit > 0

    def pause(self) -> float:
        """Return the seconds to wait before `try_again`; they double after each pause with refusals in it."""
        return self._pause * (1 << min(self._failures, PAUSES))

    def try_again(self) -> None:
        """Allow another peer to be tried, after a pause."""
        self.may_try = True
        if self._has_failed:
            self._failures += 1
        else:
            self._failures, self._credit = 0, max(1, self._credit)
        self._has_failed = False


def _sparing(places: list[RemotePlace], values: Sequence[Any]) -> list[RemotePlace]:
    """Return the places that have the most bytes of these values; none if all have equally many."""
    spared = [place.spares(values) for place in places]
    most = max(spared)
    return [place for place, size in zip(places, spared, strict=True) if size == most] if most > min(spared) else []


def _is_long(entry: Call | Chunk, count: int) -> bool:
    """Return whether a call, or this many items of a chunk, is sent as an offer, which may be refused."""
    return weigh(entry.function.seconds) * (count or 1) >= HORIZON


def _cost_of(entry: Call | Chunk, count: int, place: RemotePlace) -> float:
    """Return how much of a place behind a link a call, or this many items of a chunk, would take."""
    seconds = entry.function.seconds
    return weigh(None if seconds is None else seconds * (count or 1) * place.candidate.pace)


def _nothing() -> None:
    """Do nothing: the next round places calls."""
