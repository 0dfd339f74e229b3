"""
Calls that need values that are away: kept outcomes of other calls, which exist only at the peers that made them.

Such a call waits in a separate line that only peers serve, preferably the peer that has the values.  Once all values
are here, or one is lost, the call is taken out of that line.  The call is held while a value is being made again, and
while one is fetched because no peer offers what the call requires.
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

    :param queues: the queues that contain them
    :param held: holds calls that need a value that is being made again, or fetched
    :param runs_here_only: returns whether workers here, and no peers, can run calls with this requirement
    """

    bring: Callable[[Any, Callable[[], object]], object]
    """Fetches a value, then calls a function; set if there are links."""

    def __init__(
        self, queues: Sequence[ReadyQueue], held: Held, runs_here_only: Callable[[Requirement | None], bool]
    ) -> None:
        self.queues, self._held = list(queues), held
        self._runs_here_only = runs_here_only
        self._waiting: dict[Any, list[Callable[[], object]]] = {}

    def may_queue(self, entry: Call | Chunk) -> bool:
        """Return whether to queue an entry; if not, it has failed or is held."""
        if entry.line is None or not entry.line.away or not self.is_to_settle(entry):
            return True
        return self._settle(self.queues[0], entry)

    def is_to_settle(self, entry: Call | Chunk) -> bool:
        """Return whether an entry in a line that only peers serve must leave that line."""
        payload = entry.payload
        if loss_among(payload) or pending_among(payload) or not is_about_away(payload):
            return True
        return self._runs_here_only(requirement_of(entry))

    def look(self) -> None:
        """Take out the entries that no longer need a peer, or that no peer can run now."""
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
        """Queue an entry that has waited for a value, or fail it."""
        if value.failure is not None and value.is_away:
            self._held.drop(entry, value.failure)
        else:
            self._held.release(entry, entry.payload)

    def after(self, value: Any, then: Callable[[], object]) -> None:
        """Call a function when a value was made again or fetched, or that has failed."""
        self._waiting.setdefault(value, []).append(then)

    def made(self, value: Any) -> None:
        """Note that a value was made again or fetched, or that this has failed."""
        for then in self._waiting.pop(value, ()):
            then()
