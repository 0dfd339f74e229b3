"""Calls and chunks that wait for the values of futures among their arguments, before they are queued."""

from __future__ import annotations

from woolexec.core.call import Call, Chunk, fail
from woolexec.resources import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.ready_queue import ReadyQueue


def is_about_away(payload: Any) -> bool:
    """Return whether a call with this payload needs a value that is away."""
    return any(value.is_away for value in getattr(payload, "values", ()))


def loss_among(payload: Any) -> Any:
    """Return why a value that a call with this payload needs is lost; None if none is lost."""
    return next((value.failure for value in getattr(payload, "values", ()) if value.is_away and value.failure), None)


def pending_among(payload: Any) -> Any:
    """Return a value that such a call needs and that is being made again; None if there is none."""
    return next((value for value in getattr(payload, "values", ()) if value.is_pending), None)


def line_up(entry: Call | Chunk) -> None:
    """Set the line of a call or chunk that has its payload, before it is queued."""
    away, before = is_about_away(entry.payload), entry.line
    if entry.options is not None and entry.options.awaited:
        entry.line = entry.options.line_now()
        if before is not None and (before.actor is not None or before.ranked):
            entry.line = (entry.line or Line())._replace(actor=before.actor, ranked=before.ranked)
    if away or entry.line is not None:
        line = (entry.line or Line())._replace(away=away)
        entry.line = line if any(line) else None


class Held:
    """
    Calls and chunks that wait for values.

    A call is claimable while it is held, like a queued one: of its release, its failure and its cancellation by another
    thread, exactly one succeeds.

    :param queue: its claims decide which of these succeeds
    :param enqueue: queues an entry that has its values
    """

    def __init__(self, queue: ReadyQueue, enqueue: Callable[[Call | Chunk], object]) -> None:
        self._queue = queue
        self._enqueue = enqueue
        self._entries: dict[Call | Chunk, None] = {}
        self._refusal: BaseException | None = None

    def __len__(self) -> int:
        """Return an upper bound: cancelled entries are counted until they are removed."""
        return len(self._entries)

    def count(self) -> tuple[int, int]:
        """Return the numbers of calls and of items of maps that are wanted; this visits each entry."""
        chunks = [entry for entry in self._entries if isinstance(entry, Chunk)]
        calls = sum(map(self._queue.is_claimable, self._entries.keys() - chunks))  # type: ignore[arg-type]
        return calls, sum(chunk.count for chunk in chunks if not chunk.cancelled)

    def __bool__(self) -> bool:
        """Return whether a wanted entry waits; forget the unwanted entries before it."""
        while self._entries:
            entry = next(iter(self._entries))
            if self._is_wanted(entry):
                return True
            del self._entries[entry]
        return False

    def __contains__(self, entry: Call | Chunk) -> bool:
        """Return whether this entry is held."""
        return entry in self._entries

    def _is_wanted(self, entry: Call | Chunk) -> bool:
        return not entry.cancelled if isinstance(entry, Chunk) else self._queue.is_claimable(entry)

    def hold(self, entry: Call | Chunk) -> None:
        """Hold a chunk, or a call that was offered to the queue."""
        if self._refusal is not None:
            self._fail(entry, self._refusal)
        else:
            self._entries[entry] = None

    def release(self, entry: Call | Chunk, payload: Any) -> None:
        """Queue an entry that has its values, unless it was cancelled or has failed meanwhile."""
        if self._take(entry) and self._is_wanted(entry):
            entry.payload = payload
            line_up(entry)
            self._enqueue(entry)

    def drop(self, entry: Call | Chunk, payload: Any) -> None:
        """
        End an entry that will not get its values.

        :param payload: the failure of the input that it lacks; None: the input was cancelled
        """
        if self._take(entry):
            self._fail(entry, payload)

    def take(self, call: Call) -> bool:
        """Take a call to send it before its input is done; return False if it is not held, or was cancelled."""
        return self._take(call) and self._claim(call)

    def again(self, call: Call) -> None:
        """Hold a call again that was sent before its input was done, and that has come back."""
        follows, call.follows = call.follows, None
        self.hold(call)
        follows.again(call)

    def _take(self, entry: Call | Chunk) -> bool:
        if entry not in self._entries:
            return False
        del self._entries[entry]
        return True

    def _fail(self, entry: Call | Chunk, payload: Any) -> None:
        if self._claim(entry):
            fail(entry, payload)

    def _claim(self, entry: Call | Chunk) -> bool:
        return not entry.cancelled if isinstance(entry, Chunk) else self._queue.claim(entry)

    def clear(self) -> list[Call | Chunk]:
        """Remove and return all wanted entries, as `ReadyQueue.clear` does."""
        entries, self._entries = list(self._entries), {}
        return [entry for entry in entries if self._claim(entry)]

    def close(self, refusal: BaseException) -> None:
        """Fail all entries that are held from now on with this error: the engine has ended."""
        self._refusal = refusal
