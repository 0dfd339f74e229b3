"""
Reports to a client which of its calls have been started: workers' shared pages are checked periodically.

The same check finds calls that were expected to be short, but run for long.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from woolexec.core.admission import late_after
from woolexec.wire.frames import Started, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from woolexec.core.call import Call
    from woolexec.engine.links import Links
    from woolexec.mesh.link.outbox import Outbox

    class Answer(Protocol):
        """An outstanding call."""

        number: int
        outstanding_call: Call

        weight: float

        def note_start(self) -> None:
            """Record that the call was seen running."""

        def note_late(self) -> None:
            """Count it as long."""


_LOOK = 0.01
"""How often the pages are checked while some calls are not reported as started, in seconds."""


class StartReports:
    """The calls of one link that are not reported as started."""

    def __init__(self, links: Links, outbox: Outbox, clock: Callable[[], float] = monotonic) -> None:
        self._links = links
        self._outbox = outbox
        self._clock = clock
        self._untold: dict[int, Answer] = {}
        self._looking = False
        self._short: dict[int, tuple[float, Answer]] = {}  # those that run: when each is late

    def add(self, answer: Answer) -> None:
        """Report a call as soon as it has been started."""
        self._untold[answer.number] = answer
        if not self._looking:
            self._looking = True
            self._links.after(_LOOK, self._look)

    def forget(self, number: int) -> None:
        """Stop reporting a call: it is over."""
        self._untold.pop(number, None)
        self._short.pop(number, None)

    def since(self, number: int) -> list[int]:
        """Return the calls that are not reported as started, from this one on, in order."""
        return sorted(each for each in self._untold if each >= number)

    def clear(self) -> None:
        """Stop all reports."""
        self._untold.clear()
        self._short.clear()

    def _look(self) -> None:
        """Report the calls that have been started; check again later while there are others."""
        begun = [number for number, answer in self._untold.items() if self._links.is_running(answer.outstanding_call)]
        now = self._clock()
        for number in begun:
            answer = self._untold.pop(number)
            answer.note_start()
            if (seconds := late_after(answer.weight)) is not None:
                self._short[number] = now + seconds, answer
        if begun:
            self._outbox.put(encode(Started(call=begun)))
        for number in [number for number, (due, _) in self._short.items() if due <= now]:
            self._short.pop(number)[1].note_late()
        self._looking = bool(self._untold or self._short)
        if self._looking:
            self._links.after(_LOOK, self._look)
