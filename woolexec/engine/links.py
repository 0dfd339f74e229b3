"""The interface of an engine for links and the sessions of clients; all of it runs in the engine's thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from woolexec.core.demand import demand
from woolexec.core.pinning import Pinning
from woolexec.core.scheduler import has_unplaced
from woolexec.engine.lineage import Lineage
from woolexec.engine.outcomes import OF_LINK
from woolexec.engine.peer_upkeep import PeerUpkeep
from woolexec.futures.delivery import Deferred
from woolexec.wire.trace_frames import Clock, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.core.actors import Actors
    from woolexec.core.call import Call
    from woolexec.core.offer import Offer
    from woolexec.core.place import Place
    from woolexec.engine.event_loop import Loop
    from woolexec.engine.outcomes import Outcomes
    from woolexec.engine.recorder import Recorder, Run
    from woolexec.engine.rounds import Rounds
    from woolexec.engine.transport import Remote
    from woolexec.errors import WorkerLostError
    from woolexec.futures.kept_value import KeptValue
    from woolexec.statistics import Statistics
    from woolexec.wire.frames import Settings


def _reported(outcomes: Outcomes, link: Remote, frame: Any) -> None:
    """Handle a peer's report for a trace, unless the trace has ended."""
    if outcomes.on_report is not None:
        outcomes.on_report(link, frame)


OF_LINK.update({Clock: _reported, Ran: _reported})  # here: pools without peers need none of these


class Linked(Protocol):
    """The part of an engine that links to peers use."""

    @property
    def links(self) -> Links:
        """Its interface for links."""


def _bring(loop: Loop, value: KeptValue, then: Callable[[], object]) -> None:
    """Fetch a kept outcome, and call a function in the engine's thread when it is here, or lost."""
    go_on = partial(loop.tell, then)
    if not value.fetch().add(Deferred(go_on)):
        go_on()


def _actors_of(rounds: Rounds) -> Actors:
    """Return the actors of an engine, which are made with the first one."""
    from woolexec.engine.actors import ActorDoor

    return ActorDoor(rounds).table


class Links:
    """
    The interface through which `mesh` uses an engine.

    `due` contains what the engine flushes at the end of a round.
    """

    def __init__(self, rounds: Rounds) -> None:
        scheduler, dispatcher = rounds.scheduler, rounds.dispatcher
        self.due: set[Any] = dispatcher.due
        self.values = dispatcher.values
        self.hear = rounds.outcomes.hear_link
        self.failed = rounds.outcomes.failed
        self.returned = rounds.outcomes.returned
        self.called = rounds.outcomes.called
        self.ups: dict[Any, None] = dispatcher.nested.elsewhere.ups
        """The clients of this engine, which may know actors that tasks here call."""
        self.command = dispatcher.command
        self.is_running = dispatcher.is_running
        self.recall = scheduler.recall
        self.cancel_queued = scheduler.main.queue.cancel
        self.fail_waiting = scheduler.fail_waiting
        self.after, self.inspect = rounds.loop.after, rounds.inspect
        self.may_stay = rounds.outcomes.may_stay
        self._said_by = rounds.said
        self.upkeep = PeerUpkeep(rounds)
        self._loop, self._outcomes = rounds.loop, rounds.outcomes
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._cancellation = rounds.cancellation
        self._pinning = Pinning(scheduler, dispatcher)
        self.actors: Callable[[], Actors] = partial(_actors_of, rounds)
        self._rounds = rounds
        self._recorder: Recorder | None = None
        self.lineage = Lineage(scheduler, rounds.cancellation, dispatcher.values)
        dispatcher.values.on_loss, rounds.outcomes.on_kept = self.lineage.lost, self.lineage.kept
        dispatcher.values.on_losses = scheduler.away.look
        scheduler.away.bring = partial(_bring, rounds.loop)

    # -- for links to peers -------------------------------------------------------------------------------------

    @property
    def are_open(self) -> bool:
        """Whether a link leads to a peer that can run tasks, as far as is known."""
        return any(not link.candidate.trouble for link in self._scheduler.links)

    @property
    def are_trusted(self) -> bool:
        """Whether peers are trusted, so that everything that they send is unpickled."""
        return self._outcomes.mark is None

    def settings(self) -> Settings:
        """Return the settings of the program and of its workers that a link sends to a peer."""
        frame, said = self.upkeep.settings(), self._outcomes.said
        frame.output = said is not None and said.at_peers
        return frame

    def statistics(self) -> Statistics:
        """Return the statistics of the engine; it does not act meanwhile."""
        from woolexec.engine.snapshot import snapshot  # imported on first use

        made = snapshot(self._rounds)
        self._rounds.loop.wake()  # it may have found submitted calls
        return made

    def end_task(self, number: int, pid: int) -> bool:
        """Cancel a running task of a worker by force; return False if it does not run; the engine does not act."""
        from woolexec.engine.task_end import end_task  # imported on first use

        is_ended = end_task(self._rounds, number, pid)
        self._rounds.loop.wake()
        return is_ended

    def take_output(self, say: Callable[[Any], object]) -> None:
        """Send the output of peers, and of workers that start from now on, to a client."""
        said = self._said_by()
        said.in_workers = said.at_peers = True
        said.clients[say] = None

    def leave_output(self, say: Callable[[Any], object]) -> None:
        """Stop sending output to a client whose link has ended."""
        if self._outcomes.said is not None:
            self._outcomes.said.clients.pop(say, None)

    @property
    def has_waiting(self) -> bool:
        """Whether calls or actors wait for a place."""
        return has_unplaced(self._scheduler) or bool(self._loop.inbox)

    @property
    def waits_for_peers(self) -> bool:
        """Whether something waits, and there is neither a peer nor a worker that may run it."""
        return self.has_waiting and not (self.are_open or self.has_workers)

    def when_waiting(self, act: Callable[[], object]) -> None:
        """Call this function once, when something new waits that no place can take."""
        if self._scheduler.on_waiting is None and not has_unplaced(self._scheduler):
            self._scheduler.on_waiting = act
            self._loop.wake()  # the next round sees that submitting threads must wake it

    @property
    def has_workers(self) -> bool:
        """Whether there are workers here."""
        return bool(self._scheduler.workers)

    def demand(
        self, links: Sequence[Remote], offer: Offer | None, width: int
    ) -> tuple[list[tuple[int, int]], float | None]:
        """Return the demand for peers such as those of these links: see `woolexec.core.demand`."""
        scheduler = self._scheduler
        queues = [(scheduler.main.queue, False), (scheduler.lanes.queue, True)]
        if scheduler.actors is not None:
            queues.append((scheduler.actors.queue, False))
        return demand(queues, links, offer, width)

    def expect(self, *, peers: bool) -> None:
        """Set whether a first peer is expected soon; until it joins, no requirement counts as unmet."""
        self._scheduler.unmet.expects_peers = peers

    def join(self, link: Remote) -> None:
        """Add a link, so that calls are placed there too."""
        self._scheduler.linked(link)

    def leave(self, link: Remote, error_of: Callable[[Call], WorkerLostError], fault: str = "") -> None:
        """
        Remove a link that is gone; all calls sent there are lost, because it is unknown which were started.

        :param fault: the reason, if the peer is to blame
        """
        if fault:
            self.failed(link, fault)
        if link in self._scheduler.links:
            self.due.discard(link)
            self._dispatcher.nested.orphan(link)  # type: ignore[arg-type]  # it is like a worker here
            self._scheduler.settle(self._scheduler.left(link), error_of)
            self._scheduler.away.look()

    def move_actors(self, link: Remote) -> None:
        """Create actors again elsewhere, if they may be: their peer is about to leave."""
        if self._scheduler.actors is not None:
            self._scheduler.actors.move_from(link)

    def withdraw(self, place: Place, call: Call) -> None:
        """Queue a call again that was placed but not yet written to its link."""
        self._scheduler.group_of(call).withdraw(place, (call.number,))

    # -- for the sessions of clients ----------------------------------------------------------------------------

    @property
    def reports_runs(self) -> bool:
        """Whether calls that end here are reported."""
        return self._recorder is not None

    def report_runs(self, sink: Callable[[Run], object] | None) -> None:
        """Report each call that ends here to this function from now on; None: stop reporting."""
        if self._recorder is not None:
            self._recorder.stop()
            self._recorder = None
        if sink is not None:
            from woolexec.engine.recorder import Recorder  # imported when a client traces its calls

            self._recorder = Recorder(self._rounds, sink)
            self._recorder.start()

    def record(self, place: Place, call: Call) -> None:
        """Record a call as outstanding at a client, which runs it."""
        self._scheduler.lanes.record(place, call, 0.0)

    def leave_upward(self, client: Remote, error_of: Callable[[Call], WorkerLostError]) -> None:
        """Fail the calls that a client runs, because its link has ended."""
        lane = client.lane_place
        self._scheduler.settle(self._scheduler.lanes.leave(lane, lane.last_started), error_of)

    def submit(self, call: Call, worker: int = 0) -> None:
        """
        Submit a call of a client.

        :param worker: the number of the worker that must run it; 0: any
        """
        if worker:
            self._dispatcher.revoke_permits()
            self._pinning.run_on(worker, call)
        else:
            self._scheduler.add(call)

    def cancel(self, call: Call, answer: Callable[[bool], object], *, force: bool) -> None:
        """Cancel a call or, with `force`, end it; `answer` is called with whether it was cancelled."""
        self._cancellation.cancel(call, answer, force=force)
