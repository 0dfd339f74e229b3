"""
The dispatcher: it carries out the core's decisions by sending frames.

All of it runs in the engine's thread, except methods marked otherwise, such as `submit` and `submit_chunk`.  A
submitting thread wakes the engine only if a worker could take the call now; if all are busy, the next outcome wakes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from woolexec.core.call import MAIN, SENT, Call, Chunk, Function
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.recent import Recent
from woolexec.core.retry import LOST, retries_left
from woolexec.core.scheduler import Scheduler
from woolexec.core.window import Place
from woolexec.engine.diagnostics import unsatisfiable
from woolexec.engine.event_loop import Loop
from woolexec.engine.lane import WorkerLane
from woolexec.engine.nested import NESTED, NestedTasks
from woolexec.engine.permit import works
from woolexec.engine.policy_guard import guarded
from woolexec.engine.supervisor import Supervisor
from woolexec.engine.transport import Remote, Transport
from woolexec.engine.worker_process import Worker
from woolexec.errors import ProtocolError, UnsatisfiableError
from woolexec.futures.call_future import CallFuture, Nobody
from woolexec.platform.posix import SIGKILL, SIGURG
from woolexec.wire.frames import Broken, Cancel, Load, Log, Raise, Recalled, Resume, Return, Started, Wait, Yield
from woolexec.wire.payload import File
from woolexec.wire.protobuf import Message

if TYPE_CHECKING:
    from woolexec.core.placement import Placement
    from woolexec.errors import WorkerLostError
    from woolexec.resources import Requirement

FAR_REST = 0.02
"""Minimum seconds between two requests to a peer to give back unstarted calls, so that they run elsewhere."""

SEEN = 1.0
"""A task whose requirement no worker meets fails when two checks, this many seconds apart, have found that."""

REST = 0.002
"""While work waits behind a running call and a worker is idle, the engine checks this often (seconds) whether to move
it."""

OPENING = 0.05
"""Seconds after which a worker whose main thread is busy is signalled again to read."""

_BURST, _MOMENT = 64, 1e-6
"""A thread that submits this many calls before the engine's thread has taken the first one sleeps for this long
(seconds).  Otherwise it would hold the GIL for 5 ms at a time while workers are idle."""

_FUNCTIONS_LIMIT = 1024

AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"


_LINK_KINDS = frozenset({Return, Raise, Recalled, Yield, Log, Load})


class Relayed:
    """A receiver that passes failures on; the classes of an exception are set before the exception is delivered."""

    types: tuple[str, ...] = ()

    def deliver_log(self, frame: Log) -> None:
        """Pass on a logging record."""
        raise NotImplementedError


class Dispatcher:
    """
    Sends calls to workers and delivers their outcomes.

    :param on_timed: called with the place and the call for each call with a timeout that was sent
    :param end: ends a call by force
    :param policy: chooses among links
    :param offer: what calls may require of the local workers
    """

    def __init__(
        self,
        loop: Loop,
        supervisor: Supervisor,
        on_timed: Callable[[Worker | WorkerLane, Call], None],
        end: Callable[[Call], object],
        *,
        policy: Placement | None = None,
        offer: Offer = NOTHING,
    ) -> None:
        self._numbers = itertools.count(1)
        self.core = Scheduler(self._numbers.__next__)
        self.lane_core = Scheduler(self._numbers.__next__, self.core.queue)  # of calls outside main threads
        self.due: set[Any] = set()  # places with frames to flush at the end of the round
        self.links: list[Remote] = []
        self.nested = NestedTasks(self, end)
        self.grants_permits = works
        self.handles_records = True
        self._policy = guarded(policy)
        self._offer = offer
        self._checking = False
        self._tries_at = inf
        self._unmet: set[Requirement] = set()
        self.expects_peers = False
        self._loop = loop
        self._supervisor = supervisor
        self._workers = supervisor.workers
        self._on_timed = on_timed
        self._permitted: dict[int, Worker] = {}
        self._functions: Recent[tuple[bytes, int], Function] = Recent(_FUNCTIONS_LIMIT)
        self._wake_on_submit = self._wake_on_submit_lane = True
        self._rest_armed = False
        supervisor.dispatcher = self

    @property
    def places(self) -> list[Transport]:
        """All places where calls may be outstanding: workers, links, and the lanes of both; from any thread."""
        workers = tuple(self._workers.values())
        links = tuple(self.links)
        lane_places: list[Transport] = [
            *(worker.lane_place for worker in workers),
            *(link.lane_place for link in links),
        ]
        return [*workers, *links, *lane_places]

    @property
    def waiting(self) -> int:
        """The number of calls and chunks that have not been sent, as an upper bound; from any thread."""
        return len(self.core.queue) + len(self.lane_core.queue) + len(self._loop.inbox)

    @property
    def has_waiting(self) -> bool:
        """Something is queued."""
        return self.core.queue.head() is not None or self.lane_core.queue.head() is not None

    def take_waiting(self) -> list[Call | Chunk]:
        """Remove and return everything that is queued."""
        return self.core.queue.clear() + self.lane_core.queue.clear()

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
        self.core.queue.offer(call)
        self._put(call)
        if self._loop.stopped and self.core.queue.claim(call):
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
        if isinstance(place, Worker | WorkerLane):
            return call.number <= place.page.started
        if isinstance(place, Remote):
            return place.is_running(call)
        return any(worker.is_running_directly(call) for worker in tuple(self._workers.values()))

    def intern(self, payload: Any, name: str, lane: int = MAIN) -> Function:
        """Return the one function with this pickle and lane, so that it is sent only once to each worker."""
        if not isinstance(payload, bytes):
            return Function(payload, name, lane)
        function = self._functions.get((payload, lane))
        if function is None:
            function = Function(payload, name, lane)
            self._functions.add((payload, lane), function)
        return function

    # -- rounds of the engine's thread -------------------------------------------------------------------------

    def act(self) -> None:
        """Do everything that can be done now."""
        if self.core.queue.head() is not None:
            self._feed()
        self._feed_lanes()
        if self.due:
            self.flush()  # flush now: latency beats batching here
        self._balance()
        if len(self._workers) > self._supervisor.limit:
            self._shrink()
        if self.due:
            self.flush()
        self._wake_on_submit, self._wake_on_submit_lane = self._can_accept(), True

    def take_inbox(self) -> None:
        """Queue submitted calls and chunks, and run the requests of other threads."""
        inbox, add, add_lane = self._loop.inbox, self.core.queue.add, self.lane_core.queue.add
        if inbox and self._permitted:  # before the first entry leaves the inbox, so that nothing overtakes it
            self.revoke_permits()
        while inbox:
            entry = inbox.popleft()
            if entry.__class__ is not Call and entry.__class__ is not Chunk:
                entry()
                continue
            if entry.function.lane:
                add_lane(entry)
            else:
                add(entry)
            if entry.line is not None and entry.line.requirement is not None:
                self.check_requirements()

    def _feed(self) -> None:
        """Send each worker the calls that it can take, idle workers first; start workers if more calls wait."""
        core, queue, offer = self.core, self.core.queue, self._offer
        if queue.has_lines:
            self._feed_links(near=True)
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.has_permit:
                    self.revoke_permit(worker)
                self._send(worker, core.assign(worker))
        for worker in self._workers.values():
            if queue.head() is None:
                return
            self._send(worker, core.assign(worker))
        if self.links:
            self._feed_links()
        while (
            len(self._workers) < self._supervisor.most
            and queue.head(offer) is not None
            and self._supervisor.broken is None
        ):
            idle = sum(1 for worker in self._workers.values() if not worker.outstanding and worker.ready)
            if idle >= len(queue) and idle:
                return
            started = self._supervisor.start()
            if started is None:
                return
            self._send(started, core.assign(started))

    def _feed_links(self, *, near: bool = False) -> None:
        """Send calls to peers."""
        core = self.core
        for link, calls in core.place(self.links, self._policy, near=near):
            self._send(link, calls)
        if not core.may_try and (pause := core.pause()) + monotonic() < self._tries_at:
            self._tries_at = monotonic() + pause
            self._loop.after(pause, self._try_again)

    def _try_again(self) -> None:
        if monotonic() >= self._tries_at:  # else an earlier try has been scheduled meanwhile
            self._tries_at = inf
            self.core.try_again()

    def run_on_all(self, calls: Callable[[], Call]) -> list[tuple[Worker | Remote, Call]]:
        """Have each worker run a call of its own, including those behind links; start the workers that are missing."""
        self.take_inbox()
        self.revoke_permits()
        made: list[tuple[Worker | Remote, Call]] = []
        for worker in self._all_workers():
            call = calls()
            self._run_on(worker, call)
            made.append((worker, call))
        for link in self.links:
            for number in range(1, link.width + 1):
                call = calls()
                place = link.lane_place if call.function.lane else link
                self._core_of(place).pin_far(place, call, number)
                self._send(place, [call])
                made.append((link, call))
        return made

    def run_on(self, number: int, call: Call) -> None:
        """Have one worker run a call: the one with this number, counted modulo the number of workers."""
        self.revoke_permits()
        workers = self._all_workers()
        if workers:
            self._run_on(workers[(number - 1) % len(workers)], call)
        else:  # no worker can be started: the call waits for one
            core = self.lane_core if call.function.lane else self.core
            core.queue.offer(call)
            core.queue.add(call)

    def _all_workers(self) -> list[Worker]:
        while (
            len(self._workers) < self._supervisor.limit
            and self._supervisor.broken is None
            and self._supervisor.start() is not None
        ):
            pass
        return [worker for worker in self._workers.values() if not worker.stopping and not worker.is_dead]

    def _run_on(self, worker: Worker, call: Call) -> None:
        place = worker.lane_place if call.function.lane else worker
        self.core.pin(place, call)
        self._send(place, self._core_of(place).assign(place))
        self.interrupt_reader(worker)

    def _shrink(self) -> None:
        """Dismiss idle workers that were started beyond the limit and are no longer needed."""
        staying = [worker for worker in self._workers.values() if not worker.stopping]
        surplus = len(staying) - self._supervisor.most
        for worker in reversed(staying):
            if surplus <= 0:
                return
            self.revoke_permit(worker)
            if not worker.is_busy:
                self._supervisor.dismiss(worker)
                surplus -= 1

    def _feed_lanes(self) -> None:
        """Send coroutines and streams to the workers that run the fewest; start workers while each one runs some."""
        queue = self.lane_core.queue
        if queue.head() is None:
            return
        free = sum(1 for worker in self._workers.values() if not worker.lane_place.outstanding and worker.ready)
        most = self._supervisor.limit + self._supervisor.ending if queue.head(self._offer) is not None else 0
        while free < len(queue) and len(self._workers) < most and self._supervisor.broken is None:
            if self._supervisor.start() is None:
                break
            free += 1
        for place, calls in self.lane_core.spread():
            assert isinstance(place, Transport)
            self._send(place, calls)
            if isinstance(place, WorkerLane):
                self.interrupt_reader(place.worker)

    def interrupt_reader(self, worker: Worker, *, again: bool = True) -> None:
        """
        Signal a worker to read its frames although a call keeps its main thread busy.

        A worker that is just starting another call may miss the signal, so this is done once more, after `OPENING`.
        """
        if worker.is_dead or worker.page.is_open or not worker.is_busy_here or not worker.lane_place.outstanding:
            return
        self.flush()  # so that a worker that does not handle signals yet finds the frames when it first reads
        self._supervisor.kill(worker, SIGURG)
        if again:
            self._loop.after(OPENING, partial(self.interrupt_reader, worker, again=bool(_unstarted(worker.lane_place))))

    def _send(self, worker: Transport, calls: Sequence[Call]) -> None:
        if not calls:
            return
        worker.send_calls(calls)
        for call in calls:
            # Behind a link, the engine of the peer enforces the timeout.
            if (
                call.options is not None
                and call.options.timeout is not None
                and isinstance(worker, Worker | WorkerLane)
            ):
                self._on_timed(worker, call)
        self.due.add(worker)

    def flush(self) -> None:
        """Write the queued frames of all places in `due`."""
        for place in self.due:
            worker = place.worker if isinstance(place, WorkerLane) else place
            if not worker.flush() and isinstance(worker, Worker):
                self._watch_writing(worker)
        self.due.clear()

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

    def _can_accept(self) -> bool:
        """Return whether a new call could be sent at once; if so, a submitting thread wakes the engine."""
        if len(self._workers) < self._supervisor.most:
            return True
        for worker in self._workers.values():  # this runs in every round, and a generator costs more than the loop
            if not worker.outstanding:
                return True
        for link in self.links:  # noqa: SIM110  # as above
            if link.can_accept:
                return True
        return False

    def join(self, worker: Worker) -> None:
        """Add a new worker."""
        self._loop.watched.add(worker.sock.fileno(), partial(self.hear, worker))
        worker.offer = worker.lane_place.offer = self._offer
        self.core.join(worker)
        self.lane_core.join(worker.lane_place)

    def leave(self, worker: Worker) -> list[Call]:
        """Remove a dead worker; return the calls that it had started and not finished."""
        lost = self.core.leave(worker, worker.page.started)
        return lost + self.lane_core.leave(worker.lane_place, worker.page.loop.started)

    def retry(self, call: Call) -> None:
        """Queue a call again that was started and failed."""
        (self.lane_core if call.function.lane else self.core).retry(call)

    # -- links ---------------------------------------------------------------------------------------------------

    def link(self, link: Remote) -> None:
        """Add a link, so that calls are placed there too."""
        self.expects_peers = False
        self._unmet = set()  # more peers may follow this one
        self.links.append(link)
        self.core.join(link)
        self.lane_core.join(link.lane_place)

    def hear_link(self, link: Remote, frame: Message) -> None:
        """
        Handle a frame that came over a link.

        :raises ProtocolError: if a frame of this kind is not expected here
        """
        if frame.__class__ not in _LINK_KINDS:
            raise ProtocolError(f"{frame.__class__.__name__} frames are not accepted from a peer")
        if frame.__class__ is Load:
            self._load_of(link, frame)
        else:
            self._take(link, frame)

    def _load_of(self, link: Remote, frame: Any) -> None:
        """Handle the report of a peer that it refused calls, or that places are free."""
        if frame.refused:
            for core, place in ((self.core, link), (self.lane_core, link.lane_place)):
                core.refuse(place, frame.refused)
        else:
            self.core.tell_room(link, frame.free)

    def check_requirements(self) -> None:
        """Schedule a check that fails the tasks whose requirements no worker meets."""
        if not self._checking:
            self._checking = True
            self._loop.after(SEEN, self._check_requirements)

    def _check_requirements(self) -> None:
        self._checking = False
        offers = [self._offer, *(link.offer for link in self.links)]
        queues = (self.core.queue, self.lane_core.queue)
        waiting = {requirement for queue in queues for requirement in queue.requirements()}
        unmet = {requirement for requirement in waiting if not any(offer.meets(requirement) for offer in offers)}
        if not self.links and (self.expects_peers or not self._supervisor.limit):
            unmet = set()  # `peers_timeout` limits the wait for the first peer
        for requirement in unmet & self._unmet:
            error = UnsatisfiableError(unsatisfiable(requirement, self._offer, self.links))
            for queue in queues:
                for entry in queue.clear(requirement):
                    _fail(entry, error)
        self._unmet = unmet
        if waiting:
            self.check_requirements()

    def unlink(self, link: Remote, error_of: Callable[[Call], WorkerLostError]) -> None:
        """Remove a link that is gone; all calls sent there are lost, because it is not known which were started."""
        if link not in self.links:
            return
        self.links.remove(link)
        self.due -= {link, link.lane_place}
        lost = self.core.leave(link, max(link.outstanding, default=0))
        for call in lost + self.lane_core.leave(link.lane_place, max(link.lane_place.outstanding, default=0)):
            if not self.is_cancelled(call) and retries_left(call.options, call.attempts, (LOST,)):
                self.retry(call)
            else:
                call.move("fail")
                call.receiver.deliver_failure(call, error_of(call))

    # -- permits and balance -----------------------------------------------------------------------------------

    def revoke_permit(self, worker: Worker) -> None:
        """Revoke a worker's permit; record the call that was sent under it, if any, as outstanding."""
        self._permitted.pop(worker.id, None)
        used = worker.revoke_permit()
        if used is not None:
            call, number = used
            worker.sent(call, number, call.function.seconds or 0.0, len(call.payload))

    def revoke_permits(self) -> None:
        """Revoke all permits."""
        for worker in self._workers.values():
            self.revoke_permit(worker)

    def _balance(self) -> None:
        """Grant permits for idle workers; move work to them that waits behind running calls elsewhere."""
        idle = prefetched = False
        for worker in self._workers.values():
            if not worker.outstanding:
                if worker.idle and not worker.pinned:
                    idle = True
                    if self.grants_permits and worker.remaining is None and not worker.has_permit:
                        worker.grant_permit(next(self._numbers))
                        self._permitted[worker.id] = worker
            elif len(worker.outstanding) > 1 and not worker.recalling:
                prefetched = True
            if worker.waiting and not worker.above and not worker.recalling:
                idle = idle or self._has_children_elsewhere(worker.waiting[-1])
        if self.links:
            busy, others = self._busy_links()
            idle = idle or others
            if idle and busy and self._take_back_from(busy):
                return
        if not prefetched or not (idle or len(self._workers) < self._supervisor.most):
            return
        victim = self.core.victim(_started, _has_overrun)
        if victim is not None:
            assert isinstance(victim, Transport)
            self.recall(victim)
            self._feed()
        elif not self._rest_armed:
            self._rest_armed = True
            self._loop.after(REST, self._rest)

    def _busy_links(self) -> tuple[list[Remote], bool]:
        """Return the links with outstanding calls, and whether a link without any can take some."""
        busy, others = [], False
        for link in self.links:
            if link.outstanding:
                busy.append(link)
            elif link.can_accept:
                others = True
        return busy, others

    def _take_back_from(self, busy: list[Remote]) -> bool:
        """Take back the calls that wait at a peer, because a worker is idle; return False if none wait long enough."""
        now = monotonic()
        for link in busy:
            if link.recalling or not link.ready or (waiting := link.unbegun) < 0.0:
                continue
            since = max(link.page.since, link.sent_at)
            is_stuck = waiting > FAR_REST * link.width or now - since > max(FAR_REST, 2 * link.load)
            if is_stuck and now - link.asked_back > FAR_REST:
                link.asked_back = now
                self.recall(link)
                return True
            if not self._rest_armed:
                self._rest_armed = True
                self._loop.after(FAR_REST, self._rest)
        return False

    def _rest(self) -> None:
        """Wake the thread, which checks the balance again in this round."""
        self._rest_armed = False

    def _has_children_elsewhere(self, parent: int) -> bool:
        places: list[Place] = [*self._workers.values(), *self.links]
        return any(call.ancestor == parent for place in places for call in place.outstanding.values())

    def recall(self, worker: Transport, since: int = 0, waiting: int = 0) -> None:
        """Take back the calls that a worker has not started, from call `since` on (default: all), and send the mark."""
        worker.send_recall(self._core_of(worker).recall(worker, worker.page, since), waiting)
        self.due.add(worker)

    def withdraw(self, place: Transport, call: Call) -> None:
        """Queue a call again that has been placed but not yet written to its place."""
        self._core_of(place).withdraw(place, (call.number,))

    def _core_of(self, place: Transport) -> Scheduler:
        return self.lane_core if place.is_lane else self.core

    # -- outcomes -----------------------------------------------------------------------------------------------

    def hear(self, worker: Worker) -> bool:
        """Read a worker's frames, handle them, and send it more calls; return False if there were none."""
        if worker.has_permit:
            self.take_inbox()
            self.revoke_permit(worker)
        try:
            heard = self.read(worker)
        except EOFError:
            self._supervisor.stream_ended(worker)
            return False
        except ProtocolError as exc:
            worker.log.append(str(exc))
            self._supervisor.kill(worker, SIGKILL)
            return False
        if worker.is_used_up and not worker.is_busy:
            self._supervisor.dismiss(worker)
        elif worker.pinned or self.core.queue.head() is not None:
            self._send(worker, self.core.assign(worker))
        return heard

    def read(self, worker: Worker, only: tuple[type, ...] | None = None) -> bool:
        """
        Read once and handle the frames; return False if there were none.

        :param only: handle only frames of these kinds, and lone Returns
        :raises EOFError: if the worker is gone
        :raises ProtocolError: if the worker sent an invalid frame
        """
        returns: list[tuple[int, float, bytes]] = []
        frames = worker.receive(returns)
        finish = self.core.finish
        for number, seconds, payload in returns:
            call = finish(worker, number, seconds)
            if call is None:
                call = self.lane_core.finish(worker.lane_place, number, seconds)
            if call is not None:
                call.receiver.deliver(call, payload)
        if returns:
            self._supervisor.note_life()
        for frame in frames:
            if only is None or frame.__class__ in only:
                self._take(worker, frame)
        return bool(returns or frames)

    def _take(self, worker: Any, frame: Any) -> None:  # a Worker, or a Remote, which sends fewer kinds of frames
        cls = frame.__class__
        if cls is Return:
            self.returned(worker, frame.call[0], frame.seconds[0], frame.payload, frame.context)
        elif cls is Raise:
            self._raised(worker, frame)
        elif cls is Recalled:
            place = worker.lane_place if frame.loop else worker
            self._core_of(place).recalled(place, place.page, frame.call)
        elif cls is Wait:
            self._waits(worker, frame)
        elif cls is Resume:
            self.core.resume(worker, frame.call)
        elif cls is Yield:
            self._forward_to_stream(worker, frame.call, lambda call: call.receiver.deliver_item(call, frame))
        elif cls is Started:
            self._forward_to_stream(worker, frame.call[0], lambda call: call.receiver.deliver_start(call))
        elif cls in NESTED:
            self.nested.hear(worker, frame, self._supervisor.broken)
        elif cls is Log:
            self._logged(worker, frame)
        elif cls is Broken:
            self._supervisor.initializer_raised(worker, frame.payload)
        else:
            raise ProtocolError(f"worker {worker.pid}: {cls.__name__} frames are not accepted from a worker")

    def _logged(self, worker: Worker | Remote, frame: Log) -> None:
        """Pass a record to the client whose call, or a descendant of that, logged it; else to the handlers here."""
        if isinstance(worker, Worker):
            worker.log.append(frame.text)
        call = worker.place_of(frame.call).outstanding.get(frame.call)
        while call is not None and not isinstance(call.receiver, Relayed):
            call = self.outstanding(call.parent) if call.parent else None
        if call is not None:
            call.receiver.deliver_log(frame)
        elif self.handles_records:
            self._loop.handle_record(frame.record)

    def outstanding(self, number: int) -> Call | None:
        """Return the call with this number, if it is outstanding."""
        return next((place.outstanding[number] for place in self.places if number in place.outstanding), None)

    def returned(self, worker: Transport, number: int, seconds: float, payload: Any, context: bytes = b"") -> None:
        """Handle the return of a call, which ran for `seconds`."""
        place = worker.place_of(number)
        call = place.outstanding.get(number)
        if call is None:
            return
        self._note(place, call, seconds)
        self._core_of(place).finish(place, number, seconds)
        self._supervisor.note_life()
        if isinstance(payload, OSError):  # no descriptor was left to receive it
            call.receiver.deliver_failure(call, payload)
        elif context:
            call.receiver.deliver_context(call, context, payload)
        else:
            call.receiver.deliver(call, payload)

    def _note(self, place: Transport, call: Call, seconds: float) -> None:
        """Let the policy learn from a call that ended behind a link."""
        if place.candidate is not None and not place.is_lane:
            place.candidate.observe(seconds / (call.count or 1), call.function.seconds)
            self._policy.done(place.candidate, seconds)

    def _raised(self, worker: Transport, frame: Raise) -> None:
        place = worker.place_of(frame.call)
        core, call = self._core_of(place), place.outstanding.get(frame.call)
        if call is None:
            return
        self._supervisor.note_life()
        if retries_left(call.options, call.attempts, frame.type) and not self.is_cancelled(call):
            core.again(place, call)
            return
        self._note(place, call, frame.seconds)
        core.finish(place, frame.call, frame.seconds)
        if isinstance(call.receiver, Relayed):
            call.receiver.types = frame.type
        call.receiver.deliver_failure(call, frame.payload)

    def _forward_to_stream(self, worker: Worker | Remote, number: int, tell: Callable[[Call], object]) -> None:
        """Tell the receiver of a stream that it can be pulled, or that it has yielded."""
        call = worker.lane_place.outstanding.get(number)
        if call is not None:
            tell(call)

    def command(self, call: Call, frame: Message, file: File | None = None) -> None:
        """Send a command to the place where a call is outstanding."""
        place = call.place
        if place is not None and call.state == SENT:
            place.send_command(frame, file)
            self.due.add(place)
            if isinstance(place, WorkerLane):
                self.interrupt_reader(place.worker)
            if frame.__class__ is Cancel:
                self.nested.end_children(call)

    def _waits(self, worker: Worker, frame: Wait) -> None:
        """Note that a call waits for its own tasks; take back the calls behind it, so that its place can run them."""
        if frame.stays:
            self._supervisor.kept.append((worker, frame.call))
            return
        worker.note_waiting(frame.call)
        self.core.wait(worker, frame.call)
        if worker.recalling or worker.unstarted(worker.page.started):
            self.recall(worker, waiting=frame.serial)
        else:
            worker.send_recall(0, waiting=frame.serial)
            self.due.add(worker)

    def is_cancelled(self, call: Call) -> bool:
        """Return whether the outcome is no longer wanted."""
        receiver = call.receiver
        return isinstance(receiver, Nobody) or (isinstance(receiver, CallFuture) and not receiver.is_wanted)

    # -- failing ------------------------------------------------------------------------------------------------

    def fail_waiting(self, error: BaseException) -> None:
        """Fail everything that is queued."""
        for entry in self.take_waiting():
            _fail(entry, error)

    def fail_outstanding(self, worker: Worker | Remote, error: BaseException) -> None:
        """Fail everything that was sent to a worker."""
        for place in (worker, worker.lane_place):
            for call in list(place.outstanding.values()):
                place.gone(call.number, len(call.payload))
                call.move("fail")
                call.receiver.deliver_failure(call, error)

    def refuse_late(self) -> None:
        """
        Fail calls that were submitted after the engine stopped.

        A thread may have passed the executor's check before the shutdown.  `submit` appends the call, then checks
        whether the engine has stopped; the engine stops, then checks what was appended.  One of them sees the other.
        """
        error = RuntimeError(AFTER_SHUTDOWN)
        while self._loop.inbox:
            entry = self._loop.inbox.popleft()
            if entry.__class__ is Call:
                if self.core.queue.claim(entry):
                    entry.move("fail")
                    entry.receiver.deliver_failure(entry, error)
            elif entry.__class__ is Chunk:
                entry.receiver.deliver_failure(entry.cut(entry.count - entry.next), error)
            else:
                entry()

    def close(self) -> None:
        """Release all references."""
        self._permitted.clear()
        self._functions.clear()


def _fail(entry: Call | Chunk, error: BaseException) -> None:
    call = entry.cut(entry.count - entry.next) if isinstance(entry, Chunk) else entry
    call.move("fail")
    call.receiver.deliver_failure(call, error)


def _started(place: Place) -> int:
    assert isinstance(place, Transport)
    return place.page.started


def _unstarted(place: WorkerLane) -> list[Call]:
    return place.unstarted(place.page.started)


def _has_overrun(place: Place) -> bool:
    assert isinstance(place, Transport)
    return monotonic() - place.page.since > max(REST, 2 * place.load)
