"""
How a call is ended before its outcome: by its timeout, by `cancel`, with its map, or with the executor.

Ending a running call ends its worker, and must not end the next call there (a signal meant for A may arrive when A has
ended and B has started):

1. Nothing more is sent to the worker, and all calls behind A are recalled, so it cannot start B.
2. All frames that it has sent are read: a worker sends the outcome of A before it starts another call.
3. If A is still outstanding and the shared page says that it was started, then either A is running or nothing is: now
   SIGTERM is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from woolexec.core.balance import REST
from woolexec.core.call import AT_ONCE, GENTLY, LIFE, SENT, THREAD, Call, Chunk, Pulled
from woolexec.engine.supervisor import GRACE
from woolexec.futures.call_future import Nobody
from woolexec.futures.latch import Latch
from woolexec.platform.posix import SIGKILL, is_stopped
from woolexec.wire.exceptions import SHUT, types_of
from woolexec.wire.frames import Cancel, Close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.last_look import LastLook
    from woolexec.engine.supervisor import Supervisor
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker

    Seen = tuple[int, float]
    """The last call that a worker had started when it was first seen to run nothing, and when that was."""

_STUCK = 5.0
"""Seconds, or the timeout of a call if that is longer, in which a worker that runs nothing must start the call."""

_LOOK = 0.02
"""While a pool is shutting down, it checks this often (seconds) for open streams."""


class Cancellation:
    """Ends calls, in the engine's thread."""

    def __init__(self, loop: Loop, scheduler: Scheduler, dispatcher: Dispatcher, supervisor: Supervisor) -> None:
        self._loop = loop
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._supervisor = supervisor
        self._workers = scheduler.all_workers
        self.last_look: LastLook  # set by who makes it
        self._closing_streams = False
        self._due: dict[int, float] = {}  # when a stream that the pool's shutdown closed is no longer waited for
        self._left_behind: set[int] = set()

    # -- timeouts -----------------------------------------------------------------------------------------------

    def watch(self, worker: Worker, call: Call) -> None:
        """Watch a call with a timeout that was sent."""
        assert call.options is not None
        assert call.options.timeout is not None
        self._look_in(call.options.timeout, worker, call)

    def _look_in(self, seconds: float, worker: Worker, call: Call, seen: Seen | None = None) -> None:
        # By number, not by reference, so that a finished call is not kept until its timeout would have expired.
        about = worker.id, call.number
        self._loop.after(seconds, partial(self._look, *about, seen), about)

    def _look(self, worker_id: int, number: int, seen: Seen | None) -> None:
        """End a call whose timeout has expired; if it started later than it was sent, check again when it is due."""
        worker = self._workers.get(worker_id)
        call = None if worker is None else worker.place_of(number).outstanding.get(number)
        if worker is None or call is None or call.options is None or call.options.timeout is None:
            return
        if isinstance(call.receiver, Nobody):  # it was cancelled, and has not ended yet
            return
        seconds = call.options.timeout
        if call.place is worker.lane_place:
            self._end_in_lane(worker, call, seconds)
            return
        since = worker.began(number)
        if since is None:
            self._wait_for_start(worker, call, seconds, seen)
        elif (left := since + seconds - self._loop.clock()) > 0:
            self._look_in(left, worker, call)
        elif not self.last_look.is_taken(worker, call, partial(self._look, worker_id, number, seen)):
            return
        elif self._end(worker, call):
            error = TimeoutError(f"{call.name} ran longer than its timeout of {seconds:g} s; its worker was ended")
            self.last_look.add_to(error, call)
            self._dispatcher.nested.end_children(call)
            self._scheduler.settle([call], lambda _: error, types_of(error))
        elif worker.outstanding.get(number) is call:  # it is not known yet whether it was started
            self._look_in(REST, worker, call)

    def _wait_for_start(self, worker: Worker, call: Call, seconds: float, seen: Seen | None) -> None:
        """Look again later; if a worker runs nothing and does not start the call, end it: the call runs elsewhere."""
        started, now = worker.page.started, self._loop.clock()
        if min(worker.outstanding) <= started:
            seen = None
        elif seen is None or seen[0] != started:
            seen = started, now
        elif now - seen[1] >= _STUCK:
            if started or _is_stopped(worker):  # a new worker may still be starting
                self._supervisor.kill(worker, SIGKILL)
                return
            seen = started, now
        self._look_in(seconds, worker, call, seen)

    def _end_in_lane(self, worker: Worker, call: Call, seconds: float) -> None:
        """Cancel a coroutine or a stream whose timeout has expired, without waiting for it to end."""
        if call.number > worker.page.loop.started:  # the timeout counts from its start
            self._look_for_start(worker.id, call.number, self._loop.clock() + _STUCK)
            return
        if not self.last_look.is_taken(worker, call, partial(self._look, worker.id, call.number, None)):
            return
        error = TimeoutError(f"{call.name} ran longer than its timeout of {seconds:g} s; it was cancelled")
        self.last_look.add_to(error, call)
        may_retry = self._scheduler.may_retry(call, types_of(error))
        receiver = self._let_go(call)
        if not may_retry:
            receiver.deliver_failure(call, error)
            return
        again = call.anew(receiver)
        if hasattr(receiver, "outstanding_call"):  # the receiver of a map accepts any call that brings its items
            receiver.outstanding_call = again
        self._scheduler.add(again)

    def _look_for_start(self, worker_id: int, number: int, until: float) -> None:
        """Look again later at a coroutine or a stream that was sent and not started; end a worker that is stopped."""
        worker = self._workers.get(worker_id)
        call = None if worker is None else worker.lane_place.outstanding.get(number)
        if worker is None or call is None or call.options is None or call.options.timeout is None:
            return
        now = self._loop.clock()
        if number <= worker.page.loop.started:
            self._look_in(call.options.timeout, worker, call)
        elif now > until and _is_stopped(worker):
            self._supervisor.kill(worker, SIGKILL)
        else:
            until = now + _STUCK if now > until else until
            self._loop.after(REST, partial(self._look_for_start, worker_id, number, until), (worker_id, number))

    def _let_go(self, call: Call) -> Any:
        """Cancel a coroutine or a stream, with its children, and ignore its further frames; return its receiver."""
        receiver, call.receiver = call.receiver, Nobody()
        self._dispatcher.command(call, Cancel(call=call.number))
        return receiver

    def _end(self, worker: Worker, call: Call) -> bool:
        """
        End a running call with its worker; return False if it has ended by itself.  See the module docstring.

        Nested tasks that run on top of it in the same worker end with it.  After this the caller decides its outcome.
        """
        main = self._scheduler.main
        ready, worker.ready = worker.ready, False
        self._scheduler.recall(worker, since=call.number + 1)
        while not worker.is_dead and self._dispatcher.hear(worker):
            pass
        if worker.is_dead or not main.is_running(worker, call):
            worker.ready = ready and not worker.is_dead
            return False
        main.drop(worker, call)
        worker.ended_for = call.name
        self._supervisor.end(worker)
        return True

    # -- streams at the pool's end ------------------------------------------------------------------------------

    def close_streams(self) -> None:
        """
        Close all open streams, and those that are opened later, until the engine ends.

        A pull that is in progress gets its item.  Generators that do not end within `GRACE` seconds are abandoned.
        Streams that were opened by tasks are closed by those tasks while they run.
        """
        if not self._closing_streams:
            self._closing_streams = True
            self._look_at_streams()

    def _look_at_streams(self) -> None:
        since = self._loop.clock()
        for place in self._scheduler.places:
            if place.is_lane:
                for call in tuple(place.outstanding.values()):
                    self._close_stream(call)
        self._loop.after(max(_LOOK, 20 * (self._loop.clock() - since)), self._look_at_streams)

    def _close_stream(self, call: Call) -> None:
        receiver, due = call.receiver, self._due.get(call.number)
        if isinstance(receiver, Nobody):
            if due is None and call.function.lane == THREAD:  # it was cancelled, and does not end
                self._due[call.number] = self._loop.clock() + GRACE
            elif due is not None and self._loop.clock() > due:
                self._left_behind.add(call.number)
            return
        if not isinstance(receiver, Pulled) or not receiver.is_open:
            return
        if not receiver.shut:
            receiver.shut = GENTLY
            self._dispatcher.command(call, Close(call=call.number, shutdown=True))
        if receiver.is_awaited:
            return
        if due is None:
            receiver.shut = AT_ONCE
            self._dispatcher.command(call, Close(call=call.number))
            self._due[call.number] = self._loop.clock() + GRACE
        elif self._loop.clock() > due:
            self._left_behind.add(call.number)
            call.receiver.deliver_failure(call, RuntimeError(SHUT))
            call.receiver = Nobody()

    def is_busy(self, target: Worker | Remote) -> bool:
        """Return whether a place has outstanding calls that must be waited for."""
        lane = target.lane_place
        if target.outstanding or target.pinned or lane.pinned:
            return True
        left_behind = self._left_behind  # nor is an actor without calls waited for
        return any(
            call.function.lane != LIFE or getattr(call.receiver, "is_guest", False)
            for number, call in lane.outstanding.items()
            if number not in left_behind
        )

    # -- cancelling ---------------------------------------------------------------------------------------------

    def cancel(self, call: Call, answer: Callable[[bool], object], *, force: bool) -> None:
        """
        Cancel a call: take it back from its place or, with `force`, end it there.

        :param answer: called with whether it was cancelled; before this returns, unless a peer must be asked
        """
        dispatcher = self._dispatcher
        dispatcher.take_inbox()
        dispatcher.revoke_permits()
        place = call.place
        if place is not None and force and place.is_lane:
            if place.candidate is None:
                self._take_back(place, call)
            else:
                place.target.withdraw(call)
            if call.place is place:
                self._let_go(call)
                answer(True)
                return
        elif place is not None and place.candidate is not None:
            if not place.target.withdraw(call):
                place.target.take_back(call, answer, force=force)
                return
        elif place is not None:
            self._take_back(place, call)
            if force and call.place is place and place.has_started(call) and self._end(place, call):
                self._scheduler.tallies.cancel(call)
                dispatcher.nested.end_children(call)
                answer(True)
                return
        answer(self._scheduler.main.queue.cancel(call))

    def _take_back(self, place: Any, call: Call) -> None:
        """Recall a call that has not been started, and those behind it, from a local worker."""
        if call.state == SENT and not place.has_started(call):
            self._scheduler.recall(place, since=call.number)

    def cancel_waiting(self, *, keep_first: bool = False) -> None:
        """
        Cancel everything that has not been started.

        :param keep_first: keep the call that each local worker starts next, if nothing runs there
        """
        self._dispatcher.take_inbox()
        self._dispatcher.revoke_permits()
        for worker in self._workers.values():
            for place in (worker, worker.lane_place):
                unstarted = place.unstarted(place.page.started)
                kept = 0
                if keep_first and len(unstarted) == len(place.outstanding):
                    kept = len(unstarted) if place.is_lane else 1  # coroutines start all at once
                if len(unstarted) > kept:
                    self._scheduler.recall(place, since=unstarted[kept].number)
        self._take_back_from_links()
        if self._scheduler.actors is not None:
            self._scheduler.actors.cancel_waiting()
        for entry in self._scheduler.take_waiting():
            if isinstance(entry, Chunk):
                self._scheduler.tallies.cancel_chunks((entry,))
                entry.receiver.deliver_failure(entry.cut(entry.count - entry.next), None)
                continue
            self._scheduler.tallies.cancel(entry)
            self._taken_back(entry, cancelled=True)

    def interrupt_links(self) -> None:
        """End all calls that were sent over links."""
        self._take_back_from_links(force=True)
        for link in self._scheduler.links:
            for call in list(link.lane_place.outstanding.values()):
                self._dispatcher.command(call, Cancel(call=call.number))

    def _take_back_from_links(self, *, force: bool = False) -> None:
        for link in self._scheduler.links:
            for place in (link,) if force else (link, link.lane_place):
                for call in list(place.outstanding.values()):
                    if not link.withdraw(call) and (force or not place.has_started(call)):
                        link.take_back(call, partial(self._taken_back, call), force=force)

    def _taken_back(self, call: Call, cancelled: bool) -> None:  # noqa: FBT001  # as `Future.set_result` is called
        if cancelled:
            call.receiver.deliver_failure(call, None)

    def cancel_chunks(self, chunks: Sequence[Chunk], ended: Latch | None = None, *, force: bool = False) -> None:
        """
        Cancel the remaining items of these chunks; from any thread.

        :param ended: opened when no call of these chunks runs any more
        :param force: end running calls in main threads, which otherwise run to their end
        """
        self._scheduler.tallies.cancel_chunks(chunks)
        about = frozenset(map(id, chunks))
        self._loop.tell(partial(self._recall_chunks, about, force=force))
        if ended is not None:
            self._loop.tell(partial(self._see_end, chunks, about, ended))

    def _see_end(self, chunks: Sequence[Chunk], about: frozenset[int], ended: Latch) -> None:
        """Check until no chunk has a call outstanding; holding `chunks` keeps their identities from being reused."""
        for place in self._scheduler.places:
            if any(id(call.chunk) in about for call in place.outstanding.values()):
                self._loop.after(REST, partial(self._see_end, chunks, about, ended))
                return
        ended.open()

    def _recall_chunks(self, chunks: frozenset[int], *, force: bool) -> None:
        for place in self._scheduler.places:
            if any(id(call.chunk) in chunks for call in place.unstarted(place.page.started)):
                self._scheduler.recall(place)
            for call in [each for each in place.outstanding.values() if id(each.chunk) in chunks]:
                if place.is_lane:
                    self._let_go(call).deliver_failure(call, None)
                elif force:
                    self.cancel(call, partial(self._taken_back, call), force=True)


def _is_stopped(worker: Worker) -> bool:
    return worker.pid is not None and is_stopped(worker.pid)


def ask_to_cancel(
    cancellation: Cancellation, call: Call, take: Callable[[bool], object], *, force: bool
) -> bool | None:
    """Cancel a call; return whether that was possible, or None if a peer must be asked: `take` gets its answer."""
    answers: list[bool] = []
    hear = [take, answers.append]

    def answer(is_cancelled: bool) -> None:  # noqa: FBT001  # as `cancel` calls it
        hear[-1](is_cancelled)

    cancellation.cancel(call, answer, force=force)
    hear.pop()
    return answers[0] if answers else None
