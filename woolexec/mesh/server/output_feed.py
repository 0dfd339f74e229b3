"""Sends the output of a client's tasks to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.wire.frames import Output, encode
from woolexec.wire.printed import STDERR

if TYPE_CHECKING:
    from woolexec.engine.links import Links
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.wire.frames import Settings

ROOM = 4 << 20
"""The number of unsent bytes above which output is dropped, so that outcomes do not wait for it."""

_LATER = 0.2
"""Seconds after which the client is told how much was dropped, if no output arrives before."""


class OutputFeed:
    """Sends output; drops and counts what exceeds the client's reading speed."""

    def __init__(self, outbox: Outbox, links: Links) -> None:
        self._outbox, self._links = outbox, links
        self._lost = 0
        self._is_closed = False

    def note(self, settings: Settings) -> None:
        """Note whether the client wants output."""
        if settings.output:
            self._links.take_output(self.send)

    def send(self, frame: Output) -> None:
        """Send some lines, or count them as dropped."""
        if self._outbox.queued <= ROOM:
            frame.lost += self._lost
            self._lost = 0
            self._outbox.put(encode(frame))
            return
        if not self._lost:
            self._links.after(_LATER, self._say_lost)
        self._lost += len(frame.text) + frame.lost

    def _say_lost(self) -> None:
        if self._is_closed or not self._lost:
            return
        if self._outbox.queued <= ROOM:
            self.send(Output(stream=STDERR))
        else:
            self._links.after(_LATER, self._say_lost)

    def close(self) -> None:
        """Take no more output: the link has ended."""
        self._is_closed = True
        self._links.leave_output(self.send)
