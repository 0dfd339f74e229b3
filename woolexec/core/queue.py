"""
The ready queue: what waits for a worker.

Guarantees:
1. First in, first out; what is given back goes to the front; nested tasks go to the front too, newest first, so that
   a recursion runs depth first and its memory stays small.
2. `claim` decides between a dispatcher that takes a call and another thread that cancels it: exactly one wins.
"""

from __future__ import annotations

from collections import deque

from woolexec.core.call import Call, Chunk


class ReadyQueue:
    """
    Calls and chunks that wait.  One thread adds and takes; `claim` may be called from any.

    :param beside: another queue with which it shares what may be claimed, so that either can be asked
    """

    def __init__(self, beside: ReadyQueue | None = None) -> None:
        self._line: deque[Call | Chunk] = deque()
        self._unclaimed: set[Call] = set() if beside is None else beside._unclaimed
        self._children: dict[int, dict[Call, None]] = {}
        self._limit = 1024

    def __len__(self) -> int:
        """An upper bound: what was cancelled is still counted until it is met."""
        return len(self._line)

    def offer(self, call: Call) -> None:
        """Make a call claimable; from any thread, before it is added."""
        self._unclaimed.add(call)

    def claim(self, call: Call) -> bool:
        """Take a call out of everybody else's reach.  Exactly one claim succeeds.  Atomic: one set operation."""
        try:
            self._unclaimed.remove(call)
        except KeyError:
            return False
        return True

    def add(self, call: Call | Chunk) -> None:
        """Put a call (offered before) or a chunk in line."""
        if len(self._line) > self._limit:
            self._drop_cancelled()
        if isinstance(call, Call) and call.parent:
            self._line.appendleft(call)
            if call.ancestor:
                self._children.setdefault(call.ancestor, {})[call] = None
        else:
            self._line.append(call)

    def _drop_cancelled(self) -> None:
        """Throw out what would only be met later; amortised, it costs as much as adding did."""
        self._line = deque(
            entry
            for entry in self._line
            if (entry in self._unclaimed if isinstance(entry, Call) else not entry.cancelled)
        )
        self._limit = max(1024, 2 * len(self._line))

    def give_back(self, call: Call) -> None:
        """Put a call that was taken before at the front."""
        self._unclaimed.add(call)
        self._line.appendleft(call)
        if call.ancestor in self._children:
            self._children[call.ancestor][call] = None

    def head(self) -> Call | Chunk | None:
        """Look at what comes next; drops what was cancelled or taken otherwise."""
        line = self._line
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
        """Take the head, a call; False if it was cancelled in this moment."""
        self._line.popleft()
        return self.claim(call)

    def take_child(self, parent: int) -> Call | None:
        """Take the newest waiting task below this call."""
        children = self._children.get(parent)
        while children:
            call, _ = children.popitem()
            if self.claim(call):
                return call
        return None

    def forget_parent(self, parent: int) -> None:
        """Drop the index of a finished call's children; they stay in line."""
        if self._children:
            self._children.pop(parent, None)

    def clear(self) -> list[Call | Chunk]:
        """Take everything out."""
        taken: list[Call | Chunk] = []
        while (entry := self.head()) is not None:
            self._line.popleft()
            if isinstance(entry, Chunk) or self.claim(entry):
                taken.append(entry)
        self._children.clear()
        return taken
