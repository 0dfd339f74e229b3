"""
The peers of a launcher as a simulation: the real `Scaling` decides; jobs, peers and calls are models.

Everything follows from the seed.  Time goes in steps of `STEP` seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from woolexec.core.scaling import Scaling

STEP = 0.25


@dataclass(frozen=True)
class Workload:
    """What is simulated: calls, and the engine that starts peers."""

    arrivals: str = "burst"  # burst: all at once; bursts: every five minutes; steady; rare: one every 90 s
    calls: int = 3000
    mean: float = 5.0  # s that a call takes, exponential
    start: float = 20.0  # s that a peer takes to start, half of it more or less
    failing: float = 0.0  # part of the starts that fail, after that time
    never: float = 0.0  # part of the starts of which nothing is heard any more
    losses: float = 0.0  # of each peer, per second
    slots: int = 8  # calls that a peer runs at once
    least: int = 0
    most: int = 16
    idle_timeout: float = 60.0
    seed: int = 1

    def draw(self):
        """Return the calls: when each is submitted, and how long it takes."""
        random = Random(self.seed)
        when = {
            "burst": lambda _: 0.0,
            "bursts": lambda number: 300.0 * (number * 5 // self.calls),
            "steady": lambda number: number * 1800.0 / self.calls,
            "rare": lambda number: number * 90.0,
        }[self.arrivals]
        return [(when(number), random.expovariate(1 / self.mean)) for number in range(self.calls)]


@dataclass
class Bill:
    """What came of it."""

    waits: list = field(default_factory=list)  # from submit to start, of each call
    paid: float = 0.0  # seconds of peers, from the moment in which each was ready
    starts: int = 0
    stops: int = 0
    most: int = 0  # peers that there were at once, starting ones included
    done: int = 0
    end: float = 0.0

    @property
    def p95(self):
        return sorted(self.waits)[int(0.95 * (len(self.waits) - 1))]


class Fleet:
    """The peers that a policy starts and stops."""

    def __init__(self, workload):
        self.workload, self.random = workload, Random(workload.seed + 1)
        self.scaling = Scaling(workload.least, workload.most, workload.idle_timeout)
        self.bill = Bill()
        self.coming, self.running = {}, {}  # when a peer is ready; its calls by when they end
        self.since = {}
        self.keys = count()
        self.queue = deque()
        self.finished = []

    def run(self):
        ahead = deque(self.workload.draw())
        total, now = len(ahead), 0.0
        while not self.bill.end or now < self.bill.end + 2 * self.workload.idle_timeout:
            assert now < 1e6, "it does not end"
            while ahead and ahead[0][0] <= now:
                self.queue.append(ahead.popleft())
            self.let_happen(now)
            self.decide(now)
            now += STEP
            if self.bill.done == total and not self.bill.end:
                self.bill.end = now
        self.left = len(self.running) + len(self.coming)
        self.bill.paid += sum(now - since for since in self.since.values())
        return self.bill

    def let_happen(self, now):
        for key, ready in list(self.coming.items()):
            if ready is not None and ready <= now:
                del self.coming[key]
                if self.random.random() < self.workload.failing:
                    self.scaling.gone(key, now)
                    continue
                self.running[key], self.since[key] = [], now
                self.scaling.ready(key, now)
        for key in list(self.running):
            calls = self.running[key]
            while calls and calls[0][0] <= now:
                self.finished.append(heappop(calls)[2])
                self.bill.done += 1
            if self.random.random() < self.workload.losses * STEP:
                self.queue.extendleft((began, seconds) for _, began, seconds in calls)
                self.end(key, now)
        for key, calls in self.running.items():
            while self.queue and len(calls) < self.workload.slots:
                submitted, seconds = self.queue.popleft()
                self.bill.waits.append(now - submitted)
                heappush(calls, (now + seconds, submitted, seconds))
            self.scaling.busy(key, now, is_busy=bool(calls))

    def decide(self, now):
        running = [call for calls in self.running.values() for call in calls]
        oldest = max((now - (ends - seconds) for ends, _, seconds in running), default=0.0)
        mean = sum(self.finished) / len(self.finished) if self.finished else None
        calls = len(self.queue) + len(running)
        more, stopping = self.scaling.step([(calls, self.workload.slots)] if calls else [], mean, oldest, now)
        keys = [next(self.keys) for _ in range(more)]
        for key in keys:
            took = self.workload.start * self.random.uniform(0.5, 1.5)
            self.coming[key] = None if self.random.random() < self.workload.never else now + took
        self.scaling.started(keys, more, now)
        self.bill.starts += more
        self.bill.most = max(self.bill.most, len(self.coming) + len(self.running))
        for key in stopping:
            self.bill.stops += 1
            assert not self.running.get(key), "a peer that runs something was stopped"
            if key in self.coming:
                del self.coming[key]
                self.scaling.gone(key, now)
            else:
                self.end(key, now)

    def end(self, key, now):
        self.bill.paid += now - self.since.pop(key)
        del self.running[key]
        self.scaling.gone(key, now)


def all_knowing(workload):
    """Have each peer ready when it is needed, for as long as it runs something; never more than there may be."""
    bill, moments = Bill(), []
    free = [0.0] * (workload.most * workload.slots)  # when each slot is free
    for submitted, seconds in workload.draw():
        began = max(submitted, heappop(free))
        heappush(free, began + seconds)
        bill.waits.append(began - submitted)
        moments += [(began, 1), (began + seconds, -1)]
    running, before = 0, 0.0
    for now, change in sorted(moments):
        bill.paid += (now - before) * -(-running // workload.slots)
        running, before = running + change, now
    return bill


WORKLOADS = {
    "3,000 calls at once": Workload(),
    "the same, starts take 120 s": Workload(start=120.0),
    "bursts of 600 calls, every five minutes": Workload(arrivals="bursts"),
    "5 calls in 3 s for half an hour": Workload(arrivals="steady"),
    "one call every 90 s": Workload(arrivals="rare", calls=40),
    "3,000 calls of a minute; a third of the starts fail": Workload(mean=60.0, failing=0.33),
    "3,000 calls of a minute; peers are lost after ten minutes on average": Workload(mean=60.0, losses=1 / 600),
}
