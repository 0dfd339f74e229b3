"""
Calls that need values which are away: kept outcomes of other calls, which stayed with the peers that made them.

Such a call waits in a line of its own, which only peers serve: the one that has the values, if it has a free place.
Once they are all here, or one is lost, the call is taken out of that line.  While one is being made again, it is held.
"""

from __future__ import annotations

from woolexec.core.call import Chunk, fail
from woolexec.core.held import is_about_away, line_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.held import Held
    from woolexec.core.ready_queue import ReadyQueue


class Away:
    """
    The lines of such calls.

    :param queues: the queues that have them
    :param held: holds those that need what is being made again
    """

    def __init__(self, queues: Sequence[ReadyQueue], held: Held) -> None:
        self._queues, self._held = queues, held
        self._waiting: dict[Any, list[Call | Chunk]] = {}

    def may_queue(self, entry: Call | Chunk) -> bool:
        """Return whether an entry is to be queued; if not, it has been failed or is held."""
        if entry.line is None or not entry.line.away or not _is_to_settle(entry.payload):
            return True
        return self._settle(self._queues[0], entry)

    def look(self) -> None:
        """Take out what needs no more peers, or cannot be run there now."""
        for queue in self._queues:
            for entry in queue.take_away(_is_to_settle):
                if self._settle(queue, entry):
                    queue.add(entry)

    def _settle(self, queue: ReadyQueue, entry: Call | Chunk) -> bool:
        loss, pending = _loss_among(entry.payload), _pending_among(entry.payload)
        if loss is not None:
            if isinstance(entry, Chunk) or queue.claim(entry):
                fail(entry, loss)
            return False
        if pending is not None:
            self._held.hold(entry)
            self._waiting.setdefault(pending, []).append(entry)
            return False
        line_up(entry)
        return True

    def made(self, value: Any) -> None:
        """Queue what waits for a value that has been made again, or fail it."""
        for entry in self._waiting.pop(value, ()):
            if value.failure is not None and value.is_away:
                self._held.drop(entry, value.failure)
            else:
                self._held.release(entry, entry.payload)


def _loss_among(payload: Any) -> Any:
    return next((value.failure for value in getattr(payload, "values", ()) if value.is_away and value.failure), None)


def _pending_among(payload: Any) -> Any:
    return next((value for value in getattr(payload, "values", ()) if value.is_pending), None)


def _is_to_settle(payload: Any) -> bool:
    """Return whether a call with this payload can no longer wait in a line that only peers serve."""
    return bool(_loss_among(payload) or _pending_among(payload)) or not is_about_away(payload)
