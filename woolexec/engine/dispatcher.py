"""
The dispatcher: takes calls from other threads, and carries out the scheduler's decisions by sending frames.

All of it runs in the engine's thread, except methods marked otherwise, such as `submit` and `submit_chunk`.  A
submitting thread wakes the engine only if a worker could take the call now; if all are busy, the next outcome wakes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import sleep
from weakref import WeakValueDictionary

from woolexec.core.balance import REST
from woolexec.core.call import LIFE, MAIN, QUEUED, SENT, UNCERTAIN, Call, Chunk, Function, fail
from woolexec.core.recent import Recent
from woolexec.core.scheduler import may_queue
from woolexec.engine.kept_outcomes import KeptOutcomes
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGKILL, SIGURG
from woolexec.wire.frames import Cancel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.core.actor import Actor
    from woolexec.core.devices import Bound
    from woolexec.core.place import Place
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.nested import NestedTasks
    from woolexec.engine.outcomes import Outcomes
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.payload import File
    from woolexec.wire.protobuf import Message

OPENING = 0.05
"""Seconds after which a worker with a busy main thread is signalled again to read."""

_BURST, _MOMENT = 64, 1e-6
"""A thread that submits this many calls before the engine's thread has taken the first one sleeps for this long
(seconds).  Otherwise it would hold the GIL for 5 ms at a time while workers are idle."""

_FUNCTIONS_LIMIT = 1024

_LARGE = 64 << 10
"""Minimum size, in bytes, of a function that is cached only as long as a call or a place has it."""

AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
FORKED_CHILD = "this PeerPoolExecutor belongs to the parent process: make another one after a fork"


class Dispatcher:
    """The `Actions` of one engine's scheduler; also passes calls from other threads to that scheduler."""

    scheduler: Scheduler
    outcomes: Outcomes
    nested: NestedTasks
    on_timed: Callable[[Worker, Call], object]
    """Called with each call with a timeout that was sent to a local worker."""

    def __init__(self, loop: Loop) -> None:
        self.due: set[Any] = set()  # places with frames to flush at the end of the round
        self.values = KeptOutcomes(loop.tell, self.due)
        self._loop = loop
        self._permitted: dict[int, Worker] = {}
        self._permitted_actors: dict[int, Worker] = {}
        self._functions: Recent[tuple[bytes, int], Function] = Recent(_FUNCTIONS_LIMIT)
        self._large: WeakValueDictionary[tuple[bytes, int], Function] = WeakValueDictionary()
        self._unheard: set[Worker] = set()  # workers from which more frames have been read than handled
        self._wake_on_submit = self._wake_on_submit_lane = True

    def connect(
        self,
        scheduler: Scheduler,
        supervisor: Supervisor,
        nested: NestedTasks,
        outcomes: Outcomes,
        on_timed: Callable[[Worker, Call], object],
    ) -> None:
        """Set the other parts of the engine; each of them also refers to the dispatcher."""
        self.scheduler, self.outcomes, self.nested, self.on_timed = scheduler, outcomes, nested, on_timed
        self._supervisor = supervisor
        self._workers, self._all_workers = scheduler.workers, scheduler.all_workers

    # -- from any thread ----------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """
        Submit a call.

        :raises RuntimeError: if the engine has stopped meanwhile
        """
        # If the inbox is not empty, a call that is sent directly would overtake others.
        if call.is_plain and not call.function.lane and not self._loop.inbox:
            for worker in reversed(tuple(self._permitted.values())):  # the worker that was busy last is still awake
                if worker.send_directly(call):
                    return
        queue = self.scheduler.main.queue
        queue.offer(call)
        self._put(call)
        if self._loop.stopped and queue.claim(call):
            raise RuntimeError(AFTER_SHUTDOWN)

    def submit_chunk(self, chunk: Chunk) -> None:
        """
        Submit the items of a map.

        :raises RuntimeError: if the engine has stopped meanwhile
        """
        self._put(chunk)
        if self._loop.stopped:
            raise RuntimeError(AFTER_SHUTDOWN)

    def _put(self, entry: Call | Chunk) -> None:
        self._loop.inbox.append(entry)
        if self._wake_on_submit or (entry.function.lane and self._wake_on_submit_lane):
            self._wake_on_submit = self._wake_on_submit_lane = False
            try:
                self._loop.wake()
            except BaseException:  # the engine cannot start: no thread or descriptor is available
                self._wake_on_submit = self._wake_on_submit_lane = True
                self._loop.inbox.remove(entry)
                raise
        elif len(self._loop.inbox) == _BURST:
            sleep(_MOMENT)

    def is_running(self, call: Call) -> bool:
        """Return whether a call has been started and is not done."""
        place = call.place
        if place is not None:
            return bool(place.has_started(call))
        return any(worker.is_running_directly(call) for worker in tuple(self._all_workers.values()))

    def intern(self, payload: Any, name: str, lane: int = MAIN) -> Function:
        """Return the unique function with this pickle and lane, so that it is sent only once to each worker."""
        if not isinstance(payload, bytes):
            return Function(payload, name, lane)
        is_large = len(payload) >= _LARGE
        function = (self._large if is_large else self._functions).get((payload, lane))
        if function is None:
            function = Function(payload, name, lane)
            if is_large:
                self._large[payload, lane] = function
            else:
                self._functions.add((payload, lane), function)
        return function

    # -- rounds of the engine's thread --------------------------------------------------------------------------

    def act(self) -> None:
        """Do everything that can be done now."""
        scheduler = self.scheduler
        scheduler.feed()
        if self.due:
            self.flush()  # flush now: latency beats batching here
        scheduler.balance()
        if self.due:
            self.flush()
        self._wake_on_submit, self._wake_on_submit_lane = scheduler.can_accept(), True

    def take_inbox(self) -> None:
        """Queue submitted calls and chunks, and run the requests of other threads."""
        inbox, scheduler = self._loop.inbox, self.scheduler
        add, add_lane = scheduler.main.queue.add, scheduler.lanes.queue.add
        if inbox and self._permitted:  # before the first entry leaves the inbox, so that nothing overtakes it
            self.revoke_permits()
        while inbox:
            entry = inbox.popleft()
            if entry.__class__ is not Call and entry.__class__ is not Chunk:
                entry()
                continue
            if entry.line is not None and not may_queue(scheduler, entry):
                continue
            if entry.function.lane:
                add_lane(entry)
            else:
                add(entry)

    def flush(self) -> None:
        """Write the queued frames of all places in `due`; a failed write closes its place and removes it."""
        due = self.due
        while due:
            target = due.pop()
            if not target.flush():
                self._watch_writing(target)

    def _watch_writing(self, worker: Worker) -> None:
        """Continue to write when the socket is writable again."""

        def go_on() -> None:
            if worker.is_dead:
                return
            if worker.flush():
                self._loop.watched.change(worker.sock.fileno(), partial(self.hear, worker))
            self.hear(worker)

        if not worker.is_dead:
            self._loop.watched.change(worker.sock.fileno(), go_on, writing=True)

    def hear(self, worker: Worker, *, rest: bool = False) -> bool:
        """
        Read a worker's frames, handle them, and send it more calls; return False if there were none.

        :param rest: handle only those that came with others
        """
        if rest:
            self._unheard.discard(worker)
            if worker.is_dead or not worker.reader.has_more:
                return False
        if worker.has_permit:
            self.take_inbox()
            self.revoke_permit(worker)
        try:
            heard = self.outcomes.read(worker, only_rest=rest)
        except EOFError:
            self._supervisor.stream_ended(worker)
            return False
        except ProtocolError as exc:
            worker.log.append(str(exc))
            self._supervisor.kill(worker, SIGKILL)
            return False
        if worker.is_used_up and not worker.is_busy:
            self._supervisor.dismiss(worker, is_replaced=True)
        else:
            self.scheduler.heard(worker)
        if worker.reader.has_more and worker not in self._unheard:
            self._unheard.add(worker)
            self._loop.after(0.0, partial(self.hear, worker, rest=True))  # other workers take their turns
        return heard

    # -- the scheduler's actions --------------------------------------------------------------------------------

    def send(self, place: Place, calls: Sequence[Call]) -> None:
        """Send calls that were recorded as outstanding at a place."""
        if not calls:
            return
        target = place.target
        target.send_calls(calls)
        self.due.add(target)
        if place.candidate is not None:  # the engine of the peer enforces timeouts
            return
        for call in calls:
            if call.options is not None and call.options.timeout is not None:
                self.on_timed(target, call)
        if place.is_lane:
            self.interrupt_reader(target)

    def send_recall(self, place: Place, number: int, waiting: int) -> None:
        """Send the mark that a place answers with Recalled."""
        place.target.send_recall(number, waiting, lane=place.is_lane)
        self.due.add(place.target)

    def start_worker(self, actor: Actor | None = None, devices: Bound | None = None) -> Worker | None:
        """Start a worker with these devices, for an actor or for any calls; return None if that is impossible now."""
        return self._supervisor.start(actor, devices)

    def dismiss(self, worker: Worker) -> None:
        """Let an idle worker exit."""
        self._supervisor.dismiss(worker)

    def grant_permit(self, worker: Worker, number: int) -> None:
        """Allow a submitting thread to send an idle worker one call, under this number."""
        worker.grant_permit(number)
        (self._permitted if worker.actor is None else self._permitted_actors)[worker.id] = worker

    def revoke_permit(self, worker: Worker) -> None:
        """Revoke a worker's permit; record the call that was sent under it, if any, as outstanding."""
        (self._permitted if worker.actor is None else self._permitted_actors).pop(worker.id, None)
        used = worker.revoke_permit()
        if used is not None:
            call, number = used
            worker.sent(call, number, call.function.seconds or 0.0, len(call.payload))

    def after(self, seconds: float, piece: Callable[[], object]) -> None:
        """Call a function later, and begin a round after that."""
        self._loop.after(seconds, piece)

    # -- for the other parts of the engine ----------------------------------------------------------------------

    def revoke_permits(self) -> None:
        """Revoke all permits."""
        for worker in (*self._workers.values(), *self._permitted_actors.values()):
            self.revoke_permit(worker)

    def joined(self, worker: Worker) -> None:
        """Listen to a new worker, and send it calls."""
        worker.values = self.values
        self._loop.watched.add(worker.sock.fileno(), partial(self.hear, worker))
        if worker.actor is None:
            self.scheduler.joined(worker)
        else:
            self.scheduler.actors.joined(worker)  # type: ignore[union-attr]  # there are actors

    def interrupt_reader(self, worker: Worker, *, again: bool = True) -> None:
        """
        Signal a worker to read its frames although a call keeps its main thread busy.

        A worker that is just starting another call may miss the signal, so this is repeated until the call has started.
        """
        lane = worker.lane_place
        if worker.is_dead or worker.page.is_open or not worker.is_busy_here or not lane.outstanding:
            return
        self.flush()  # so that a worker that does not handle signals yet finds the frames when it first reads
        self._supervisor.kill(worker, SIGURG)
        if again:
            again = bool(lane.unstarted(lane.page.started))
            self._loop.after(OPENING, partial(self.interrupt_reader, worker, again=again))

    def command(self, call: Call, frame: Message, file: File | None = None) -> None:
        """Send a command to the place where a call is outstanding."""
        place = call.place
        if frame.__class__ is Cancel and call.state == UNCERTAIN:
            self._loop.after(REST, partial(_cancel_when_certain, self, call))
        elif place is not None and call.state == SENT:
            if call.function.lane == LIFE and place.candidate is None:
                place.target.actor.is_closed = True  # its life may come back, not started: it must not be made again
                is_made = place.target.actor.worker is place.target
                (self._supervisor.dismiss if is_made else self._supervisor.end)(place.target)
                return
            place.target.send_command(frame, file)
            self.due.add(place.target)
            if place.is_lane and place.candidate is None:
                self.interrupt_reader(place.target)
            if frame.__class__ is Cancel:
                self.nested.end_children(call)

    def refuse_late(self) -> None:
        """
        Fail calls that were submitted after the engine stopped.

        A thread may have passed the executor's check before the shutdown.  `submit` appends the call, then checks
        whether the engine has stopped; the engine stops, then checks what was appended.  One of them sees the other.
        """
        error = RuntimeError(AFTER_SHUTDOWN)
        self.scheduler.held.close(error)
        if self.scheduler.actors is not None:
            self.scheduler.actors.end_all(error)
        while self._loop.inbox:
            entry = self._loop.inbox.popleft()
            if isinstance(entry, Chunk) or (isinstance(entry, Call) and self.scheduler.main.queue.claim(entry)):
                fail(entry, error)
            elif not isinstance(entry, Call):
                entry()

    def close(self) -> None:
        """Release all references."""
        self._permitted.clear()
        self._permitted_actors.clear()
        self._functions.clear()


def _cancel_when_certain(dispatcher: Dispatcher, call: Call) -> None:
    """Cancel a call that had just been recalled, when its place has answered: it may have come back."""
    if call.state != QUEUED:
        dispatcher.command(call, Cancel(call=call.number))
    elif call.function.lane != LIFE and dispatcher.scheduler.main.queue.cancel(call):
        call.receiver.deliver_failure(call, None)
