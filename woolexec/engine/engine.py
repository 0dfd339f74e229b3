"""
The engine: owns the queue, the workers and every call until its outcome is delivered.

::

    caller's threads                    the engine's thread (never blocks, never runs user code): Rounds
    ----------------                    -----------------------------------------------------------------
    submit ---------- inbox ---------->  Loop          inbox, timers, selector
       |                                 Scheduler     all decisions; pure, in `woolexec.core`
       `-- permit -> an idle worker      Dispatcher    carries them out: frames to workers and links
    cancel ---------- ask ------------>  Cancellation  timeouts, cancel
                                         Supervisor    workers started, ended, reaped
    done-callbacks <- a separate thread  Outcomes      what workers and links send
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial

from woolexec.core.call import MAIN, Call, Function
from woolexec.core.offer import NOTHING, Offer
from woolexec.engine.cancellation import ask_to_cancel
from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.engine.lane import COROUTINES
from woolexec.engine.lifetimes import running
from woolexec.engine.process import WorkerProcess
from woolexec.engine.rounds import Rounds
from woolexec.engine.worker_process import pids_of
from woolexec.futures.call_future import CallFuture
from woolexec.wire.fast_frames import encode_next
from woolexec.wire.frames import Cancel, Next, encode
from woolexec.wire.inputs import Unbound
from woolexec.wire.payload import File, Parts
from woolexec.wire.protobuf import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, ClassVar

    from woolexec.core.policies import Placement
    from woolexec.core.upkeep import Upkeep
    from woolexec.engine.actors import ActorDoor
    from woolexec.engine.inputs import Inputs
    from woolexec.engine.links import Links
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker
    from woolexec.statistics import Statistics

    Guest = Callable[["Engine", Callable[[], None]], Coroutine[Any, Any, None]]

_INBOX_LIMIT = 1000

_DIRECT_LIMIT = 4096
"""Commands for streams that are at least this large, in bytes, are written by the engine's thread."""

_FORCED = 10.0
"""Seconds that `join` waits after ending everything by force; user code may still run in callbacks."""


def _inputs_of(rounds: Rounds) -> Inputs:
    """Create the `Inputs` for calls that lack values; imported for the first such call, so that pools start faster."""
    from woolexec.engine.inputs import Inputs

    return Inputs(rounds.loop, rounds.scheduler, rounds.dispatcher.values)


def _actors_of(rounds: Rounds) -> ActorDoor:
    """Create the `ActorDoor`; imported for the first actor, for the same reason."""
    from woolexec.engine.actors import ActorDoor

    return ActorDoor(rounds)


def _show_output(rounds: Rounds, prefix: str | None, *, escapes: bool, in_workers: bool, at_peers: bool) -> None:
    """
    Set how the output of tasks is shown; called before the engine is used.

    :param in_workers: also for workers here
    """
    from woolexec.engine.caller_output import CallerOutput

    said = rounds.said()
    said.in_workers, said.at_peers = in_workers, at_peers
    output = CallerOutput(rounds.loop, prefix, escapes=escapes)
    said.show, said.close = output.show, output.close


def _statistics_of(rounds: Rounds) -> Statistics:
    """Return the statistics of an engine; the code for them is imported on first use."""
    from woolexec.engine.snapshot import statistics

    return statistics(rounds)


def _end_task_of(rounds: Rounds, number: int, pid: int) -> bool:
    """Cancel a task that a worker runs, by force; return False if it does not run there; from any thread."""
    from woolexec.engine.task_end import end_task

    return bool(rounds.loop.ask(partial(end_task, rounds, number, pid), default=False))


class Engine:
    """
    Run calls on worker processes; for the other parameters see `Supervisor` and `Forks`.

    :param offer: what calls may require of the workers
    :param upkeep: when workers are replaced or ended; None: each stays until the end
    :param slow_after: seconds that a task must have run before it can be reported as slow; None: no reports
    :param policy: chooses among links
    :param mark: marks the payloads of peers that are not trusted; None: peers are trusted
    :param guest: a coroutine function that provides links.  It runs in the engine's thread, which is then an asyncio
        event loop, until the engine ends.  Its arguments are the engine, and a function to call when there is
        something for the engine to act on
    """

    rounds_type: ClassVar[type[Rounds]] = Rounds
    serves_others: ClassVar[bool] = False

    def __init__(
        self,
        limit: int,
        *,
        initializer: bytes | File | Parts | None = None,
        initializer_timeout: float | None = None,
        calls_limit: int | None = None,
        threads: int = 1,
        coroutines: int = COROUTINES,
        guest: Guest | None = None,
        policy: Placement | None = None,
        mark: Callable[[Any], Any] | None = None,
        variables: Mapping[str, str] | None = None,
        upkeep: Upkeep | None = None,
        slow_after: float | None = None,
        offer: Offer = NOTHING,
    ) -> None:
        self._rounds = rounds = self.rounds_type(
            limit,
            initializer=initializer,
            initializer_timeout=initializer_timeout,
            calls_limit=calls_limit,
            threads=threads,
            coroutines=coroutines,
            guest=None if guest is None else partial(guest, self),
            policy=policy,
            variables=variables,
            offer=offer,
            on_end=partial(running.discard, self),
        )
        rounds.outcomes.mark = mark
        if upkeep is not None:
            rounds.look_after(upkeep)
        if slow_after is not None:
            rounds.warn_of_slow(slow_after)
        self.scheduler = rounds.scheduler
        self._loop, self._supervisor, self._dispatcher = rounds.loop, rounds.supervisor, rounds.dispatcher
        self.submit = rounds.dispatcher.submit
        self.submit_chunk = rounds.dispatcher.submit_chunk
        self.inputs = partial(_inputs_of, rounds)
        self.actors = rounds.dispatcher.nested.elsewhere.actors = partial(_actors_of, rounds)
        self.show_output = partial(_show_output, rounds)
        self.statistics = partial(_statistics_of, rounds)
        self.end_task = partial(_end_task_of, rounds)
        self.cancel_chunks = rounds.cancellation.cancel_chunks
        self.tell, self.inspect = rounds.loop.tell, rounds.inspect
        self.let_go, self.drop = rounds.dispatcher.values.let_go, rounds.loop.drop
        self.first: Any = None  # what each worker runs first, held as long as workers are started
        self.closes_streams = False
        self._loop.prepare(rounds.run, rounds.supervisor.note_settings)
        if guest is not None:  # it looks for peers before there are any calls
            # Imported here, not in the engine's thread: a fork during an import breaks the child.
            _ = self.links, self.scheduler.offering
            self._loop.begin()
        running.add(self)

    @cached_property
    def links(self) -> Links:
        """The interface for links and clients' sessions; created when there are peers or clients."""
        from woolexec.engine.links import Links

        return Links(self._rounds)

    # -- from any thread ----------------------------------------------------------------------------------------

    @property
    def broken(self) -> BaseException | None:
        """The reason why no more calls are accepted, if the engine is broken."""
        return self._supervisor.broken

    @property
    def stopped(self) -> bool:
        """The engine has ended."""
        return self._loop.stopped

    @property
    def has_begun(self) -> bool:
        """The engine has been used or shut down."""
        return self._loop.has_begun

    @property
    def refuses(self) -> bool:
        """Whether calls are refused: the engine is broken, or a copy in a forked child."""
        return self._supervisor.broken is not None or self._loop.forked

    @property
    def forked(self) -> bool:
        """This is the copy of an engine in a forked child."""
        return self._loop.forked

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return pids_of(self._supervisor.workers)

    @property
    def processes(self) -> dict[int, WorkerProcess]:
        """The running workers, by process id."""
        found = {}
        for worker in tuple(self._supervisor.workers.values()):
            pid = worker.known_pid
            if pid and not worker.is_closed:
                if worker.process is None:
                    worker.process = WorkerProcess(worker, pid, self._supervisor, self._loop)
                found[pid] = worker.process
        return found

    @property
    def thread(self) -> threading.Thread | None:
        """The engine's thread; None if it has not started, or has ended."""
        return None if self._loop.stopped else self._loop.thread

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of queued calls, of outstanding calls and of workers."""
        scheduler = self.scheduler
        queued = len(scheduler.main.queue) + len(scheduler.lanes.queue) + len(scheduler.held)
        return {
            "queued": queued + len(self._loop.inbox),
            "outstanding": sum(len(place.outstanding) for place in scheduler.places),
            "workers": len(self._supervisor.workers),
        }

    def intern(self, payload: Any, name: str, lane: int = MAIN) -> Function:
        """Return the unique function with this pickle and lane, so that it is sent only once to each worker."""
        return self._dispatcher.intern(payload, name, lane)

    def shutdown(self, *, wait: bool, cancel: bool, close_streams: bool = True) -> None:
        """
        Accept no more calls; end the workers when all accepted calls are done or cancelled.

        :param close_streams: close the open streams; otherwise they can be pulled to their ends
        """
        if self.forked:
            return
        if self._loop.retire():  # it has not been used
            running.discard(self)
            self._dispatcher.refuse_late()
            self._loop.ended()
            return
        self.closes_streams = self.closes_streams or close_streams
        if cancel:  # an outcome that is read before this would start one more call
            self._loop.has_urgent = True
        self._loop.tell(partial(self._rounds.shut, cancel=cancel, close_streams=close_streams, hand_out=True))
        if wait:
            self.join()

    def join(self, timeout: float | None = None) -> None:
        """
        Wait until everything has ended; return at once if called in a callback or in the engine's own thread.

        :param timeout: seconds after which everything is ended by force; None: no limit
        :raises TimeoutError: if it had to be ended by force
        """
        if threading.current_thread() is self._loop.thread or self._loop.join(timeout):
            return
        from woolexec.engine.task_end import end_all

        told: list[str] = []
        self._loop.tell(partial(end_all, self._rounds, timeout, told))
        self._loop.join(_FORCED)
        raise TimeoutError(told[0] if told else f"tasks were ended by force {timeout:g} s after shutdown")

    def interrupt(self) -> None:
        """Cancel calls that have not been started and interrupt those that run, after the user's Ctrl-C."""
        self._loop.ask(self._rounds.interrupt)

    def end_workers(self, number: int) -> None:
        """Cancel calls that have not been started, send a signal to all workers, and mark the engine as broken."""
        self._loop.ask(partial(self._rounds.end_workers, number))

    def forget(self) -> None:
        """Close all descriptors in a forked child, which has no engine thread."""
        self._dispatcher.close()
        with contextlib.suppress(OSError):
            self._rounds.forks.forget()
            self._supervisor.forget()
        self._loop.forget()

    # -- for futures --------------------------------------------------------------------------------------------

    def cancel(self, future: CallFuture[Any], take: Callable[[bool], object], *, force: bool) -> bool | None:
        """Cancel the call of a future before it starts; with `force`, end it if it is running: see `Owner.cancel`."""
        call = future.outstanding_call
        if call is None or self.forked:
            return False
        if self.scheduler.main.queue.cancel(call):
            is_held, call.payload = call.payload.__class__ is Unbound, b""
            if is_held or len(self._loop.inbox) > _INBOX_LIMIT:  # the engine removes cancelled calls
                self._loop.wake()
            actor: Any = None if call.line is None else call.line.actor
            if actor is not None:  # it may wait for no other call
                self._loop.tell(partial(actor.note_end, call))
            return True
        ask = partial(ask_to_cancel, self._rounds.cancellation, call, take, force=force)
        is_cancelled: bool | None = self._loop.ask(ask, default=False)
        return is_cancelled

    def run_on_all(self, make: Callable[[], Call]) -> list[tuple[Worker | Remote, Call]]:
        """
        Run one call on each worker.

        :param make: makes one call; called in the engine's thread
        """
        from woolexec.core.pinning import Pinning

        def run() -> list[tuple[Worker | Remote, Call]]:
            self._dispatcher.take_inbox()
            self._dispatcher.revoke_permits()
            return Pinning(self.scheduler, self._dispatcher).run_on_all(make)

        made: list[tuple[Worker | Remote, Call]] = self._loop.ask(run, default=[])
        return made

    def command(self, call: Call, frame: Message, file: File | None = None) -> None:
        """Send a command to the place where a stream runs, if it has not ended."""
        if not self.forked:
            frame.call = call.number  # type: ignore[attr-defined]  # every command frame has this field
            place = call.place
            if file is None and place is not None and frame.__class__ is not Cancel:  # that ends the children too
                frames = encode(frame)
                if len(frames) < _DIRECT_LIMIT and place.target.say_directly(frames):
                    return
            self._loop.tell(partial(self._dispatcher.command, call, frame, file))

    def pull(self, call: Call) -> None:
        """Send the command for the next item of a stream."""
        place = call.place
        if self.forked or place is None or not place.target.say_directly(encode_next(call.number)):
            self.command(call, Next())

    def wait_for(self, is_done: Callable[[], bool]) -> bool:
        """
        Return False: the caller must wait, because another thread delivers what it waits for.

        :raises RuntimeError: in a forked child, where nothing will be delivered
        """
        if self.forked:
            raise RuntimeError(FORKED_CHILD)
        return False

    def is_running(self, future: CallFuture[Any]) -> bool:
        """Return whether the call of a future has been started."""
        call = future.outstanding_call
        return call is not None and self._dispatcher.is_running(call)

    def wait(self, future: CallFuture[Any], timeout: float | None) -> bool:
        """
        Return False: the future must wait, because another thread delivers outcomes.

        :raises RuntimeError: in a forked child, where no outcome will be delivered
        """
        if self.forked:
            raise RuntimeError(FORKED_CHILD)
        return False

    def run_elsewhere(self, piece: Callable[[], object]) -> None:
        """Run the rest of a future's delivery in the callback thread; only the engine's thread calls this."""
        self._loop.run_user_code(piece)
