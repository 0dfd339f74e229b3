"""Reports to a client which of its calls have been started: workers' shared pages are checked from time to time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.wire.frames import Started, encode

if TYPE_CHECKING:
    from typing import Protocol

    from woolexec.core.call import Call
    from woolexec.engine.links import Links
    from woolexec.mesh.link.outbox import Outbox

    class Answer(Protocol):
        """What is known of an outstanding call."""

        number: int
        outstanding_call: Call

        def note_start(self) -> None:
            """Record that the call was seen running."""


_LOOK = 0.01
"""How often the pages are checked while some calls are not reported as started, in seconds."""


class StartReports:
    """The calls of one link that are not reported as started."""

    def __init__(self, links: Links, outbox: Outbox) -> None:
        self._links = links
        self._outbox = outbox
        self._untold: dict[int, Answer] = {}
        self._looking = False

    def add(self, answer: Answer) -> None:
        """Report a call as soon as it has been started."""
        self._untold[answer.number] = answer
        if not self._looking:
            self._looking = True
            self._links.after(_LOOK, self._look)

    def forget(self, number: int) -> None:
        """Report a call no more."""
        self._untold.pop(number, None)

    def since(self, number: int) -> list[int]:
        """Return the calls that are not reported as started, from this one on, in order."""
        return sorted(each for each in self._untold if each >= number)

    def clear(self) -> None:
        """Report nothing more."""
        self._untold.clear()

    def _look(self) -> None:
        """Report the calls that have been started; check again later while there are others."""
        begun = [number for number, answer in self._untold.items() if self._links.is_running(answer.outstanding_call)]
        for number in begun:
            self._untold.pop(number).note_start()
        if begun:
            self._outbox.put(encode(Started(call=begun)))
        self._looking = bool(self._untold)
        if self._looking:
            self._links.after(_LOOK, self._look)
