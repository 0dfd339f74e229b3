"""The log records of a client's tasks, on their way to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.wire.frames import Log, encode
from woolexec.wire.pickling import dumps_inline

if TYPE_CHECKING:
    from woolexec.mesh.link.outbox import Outbox

_BACKLOG = 1000
"""The number of batches waiting for the stream above which records are dropped."""

_BYTES = 8 << 20
"""The number of unsent bytes above which they are dropped."""


class LogFeed:
    """Sends log records to one client; drops those above a limit, so that outcomes do not wait for them."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._dropped = 0

    def send(self, frame: Log) -> None:
        """Send a record, or count it as dropped."""
        if len(self._outbox) > _BACKLOG or self._outbox.unsent > _BYTES:
            self._dropped += 1
            return
        if self._dropped:
            text = f"{self._dropped} log records were dropped: the link is too slow for them"
            about = {"name": "woolexec", "levelno": 30, "levelname": "WARNING", "msg": text, "args": None}
            self._outbox.put(encode(Log(record=dumps_inline(about), text=text)))
            self._dropped = 0
        self._outbox.put(encode(Log(record=frame.record, text=frame.text)))
