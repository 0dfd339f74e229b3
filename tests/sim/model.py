"""
Clients and peers as a discrete-event simulation: the real `Scheduler`, `Candidate`, policies and `Admission` decide;
tasks, workers and the network between are models.

Times are seconds; a message takes `LATENCY`, half of it more or less, and overtakes no other.  Everything follows from
the seed.
"""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from tests.sim.simulation import Door, Events, Times
from woolexec.core.admission import Admission
from woolexec.core.call import Call, Function
from woolexec.core.candidate import Candidate
from woolexec.core.group import Group
from woolexec.core.offer import Offer
from woolexec.core.offering import Offering
from woolexec.core.policies import IdleFirst
from woolexec.core.remote_place import RemotePlace
from woolexec.core.window import HORIZON

LATENCY = 0.0005


@dataclass(frozen=True)
class Scenario:
    """What is simulated."""

    workers: int = 1000
    width: int = 1  # workers of a peer
    clients: int = 50
    links: int = 100  # of a client, at most
    load: float = 0.9
    mean: float = 1.0  # run time of a task
    heavy: bool = False  # 95 % of the tasks are short, 5 % take a hundred times as long; else exponential
    mixed: bool = True  # a tenth of the workers take twice as long, a tenth half as long
    uneven: bool = False  # a tenth of the clients submit half of the tasks
    deaths: float = 0.0  # peers that die, each second, of all
    values: int = 0  # of each client; each of its tasks needs one of them
    chain: int = 1  # tasks that each need the outcome of the one before, which stays where it was made
    fetch: float = 0.5  # s that it takes to send a peer a value
    tasks: int = 20_000
    seed: int = 1


@dataclass
class Outcome(Times):
    """What came of it."""

    times: list = field(default_factory=list)  # from submit to outcome, of each task
    by_client: dict = field(default_factory=dict)
    messages: Counter = field(default_factory=Counter)
    moved: int = 0  # values that were sent

    @property
    def unfairness(self):
        """The greatest mean of a client with a hundred tasks, as a multiple of that of all."""
        means = [sum(times) / len(times) for times in self.by_client.values() if len(times) >= 100]
        return max(means, default=0.0) / self.mean

    @property
    def messages_per_task(self):
        return sum(self.messages.values()) / len(self.times)


class World(Events):
    """The clock, and what happens when."""

    def __init__(self, scenario, make_policy=IdleFirst):
        super().__init__()
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.outcome = Outcome()
        self._last = defaultdict(float)
        count = scenario.workers // scenario.width
        self.peers = [Peer(self, number, scenario.width) for number in range(count)]
        self.clients = [Client(self, number, make_policy) for number in range(scenario.clients)]

    def send(self, kind, piece, *args):
        self.outcome.messages[kind] += 1
        way = piece.__self__, args[0]  # to whom, from whom
        at = max(self._last[way], self.now + LATENCY * self.random.uniform(0.5, 1.5))
        self._last[way] = at
        self.after(at - self.now, piece, *args)

    def run(self, work=None):
        for at, client, seconds in work or arrivals(self.scenario):
            self.at(at, self.clients[client].submit, seconds)
        if self.scenario.deaths:
            self.after(0.0, self.kill_some)
        while len(self.outcome.times) < self.scenario.tasks:
            self.step()
        return self.outcome

    def kill_some(self):
        peer = self.random.choice(self.peers)
        if peer.alive:
            peer.die()
        self.after(self.random.expovariate(self.scenario.deaths * len(self.peers)), self.kill_some)


def arrivals(scenario):
    """Yield when which client submits a task, and how long it runs on a worker of pace 1."""
    random = Random(scenario.seed + 1000)
    rate = scenario.load * capacity(scenario) / scenario.mean
    weights = [1.0] * scenario.clients
    if scenario.uneven:
        few = max(1, scenario.clients // 10)
        weights[:few] = [(scenario.clients - few) / few] * few
    clients = random.choices(range(scenario.clients), weights, k=scenario.tasks // scenario.chain)
    at = 0.0
    for client in clients:
        at += random.expovariate(rate / scenario.chain)
        if scenario.heavy:
            short = scenario.mean / (0.95 + 0.05 * 100)
            seconds = random.expovariate(1 / (short if random.random() < 0.95 else 100 * short))
        else:
            seconds = random.expovariate(1 / scenario.mean)
        yield at, client, seconds


def following(scenario, seconds):
    """How long the task runs that needs the outcome of one that has run so long."""
    return Random(seconds).expovariate(1 / scenario.mean)


def paces(scenario):
    """How long each worker takes for what takes another one second."""
    if not scenario.mixed:
        return [1.0] * scenario.workers
    return [(2.0, 0.5)[n % 10] if n % 10 < 2 else 1.0 for n in range(scenario.workers)]


def capacity(scenario):
    return sum(1 / pace for pace in paces(scenario))


class Needs:
    """The arguments of a task that needs a value."""

    def __init__(self, value):
        self.values = (value,)

    def __len__(self):
        return 0


class SimPlace(RemotePlace):
    """A link, at its client."""

    def __init__(self, width):
        super().__init__()
        self.width = self.limit = width
        self.values = {}  # when each one is there

    def spares(self, values):
        return sum(value in self.values for value in values)


class Client:
    """One process with tasks: the core of its engine."""

    def __init__(self, world, number, make_policy):
        self.world, self.number = world, number
        self.random = Random(world.scenario.seed * 7919 + number)
        self.group = Group(itertools.count(1).__next__)
        policy = make_policy(self.random) if issubclass(make_policy, IdleFirst) else make_policy()
        self.offering = Offering(self.group, policy, self, lambda: world.now)
        self.function = Function(b"", "task")
        self.places = {}
        for peer in self.random.sample(world.peers, min(world.scenario.links, len(world.peers))):
            self.link(peer)

    def link(self, peer):
        place = self.places[peer] = SimPlace(peer.width)
        place.peer = peer
        place.candidate = Candidate(place, str(peer.number), str(peer.number))
        self.group.join(place)
        self.offering.join()

    def submit(self, seconds, value=None, left=None):
        scenario = self.world.scenario
        if scenario.values:
            value = self.random.randrange(scenario.values)
        call = Call(self.function, b"" if value is None else Needs(value), self)
        call.receiver = self.world.now, seconds, scenario.chain - 1 if left is None else left
        self.group.add(call)
        self.act()

    def act(self):
        if self.group.queue.head() is not None:
            self.offering.feed(self.places.values())

    # -- the actions of its engine ------------------------------------------------------------------------------------

    def send(self, place, calls):
        for call in calls:
            start = place.peer.start, self, call.number, call.receiver[1], self.function.seconds
            needs = call.payload
            wait = self._arrival(place, *needs.values) - self.world.now if isinstance(needs, Needs) else 0.0
            if wait > 0:
                self.world.after(wait, self.world.send, "start", *start)
            else:
                self.world.send("start", *start)

    def _arrival(self, place, value):
        """When a value is at a place, to which it is sent if it was not before."""
        if value not in place.values:
            self.world.outcome.moved += 1
            place.values[value] = self.world.now + self.world.scenario.fetch
        return place.values[value]

    def after(self, seconds, piece):
        def then():
            piece()
            self.act()

        self.world.after(seconds, then)

    # -- what it hears ------------------------------------------------------------------------------------------------

    def returned(self, peer, number, seconds):
        place = self.places.get(peer)
        if place is None or number not in place.outstanding:
            return
        self.offering.observe(place, place.outstanding[number], seconds)
        call = self.offering.finish(place, number, seconds)
        since, own, left = call.receiver
        time = self.world.now - since
        self.world.outcome.times.append(time)
        self.world.outcome.by_client.setdefault(self.number, []).append(time)
        if left:
            place.values[call] = self.world.now
            self.submit(following(self.world.scenario, own), call, left - 1)
        else:
            self.act()

    def loaded(self, peer, free, refused):
        place = self.places.get(peer)
        if place is None:
            return
        if refused:
            self.offering.refuse(place, refused)
        else:
            self.offering.tell_free(place, free)
        self.act()

    def lost(self, peer):
        place = self.places.pop(peer, None)
        if place is None:
            return
        for call in self.group.leave(place, place.last_started):
            self.group.retry(call)
        self.act()

    def found(self, peer):
        if peer not in self.places and len(self.places) < self.world.scenario.links:
            self.link(peer)
            self.act()


class Peer(Door):
    """One peer: its door, its queue, its workers."""

    def __init__(self, world, number, width):
        self.world, self.number, self.width = world, number, width
        self.alive, self.life = True, 0
        self.admission = Admission(width, Offer())
        self.idle = paces(world.scenario)[number * width : (number + 1) * width]
        self.whole = list(self.idle)
        self.queue = []

    def start(self, client, number, seconds, expected):
        if not self.alive:
            return
        weight = self.admission.admit(client, expected, offer=expected is None or expected >= HORIZON)
        if weight is None:
            self.world.send("refused", client.loaded, self, 0, [number])
            self.tell_soon()
            return
        self.queue.append((client, number, seconds, weight))
        self.run()

    def run(self):
        while self.queue and self.idle:
            client, number, seconds, weight = self.queue.pop(0)
            pace = self.idle.pop(0)
            self.world.after(seconds * pace, self.end, self.life, client, number, seconds * pace, weight, pace)

    def end(self, life, client, number, seconds, weight, pace):
        if life != self.life:
            return
        self.idle.append(pace)
        self.admission.done(client, weight)
        self.world.send("return", client.returned, self, number, seconds)
        self.run()
        self.tell_free()

    def tell_room(self, client):
        self.world.send("room", client.loaded, self, self.admission.free, [])

    def die(self):
        self.alive = False
        self.life += 1
        self.admission = Admission(self.width, Offer())
        self.idle, self.queue = list(self.whole), []
        for client in self.world.clients:
            self.world.after(LATENCY, client.lost, self)
        self.world.after(10.0, self.rise)

    def rise(self):
        self.alive = True
        for client in self.world.clients:
            if client.random.random() < client.world.scenario.links / len(self.world.peers):
                self.world.after(LATENCY, client.found, self)


def ideal(scenario):
    """One queue for all tasks, of which each free worker takes the oldest: what no client could know."""
    outcome, events, order = Outcome(), [], itertools.count()
    for at, client, seconds in arrivals(scenario):
        heappush(events, (at, next(order), None, (at, client, seconds, scenario.chain - 1)))
    idle, line = paces(scenario), []
    idle.reverse()
    head = 0
    while events:
        now, _, pace, task = heappop(events)
        if pace is None:
            line.append(task)
        else:
            idle.insert(0, pace)
            outcome.times.append(now - task[0])
            outcome.by_client.setdefault(task[1], []).append(now - task[0])
            if task[3]:
                line.append((now, task[1], following(scenario, task[2]), task[3] - 1))
        while head < len(line) and idle:
            task, pace = line[head], idle.pop()
            head += 1
            heappush(events, (now + task[2] * pace, next(order), pace, task))
    return outcome
