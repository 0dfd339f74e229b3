"""
Thousands of seeded histories of the core, and a proof that they would show a mistake.

``make test`` lives the first 300 of them, ``make test-slow`` the rest of 3,000; ``WOOLEXEC_SEEDS=20000`` makes that the
whole, and ``WOOLEXEC_SEED=1030`` lives one again.
"""

import os

import pytest

from tests.core.simulated_task import Violation
from tests.core.simulation import World
from woolexec.core.call import UNCERTAIN
from woolexec.core.scheduler import Scheduler

FEW = 300
SEEDS = int(os.environ.get("WOOLEXEC_SEEDS", "3000"))
ONLY = os.environ.get("WOOLEXEC_SEED")
ENOUGH = 1000  # seeds after which a flaw must have shown


@pytest.mark.timeout(300)  # on a machine with much else to do
def test_core_keeps_its_guarantees_in_every_history():
    live(range(FEW) if ONLY is None else [int(ONLY)])


@pytest.mark.slow
@pytest.mark.timeout(300)  # on a machine with much else to do
def test_core_keeps_its_guarantees_in_thousands_of_histories():
    live(range(FEW, SEEDS))


def live(seeds):
    for seed in seeds:
        message = violation(seed)
        assert message is None, f"{message}\nlive it again: WOOLEXEC_SEED={seed} pytest tests/core/test_simulation.py"


def test_same_seed_is_the_same_history():
    one, other = World(7), World(7)

    one.run()
    other.run()

    assert one.clock == other.clock
    assert [task.starts for task in one.tasks] == [task.starts for task in other.tasks]


def test_histories_hold_what_they_are_meant_to_hold():
    worlds = [World(seed) for seed in range(150)]
    for world in worlds:
        world.run()

    tasks = [task for world in worlds for task in world.tasks]
    outcomes = {outcome for task in tasks for outcome in task.outcomes}
    assert outcomes >= {"value", "raised", "lost", "timeout"}
    assert any(task.cancelled and task.starts for task in tasks), "no running call was ended by force"
    assert any(task.cancelled and not task.starts for task in tasks), "no waiting call was cancelled"
    assert any(len(task.starts) > 1 for task in tasks), "nothing was tried again"
    assert any(task.submitter for task in tasks), "no task submitted another"
    assert any(worker > 6 for world in worlds for worker in world.conductor.ids), "no worker was replaced"
    assert any(part.ends for world in worlds for part in world.parts), "no map was run"


class ForgetsWhatWasStarted(Scheduler):
    """Places everything of a dead worker again."""

    def leave(self, place, started):
        return super().leave(place, 0)


class LosesWhatWasNotStarted(Scheduler):
    """Drops the prefetched calls of a dead worker."""

    def leave(self, place, started):
        lost = super().leave(place, started)
        self.queue.clear()
        return lost


class TrustsTheFirstLook(Scheduler):
    """Takes back by what the page said before the recall was made known: Dekker without the second half."""

    def recall(self, place, page, since=0):
        since = since or page.started + 1
        page.recall(since)
        for call in reversed(place.unstarted(since - 1)):
            self._requeue(place, call)
        place.recalling += 1
        return since


class DoubtsTheLastCallOnly(Scheduler):
    """Takes all but the last of the calls that were recalled too late for running."""

    def recall(self, place, page, since=0):
        since = super().recall(place, page, since)
        doubtful = [call for call in place.outstanding.values() if call.state == UNCERTAIN]
        for call in doubtful[:-1]:
            call.move("start")
        return since


class KeepsThePlaceOfAWaitingCall(Scheduler):
    """Does not free the place of a call that waits for its own tasks."""

    def wait(self, place, number):
        place.waiting.append(number)


class IgnoresWhatWasDeclined(Scheduler):
    """Does not place again what the worker gave back."""

    def recalled(self, place, page, numbers):
        super().recalled(place, page, ())


class ClearsTheRecallEarly(Scheduler):
    """Forgets a recall before the worker has answered it."""

    def recall(self, place, page, since=0):
        since = super().recall(place, page, since)
        page.clear_recall()
        return since


class SendsWhileRecalling(Scheduler):
    """Sends a waiting call's tasks before the worker has answered the recall."""

    def _assign_child(self, place):
        recalling, place.recalling = place.recalling, 0
        try:
            return super()._assign_child(place)
        finally:
            place.recalling = recalling


class EndsByThePageAlone(Scheduler):
    """Ends a worker for a call that has been started, whether or not that call still runs."""

    def is_running(self, place, page, call):
        return call.number <= page.started


class SendsTooMuch(Scheduler):
    """Knows no window."""

    def assign(self, place):
        place.load = place.size = 0
        return super().assign(place)


class LetsEverybodyClaim(Scheduler):
    """Lets a call be cancelled that has just been taken."""

    def __init__(self, number):
        super().__init__(number)
        self.queue._unclaimed = Sticky()


class Sticky(set):
    def remove(self, call):
        if call not in self:
            raise KeyError(call)


@pytest.mark.parametrize(
    ("flawed", "guarantees"),
    [
        (ForgetsWhatWasStarted, ["I2/I3", "I3"]),
        (LosesWhatWasNotStarted, ["I1"]),
        (TrustsTheFirstLook, ["I2/I3", "I3"]),
        (DoubtsTheLastCallOnly, ["row 4"]),
        (KeepsThePlaceOfAWaitingCall, ["I1"]),
        (IgnoresWhatWasDeclined, ["I1"]),
        (ClearsTheRecallEarly, ["I2/I3", "I3", "I5"]),
        (SendsWhileRecalling, ["I1"]),
        (EndsByThePageAlone, ["row 4", "ProtocolError"]),
        (SendsTooMuch, ["I7"]),
        (LetsEverybodyClaim, ["ProtocolError", "I"]),
    ],
)
def test_simulator_catches(flawed, guarantees):
    message = next(filter(None, (violation(seed, flawed) for seed in range(ENOUGH))), None)

    assert message is not None, f"{ENOUGH} seeds did not show the flaw: {flawed.__doc__}"
    assert any(f": {guarantee}" in message for guarantee in guarantees), message


def violation(seed, dispatch=Scheduler):
    try:
        World(seed, dispatch).run()
    except Violation as exc:
        return str(exc)
    return None
