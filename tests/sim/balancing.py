"""
Clients with local workers and peers as a discrete-event simulation: the shipped `Scheduler` decides, with `Offering`
and `Balance`, and the shipped `Admission` at each peer; tasks, workers and the network between are models.

::

    Client: Scheduler --Start, Recall--> wire --> Peer: Admission, a queue, workers, looks at what was started
                 ^------ Return, Started, Recalled, Load, or the end of the link <------'

Times are seconds.  Messages of one direction overtake each other no more than bytes on a stream do, and take time by
their size.  Everything follows from the seed.
"""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from random import Random

from tests.core.parts import Page
from tests.sim.simulation import Door, Events, Times
from woolexec.core.admission import Admission, late_after
from woolexec.core.call import Call, Chunk, Function
from woolexec.core.candidate import Candidate
from woolexec.core.offer import Offer
from woolexec.core.place import Lane, Place
from woolexec.core.policies import IdleFirst
from woolexec.core.remote_place import RemoteLane, RemotePlace
from woolexec.core.scheduler import Scheduler
from woolexec.core.window import HORIZON
from woolexec.options import TaskOptions

LOOK = 0.01
"""How often a peer looks which calls were started, as `woolexec.mesh.server.start_reports` does."""

LOCAL = 0.00005
"""What a message to a local worker takes."""

SPAWN = 0.03
"""What the start of a worker takes."""

RETRIES = TaskOptions(retries=20)


@dataclass(frozen=True)
class Job:
    """A task, or some that are mapped over."""

    at: float
    seconds: tuple
    function: str = "task"
    size: int = 100
    require: dict | None = None
    client: int = 0

    @property
    def is_map(self):
        return len(self.seconds) > 1


@dataclass(frozen=True)
class Host:
    """A peer."""

    width: int = 2
    latency: float = 0.0005
    joins: float = 0.0
    dies: float = 0.0  # 0.0: it does not
    tags: tuple = ()


@dataclass(frozen=True)
class Scenario:
    """What is simulated."""

    jobs: tuple
    hosts: tuple = (Host(), Host())
    local: int = 0
    clients: int = 1
    bandwidth: float = 100e6  # bytes a second
    seed: int = 1
    averages: bool = True  # peers tell the moving averages of their functions, as ours do, instead of run times


@dataclass
class Outcome(Times):
    """What came of it."""

    times: list = field(default_factory=list)  # from submit to outcome, of each task
    end: float = 0.0
    sent: Counter = field(default_factory=Counter)  # how often each call was sent over a link
    recalled: Counter = field(default_factory=Counter)  # how often each call came back from a peer unstarted
    messages: Counter = field(default_factory=Counter)
    bytes_sent: int = 0
    refused: int = 0


class Receiver:
    """Whoever waits for a job."""

    def __init__(self, world, job):
        self.world, self.job = world, job
        self.left = len(job.seconds)
        self.runs = Counter()

    def seconds_of(self, call):
        return sum(self.job.seconds[call.first : call.first + (call.count or 1)])

    def key(self, call):
        return self, call.first

    def done(self, call):
        self.left -= call.count or 1
        outcome = self.world.outcome
        outcome.times += [self.world.now - self.job.at] * (call.count or 1)
        outcome.end = self.world.now

    def deliver_failure(self, call, error):
        raise AssertionError(f"{self.job} failed: {error}")


class World(Events):
    """The clock, and what happens when."""

    def __init__(self, scenario):
        super().__init__(1000.0)
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.outcome = Outcome()
        self._last = defaultdict(float)
        self.peers = [Peer(self, number, host) for number, host in enumerate(scenario.hosts)]
        self.clients = [Client(self, number) for number in range(scenario.clients)]
        self.left = sum(len(job.seconds) for job in scenario.jobs)

    def send(self, way, latency, size, kind, piece, *args):
        """Send a message; `way` is the direction of one stream."""
        self.outcome.messages[kind] += 1
        begin = max(self._last[way, "sent"], self.now) + size / self.scenario.bandwidth
        self._last[way, "sent"] = begin
        at = max(self._last[way], begin + latency * self.random.uniform(0.7, 1.3))
        self._last[way] = at
        self.after(at - self.now, piece, *args)

    def run(self, limit=3_000_000):
        began = self.now
        for peer in self.peers:
            for client in self.clients:
                self.after(peer.host.joins, client.found, peer)
            if peer.host.dies:
                self.after(peer.host.dies, peer.die)
        jobs = [replace(job, at=began + job.at) for job in self.scenario.jobs]
        for job in jobs:
            self.after(job.at - began, self.clients[job.client].submit, job)
        for _ in range(limit):
            if len(self.outcome.times) == self.left:
                break
            self.step()
        else:
            raise AssertionError("it does not end")
        self.outcome.end -= began
        return self.outcome


class SimWorker(Place):
    """A local worker."""

    def __init__(self, client, number):
        super().__init__()
        self.client, self.id = client, number
        self.page = Page()
        self.lane_place = Lane(self, 100)
        self.lane_place.page = Page()
        self.has_permit = self.stopping = self.is_dead = False
        self.born = client.world.now + SPAWN
        self.line = []
        self.running = None
        self.marks = 0  # that it has not answered: it does when it runs nothing

    @property
    def is_busy(self):
        return bool(self.outstanding)

    def take(self):
        world = self.client.world
        if world.now < self.born:
            world.after(self.born - world.now, self.take)
        elif self.running is None and self.line:
            call = self.running = self.line.pop(0)
            self.page.started = self.page.runs = call.number
            self.page.since = world.now
            call.receiver.runs[call.first] += 1
            world.after(call.receiver.seconds_of(call) + LOCAL, self.end, call)

    def end(self, call):
        self.running = None
        scheduler = self.client.scheduler
        assert scheduler.main.finish(self, call.number, call.receiver.seconds_of(call)) is call
        if self.marks:
            self.client.world.after(2 * LOCAL, self.client._recalled_here, self)
        self.take()
        self.client.ended(call)


class SimLink(RemotePlace):
    """A link, at its client."""

    def __init__(self, client, peer):
        super().__init__(client.world.now)
        self.peer = peer
        self.width = peer.host.width
        self.offer = Offer(peer.host.tags)
        self.candidate = Candidate(self, str(peer.number), str(peer.number))
        self.lane_place = RemoteLane(self, 100, client.world.now)
        self.on_the_way = 2 * peer.host.latency


class Client:
    """One process with tasks: the core of its engine."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.functions = {}
        self.links = {}
        self.ids = itertools.count(1)
        policy = IdleFirst(Random(world.scenario.seed * 7919 + number))
        self.scheduler = Scheduler(self, world.scenario.local, policy=policy, clock=lambda: world.now)

    def function(self, job):
        return self.functions.setdefault(job.function, Function(b"", job.function))

    def submit(self, job):
        receiver, payload = Receiver(self.world, job), bytes(job.size)
        options = RETRIES if job.require is None else TaskOptions(retries=20, require=job.require)
        if job.is_map:
            self.scheduler.add(Chunk(self.function(job), payload, len(job.seconds), receiver, options))
        else:
            self.scheduler.add(Call(self.function(job), payload, receiver, options))
        self.act()

    def act(self):
        self.scheduler.feed()
        self.scheduler.balance()

    # -- the actions of its engine ------------------------------------------------------------------------------------

    def send(self, place, calls):
        world = self.world
        for call in calls:
            if place.candidate is None:
                place.line.append(call)
                world.after(LOCAL, place.take)
                continue
            place.sent_at = world.now
            world.outcome.sent[call.receiver.key(call)] += 1
            world.outcome.bytes_sent += len(call.payload)
            seconds = call.function.seconds
            expected = None if seconds is None else seconds * (call.count or 1)
            start = place.peer.start, self, call.number, call, expected, call.cost >= HORIZON
            self._wire(place, len(call.payload) + 50, "start", *start)

    def send_recall(self, place, number, waiting):
        if place.candidate is None:
            place.line = [call for call in place.line if call.number < number]
            place.marks += 1
            if place.running is None:
                self.world.after(2 * LOCAL, self._recalled_here, place)
        else:
            self._wire(place, 20, "recall", place.peer.recall, self, number)

    def _wire(self, link, size, *message):
        self.world.send((self, link.peer), link.peer.host.latency, size, *message)

    def _recalled_here(self, worker):
        while worker.marks:
            worker.marks -= 1
            self.scheduler.main.recalled(worker, ())
        self.act()

    def start_worker(self, actor=None, devices=None):
        worker = SimWorker(self, next(self.ids))
        self.scheduler.joined(worker)
        return worker

    def revoke_permit(self, worker):
        pass

    def after(self, seconds, piece):
        def then():
            piece()
            self.act()

        self.world.after(seconds, then)

    # -- what it hears ------------------------------------------------------------------------------------------------

    def ended(self, call):
        call.receiver.done(call)
        self.act()

    def returned(self, peer, number, seconds):
        link = self.links.get(peer)
        if link is None or number not in link.outstanding:
            return
        offering = self.scheduler.offering
        offering.observe(link, link.outstanding[number], seconds)
        self.ended(offering.finish(link, number, seconds))

    def started(self, peer, numbers):
        link = self.links.get(peer)
        for number in numbers if link is not None else ():
            link.began(number, self.world.now)
        self.act()

    def recalled(self, peer, numbers):
        link = self.links.get(peer)
        if link is not None:
            for number in numbers:
                call = link.outstanding[number]
                self.world.outcome.recalled[call.receiver.key(call)] += 1
            self.scheduler.main.recalled(link, numbers)
            self.act()

    def loaded(self, peer, free, refused):
        link = self.links.get(peer)
        if link is None:
            return
        if refused:
            self.world.outcome.refused += len(refused)
            self.scheduler.refused(link, refused)
        else:
            self.scheduler.offering.tell_free(link, free)
        self.act()

    def found(self, peer):
        self.links[peer] = link = SimLink(self, peer)
        self.scheduler.linked(link)
        self.act()

    def lost(self, peer):
        link = self.links.pop(peer, None)
        if link is not None:
            self.scheduler.settle(self.scheduler.left(link), lambda call: RuntimeError("lost"))
            self.act()


class Peer(Door):
    """One peer: its door, its queue, its workers."""

    def __init__(self, world, number, host):
        self.world, self.number, self.host = world, number, host
        self.alive, self.looking = True, False
        self.admission = Admission(host.width, Offer(host.tags))
        self.averages = {}
        self.queue = []  # of (client, number, call, weight)
        self.running = {}  # by (client, number): whether its client knows, and the weight

    def tell(self, client, size, kind, piece, *args):
        self.world.send((self, client), self.host.latency, size, kind, piece, self, *args)

    def start(self, client, number, call, expected, is_offer):
        if not self.alive:
            return
        weight = self.admission.admit(client, expected, offer=is_offer)
        if weight is None:
            self.tell(client, 20, "refused", client.loaded, 0, [number])
            self.tell_soon()
            return
        self.queue.append((client, number, call, weight))
        self.take()
        self.look_soon()

    def take(self):
        while self.queue and len(self.running) < self.host.width:
            client, number, call, weight = self.queue.pop(0)
            self.running[client, number] = [False, weight]
            call.receiver.runs[call.first] += 1
            self.world.after(call.receiver.seconds_of(call), self.end, client, number, call)
            if (seconds := late_after(weight)) is not None:
                self.world.after(seconds, self.late, client, number)

    def late(self, client, number):
        if self.alive and (client, number) in self.running:
            state = self.running[client, number]
            state[1] = self.admission.late(client, state[1])

    def end(self, client, number, call):
        if not self.alive:
            return
        _, weight = self.running.pop((client, number))
        self.admission.done(client, weight)
        seconds = call.receiver.seconds_of(call)
        average = self.averages.setdefault((client, call.function.name), Function(b"", ""))
        average.observe(seconds / (call.count or 1))
        if self.world.scenario.averages:
            seconds = average.seconds * (call.count or 1)
        self.tell(client, 60, "return", client.returned, number, seconds)
        self.take()
        self.tell_free()

    def look_soon(self):
        if not self.looking and (self.queue or not all(told for told, _ in self.running.values())):
            self.looking = True
            self.world.after(LOOK, self.look)

    def look(self):
        self.looking = False
        if not self.alive:
            return
        begun = defaultdict(list)
        for (client, number), state in self.running.items():
            if not state[0]:
                state[0] = True
                begun[client].append(number)
        for client, numbers in begun.items():
            self.tell(client, 20, "started", client.started, numbers)
        self.look_soon()

    def recall(self, client, since):
        if not self.alive:
            return
        given = [entry for entry in self.queue if entry[0] is client and entry[1] >= since]
        self.queue = [entry for entry in self.queue if entry not in given]
        for entry in given:
            self.admission.done(client, entry[3])
        self.tell(client, 20, "recalled", client.recalled, [entry[1] for entry in given][::-1])
        self.tell_free()

    def tell_room(self, client):
        self.tell(client, 20, "room", client.loaded, self.admission.free, [])

    def die(self):
        self.alive = False
        for client in self.world.clients:
            self.world.after(self.host.latency, client.lost, self)


def ideal(scenario):
    """One queue for all tasks, of which each free worker takes the oldest: what no client could know."""
    outcome, free = Outcome(), []
    order = itertools.count()
    for host in scenario.hosts:
        for _ in range(host.width):
            heappush(free, (host.joins, next(order)))
    for _ in range(scenario.local * scenario.clients):
        heappush(free, (0.0, next(order)))
    for job in sorted(scenario.jobs, key=lambda job: job.at):
        for seconds in job.seconds:
            at, _ = heappop(free)
            end = max(at, job.at) + seconds
            heappush(free, (end, next(order)))
            outcome.times.append(end - job.at)
            outcome.end = max(outcome.end, end)
    return outcome
