"""
Calls that need values which are away: kept outcomes of other calls, which stayed with the peers that made them.

Such a call waits in a line of its own, which only peers serve: the one that has the values, if it has a free place.
Once they are all here, or one is lost, the call is taken out of that line.  While one is being made again, it is held,
and while one is fetched, because no peer has what the call requires.
"""

from __future__ import annotations

from functools import partial

from woolexec.core.call import Chunk, fail
from woolexec.core.held import is_about_away, line_up, loss_among, pending_among
from woolexec.core.ready_queue import requirement_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.held import Held
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.resources import Requirement


class Away:
    """
    The lines of such calls.

    :param queues: the queues that have them
    :param held: holds those that need what is being made again, or fetched
    :param runs_here_only: says whether workers here can run what has this requirement, and no peer can
    """

    bring: Callable[[Any, Callable[[], object]], object]
    """Has a value fetched, and then calls a function; set where there are links."""

    def __init__(
        self, queues: Sequence[ReadyQueue], held: Held, runs_here_only: Callable[[Requirement | None], bool]
    ) -> None:
        self.queues, self._held = list(queues), held
        self._runs_here_only = runs_here_only
        self._waiting: dict[Any, list[Callable[[], object]]] = {}

    def may_queue(self, entry: Call | Chunk) -> bool:
        """Return whether an entry is to be queued; if not, it has been failed or is held."""
        if entry.line is None or not entry.line.away or not self.is_to_settle(entry):
            return True
        return self._settle(self.queues[0], entry)

    def is_to_settle(self, entry: Call | Chunk) -> bool:
        """Return whether an entry in a line that only peers serve can no longer wait there."""
        payload = entry.payload
        if loss_among(payload) or pending_among(payload) or not is_about_away(payload):
            return True
        return self._runs_here_only(requirement_of(entry))

    def look(self) -> None:
        """Take out what needs no more peers, or cannot be run there now."""
        for queue in self.queues:
            for entry in queue.take_away(self.is_to_settle):
                if self._settle(queue, entry):
                    queue.add(entry)

    def _settle(self, queue: ReadyQueue, entry: Call | Chunk) -> bool:
        loss, pending = loss_among(entry.payload), pending_among(entry.payload)
        if loss is not None:
            if isinstance(entry, Chunk) or queue.claim(entry):
                fail(entry, loss)
            return False
        if pending is not None:
            self._hold(entry, pending)
            return False
        for value in getattr(entry.payload, "values", ()):
            if value.is_away:  # and no peer can run the call
                self._hold(entry, value)
                self.bring(value, partial(self.made, value))
                return False
        line_up(entry)
        return True

    def _hold(self, entry: Call | Chunk, value: Any) -> None:
        self._held.hold(entry)
        self.after(value, partial(self._go_on, entry, value))

    def _go_on(self, entry: Call | Chunk, value: Any) -> None:
        """Queue what has waited for a value, or fail it."""
        if value.failure is not None and value.is_away:
            self._held.drop(entry, value.failure)
        else:
            self._held.release(entry, entry.payload)

    def after(self, value: Any, then: Callable[[], object]) -> None:
        """Call a function when a value has been made again or fetched, or could not be."""
        self._waiting.setdefault(value, []).append(then)

    def made(self, value: Any) -> None:
        """Note that a value has been made again or fetched, or could not be."""
        for then in self._waiting.pop(value, ()):
            then()
