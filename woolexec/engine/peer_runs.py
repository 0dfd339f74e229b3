"""
Peers' reports about a client's calls while a trace runs, converted to the client's clock.

The offset of a peer's clock is taken from the best answer: the peer read its clock between the request and the answer,
so an estimate at the middle is wrong by half of that time at most.  The error grows with the age of the answer.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from woolexec.engine.recorder import RAISED, RETURNED, Recorder, Run, Where
from woolexec.printable import printable
from woolexec.wire.frames import encode
from woolexec.wire.trace_frames import Clock, Ran, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.engine.engine import Engine
    from woolexec.engine.rounds import Rounds

_EVERY = 1.0
"""Seconds between two requests."""

_DRIFT = 1e-4
"""Maximum drift between two clocks, in seconds per second."""

_LONGEST = 60.0
"""Maximum time, in seconds, that an answer is assumed to have taken."""

_MOST = 1e12
"""Maximum plausible value of a clock, in seconds."""

_FIRST = 4
"""Number of requests sent at once when the trace begins."""

_NAME = 300
"""Maximum length of a name that a peer reports."""


class _Clock(NamedTuple):
    """An estimate of a peer's clock: its time, how far the clock is ahead of ours, and the maximum error."""

    at: float
    offset: float
    error: float

    def error_at(self, now: float) -> float:
        """Return the maximum error of the offset at this time, in seconds."""
        return self.error + _DRIFT * (now - self.at)


class PeerRuns:
    """
    Takes the reports of all peers; only in the engine's thread.

    :param recorder: records the calls of this engine
    :param sink: called with each call of a task at a peer
    """

    def __init__(self, rounds: Rounds, recorder: Recorder, sink: Callable[[Run], object]) -> None:
        self._rounds, self._recorder, self._sink = rounds, recorder, sink
        self._clocks: dict[Any, _Clock] = {}
        self._is_on = False

    def start(self) -> None:
        """Make all peers report, including those that are found later."""
        self._is_on = True
        self._rounds.outcomes.on_report = self.hear
        self._recorder.around(self._rounds.scheduler, "linked", self._linked)
        for link in self._rounds.scheduler.links:
            self._begin(link)
        self._rounds.loop.after(_EVERY, self._ask_all)

    def stop(self) -> None:
        """Stop the reports of all peers."""
        self._is_on = False
        self._rounds.outcomes.on_report = None
        for link in self._rounds.scheduler.links:
            self._say(link, on=False)

    def errors(self) -> dict[str, float]:
        """Return the maximum error of each peer's times, in seconds."""
        now = monotonic()
        return {link.candidate.address: clock.error_at(now) for link, clock in self._clocks.items()}

    def _linked(self, original: Callable[[Any], object], link: Any) -> None:
        original(link)
        self._begin(link)

    def _begin(self, link: Any) -> None:
        for _ in range(_FIRST):
            self._say(link, on=True)

    def _ask_all(self) -> None:
        if self._is_on:
            for link in self._rounds.scheduler.links:
                self._say(link, on=True)
            self._rounds.loop.after(_EVERY, self._ask_all)

    def _say(self, link: Any, *, on: bool) -> None:
        link.send(encode(Trace(on=on, asked=monotonic())))
        self._rounds.dispatcher.due.add(link)

    def hear(self, link: Any, frame: Any) -> None:
        """Take a report, or a reading of a peer's clock."""
        clock, now = self._clocks.get(link), monotonic()
        if not all(abs(time) <= _MOST for time in _times_of(frame)):  # or it is NaN
            return
        if isinstance(frame, Clock):
            asked = min(max(frame.asked, now - _LONGEST), now)  # the peer may send anything
            answer = _Clock(now, frame.now - (now + asked) / 2, (now - asked) / 2)
            if clock is None or answer.error <= clock.error_at(now):
                self._clocks[link] = answer
            self._recorder.reporting.add(link)
        elif isinstance(frame, Ran) and clock is not None:
            self._ran(link, frame, clock.offset)

    def _ran(self, link: Any, frame: Ran, offset: float) -> None:
        host = printable(frame.host, _NAME) or link.candidate.address
        where = Where(host, frame.pid, frame.row)
        if frame.call:
            self._recorder.ran_at_peer(link, frame.call, where, frame.began - offset, frame.ended - offset)
        else:
            parent = Where(link.candidate.address, frame.parent_pid, frame.parent_row) if frame.parent_pid else None
            sent, name = frame.sent - offset, printable(frame.name, _NAME)
            run = Run(0, name, frame.count, frame.submitted - offset, sent, None, 0, parent, (), is_lane=False)
            run.began, run.ended, run.where = frame.began - offset, frame.ended - offset, where
            run.outcome = frame.outcome if frame.outcome in {RETURNED, RAISED} else printable(frame.outcome, _NAME)
            self._sink(run)


def _times_of(frame: Any) -> tuple[float, ...]:
    """Return all times in a report."""
    if isinstance(frame, Clock):
        return frame.asked, frame.now
    return frame.submitted, frame.sent, frame.began, frame.ended


def report_runs(engine: Engine, sink: Callable[[Run], object]) -> Callable[[], dict[str, float]]:
    """
    Report each attempt of a call that ends from now on, in the engine's thread.

    :return: a function that ends the reports; it returns the maximum error of each peer's times, in seconds
    :raises RuntimeError: if a trace runs already
    """
    if engine in _reported:
        raise RuntimeError("this pool is traced already: only one trace of a pool can run at a time")
    rounds, ask = engine._rounds, engine._loop.ask
    recorder = Recorder(rounds, sink)
    peers = PeerRuns(rounds, recorder, sink)

    def start() -> None:
        recorder.start()
        recorder.around(engine, "submit_chunk", recorder.submitted)
        recorder.around(engine, "inputs", recorder.noting_inputs)
        peers.start()

    def stop() -> dict[str, float]:
        peers.stop()
        recorder.stop()
        return peers.errors()

    def end() -> dict[str, float]:
        _reported.discard(engine)
        errors: dict[str, float] | None = ask(stop)
        return stop() if errors is None else errors  # the engine's thread has ended

    ask(start)
    _reported.add(engine)
    return end


_reported: WeakSet[Engine] = WeakSet()
