"""
Calls that need values which are away: kept outcomes of other calls, which stayed with the peers that made them.

Such a call waits in a line of its own, which only peers serve: the one that has the values, if it has a free place.
Once they are all here, or one is lost, the call is taken out of that line.
"""

from __future__ import annotations

from woolexec.core.call import Chunk, fail
from woolexec.resources import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.ready_queue import ReadyQueue


def is_about_away(payload: Any) -> bool:
    """Return whether a call with this payload needs a value that is away."""
    return any(value.is_away for value in getattr(payload, "values", ()))


def line_up(entry: Call | Chunk) -> None:
    """Set the line of a call or chunk that has its payload, before it is queued."""
    away = is_about_away(entry.payload)
    if away or entry.line is not None:
        line = (entry.line or Line())._replace(away=away)
        entry.line = line if any(line) else None


class Away:
    """
    The lines of such calls.

    :param queues: the queues that have them
    """

    def __init__(self, queues: Sequence[ReadyQueue]) -> None:
        self._queues = queues

    def check(self, entry: Call | Chunk) -> None:
        """Look at what has just been queued."""
        if entry.line is not None and entry.line.away and _is_settled(entry.payload):
            self.look()

    def look(self) -> None:
        """Fail what needs a lost value; put into its ordinary line what has all its values here."""
        for queue in self._queues:
            for entry in queue.take_away(_is_settled):
                loss = _loss_among(entry.payload)
                if loss is None:
                    line_up(entry)
                    queue.add(entry)
                elif isinstance(entry, Chunk) or queue.claim(entry):
                    fail(entry, loss)


def _loss_among(payload: Any) -> BaseException | None:
    return next((value.failure for value in getattr(payload, "values", ()) if value.is_away and value.failure), None)


def _is_settled(payload: Any) -> bool:
    return _loss_among(payload) is not None or not is_about_away(payload)
