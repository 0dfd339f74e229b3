"""
The ready queue: calls and chunks that wait for a worker.

Guarantees:
1. First in, first out.  Calls that are given back go to the front.  Nested tasks also go to the front, newest first, so
   that a recursion runs depth first and uses little memory.
2. `claim` decides between a dispatcher that takes a call and another thread that cancels it: exactly one succeeds.
3. Calls that differ in priority, requirement or client are in separate lines.  Lines of the same priority are served in
   turn, and a line that a place cannot serve does not keep other lines from that place.
4. Calls with ranks are in separate lines, lowest rank first, no matter when they are added or given back.
"""

from __future__ import annotations

from collections import deque

from woolexec.core.call import Call, Chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any, Protocol

    from woolexec.resources import Line, Requirement

    class Offers(Protocol):
        """The offers of places: see `woolexec.core.offer`."""

        @property
        def is_far(self) -> bool:
            """Whether calls whose values are at peers may run at one of them."""

        def has(self, requirement: Requirement | None) -> bool:
            """Return whether one of them could now run a call with this requirement."""


class ReadyQueue:
    """
    Calls and chunks that wait.  One thread adds and takes them; `claim` may be called from any thread.

    :param beside: another queue that shares the set of claimable calls, so that a call can be claimed from either
    """

    def __init__(self, beside: ReadyQueue | None = None) -> None:
        self._line: deque[Call | Chunk] = deque()
        self._lines: dict[Line | None, deque[Call | Chunk]] = {}  # all lines, or empty if `_line` is alone
        self._unclaimed: set[Call] = set() if beside is None else beside._unclaimed
        self.children: dict[int, dict[Call, None]] = {}  # waiting tasks, by their ancestor
        self._limit = 1024
        self.awaited: Callable[[int], Iterable[int]] = _itself
        """Returns the calls whose tasks a waiting call may run: this one, and those that it waits for."""
        self.held: Any = None
        """Where calls wait for their inputs (`woolexec.core.held.Held`), if they may be sent before these are done."""
        self.on_cancel: Callable[[Call], object] = bool
        """Called with each call that is cancelled, in any thread."""

    def __len__(self) -> int:
        """Return an upper bound: cancelled calls are counted until they reach the front."""
        return sum(map(len, self._lines.values())) if self._lines else len(self._line)

    def offer(self, call: Call) -> None:
        """Make a call claimable, before it is added; from any thread."""
        self._unclaimed.add(call)

    def is_claimable(self, call: Call) -> bool:
        """Return whether a call that was offered has not been claimed."""
        return call in self._unclaimed

    def claim(self, call: Call) -> bool:
        """Claim a call; exactly one claim succeeds.  It is atomic because it is one set operation."""
        try:
            self._unclaimed.remove(call)
        except KeyError:
            return False
        return True

    def cancel(self, call: Call) -> bool:
        """Claim a call and note that it is cancelled; return False if it is not queued.  From any thread."""
        if not self.claim(call):
            return False
        call.move("cancel")
        self.on_cancel(call)
        return True

    def add(self, call: Call | Chunk) -> None:
        """Add a chunk, or a call that was offered before."""
        line = self._line if call.line is None else self._line_of(call.line)
        if len(line) > self._limit:
            self._drop_cancelled(line)
        if isinstance(call, Call) and call.parent:
            line.appendleft(call)
            if call.ancestor:
                self.children.setdefault(call.ancestor, {})[call] = None
        else:
            line.append(call)

    def _line_of(self, key: Line | None) -> deque[Call | Chunk]:
        if key is None:
            return self._line
        if not self._lines:
            self._lines[None] = self._line
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _ranked() if key.ranked else deque()
        return line

    def _drop_cancelled(self, line: deque[Call | Chunk]) -> None:
        """Remove cancelled entries before they reach the front; the amortised cost is that of adding them."""
        kept = [
            entry for entry in line if (entry in self._unclaimed if isinstance(entry, Call) else not entry.cancelled)
        ]
        line.clear()
        line.extend(kept)
        self._limit = max(1024, 2 * len(kept))

    def give_back(self, call: Call) -> None:
        """Put a recalled call at the front; one that lacks its input waits for it again."""
        self._unclaimed.add(call)
        if call.follows is not None:
            self.held.again(call)
            return
        self._line_of(call.line).appendleft(call)
        if call.ancestor in self.children:
            self.children[call.ancestor][call] = None

    @property
    def has_lines(self) -> bool:
        """Whether there is more than one line."""
        return bool(self._lines)

    def head(self, offer: Offers | None = None, stuck: Container[Line | None] = ()) -> Call | Chunk | None:
        """
        Return the next entry without taking it; entries that were cancelled or claimed elsewhere are removed.

        :param offer: offer of the place that it is for; None: for any place
        :param stuck: lines to skip
        """
        if not self._lines:
            return self._front(self._line) if self._line and None not in stuck else None
        best = None
        for key, line in list(self._lines.items()):
            if key in stuck or (best is not None and _priority(key) <= best[0]):
                continue
            if offer is not None and key is not None and not _suits(offer, key):
                continue
            entry = self._front(line)
            if entry is not None:
                best = _priority(key), entry
            elif key is not None:
                del self._lines[key]
        if len(self._lines) == 1:
            self._lines.clear()
        return None if best is None else best[1]

    def _front(self, line: deque[Call | Chunk]) -> Call | Chunk | None:
        while line:
            entry = line[0]
            if entry.__class__ is Call:
                if entry in self._unclaimed:
                    if entry.chunk is None or not entry.chunk.cancelled:
                        return entry
                    self._unclaimed.discard(entry)
            elif not entry.cancelled and entry.next < entry.count:  # type: ignore[union-attr]  # a Chunk
                return entry
            line.popleft()
        return None

    def take(self, call: Call) -> bool:
        """Take the head, which is a call; return False if it was just cancelled."""
        if self._lines:
            self.taken_from(call)
            self._line_of(call.line).popleft()
        else:
            self._line.popleft()
        return self.claim(call)

    def cut(self, entry: Call | Chunk, count: int) -> Call | None:
        """Take the head, or its next `count` items if it is a chunk; None if it was just cancelled."""
        if isinstance(entry, Chunk):
            self.taken_from(entry)
            return entry.cut(count)
        return entry if self.take(entry) else None

    def taken_from(self, entry: Call | Chunk) -> None:
        """Move the line of an entry that was taken behind the other lines."""
        if entry.line in self._lines:
            self._lines[entry.line] = self._lines.pop(entry.line)

    def take_child(self, parent: int, offer: Offers) -> Call | None:
        """
        Take the newest waiting task that has this call as its ancestor.

        :param offer: offer of the place that it is for
        """
        children = self.children.get(parent)
        if not children:
            return None
        for call in reversed(list(children)) if self._lines else ():
            if call.line is not None and not offer.has(call.line.requirement):
                continue
            del children[call]
            if self.claim(call):
                return call
        while children and not self._lines:
            call, _ = children.popitem()
            if self.claim(call):
                return call
        return None

    def forget_parent(self, parent: int) -> None:
        """Drop the index of a finished call's children; the children stay in line."""
        self.children.pop(parent, None)

    def clear(self, requirements: Container[Requirement | None] | None = None) -> list[Call | Chunk]:
        """
        Remove and return all entries.

        :param requirements: only entries with one of these
        """
        taken: list[Call | Chunk] = []
        for key, line in list(self._lines.items()) or [(None, self._line)]:
            if requirements is not None and (key is None or key.requirement not in requirements):
                continue
            while (entry := self._front(line)) is not None:
                line.popleft()
                if isinstance(entry, Chunk) or self.claim(entry):
                    taken.append(entry)
        if requirements is None:
            for children in self.children.values():  # the parents still run, and may get tasks of theirs back
                children.clear()
        return taken

    def take_away(self, is_hit: Callable[[Any], bool]) -> list[Call | Chunk]:
        """Remove and return the calls and chunks that are hits, in lines that only peers serve, in their order."""
        taken: list[Call | Chunk] = []
        for key, line in self._lines.items():
            if key is None or not key.away:
                continue
            hits = {entry: None for entry in line if is_hit(entry)}
            if hits:
                rest = [entry for entry in line if entry not in hits]
                line.clear()
                line.extend(rest)
                taken += hits
        return [entry for entry in taken if isinstance(entry, Chunk) or entry in self._unclaimed]

    def lines(self) -> list[tuple[Line | None, deque[Call | Chunk]]]:
        """Return the lines and their entries, including cancelled ones that have not reached the front."""
        return list(self._lines.items()) or [(None, self._line)]

    @property
    def claimable(self) -> int:
        """The number of claimable calls in all queues that share the set, including those that wait for values."""
        return len(self._unclaimed)

    def items(self) -> int:
        """Return the number of waiting items of maps, minus one for each call; this visits each entry."""
        found = 0
        for _, line in self.lines():
            for entry in [entry for entry in line if entry.__class__ is Chunk or entry.count]:
                if isinstance(entry, Chunk):
                    found += 0 if entry.cancelled else entry.count - entry.next
                elif entry in self._unclaimed:
                    found += entry.count - 1
        return found

    def requirements(self) -> set[Requirement]:
        """Return the requirements of all waiting entries that have any."""
        return {requirement for requirement in self.waiting() if requirement is not None}

    def waiting(self) -> set[Requirement | None]:
        """Return the requirements of all waiting entries; None if some have none."""
        return {None if key is None else key.requirement for key, line in self.lines() if self._front(line) is not None}


def requirement_of(entry: Any) -> Requirement | None:
    """Return what a call or a chunk requires."""
    return None if entry is None or entry.line is None else entry.line.requirement


def _itself(number: int) -> tuple[int, ...]:
    return (number,)


def _ranked() -> Any:
    from woolexec.core.ranked import Ranked  # imported on first use

    return Ranked()


def _suits(offer: Offers, key: Line) -> bool:
    return offer.has(key.requirement) and (offer.is_far or not key.away)


def _priority(key: Line | None) -> int:
    return 0 if key is None else key.priority
