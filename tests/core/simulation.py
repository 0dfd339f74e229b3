"""
A simulated environment of the shipped engine: all events that it can meet, in an order that a seed chooses.

::

    user --submit, map, cancel, shutdown--> Engine, with Scheduler, Dispatcher, Cancellation, Supervisor
                                               |  ^
                                 down: frames  v  |  up: frames, arriving in pieces
                                            SimWorker (reads, marks, runs, waits, dies)

1. A worker is a generator; each `yield` ends one atomic step: one write to the page, one read of it, one frame.
2. Whenever the engine touches a page, or takes a call from the queue, other actors may take steps first
   (`World.breathe`).  So the two sides' reads and writes interleave in every way that the hardware allows.
3. Workers die between any two of their steps; what they wrote stays readable, and is heard late or never.
4. Every start and every outcome is written down and checked on the spot; the rest is checked at the end.
"""

import itertools
from collections import deque
from random import Random

from tests.core.simulated_engine import SimEngine
from tests.core.simulated_task import Parts, Plan, Task, Violation
from woolexec.core.call import Call, Chunk, Function
from woolexec.errors import ProtocolError
from woolexec.wire.inputs import Unbound

STEPS = 30_000


class World:
    """One history: what the user does, who acts next, and what goes wrong, chosen by the seed."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random = Random(seed)
        self.clock = 1.0
        self.task_numbers = itertools.count(1)
        self.ids = []  # of all workers that were started
        self.tasks, self.parts = [], []
        self.exits, self.killed = deque(), []
        self.breathing = False
        self.functions = {}
        self.deaths_left = random.choice((0, 0, 1, 2, 5))
        self.cancels = random.choice((0.0, 0.0, 0.005, 0.03, 0.1))
        self.force = random.choice((0.0, 0.3, 0.8))
        self.pause = random.choice((1e-6, 1e-5, 2e-4))
        self.nested = random.random() < 0.4
        calls_limit = None if self.nested or random.random() < 0.7 else random.randint(1, 4)
        self.growth = Random(-seed)  # its own, so that the rest of a history stays what it is
        self.growths = self.growth.choice((0.0,) * 5 + (0.005,))
        self.chains = Random(~seed)  # likewise
        self.chaining = self.chains.choice((0.0, 0.0, 0.3, 0.8))
        self.engine = SimEngine(self, random.randint(1, 3), calls_limit)
        self.to_submit = random.randint(1, 14)
        self.is_shut = False
        self.cancels_at_shutdown = random.random() < 0.3

    def check(self, condition, text):
        if not condition:
            raise Violation(text)

    def function(self, plan):
        """Tasks of one run time share a function, and what is known of it."""
        return self.functions.setdefault(plan.seconds, Function(b"", f"sleep {plan.seconds}"))

    # -- the user ---------------------------------------------------------------------------------------------------

    def plan(self, depth=0):
        random = self.random
        seconds = random.choice((0.0, 0.0, 1e-5, 1e-4, 1e-3, 1e-2))
        children = []
        if self.nested and depth < 3 and random.random() < 0.4:
            children = [self.plan(depth + 1) for _ in range(random.randint(1, 2))]
        return Plan(
            seconds,
            retries=random.choice((0, 0, 0, 1, 2)),
            flawed=random.random() < 0.1,
            timeout=None if children or depth or random.random() < 0.85 else random.choice((1e-4, 0.005, 10.0)),
            children=children,
            patience=random.choice((None, None, 1e-6, 1e-4)),
        )

    def submit(self):
        plan, random = self.plan(), self.random
        self.to_submit -= 1
        if random.random() < 0.3:
            count = random.randint(1, 30)
            parts = Parts(self, Plan(plan.seconds, retries=plan.retries), count)
            fixed = random.random() < 0.3
            parts.chunk = Chunk(self.function(plan), b"x" * 50, count, parts, parts.plan.options(), fixed=fixed)
            self.engine.submit_chunk(parts.chunk)
            return
        for _ in range(random.choice((1, 1, 3, 8))):
            task = Task(self, plan)
            task.call = Call(self.function(plan), b"x" * 20, task, plan.options())
            self.engine.submit(task.call)
            while self.chains.random() < self.chaining:
                task = self.submit_after(task)

    def submit_after(self, before):
        """Submit a task that takes the outcome of another one."""
        plan = before.plan if self.chains.random() < 0.8 else Plan(1e-5)
        task = Task(self, plan, before=before)
        task.call = Call(self.function(plan), Unbound(b"x" * 20), task, plan.options())
        task.waits.begin(task.call)
        return task

    def cancel_something(self):
        random = self.random
        if self.parts and random.random() < 0.1 and not self.breathing:
            self.engine.close_map(random.choice(self.parts))
            return
        if (
            self.cancels_at_shutdown
            and not (self.to_submit or self.is_shut or self.breathing)
            and random.random() < 0.02
        ):
            self.is_shut = True
            self.engine.shutdown(wait=False, cancel=True)
            return
        own = [task for task in self.tasks[-20:] if task.submitter is None and not task.settled]
        if own:
            self.engine.cancel_task(random.choice(own), force=random.random() < self.force)

    # -- who acts next ------------------------------------------------------------------------------------------------

    def breathe(self, worker):
        """Let others act in the middle of a step of the engine's."""
        if self.breathing:
            return
        self.breathing = True
        random = self.random
        if worker is not None:
            for _ in range(random.choice((0, 0, 1, 2, 5))):
                if worker.can_step:
                    worker.step()
        if self.cancels and random.random() < self.cancels:
            self.cancel_something()
        self.breathing = False

    def run(self):
        """
        Live this history to its end.

        :raises Violation: naming the seed
        """
        try:
            for _ in range(STEPS):
                if self.tick():
                    break
            else:
                raise Violation(f"I1: not at the end after {STEPS} steps; open: {self.open()}")
            self.check_end()
        except (Violation, ProtocolError, KeyError, IndexError) as exc:
            raise Violation(f"seed {self.seed}: {type(exc).__name__}: {exc}") from exc

    def open(self):
        return [entry for entry in [*self.tasks, *self.parts] if not entry.settled]

    def tick(self):
        """Let somebody act; True at the end."""
        random, engine = self.random, self.engine
        self.clock += self.pause * random.random()
        chance = random.random()
        if self.to_submit and chance < 0.03:
            self.submit()
        elif chance < 0.03 + self.cancels:
            self.cancel_something()
        elif self.deaths_left and chance > 0.995 and engine.workers:
            self.deaths_left -= 1
            random.choice(list(engine.workers.values())).die()
        elif chance < 0.4:
            self.engine_acts()
        else:
            able = [worker for worker in engine.workers.values() if worker.can_step]
            if able:
                random.choice(able).step()
            elif not any(worker.up for worker in engine.workers.values()) and not self.exits:
                return self.skip_time()
        if self.growth.random() < self.growths and engine.workers and not self.is_shut:
            engine.grow(self.growth.choice(list(engine.workers.values())), too_large=self.growth.random() < 0.3)
        for entry in list(self.killed):
            entry[1] -= 1
            if entry[1] < 0:
                self.killed.remove(entry)
                entry[0].die()
        return False

    def engine_acts(self):
        engine, random = self.engine, self.random
        speakers = [worker for worker in engine.workers.values() if worker.up]
        if speakers and random.random() < 0.8:
            worker = random.choice(speakers)
            engine.hear(worker, random.randint(1, len(worker.up)))
        if self.exits and random.random() < 0.3:
            engine.reap(self.exits.popleft())
        engine.act()

    def skip_time(self):
        """Nobody can act now: go on to when somebody can.  True if that is never."""
        engine = self.engine
        before = engine.scheduler.main.queue.head(), engine.has_requests
        self.engine_acts()
        if self.to_submit or self.killed:
            return False
        if any(worker.can_step or worker.up for worker in engine.workers.values()) or self.exits:
            return False
        dues = [worker.sleeps_until for worker in engine.workers.values() if worker.sleeps_until and not worker.dead]
        dues += [when for when, _ in engine.timers]
        if dues:
            self.clock = max(self.clock, min(dues)) + 1e-9
            if before == (None, False) and not self.open():
                return self.finish()
            return False
        return self.finish()

    def finish(self):
        """Nothing is due any more: it must be the end."""
        if self.open():
            raise Violation(f"I1: nothing moves any more; open: {self.open()}")
        if not self.is_shut:
            self.is_shut = True
            self.engine.shutdown(wait=False, cancel=False)
            self.engine.timers.clear()
            return False
        return self.engine.has_ended

    def check_end(self):
        group = self.engine.scheduler.main
        self.check(group.queue.head() is None and not group.places, "I6: something is left in the books")
        self.check(not group.queue._unclaimed, f"I6: calls are claimable for ever: {group.queue._unclaimed}")

    def finish_nested(self, task):
        """Tell the worker of the task that submitted this one."""
        if not task.submitter.is_dead:
            task.submitter.down.append(("outcome", task))
