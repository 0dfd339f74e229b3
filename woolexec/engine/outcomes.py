"""
Handles what workers and peers send: outcomes, items of streams, marks, nested tasks.

`_OF_WORKER` and `OF_LINK` are the frames that each of them may send, with the method that handles it.
"""

from __future__ import annotations

import struct
from functools import partial

from woolexec.core.call import LIFE, UNCERTAIN, Relayed
from woolexec.core.following import take_back
from woolexec.core.retry import LOST, NOT_STARTED
from woolexec.core.tallies import EVERY, LONG
from woolexec.engine.diagnostics import log_avoided, log_full
from woolexec.engine.main_names import pickled
from woolexec.engine.nested import NESTED
from woolexec.errors import ProtocolError
from woolexec.futures.call_future import Nobody
from woolexec.wire.frames import (
    Broken,
    Inspected,
    Load,
    Log,
    Output,
    Progress,
    Raise,
    Recalled,
    Resume,
    Return,
    Started,
    Submit,
    Wait,
    Yield,
)
from woolexec.wire.handlers import Handlers
from woolexec.wire.values import KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.core.tallies import Tallies
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.nested import NestedTasks
    from woolexec.engine.progress_reports import ProgressReports
    from woolexec.engine.said import Said
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.protobuf import Message


_LONGEST = 10_000
"""Maximum length of a log line that is kept for the error of a lost call, in characters."""


class Outcomes:
    """Handles frames, in the engine's thread."""

    def __init__(self, loop: Loop, scheduler: Scheduler, supervisor: Supervisor, nested: NestedTasks) -> None:
        self.handles_records = True
        self._has_said_full = False
        self.on_inspected: Callable[[Remote, Inspected], object]  # called with the tasks that run at a peer
        self.on_kept: Callable[[Any, Call, int, bytes], object]
        """Called with a link, a call whose value the peer keeps, and the size and key of the value."""
        self.on_report: Callable[[Any, Message], object] | None = None
        """While a trace runs, called with a link and a report of its peer."""
        self.mark: Callable[[Any], Any] | None = None  # marks payloads of peers that are not trusted
        self._loop = loop
        self._scheduler = scheduler
        self._supervisor = supervisor
        self._nested = nested
        nested.elsewhere.look_up = self._look_up
        self._progress: ProgressReports | None = None  # made with the first
        self.said: Said | None = None  # passes on the output of tasks, if that is wanted

    # -- from workers -------------------------------------------------------------------------------------------

    def read(self, worker: Worker, only: frozenset[type] | None = None, *, only_rest: bool = False) -> bool:
        """
        Read once from a worker and handle the frames; return False if there were none.

        :param only: handle only frames of these kinds, and lone Returns
        :param only_rest: only those that arrived with earlier ones
        :raises EOFError: if the worker is gone
        :raises ProtocolError: if the worker sent an invalid frame
        """
        returns: list[tuple[int, float, bytes]] = []
        frames = worker.receive(returns, only_rest=only_rest)
        scheduler = self._scheduler
        finish = scheduler.main.finish
        if worker.pipes is not None and self.said is not None:
            self.said.read(worker, is_end=True)  # output that precedes the outcomes comes first
        for number, seconds, payload in returns:
            call = finish(worker, number, seconds)
            if call is None:
                call = scheduler.lanes.finish(worker.lane_place, number, seconds)
                if call is None:
                    continue
            recent, cost = call.function.recent, call.cost
            if recent is None or call.count or cost > LONG:
                _note(scheduler.tallies, call, payload)
            else:  # as `Tallies.returned`, with fewer steps
                recent.append(cost)
                if len(recent) >= EVERY:
                    scheduler.tallies.measure_recent(call, len(payload))
            call.receiver.deliver(call, payload)
        if returns:
            worker.done += len(returns)
            if self._supervisor.early_deaths:
                self._supervisor.note_life()
        for frame in frames:
            if only is None or frame.__class__ in only:
                self._handle(worker, frame)
        return bool(returns or frames)

    def _handle(self, worker: Worker, frame: Message) -> None:
        """
        Handle a frame that a worker sent.

        :raises ProtocolError: if it is not valid: user code may write to the socket
        """
        try:
            _OF_WORKER[frame.__class__](self, worker, frame)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error) as exc:
            raise ProtocolError(f"a {type(frame).__name__} frame could not be handled: {exc!r}") from exc

    def _returned(self, target: Any, frame: Return) -> None:
        if frame.kept and target.candidate is not None:
            self._kept(target, frame)
            return
        if frame.full and target.candidate is not None and not self._has_said_full:
            self._has_said_full = True
            self._loop.run_user_code(partial(log_full, target.candidate.address))
        self.returned(target, frame.call[0], frame.seconds[0], frame.payload, frame.context, frame.raised)

    def returned(
        self, target: Any, number: int, seconds: float, payload: Any, context: bytes = b"", raised: int = 0
    ) -> None:
        """
        Handle the return of a call, which ran for `seconds`.

        :param raised: the number of its items that raised
        """
        place = target.place_of(number)
        call = place.outstanding.get(number)
        if call is None:
            return
        self._finish(place, call, seconds)
        _note(self._scheduler.tallies, call, payload, raised)
        if call.rank and payload:
            call.function.outcome_size = len(payload)
        if raised and isinstance(call.receiver, Relayed):
            call.receiver.raised = raised
        if self.mark is not None:
            payload, context = self._marked(place, call, payload), self._marked(place, call, context)
        if isinstance(payload, OSError):  # no descriptor was left to receive it
            call.receiver.deliver_failure(call, payload)
        elif context:
            call.receiver.deliver_context(call, context, payload)
        else:
            call.receiver.deliver(call, payload)

    def _kept(self, link: Remote, frame: Return) -> None:
        """Handle the return of a call whose value its peer keeps."""
        number = frame.call[0]
        place = link.place_of(number)
        call = place.outstanding.get(number)
        if call is None:
            link.send_drop(KEPT | number)
            return
        if not self.may_stay(call):
            raise ProtocolError("a peer kept the outcome of a call without being asked to")
        self._finish(place, call, frame.seconds[0])
        _note(self._scheduler.tallies, call, b"")
        if call.rank:
            call.function.outcome_size = frame.kept
        self.on_kept(link, call, frame.kept, frame.key)

    def may_stay(self, call: Call) -> bool:
        """Return whether the peer that runs a call may keep its value; only a trusted peer may."""
        is_asked = call.options is not None and call.options.keep and not call.count
        return self.mark is None and is_asked and hasattr(call.receiver, "deliver_kept")

    def _raised(self, target: Any, frame: Raise) -> None:
        place = target.place_of(frame.call)
        call = place.outstanding.get(frame.call)
        if call is None:
            return
        is_fault = NOT_STARTED in frame.type and place.candidate is not None and not place.has_started(call)
        if is_fault:
            self.failed(place.target, "no worker could be started")
        if self._scheduler.raised(place, call, frame.type):
            self._supervisor.note_life()
            return
        self._finish(place, call, frame.seconds, is_fault=is_fault)
        is_lost = place.candidate is not None and LOST in frame.type  # by the peer, with its worker
        _note(self._scheduler.tallies, call, frame.payload, call.count or 1, is_lost=is_lost)
        if isinstance(call.receiver, Relayed):
            call.receiver.types = frame.type
        call.receiver.deliver_failure(call, self._marked(place, call, frame.payload))

    def _marked(self, place: Any, call: Call, payload: Any) -> Any:
        """Mark a payload of a peer that is not trusted; a worker does that itself for its nested tasks."""
        if self.mark is None or place.candidate is None or call.parent or not payload or isinstance(payload, OSError):
            return payload
        return self.mark(payload)

    def _finish(self, place: Any, call: Call, seconds: float, *, is_fault: bool = False) -> None:
        """Note the end of a call; `is_fault`: it failed because of its peer."""
        scheduler = self._scheduler
        if place.candidate is not None and not is_fault:
            scheduler.offering.outliers.succeeded(place.candidate.address)
        if place.candidate is None:
            place.target.done += 1
        if place.is_lane:
            scheduler.lanes.finish(place, call.number, seconds)
        elif place.candidate is None:
            scheduler.main.finish(place, call.number, seconds)
        else:
            scheduler.offering.observe(place, call, seconds)
            scheduler.offering.finish(place, call.number, seconds)
        actor: Any = None if call.line is None else call.line.actor
        if actor is not None:
            actor.note_end(call)
        self._supervisor.note_life()

    def _recalled(self, target: Any, frame: Recalled) -> None:
        group, place = (self._scheduler.lanes, target.lane_place) if frame.loop else (self._scheduler.main, target)
        group.recalled(place, frame.call)

    def _waits(self, worker: Worker, frame: Wait) -> None:
        if frame.stays:
            self._scheduler.workforce.kept[worker] = frame.call
            return
        worker.note_waiting(frame.call)
        self._scheduler.waits(worker, frame.call, frame.serial)

    def _resumes(self, worker: Worker, frame: Resume) -> None:
        self._scheduler.main.resume(worker, frame.call)
        self._scheduler.workforce.resumed(worker)

    def _yielded(self, target: Any, frame: Yield) -> None:
        def deliver(call: Call) -> None:
            if self.mark is not None:
                place = target.lane_place
                frame.payload = self._marked(place, call, frame.payload)
                frame.context = self._marked(place, call, frame.context)
            call.receiver.deliver_item(call, frame)

        _tell_stream(target, frame.call, deliver)

    def _started(self, worker: Worker, frame: Started) -> None:
        _tell_stream(worker, frame.call[0], lambda call: call.receiver.deliver_start(call))

    def _logged(self, target: Any, frame: Log) -> None:
        """Pass a record to the client whose call, or a descendant of it, logged it; otherwise to the handlers here."""
        if target.candidate is None:
            target.log.append(frame.text[:_LONGEST])
        call = target.place_of(frame.call).outstanding.get(frame.call)
        while call is not None and not (isinstance(call.receiver, Relayed) and call.receiver.takes_logs):
            call = self.above(call)
        if call is not None:
            call.receiver.deliver_log(frame)
        elif self.handles_records:
            mark = None if target.candidate is None else self.mark
            self._loop.handle_record(frame.record if mark is None else mark(frame.record))

    def _progressed(self, target: Any, frame: Progress) -> None:
        if self._progress is None:
            with self._supervisor.reserve.lent():
                from woolexec.engine.progress_reports import ProgressReports

            self._progress = ProgressReports(self._loop)
        self._progress.hear(target, frame)

    def above(self, call: Call) -> Call | None:
        """Return the call that submitted this one, if it is outstanding."""
        above = self._scheduler.outstanding(call.parent) if call.parent else None
        # The worker says which call that is, and may lie; calls that were sent earlier have smaller numbers.
        return above if above is not None and above.number < call.number else None

    def _broke(self, worker: Worker, frame: Broken) -> None:
        self._supervisor.initializer.raised(worker, frame.payload)

    def _about_nested(self, worker: Worker, frame: Message) -> None:
        self._nested.hear(worker, frame, self._supervisor.broken)

    def _look_up(self, name: str, tell: Callable[[bytes], object]) -> None:
        """Pickle the object with a name in this program's ``__main__``, if the calls are those of this program."""
        if not self.handles_records:
            tell(b"")
        else:
            self._loop.run_user_code(lambda: self._loop.tell(partial(tell, pickled(name))))

    # -- from peers ---------------------------------------------------------------------------------------------

    def called(self, link: Remote, frame: Message) -> None:
        """
        Handle a frame of a task at a peer about a call of an actor of this engine, or a lookup.

        :raises ProtocolError: if it is about another kind of task
        """
        if isinstance(frame, Submit) and not (frame.actor or frame.main_name):
            raise ProtocolError("a peer submitted a task that is not a call of an actor")
        broken = self._supervisor.broken
        if self.mark is not None:  # the call would run the peer's code, and a lookup would reveal this program's code
            broken = RuntimeError('tasks at peers cannot call actors of a pool with results="plain"')
        self._nested.hear(link, frame, broken)  # type: ignore[arg-type]  # it is like a worker here

    def hear_link(self, link: Remote, frame: Message) -> None:
        """
        Handle a frame that came over a link.

        :raises ProtocolError: if a frame of this kind is not expected here
        """
        OF_LINK[frame.__class__](self, link, frame)

    def failed(self, link: Remote, reason: str) -> None:
        """Note a failure that is due to a peer; the peer may be avoided because of it."""
        seconds = self._scheduler.offering.failed(link)
        if seconds:
            self._loop.run_user_code(partial(log_avoided, link.candidate.address, seconds, reason))

    def _loaded(self, link: Remote, frame: Load) -> None:
        """Handle the report of a peer that it refused calls, or that places are free."""
        if frame.refused:
            self._scheduler.refused(link, frame.refused, is_full=not frame.reason)
            link.candidate.refusals += len(frame.refused)
            link.candidate.trouble = frame.reason
            if frame.reason:
                self.failed(link, frame.reason)
        else:
            self._scheduler.offering.tell_free(link, frame.free)


def _note(tallies: Tallies, call: Call, payload: Any, raised: int = 0, *, is_lost: bool = False) -> None:
    """Count a call that ended, unless it is an actor's life; an abandoned call was counted when it was cancelled."""
    if call.receiver.__class__ is Nobody:
        tallies.cancelled(call)
        return
    size = 0 if isinstance(payload, OSError) else len(payload)
    if not (raised or call.count or call.function.recent is None):
        tallies.returned(call, size)
    elif is_lost and call.function.lane != LIFE:
        tallies.unfinished(call)
    elif call.function.lane != LIFE:
        tallies.ended(call, call.cost, size, raised)


def _heard_output(outcomes: Outcomes, link: Remote, frame: Output) -> None:
    if outcomes.said is not None:  # otherwise output is not wanted
        outcomes.said.hear(link, frame)


def _tell_stream(target: Any, number: int, tell: Callable[[Call], object]) -> None:
    """Tell the receiver of a stream that it can be pulled, or that it has yielded."""
    call = target.lane_place.outstanding.get(number)
    if call is not None:
        if call.state == UNCERTAIN:  # it was recalled, and had been started: commands for it are sent from now on
            call.move("start")
        tell(call)


OF_LINK = Handlers(
    "a client's link",
    {
        Return: Outcomes._returned,
        Raise: Outcomes._raised,
        Recalled: Outcomes._recalled,
        Yield: Outcomes._yielded,
        Log: Outcomes._logged,
        Load: Outcomes._loaded,
        Inspected: lambda outcomes, link, frame: outcomes.on_inspected(link, frame),
        Output: _heard_output,
        Progress: Outcomes._progressed,
    },
)
_OF_WORKER = Handlers(
    "an engine",
    {
        Return: Outcomes._returned,
        Raise: Outcomes._raised,
        Recalled: Outcomes._recalled,
        Load: lambda outcomes, worker, frame: take_back(outcomes._scheduler.main, worker, frame.refused),
        Yield: Outcomes._yielded,
        Log: Outcomes._logged,
        Started: Outcomes._started,
        Wait: Outcomes._waits,
        Resume: Outcomes._resumes,
        Broken: Outcomes._broke,
        Progress: Outcomes._progressed,
        **dict.fromkeys(NESTED, Outcomes._about_nested),
    },
)
