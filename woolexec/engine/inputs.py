"""Passes calls that lack values, and then the values, to the engine's scheduler; from any thread."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from woolexec.core.call import Chunk
from woolexec.engine.dispatcher import AFTER_SHUTDOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.kept_outcomes import KeptOutcomes
    from woolexec.wire.values import Value


class Inputs:
    """Informs the engine's thread of calls and chunks that wait for values."""

    shares: ClassVar[bool] = True
    note: Callable[[Any], object] | None = None
    """Called with each of them, before its inputs are bound, while a trace runs."""

    def __init__(self, loop: Loop, scheduler: Scheduler, values: KeptOutcomes) -> None:
        self._loop = loop
        self._scheduler = scheduler
        self._values = values

    def takes(self, value: Value) -> bool:
        """Return whether calls may refer to a value by its number: values of other engines have other numbers."""
        return not value.is_kept or value.engine is self._values  # type: ignore[attr-defined]  # a `KeptValue`

    def hold(self, entry: Call | Chunk) -> None:
        """
        Submit a call or a chunk whose values have not arrived yet.

        :raises RuntimeError: if the engine has stopped meanwhile
        """
        queue = self._scheduler.main.queue
        if not isinstance(entry, Chunk):
            queue.offer(entry)
        self._loop.inbox.append(partial(self._scheduler.held.hold, entry))  # which need not be read now
        if not self._loop.has_begun:  # a pool that was used waits for its tasks when it is shut down
            self._loop.begin()
        if self._loop.stopped and (isinstance(entry, Chunk) or queue.claim(entry)):
            raise RuntimeError(AFTER_SHUTDOWN)

    def release(self, entry: Call | Chunk, payload: Any) -> None:
        """Give a call its payload, with the values, so that it is placed."""
        held = self._scheduler.held
        if threading.current_thread() is self._loop.thread and entry in held:
            held.release(entry, payload)  # it is placed in the same round
        else:  # after its `hold` in the inbox
            self._tell(partial(held.release, entry, payload))

    def drop(self, entry: Call | Chunk, payload: Any) -> None:
        """End a call because an input has failed, or with None, because it was cancelled."""
        self._tell(partial(self._scheduler.held.drop, entry, payload))

    def _tell(self, piece: Callable[[], object]) -> None:
        if threading.current_thread() is self._loop.thread:
            self._loop.inbox.append(piece)  # not at once: a chain of failures would be a recursion
        else:
            self._loop.tell(piece)
