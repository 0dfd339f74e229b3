"""Statistics of an engine, collected from its parts in the engine's thread or after its end."""

from __future__ import annotations

import os
from functools import partial
from math import isfinite
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from woolexec.core.call import LIFE
from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.platform.posix import host_name
from woolexec.statistics import (
    Durations,
    FunctionStatistics,
    PeerStatistics,
    Statistics,
    TaskStatistics,
    ValueStatistics,
    WorkerStatistics,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.core.call import Call
    from woolexec.core.histogram import Histogram
    from woolexec.core.scheduler import Scheduler
    from woolexec.core.tallies import Tally
    from woolexec.engine.losses import Lost
    from woolexec.engine.rounds import Rounds
    from woolexec.engine.transport import Remote
    from woolexec.engine.worker_process import Worker


def statistics(rounds: Rounds) -> Statistics:
    """
    Return the statistics of an engine, after its end the final ones; from any thread.

    :raises RuntimeError: in a forked child
    """
    loop, since = rounds.loop, monotonic()
    if loop.forked:
        raise RuntimeError(FORKED_CHILD)
    made: Statistics | None = None
    if loop.has_begun:  # otherwise this would start its thread
        made = loop.ask(partial(snapshot, rounds))
        rounds.stall = max(rounds.stall, monotonic() - since)
    if made is None:
        made = snapshot(rounds)
    return made.with_stall(rounds.stall).with_usage()


def snapshot(rounds: Rounds) -> Statistics:
    """Return the statistics of an engine, without the memory and the processor time of workers."""
    dispatcher, scheduler = rounds.dispatcher, rounds.scheduler
    if not rounds.loop.stopped:
        dispatcher.take_inbox()
        dispatcher.revoke_permits()  # so that calls that were sent directly are known
    tallies = scheduler.tallies.functions()
    functions = sorted(map(_function, tallies.items()), key=lambda each: -each.run.total)
    losses = rounds.supervisor.losses
    workers = [_worker(worker) for worker in rounds.supervisor.workers.values()]
    return Statistics(
        time=time(),
        pid=os.getpid(),
        host=host_name(),
        tasks=tasks(scheduler, functions),
        functions=tuple(functions),
        workers=(*workers, *map(_lost, losses.last)),
        peers=tuple(map(_peer, scheduler.links)),
        values=_values(scheduler.links),
        workers_lost=dict(losses.reasons),
    )


def tasks(scheduler: Scheduler, functions: Sequence[FunctionStatistics] = ()) -> TaskStatistics:
    """Return the numbers of tasks by state; those of ended tasks are taken from the statistics of functions."""
    held, items = scheduler.held.count()
    queue = scheduler.main.queue
    queued = queue.claimable - held + queue.items() + scheduler.lanes.queue.items()
    sent = running = 0
    for place in scheduler.places:
        is_thread = place.candidate is None and not place.is_lane
        for call in place.outstanding.values():
            if call.function.lane != LIFE:
                sent += call.count or 1
                running += place.runs_here(call) if is_thread else bool(place.has_started(call))
    return TaskStatistics(
        held=held + items,
        queued=max(0, queued),
        sent=sent - running,
        running=running,
        returned=sum(each.count - each.failures for each in functions),
        failed=sum(each.failures for each in functions),
        lost=sum(each.lost for each in functions),
        cancelled=sum(each.cancelled for each in functions),
        retried=sum(each.retries for each in functions),
    )


def _function(item: tuple[str, Tally]) -> FunctionStatistics:
    name, tally = item
    return FunctionStatistics(
        name=name,
        count=tally.count,
        failures=tally.failures,
        lost=tally.lost,
        cancelled=tally.cancelled,
        retries=tally.retries,
        run=_durations(tally.runs, tally.count, tally.total),
        wait=_durations(tally.waits, tally.count, None),
        bytes_in=tally.bytes_in,
        bytes_out=tally.bytes_out,
    )


def _durations(histogram: Histogram, count: int, total: float | None) -> Durations:
    return Durations(
        count=count,
        total=histogram.total if total is None else total,
        min=histogram.min,
        p50=histogram.quantile(0.5),
        p95=histogram.quantile(0.95),
        max=histogram.max,
        bins=tuple(histogram.bins()),
    )


def _worker(worker: Worker) -> WorkerStatistics:
    call = worker.current
    began = None if call is None else worker.began(call.number)
    lane = worker.lane_place
    coroutines = sum(call.function.lane != LIFE for call in lane.outstanding.values() if lane.has_started(call))
    if worker.stopping or worker.is_dead or worker.ended_for is not None:
        state = "ending"
    elif call is not None and call.number in worker.waiting:
        state = "waiting"
    elif call is not None or coroutines:
        state = "running"
    else:
        state = "idle" if worker.page.pid else "starting"
    return WorkerStatistics(
        pid=worker.known_pid,
        host=host_name(),
        state=state,
        task="" if call is None else call.name,
        seconds=None if began is None else monotonic() - began,
        progress=_progress(call),
        coroutines=coroutines,
        actor="" if worker.actor is None else worker.actor.name,
        done=worker.done,
        started=time() - (monotonic() - worker.born),
    )


def _progress(call: Call | None) -> tuple[float, float | None, str] | None:
    """Return the last progress report of a task, if there is one and JSON can hold it."""
    said = getattr(call, "progress", None)  # set by the first report
    if said is None or not isfinite(said.done) or not isfinite(said.total or 0):
        return None
    return said.done, said.total, said.text


def _lost(lost: Lost) -> WorkerStatistics:
    return WorkerStatistics(
        pid=lost.pid,
        host=host_name(),
        state="lost",
        actor=lost.actor,
        done=lost.done,
        started=lost.started,
        ended=lost.ended,
        lost=lost.why,
    )


def _peer(link: Remote) -> PeerStatistics:
    candidate = link.candidate
    return PeerStatistics(
        address=candidate.address,
        name=candidate.name,
        host=candidate.host,
        workers=link.width,
        outstanding=sum(call.count or 1 for place in (link, link.lane_place) for call in place.outstanding.values()),
        refused=candidate.refusals,
        is_full=candidate.is_full,
        trouble=candidate.trouble,
        round_trip=link.round_trip,
        bytes_sent=link.bytes_sent,
        bytes_received=link.bytes_received,
    )


def _values(links: list[Any]) -> ValueStatistics:
    kept = [size for link in links for size in link.has_sent.kept.values()]
    return ValueStatistics(kept=len(kept), kept_bytes=sum(kept))
