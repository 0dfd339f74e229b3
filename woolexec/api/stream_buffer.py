"""The engine's end of a stream: holds what has arrived until it is pulled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from woolexec.core.call import Pulled
from woolexec.futures.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from woolexec.futures.call_future import CallFuture
    from woolexec.futures.latch import Sleeper
    from woolexec.wire.payload import File

    class Commander(Protocol):
        """An object that can send commands to the call behind a stream."""

        closes_streams: bool
        """Whether the pool has been shut down: then only items that are already on their way can be pulled."""

        def command(self, call: Any, frame: Any, file: File | None = None) -> None:
            """Send a command to the call's worker; do nothing if the call has ended."""

        def pull(self, call: Any) -> None:
            """Send the command for one item."""

        def wait_for(self, is_done: Callable[[], bool]) -> bool:
            """Wait by the owner's own method; return False if it has none."""

        def drop(self, held: list[Any]) -> None:
            """Clear a list in a thread where destructors may run."""


class StreamBuffer(Pulled):
    """
    The part of a stream that the engine holds and fills: items, and the end.

    It has no reference to the stream, so that an unreferenced stream is collected and closes its generator.
    """

    def __init__(self, future: CallFuture[Any], commander: Commander, prefetch: int) -> None:
        from woolexec.api.stream import Stream  # by the caller: the engine may have no descriptor for an import

        self._stream_type = Stream
        self.items: deque[tuple[int, bytes, Any]] = deque()
        self.end: tuple[bool, Any] | None = None
        self.ended = Latch()  # opens with the end of the stream
        self.sleeper: Sleeper | None = None
        self._future: CallFuture[Any] | None = future
        self._commander = commander
        self._prefetch = prefetch
        self._held: list[Any] | None = None  # what must live until the end of the stream
        self.shown_in = getattr(future, "shown_in", None)  # see `woolexec.api.output`

    @property
    def outstanding_call(self) -> Any:
        """The call, as stored in the future of the stream."""
        return None if self._future is None else self._future.outstanding_call

    @outstanding_call.setter
    def outstanding_call(self, call: Any) -> None:
        if self._future is not None:
            self._future.outstanding_call = call

    def deliver_start(self, call: Any) -> None:
        """Resolve the future: the generator has been created and can be pulled."""
        future, self._future = self._future, None
        if future is None:
            return
        self.is_open = True
        self._held, future.held = future.held, None
        handle = future.outstanding_call if call is None else call
        if call is not None and call.options is not None:  # a retry would begin again at the first item
            call.options = call.options.replace(retries=0, retry_on=(), idempotent=False)
        future.deliver_ready(self._stream_type(self, self._commander, handle, self._prefetch))

    def deliver_item(self, call: Any, frame: Any) -> None:
        """Take one or several items."""
        self.items.append((frame.count, frame.context, frame.payload))
        self.wake()

    def deliver(self, call: Any, payload: Any) -> None:
        """Take the end and the value that the generator returned."""
        self._take_end(payload, failed=False)

    def deliver_context(self, call: Any, context: bytes, payload: Any) -> None:
        """Take the end."""
        self._take_end(payload, failed=False)

    def deliver_failure(self, call: Any, payload: Any) -> None:
        """Take the end: what the generator raised, or how it was lost; None if it was cancelled."""
        future, self._future = self._future, None
        if future is not None:
            future.deliver_failure(call, payload)
        self._take_end(payload, failed=True)

    def _take_end(self, payload: Any, *, failed: bool) -> None:
        self.end = failed, payload
        self.ended.open()
        self.wake()
        held, self._held = self._held, None
        if held is not None:
            self._commander.drop(held)

    def wake(self) -> None:
        """Wake the thread or task that pulls."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            sleeper.release()

    @property
    def has_news(self) -> bool:
        """Whether there is an item, or the end."""
        return bool(self.items) or self.end is not None
