"""
Which of the found records a client tries next.

Anyone may be able to write records: very many that lead nowhere, or to untrusted peers, must not keep the client from
its peers.  So no record is preferred until a peer has proved itself.  Records are tried in turn from these lines; most
turns are for records that were not tried yet:

1. untried records, in the order of a hash with a secret salt, so that an attacker cannot write one that comes first
2. untried records that came later than the first ones, the newest first
3. records that have failed, the one that has been due longest first

The first line is rendezvous hashing (Thaler and Ravishankar, 1998): a client that uses only some of very many peers
chooses nearly the same when peers come and go, and each peer gets about the same number of clients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from woolexec.discovery.base import Discovery, Record
    from woolexec.mesh.client.link import Link

    Place = tuple[Discovery, str]  # where a record was found, and its key

MOST_KNOWN = 20_000
"""Maximum number of records that are known at a time."""

_FIRST = 1.0
"""Seconds for which records belong to the first ones."""


@dataclass(slots=True, eq=False)
class Candidate:
    """
    A record that was found, and what is known about the peer there.

    :param since: when it was found
    """

    place: Place
    record: Record
    since: float
    link: Link | None = None
    reason: str = ""
    refused_at: float | None = None  # when a peer there refused this client permanently; None: a retry may succeed
    was_logged: bool = False  # whether it was logged as unreachable
    failures: int = 0
    has_worked: bool = False  # there was a link
    is_tried: bool = False  # it is being tried, or linked
    due: float | None = None  # when it is tried again; None: it was not tried yet
    has_left: bool = False
    turn: int = field(default=0, repr=False)  # entries of lines with another number are no longer valid

    def is_hopeless(self, since: float) -> bool:
        """Return whether a peer there has refused this client permanently since then; earlier ones may be gone."""
        return self.link is None and self.refused_at is not None and self.refused_at >= since


class Candidates:
    """
    All known records, and the lines in which they wait.

    :param salt: secret bytes
    """

    def __init__(self, salt: bytes) -> None:
        self.known: dict[Place, Candidate] = {}
        self._salt = salt
        self._begun: float | None = None
        self._ranked: list[tuple[bytes, int, int, Candidate]] = []
        self._newest: list[tuple[int, Candidate]] = []
        self._failed: list[tuple[float, int, int, Candidate]] = []
        self._count = 0
        # Failed records have fewer turns: they are tried repeatedly, the others once.
        fresh: list[Callable[[float], Candidate | None]] = [self._by_rank, self._by_age]
        self._lines = [*fresh, *fresh, *fresh, self._by_failure]

    def __iter__(self) -> Iterator[Candidate]:
        """Iterate over a copy, in any thread."""
        return iter(tuple(self.known.values()))

    def hear(self, place: Place, record: Record, now: float) -> None:
        """Note a new or changed record; if there are too many, it replaces another one."""
        candidate = self.known.get(place)
        if candidate is None:
            if len(self.known) >= MOST_KNOWN:
                self._drop_one()
            candidate = self.known[place] = Candidate(place, record, now)
            self._add(candidate, now)
        elif candidate.record != record:
            candidate.record = record
            if candidate.due is not None and not candidate.is_tried:
                candidate.failures = 0
                self._add(candidate, now)

    def leave(self, place: Place) -> Candidate | None:
        """Forget a record; return what was known about it."""
        candidate = self.known.pop(place, None)
        if candidate is not None:
            candidate.has_left = True
            candidate.turn += 1
        return candidate

    def take(self, now: float, later: float = 0.0) -> Candidate | None:
        """
        Take the next record to try; None if none is due.

        :param later: additional seconds that failed records have to wait
        """
        for line in list(self._lines):
            self._lines.append(self._lines.pop(0))
            candidate = line(now - later)
            if candidate is not None:
                candidate.is_tried = True
                candidate.turn += 1
                return candidate
        return None

    def give_back(self, candidate: Candidate, due: float) -> None:
        """Note that an attempt, or a link, has ended."""
        candidate.is_tried = False
        if candidate.has_left:
            return
        candidate.due = due
        candidate.turn += 1
        self._count += 1
        heappush(self._failed, (due, self._count, candidate.turn, candidate))

    def hasten(self, since: float) -> bool:
        """Let peers that refused this client permanently before that be tried now; return whether there are any."""
        refused = [each for each in self.known.values() if each.refused_at is not None and not each.is_tried]
        refused = [each for each in refused if not each.is_hopeless(since)]
        for each in refused:
            self.give_back(each, since)
        return bool(refused)

    def next_due(self) -> float | None:
        """Return when the next failed record is due; None if there are none."""
        while self._failed and self._failed[0][2] != self._failed[0][3].turn:
            heappop(self._failed)
        return self._failed[0][0] if self._failed else None

    def _add(self, candidate: Candidate, now: float) -> None:
        """Add an untried record to its line."""
        candidate.due = None
        candidate.turn += 1
        self._count += 1
        rank = hashlib.blake2b(repr(candidate.record.key).encode(), key=self._salt, digest_size=16).digest()
        heappush(self._ranked, (rank, self._count, candidate.turn, candidate))
        if self._begun is None:
            self._begun = now
        if now - self._begun > _FIRST:
            self._newest.append((candidate.turn, candidate))
        if len(self._ranked) + len(self._newest) + len(self._failed) > 6 * MOST_KNOWN:
            self._clear()

    def _clear(self) -> None:
        """Remove the entries that are no longer valid."""
        self._ranked = [entry for entry in self._ranked if entry[-2] == entry[-1].turn]
        self._newest = [entry for entry in self._newest if entry[-2] == entry[-1].turn]
        self._failed = [entry for entry in self._failed if entry[-2] == entry[-1].turn]
        heapify(self._ranked)
        heapify(self._failed)

    def _by_rank(self, _now: float) -> Candidate | None:
        while self._ranked:
            *_, turn, candidate = heappop(self._ranked)
            if turn == candidate.turn:
                return candidate
        return None

    def _by_age(self, _now: float) -> Candidate | None:
        while self._newest:
            turn, candidate = self._newest.pop()
            if turn == candidate.turn:
                return candidate
        return None

    def _by_failure(self, now: float) -> Candidate | None:
        due = self.next_due()
        return heappop(self._failed)[-1] if due is not None and due <= now else None

    def _drop_one(self) -> None:
        """Forget the record that failed first, or an untried one if none has failed."""
        if self.next_due() is not None:
            self.leave(self._failed[0][-1].place)
            return
        while self._ranked:
            *_, turn, candidate = self._ranked.pop()  # the last entry of a heap is one of the last ones
            if turn == candidate.turn:
                self.leave(candidate.place)
                return
