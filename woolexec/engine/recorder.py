"""
Records when the calls of one engine were submitted, sent, started and ended.

::

    submit          send              start         end
      |--- waiting ---|--- transfer ---|---- run ----|

While no recorder runs, calls have no extra cost: a recorder wraps some methods of the engine's parts, and unwraps them
at its end.  The start time is known of the last call that a worker has started, from its shared page, and of calls that
wait for their own tasks.  For other calls the start is taken as the time when the outcome was read, less the run time.
Of outcomes that were read together, the last one is taken to have ended at that time, and each of the others before the
next one started.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from woolexec.core.call import DONE, Call, Chunk
from woolexec.core.retry import LOST as LOST_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.place import Place
    from woolexec.engine.inputs import Inputs
    from woolexec.engine.rounds import Rounds
    from woolexec.engine.worker_process import Worker

RETURNED, RAISED, LOST, RUNS = "returned", "raised", "lost", "runs"
"""The outcomes of an attempt; `RUNS`: it had none when the recording ended."""

_LEAST = 4096
"""Minimum number of waiting calls at which cancelled ones are looked for."""


class Where(NamedTuple):
    """
    A lane in which calls run one after the other, or on top of each other.

    :ivar host: name of the peer; empty: this process
    :ivar pid: process id of the worker; 0 if unknown
    :ivar row: 0: the worker's main thread; above: one of its coroutines and streams
    """

    host: str
    pid: int
    row: int


NOWHERE = Where("", 0, 0)


class Made:
    """Where and when an outcome was produced that other calls use."""

    __slots__ = ("ended", "where")

    def __init__(self) -> None:
        self.where: Where | None = None
        self.ended = 0.0


@dataclass(slots=True, eq=False)
class Run:
    """One attempt of a call; times are monotonic seconds.  `parent` is the lane of the call that submitted it."""

    number: int
    name: str
    count: int
    submitted: float
    sent: float
    target: Any
    row: int
    parent: Where | None
    inputs: tuple[Made, ...]
    is_lane: bool
    waited: bool = False
    began: float = 0.0
    ended: float = 0.0
    outcome: str = RETURNED
    number_at_client: int = 0
    made: Made | None = None
    where: Where = NOWHERE


class Recorder:
    """
    Records the calls of an engine, in the engine's thread unless marked otherwise.

    :param sink: called with each attempt of a call that has ended
    """

    def __init__(self, rounds: Rounds, sink: Callable[[Run], object]) -> None:
        self._rounds = rounds
        self._sink = sink
        self._wrapped: list[tuple[Any, str, Any]] = []
        self._submitted: dict[Any, tuple[float, Where | None, tuple[Made, ...]]] = {}
        self._inputs: dict[Any, tuple[Made, ...]] = {}
        self._limit = _LEAST
        self._runs: dict[Call, Run] = {}
        self._made: WeakKeyDictionary[Any, Made] = WeakKeyDictionary()
        self._free: dict[Any, list[int]] = defaultdict(list)  # by target: rows that are free
        self._rows: dict[Any, int] = defaultdict(int)  # by target: number of rows ever used
        self._last: dict[Any, float] = {}  # by target: when the last run in its main thread ended
        self._batch: list[tuple[Run, float]] = []
        self._raising: Call | None = None
        self._raised_as = RAISED
        self._at_peer: dict[tuple[Any, int], Run] = {}  # runs whose outcomes have arrived, but not their reports
        self.reporting: set[Any] = set()
        """The links whose peers report when and where calls ran."""

    def start(self) -> None:
        """Record from now on."""
        scheduler, dispatcher = self._rounds.scheduler, self._rounds.dispatcher
        self._grants = scheduler.balancing.grants_permits
        scheduler.balancing.grants_permits = False  # calls that are sent directly bypass the engine's thread
        dispatcher.revoke_permits()
        for group in (scheduler.main, scheduler.lanes):
            self.around(group.queue, "offer", self.submitted)
            self.around(group, "finish", self._finished)
        self.around(dispatcher, "send", self._sent)
        self.around(self._rounds.outcomes, "read", self._read)
        self.around(scheduler, "raised", self._raised)
        self.around(scheduler, "left", self._left)
        self.around(scheduler, "waits", self._waits)

    def stop(self) -> None:
        """Stop recording; running calls are recorded in their current state."""
        for owner, name, original in reversed(self._wrapped):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._wrapped.clear()
        self._rounds.scheduler.balancing.grants_permits = self._grants and self._rounds.is_open
        now = monotonic()
        for call, run in self._runs.items():
            place = call.place
            if call.state != DONE and place is not None and place.has_started(call):
                began = run.target.began(call.number) if not run.is_lane and place.candidate is None else None
                self._emit(run, min(began or run.sent, now), now, RUNS)
        for run in self._at_peer.values():
            self._emit(run, run.began, run.ended, run.outcome)
        for known in (self._runs, self._submitted, self._at_peer):
            known.clear()

    def around(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Wrap a method of an owner in a function, which gets the method and its arguments, until this ends."""
        self._wrapped.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, partial(wrapper, getattr(owner, name)))

    # -- submitted ------------------------------------------------------------------------------------------------

    def submitted(self, original: Callable[[Any], object], entry: Call | Chunk) -> None:
        """Note a call, or the items of a map, before it is handed on; from any thread."""
        self._note(entry)
        original(entry)

    def _note(self, entry: Call | Chunk) -> None:
        parent = None
        if isinstance(entry, Call) and entry.parent:
            parent = self._lane_of(entry)
        self._submitted[entry] = monotonic(), parent, self._inputs.pop(entry, ())
        if len(self._submitted) > self._limit:
            self._forget_cancelled()

    def noting_inputs(self, original: Callable[[], Inputs]) -> Inputs:
        """Return the holder of calls that lack inputs, which then reports these; from any thread."""
        made = original()
        made.note = self._note_inputs
        return made

    def _note_inputs(self, entry: Call | Chunk) -> None:
        self._inputs[entry] = tuple(
            made for future in entry.payload.inputs if (made := self._made_by(future)) is not None
        )

    def _lane_of(self, call: Call) -> Where | None:
        """Return the lane of the call that submitted this one; its receiver knows the worker of that call."""
        worker = getattr(call.receiver, "worker", None)
        above = None if worker is None else worker.place_of(call.parent).outstanding.get(call.parent)
        run = self._runs.get(above) if above is not None else None
        return None if run is None else where_of(run)

    def _forget_cancelled(self) -> None:
        for entry in tuple(self._submitted):
            if entry.cancelled or entry.next >= entry.count if isinstance(entry, Chunk) else entry.state == DONE:
                self._submitted.pop(entry, None)
        self._limit = max(_LEAST, 2 * len(self._submitted))

    # -- sent -----------------------------------------------------------------------------------------------------

    def _sent(self, original: Callable[..., object], place: Place, calls: list[Call]) -> None:
        now, target = monotonic(), place.target
        has_rows = place.is_lane or place.candidate is not None
        for call in calls:
            again = self._runs.pop(call, None)  # it was recalled
            if again is not None:
                self._give_row(again)
            since, parent, inputs = self._submitted.get(call) or self._submitted.get(call.chunk) or (now, None, ())
            row = self._take_row(target) if has_rows else 0
            run = Run(call.number, call.name, call.count, since, now, target, row, parent, inputs, place.is_lane)
            run.number_at_client = getattr(call.receiver, "number", 0)
            self._runs[call] = run
        original(place, calls)

    def _take_row(self, target: Any) -> int:
        if self._free[target]:
            return heapq.heappop(self._free[target])
        self._rows[target] += 1
        return self._rows[target]

    def _give_row(self, run: Run) -> None:
        if run.row:
            heapq.heappush(self._free[run.target], run.row)

    # -- ended ----------------------------------------------------------------------------------------------------

    def _read(self, original: Callable[..., bool], worker: Worker, *only: Any, **options: Any) -> bool:
        now, before, self._batch = monotonic(), self._batch, []
        try:
            return original(worker, *only, **options)
        finally:
            self._lay_out(worker, now)
            self._batch = before

    def _lay_out(self, worker: Worker, now: float) -> None:
        """Estimate when the calls of a worker ran whose outcomes were read together."""
        ended = now
        for run, seconds in reversed(self._batch):
            if run.is_lane:
                run.began, run.ended = max(run.sent, now - seconds), now
                continue
            if not worker.is_closed and worker.page.started == run.number:
                ended = min(ended, max(run.sent, worker.page.since) + seconds)
            run.began, run.ended = run.began or max(run.sent, ended - seconds), ended
            if not run.waited:  # otherwise others have run on top of it
                ended = run.began
        for run, _ in self._batch:
            if not (run.is_lane or run.waited):
                # The one before may have been read so late that this one, whose start is known, had ended by then.
                run.began = max(run.began, self._last.get(worker, 0.0))
                run.ended = self._last[worker] = max(run.ended, run.began)
            self._emit(run, run.began, run.ended, run.outcome)

    def _finished(self, original: Callable[..., Call | None], place: Place, number: int, seconds: float) -> Call | None:
        call = original(place, number, seconds)
        if call is None:
            return None
        run = self._take(call)
        if run is None:
            return call
        if call is self._raising:
            run.outcome = self._raised_as
        if place.candidate is None:
            self._batch.append((run, seconds))
            return call
        now = monotonic()
        run.began, run.ended = max(run.sent, now - seconds), now  # as far as is known
        if place.target in self.reporting:
            self._at_peer[place.target, number] = run
        else:
            self._emit(run, run.began, run.ended, run.outcome)
        return call

    def ran_at_peer(self, link: Any, number: int, where: Where, began: float, ended: float) -> None:
        """Record when and where a call ran at a peer."""
        run = self._at_peer.pop((link, number), None)
        if run is not None:  # a clock may be mapped a little wrong
            began = min(max(began, run.sent), run.ended)
            run.where = where
            self._emit(run, began, min(max(ended, began), run.ended), run.outcome)

    def _raised(self, original: Callable[..., bool], place: Place, call: Call, types: Any) -> bool:
        # It ends right after this, or is queued again.
        self._raising, self._raised_as = call, LOST if LOST_ERROR in types else RAISED
        is_queued = original(place, call, types)
        if is_queued:
            self._end_attempt(call, self._raised_as)
        return is_queued

    def _left(self, original: Callable[[Any], list[Call]], target: Any) -> list[Call]:
        lost = original(target)
        for call in lost:
            self._end_attempt(call, LOST)
        for known in (self._free, self._rows, self._last):
            known.pop(target, None)
        return lost

    def _end_attempt(self, call: Call, outcome: str) -> None:
        """Record the end of an attempt whose run time is unknown; another one may follow."""
        known = self._submitted.get(call)
        run, now = self._take(call), monotonic()
        if run is not None:
            began = run.sent if run.is_lane else max(run.sent, self._last.get(run.target, 0.0))
            self._emit(run, began, now, outcome)
            if known is not None and call.state != DONE:
                self._submitted[call] = now, *known[1:]

    def _waits(self, original: Callable[..., object], worker: Worker, number: int, serial: int) -> None:
        call = worker.outstanding.get(number)
        run = None if call is None else self._runs.get(call)
        if run is not None:
            run.waited, run.began = True, max(run.sent, worker.began(number) or 0.0)
        original(worker, number, serial)

    def _take(self, call: Call) -> Run | None:
        self._submitted.pop(call, None)
        run = self._runs.pop(call, None)
        if run is None:
            return None
        self._give_row(run)
        if not call.count:
            run.made = self._made_by(call.receiver)
        return run

    def _made_by(self, future: Any) -> Made | None:
        try:
            made = self._made.get(future)
            if made is None:
                made = self._made[future] = Made()
        except TypeError:  # the receiver is no future, or one of a kind that cannot be referred to weakly
            return None
        return made

    def _emit(self, run: Run, began: float, ended: float, outcome: str) -> None:
        run.began, run.ended, run.outcome = began, ended, outcome
        run.where, run.target = where_of(run), None
        if run.made is not None:
            run.made.where, run.made.ended, run.made = run.where, ended, None
        self._sink(run)


def where_of(run: Run) -> Where:
    """Return the lane of a call that was sent."""
    if run.where.pid:
        return run.where
    target = run.target
    if target.candidate is not None:
        return Where(target.candidate.address, 0, run.row)
    return Where("", target.known_pid, run.row)
