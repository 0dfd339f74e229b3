"""
Calls that run concurrently in their worker, in seeded histories: cancels race with starts and ends.

``make test-slow`` lives 4,000 of them; ``WOOLEXEC_SEEDS=10000`` makes that more.
It drives the real `Group` of lanes as the engine does for coroutines and streams; the workers, their marks and the
wires between are models.  A failure names its seed.
"""

import itertools
import os
from random import Random

import pytest

from tests.core.simulated_engine import planted
from woolexec.core import feeding
from woolexec.core.call import ASYNCIO, QUEUED, SENT, Call, Function
from woolexec.core.group import Group
from woolexec.core.place import Place

FEW, SEEDS = 1000, int(os.environ.get("WOOLEXEC_SEEDS", "4000"))
CALLS = 12
STEPS = 90


class Marks:
    """A worker's words on its page."""

    def __init__(self):
        self.started = self.runs = self.recalled = 0

    def start(self, number):
        self.started = number
        if self.recalled and number >= self.recalled:
            return False
        self.runs = number
        return True

    def recall(self, number):
        self.recalled = min(self.recalled, number) if self.recalled else number
        return self.started

    def clear_recall(self):
        self.recalled = 0


class Worker(Place):
    """A place, the worker behind it, and the wires between."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.page = Marks()
        self.down, self.up = [], []
        self.running = {}
        self.declined = []


class Task:
    """What a call is for; takes its outcome, and keeps the account."""

    def __init__(self):
        self.starts = 0
        self.ends = []
        self.cancelled = self.forced = False


class World:
    def __init__(self, seed):
        self.random = Random(seed)
        self.lanes = Group(itertools.count(1).__next__)
        self.workers = [self.new_worker() for _ in range(self.random.randint(1, 3))]
        self.tasks = []
        self.function = Function(b"", "f", ASYNCIO)

    def new_worker(self):
        worker = Worker(self.random.choice((1, 2, 5)))
        self.lanes.join(worker)
        return worker

    def run(self):
        acts = [self.submit, self.spread, self.spread, self.worker_reads, self.worker_reads, self.call_ends, self.hear]
        acts += [self.hear, self.cancel, self.cancel_by_force, self.die]
        weights = [4, 4, 4, 6, 6, 5, 6, 6, 3, 1, 0.4]
        for _ in range(STEPS):
            self.random.choices(acts, weights)[0]()
        while any(not task.ends for task in self.tasks):
            before = self.progress()
            self.spread()
            for worker in self.workers:
                while worker.down:
                    self.read(worker)
                while worker.running:
                    self.end(worker)
                while worker.up:
                    self.take(worker)
            assert self.progress() != before, "nothing moves, and there are tasks without an end"
        for task in self.tasks:
            assert len(task.ends) == 1, "I1: exactly one end"
            assert task.starts <= 1, "I2: started at most once"
            if task.cancelled and not task.forced:
                assert not task.starts, "I5: no start after cancel() returned True"

    def progress(self):
        return sum(len(task.ends) for task in self.tasks), sum(len(w.up) + len(w.down) for w in self.workers)

    # -- the engine ----------------------------------------------------------------------------------------------------

    def submit(self):
        if len(self.tasks) >= CALLS:
            return
        task = Task()
        task.call = Call(self.function, b"", task)
        self.tasks.append(task)
        self.lanes.add(task.call)

    def spread(self):
        for worker, calls in feeding.spread(self.lanes):
            worker.down += [("start", call.number, call) for call in calls]
            assert len(worker.outstanding) <= worker.limit

    def cancel(self):
        self.try_to_cancel(force=False)

    def cancel_by_force(self):
        self.try_to_cancel(force=True)

    def try_to_cancel(self, *, force):
        waiting = [task for task in self.tasks if not task.ends]
        if not waiting:
            return
        task = self.random.choice(waiting)
        call, worker = task.call, task.call.place
        if worker is not None and call.state == SENT and call.number > worker.page.started:
            if worker.down and self.random.random() < 0.5:
                self.read(worker)  # between our look and our recall
            self.lanes.recall(worker, call.number)
            worker.down.append(("recall", 0, None))
        if self.lanes.queue.claim(call):
            assert call.state == QUEUED
            call.move("cancel")
            task.cancelled = True
            task.ends.append("cancelled")
        elif force and call.place is worker and worker is not None:
            task.cancelled = task.forced = True
            task.ends.append("ended")
            call.receiver = None
            worker.down.append(("cancel", call.number, None))

    def hear(self):
        speaking = [worker for worker in self.workers if worker.up]
        if speaking:
            self.take(self.random.choice(speaking))

    def take(self, worker):
        kind, value = worker.up.pop(0)
        if kind == "recalled":
            self.lanes.recalled(worker, value)
            return
        call = self.lanes.finish(worker, value, 0.0)
        if call is not None and call.receiver is not None:
            call.receiver.ends.append("returned")

    def die(self):
        worker = self.random.choice(self.workers)
        while worker.up:
            self.take(worker)
        for call in self.lanes.leave(worker, worker.page.started):
            call.move("fail")
            if call.receiver is not None:
                call.receiver.ends.append("lost")
        self.workers.remove(worker)
        self.workers.append(self.new_worker())

    # -- the workers ---------------------------------------------------------------------------------------------------

    def worker_reads(self):
        told = [worker for worker in self.workers if worker.down]
        if told:
            self.read(self.random.choice(told))

    def read(self, worker):
        kind, number, call = worker.down.pop(0)
        if kind == "recall":
            worker.up.append(("recalled", worker.declined))
            worker.declined = []
        elif kind == "cancel":
            if worker.running.pop(number, None) is not None:
                worker.up.append(("ended", number))
        elif worker.page.start(number):
            worker.running[number] = call
            task = next(task for task in self.tasks if task.call is call)
            task.starts += 1
        else:
            worker.declined.append(number)

    def call_ends(self):
        busy = [worker for worker in self.workers if worker.running]
        if busy:
            self.end(self.random.choice(busy))

    def end(self, worker):
        number = self.random.choice(list(worker.running))
        del worker.running[number]
        worker.up.append(("ended", number))


@pytest.mark.slow
def test_every_call_ends_once_and_none_starts_after_its_cancel():
    live(range(FEW))


@pytest.mark.slow
@pytest.mark.timeout(300)  # on a machine with much else to do
def test_every_call_ends_once_in_thousands_of_histories():
    live(range(FEW, SEEDS))


def live(seeds):
    for seed in seeds:
        try:
            World(seed).run()
        except Exception as exc:
            exc.add_note(f"seed {seed}")
            raise


def forgets_what_was_started(leave, group, place, started):
    """Places again what may have been started."""
    return leave(group, place, 0)


def trusts_the_first_look(recall, group, place, since=0):
    """Takes what is in doubt for recalled."""
    number = recall(group, place, since)
    for call in list(place.outstanding.values()):
        if call.number >= since:
            group._requeue(place, call)
    return number


@pytest.mark.parametrize(
    ("name", "flawed", "guarantee"),
    [("leave", forgets_what_was_started, "I2"), ("recall", trusts_the_first_look, "I5")],
)
def test_simulation_catches_a_flaw(name, flawed, guarantee):
    with planted(Group, name, flawed), pytest.raises(AssertionError, match=guarantee):
        for seed in range(2000):
            World(seed).run()
