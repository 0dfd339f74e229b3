"""How clients share the workers of a peer, in a small simulation whose clock and workers the test controls."""

from itertools import pairwise
from random import Random

import pytest

from woolexec.core.call import ASYNCIO, MAIN, THREAD, Call, Function
from woolexec.core.pinning import Pinning
from woolexec.core.place import Lane, Place
from woolexec.core.scheduler import Scheduler
from woolexec.core.seats import TURN, Seats, Share
from woolexec.core.spares import SPARE
from woolexec.resources import Line

TICK = 0.001
TAKES = 0.01
"""Seconds that a call takes."""


class Page:
    """What a worker has started."""

    def __init__(self):
        self.started = 0
        self.since = 0.0

    @property
    def runs(self):
        return self.started  # here a call is marked, and found not to be recalled, in one step

    def recall(self, number):
        return self.started

    def clear_recall(self):
        pass


class Worker(Place):
    """A worker that runs what the world tells it to run."""

    def __init__(self, number, client):
        super().__init__()
        self.id, self.client = number, client
        self.page = Page()
        self.lane_place = Lane(self, 100)
        self.lane_place.page = Page()
        self.stopping = self.is_dead = self.has_permit = False
        self.ended_for = None
        self.queue = []  # what it was sent, in order: calls and marks

    @property
    def is_busy(self):
        return bool(self.outstanding or self.pinned or self.lane_place.outstanding or self.lane_place.pinned)

    @property
    def running(self):
        """The call that its main thread runs."""
        return next((call for number, call in self.outstanding.items() if number <= self.page.started), None)


class Receiver:
    """Keeps the outcome."""

    def __init__(self, takes=TAKES):
        self.outcome, self.takes = None, takes

    def deliver(self, call, payload):
        self.outcome = payload

    def deliver_failure(self, call, payload):
        self.outcome = payload


class Client:
    """One client: its scheduler, and the actions of that."""

    def __init__(self, world):
        self.world = world
        self.share = Share(world.seats, lambda: None)
        self.scheduler = Scheduler(self, 0, clock=lambda: world.now, share=self.share)
        self.functions = {lane: Function(b"f", "f", lane) for lane in (MAIN, ASYNCIO, THREAD)}
        self.functions[MAIN].seconds = 0.001
        self.calls = []

    def submit(self, lane=MAIN):
        call = self.make(lane)
        self.calls.append(call)
        self.scheduler.add(call)
        return call

    def make(self, lane=MAIN, takes=TAKES):
        return Call(self.functions[lane], b"", Receiver(takes))

    def act(self):
        self.scheduler.feed()
        self.scheduler.balance()

    @property
    def workers(self):
        return list(self.scheduler.workers.values())

    @property
    def running(self):
        return [worker for worker in self.workers if worker.running and (worker.above or not worker.waiting)]

    @property
    def held(self):
        return self.share.held

    # -- actions --------------------------------------------------------------------------------------------------

    def send(self, place, calls):
        place.target.queue += [(place, call) for call in calls]

    def send_recall(self, place, number, waiting):
        place.target.queue.append((place, None))

    def start_worker(self, actor=None):
        worker = Worker(self.world.number(), self)
        worker.born = self.world.now
        self.scheduler.joined(worker)
        return worker

    def dismiss(self, worker):
        worker.stopping = True
        worker.ready = worker.lane_place.ready = False

    def revoke_permit(self, worker):
        pass

    def after(self, seconds, piece):
        self.world.after(seconds, piece)


class World:
    """The seats, the clients, and time."""

    def __init__(self, count):
        self.now = 100.0
        self.timers = []
        self.seats = Seats(count, lambda: self.now, self.after)
        self.clients = []
        self.numbers = 0

    def number(self):
        self.numbers += 1
        return self.numbers

    def after(self, seconds, piece):
        self.timers.append((self.now + seconds, piece))

    def client(self):
        self.clients.append(Client(self))
        return self.clients[-1]

    def round(self):
        for client in self.clients:
            client.act()
        self.check()

    def pass_time(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, piece in due:
            piece()
        self.round()

    def read(self, worker):
        """Have a worker do the next thing that it was sent: start a call, or answer a mark."""
        place, call = worker.queue[0]
        if call is None:
            worker.queue.pop(0)
            group = worker.client.scheduler.lanes if place.is_lane else worker.client.scheduler.main
            group.recalled(place, [])
        elif place.outstanding.get(call.number) is not call:
            worker.queue.pop(0)  # it was taken back
        elif place.is_lane or worker.running is None:
            worker.queue.pop(0)
            place.page.started = call.number
            place.page.since = self.now
        else:
            return
        worker.client.scheduler.heard(worker)

    def is_stuck(self, worker):
        """Whether it cannot read on because its main thread runs a call."""
        place, call = worker.queue[0]
        return call is not None and worker.running is not None and not place.is_lane

    def finish(self, worker, call=None):
        """Have a call of a worker return."""
        call = call or worker.running
        group = worker.client.scheduler.lanes if call.function.lane else worker.client.scheduler.main
        group.finish(call.place, call.number, 0.001)
        call.receiver.deliver(call, b"done")
        worker.client.scheduler.heard(worker)

    def go_on(self, worker):
        """The call of a worker that waits for its tasks goes on."""
        scheduler = worker.client.scheduler
        scheduler.main.resume(worker, worker.waiting[-1])
        scheduler.workforce.resumed(worker)
        scheduler.heard(worker)

    def end(self, worker):
        """A worker that was told to end is gone."""
        worker.is_dead = True
        scheduler = worker.client.scheduler
        scheduler.settle(scheduler.left(worker), lambda call: RuntimeError())

    def settle(self):
        """Let the workers read all that they were sent, and those end that were told to."""
        for _ in range(100):
            self.round()
            for client in self.clients:
                for worker in client.workers:
                    while worker.queue and not (
                        worker.queue[0][1] and worker.running and not worker.queue[0][0].is_lane
                    ):
                        self.read(worker)
                    if (worker.stopping or worker.is_used_up) and not worker.is_busy:
                        self.end(worker)
            if all(not worker.queue or worker.running for client in self.clients for worker in client.workers):
                break
        self.round()

    def check(self):
        running = sum(len(client.running) for client in self.clients if not client.share._is_held)
        most = max(self.seats.count, self.seats.count - self.seats.free)  # if calls have gone on without a free seat
        assert running <= most, f"{running} calls run at {self.seats.count} seats, of which {self.seats.free} are free"
        held = sum(client.held for client in self.clients)
        assert self.seats.free + held == self.seats.count


def busy(world, calls=8):
    """A client that uses all seats, and has calls left."""
    client = world.client()
    for _ in range(calls):
        client.submit()
    world.settle()
    return client


def test_client_that_is_alone_gets_all_seats():
    world = World(3)
    client = busy(world)
    assert len(client.running) == client.held == 3


def test_idle_workers_make_room_and_the_one_that_has_been_idle_longest_goes_first():
    world = World(2)
    first = busy(world, calls=2)
    kept, given = first.running
    for worker in (given, kept):
        world.finish(worker)
    given.page.since, kept.page.since = 1.0, 2.0
    second = busy(world, calls=1)
    assert len(second.running) == 1
    assert list(first.scheduler.workforce.parked) == [given]
    world.pass_time(SPARE)
    world.settle()
    assert first.workers == [kept]


def test_client_finds_its_worker_again_when_its_turn_comes():
    world = World(1)
    clients = [busy(world, calls=100) for _ in range(2)]
    workers = set()
    for _ in range(10):
        world.pass_time(TURN)
        world.settle()
        (running,) = [worker for client in clients for worker in client.running]
        workers.add(running)
        world.finish(running)
        world.settle()
    assert len(workers) == 2


def test_worker_that_starts_slowly_runs_a_call_before_its_clients_turn_ends():
    world = World(1)
    first = busy(world)
    second = world.client()
    second.submit()
    second.submit()
    world.round()
    world.pass_time(TURN)
    world.finish(first.running[0])
    world.round()
    world.round()
    (starting,) = second.workers
    for _ in range(3):  # it has not read anything yet
        world.pass_time(TURN)
    world.read(starting)
    assert second.running == [starting]
    world.finish(starting)
    world.settle()
    assert len(first.running) == 1


@pytest.mark.parametrize(("seats", "number"), [(2, 5), (4, 2)])
def test_no_more_workers_are_kept_than_there_are_seats_or_clients(seats, number):
    world = World(seats)
    clients = [busy(world, calls=50) for _ in range(number)]
    for _ in range(40):
        world.pass_time(TURN)
        world.settle()
        for client in clients:
            for worker in client.running:
                world.finish(worker)
        world.settle()
        kept = [worker for client in clients for worker in client.scheduler.workforce.parked if not worker.stopping]
        assert len(kept) <= max(seats, number)


def test_client_that_waits_gets_the_seat_of_one_that_becomes_idle():
    world = World(2)
    first, second = busy(world, calls=1), busy(world, calls=1)
    first.functions[MAIN].seconds = 1.0  # so that calls wait here, and not behind the one that runs
    for _ in range(3):
        first.submit()
    world.settle()
    assert len(first.running) == len(second.running) == 1
    world.finish(second.running[0])
    world.settle()
    assert (first.held, second.held) == (2, 0)


def test_client_that_holds_most_gives_a_seat_as_soon_as_one_of_its_calls_ends():
    world = World(2)
    first = busy(world)
    second = busy(world)
    assert second.running == []
    world.finish(first.running[0])
    world.settle()
    assert (len(first.running), len(second.running)) == (1, 1)


def test_client_whose_workers_are_not_read_gives_all_seats_and_takes_none():
    world = World(2)
    first, second = busy(world, calls=50), busy(world)
    first.share.hold()
    world.settle()
    assert (first.held, len(second.running)) == (0, 2)
    for _ in range(3):  # nor does it get one when others have nothing to do
        while second.running:
            world.finish(second.running[0])
        first.submit()
        world.settle()
    assert first.held == 0


@pytest.mark.parametrize("has_ended", [True, False])
def test_client_whose_workers_are_read_again_goes_on_with_them(has_ended):
    world = World(2)
    first = busy(world, calls=50)
    workers = first.workers
    first.share.hold()
    world.settle()
    if has_ended:
        for worker in first.running:
            world.finish(worker)
    first.share.go_on()
    for _ in range(200):
        world.settle()
        for worker in first.running:
            world.finish(worker)
    assert all(call.receiver.outcome == b"done" for call in first.calls)
    assert first.workers[0] in workers


def test_client_that_is_held_while_it_owes_or_waits_for_a_seat_is_out_of_the_line():
    world = World(1)
    first, second = busy(world, calls=20), busy(world, calls=20)
    world.pass_time(TURN)
    assert first.share.owes == 1
    first.share.hold()
    second.share.hold()
    world.settle()
    assert (world.seats.free, first.share.owes, first.held, second.held) == (1, 0, 0, 0)
    second.share.go_on()
    world.settle()
    assert second.held == 1


def test_calls_that_wait_behind_a_running_one_do_not_delay_the_seat():
    world = World(1)
    first = busy(world, calls=50)
    second = busy(world, calls=1)
    world.pass_time(TURN)
    world.finish(first.running[0])
    world.settle()
    assert first.running == []
    assert len(second.running) == 1


def test_clients_take_turns_at_a_single_seat():
    world = World(1)
    clients = [busy(world, calls=100), busy(world, calls=100), busy(world, calls=100)]
    turns = []
    for _ in range(30):
        world.pass_time(TURN)
        world.settle()
        (running,) = [worker for client in clients for worker in client.running]
        turns.append(clients.index(running.client))
        world.finish(running)
        world.settle()
    assert all(turns.count(n) >= 8 for n in range(3)), turns


def test_seat_is_not_taken_before_a_turn_is_over():
    world = World(1)
    first = busy(world)
    first.share.since = world.now
    second = world.client()
    second.share.needs = TURN  # it has used whole turns
    for _ in range(8):
        second.submit()
    world.settle()
    world.finish(first.running[0])
    world.settle()
    assert len(first.running) == 1
    world.pass_time(TURN)
    world.finish(first.running[0])
    world.settle()
    assert len(second.running) == 1


def test_worker_keeps_its_coroutines_when_it_gives_its_seat():
    world = World(1)
    first = world.client()
    coroutine = first.submit(ASYNCIO)
    world.settle()
    (worker,) = first.workers
    second = busy(world, calls=1)
    assert len(second.running) == 1
    assert first.workers == [worker]
    world.finish(worker, coroutine)
    world.settle()
    world.pass_time(SPARE)
    world.settle()
    assert first.workers == []


def test_coroutine_of_a_client_without_a_seat_runs_at_once():
    world = World(1)
    busy(world)
    second = world.client()
    call = second.submit(ASYNCIO)
    world.settle()
    (worker,) = second.workers
    assert list(worker.lane_place.outstanding.values()) == [call]
    assert second.held == 0


def test_coroutines_spread_over_seats_that_nobody_uses():
    world = World(3)
    first = busy(world, calls=1)
    second = world.client()
    for _ in range(10):
        second.submit(ASYNCIO)
    world.settle()
    assert (first.held, second.held) == (1, 2)


def test_call_that_is_pinned_to_a_worker_without_a_seat_gets_one_in_turn():
    world = World(1)
    first = busy(world)
    second = world.client()
    worker = second.start_worker()
    call = Call(second.functions[MAIN], b"", Receiver())
    second.scheduler.main.pin(worker, call)
    world.settle()
    assert second.running == []
    world.pass_time(TURN)
    world.finish(first.running[0])
    world.settle()
    assert worker.running is call


def test_pinned_calls_do_not_keep_a_seat():
    world = World(1)
    first = world.client()
    worker = first.start_worker()
    for _ in range(10):
        first.scheduler.main.pin(worker, Call(first.functions[MAIN], b"", Receiver()))
    world.settle()
    second = busy(world, calls=1)
    world.pass_time(TURN)
    world.finish(worker)
    world.settle()
    assert len(second.running) == 1


def test_waiting_call_lends_its_seat():
    world = World(1)
    first = busy(world, calls=1)
    (parent,) = first.running
    first.scheduler.waits(parent, parent.running.number, 1)
    second = busy(world, calls=1)
    world.pass_time(TURN)
    world.settle()
    assert len(second.running) == 1


def going_on(count):
    """A client whose call went on although its seat had been lent, and the client that has it."""
    world = World(count)
    first, second = world.client(), world.client()
    for client in (first, second):
        client.functions[MAIN].seconds = 1.0  # one call for each worker
    for _ in range(count):
        first.submit()
        world.settle()
    for parent in first.running:
        first.scheduler.waits(parent, parent.running.number, 1)
    for _ in range(2 * count):
        second.submit()
    for _ in range(count):
        world.settle()
        world.pass_time(TURN)
    assert len(second.running) == count
    for parent in first.workers:
        world.go_on(parent)
    world.settle()
    return world, first, second


@pytest.mark.parametrize("count", [1, 3])
def test_call_that_goes_on_gets_its_seat_back_when_a_call_of_another_client_ends(count):
    world, first, second = going_on(count)
    assert len(first.running) == len(second.running) == count
    for worker in second.running:
        world.finish(worker)
    world.settle()
    assert len(first.running) == count
    assert second.running == []
    assert world.seats.free == 0


def test_client_whose_call_has_gone_on_has_a_turn_of_its_own():
    world, first, second = going_on(1)
    world.finish(second.running[0])
    world.settle()
    world.pass_time(TURN)
    world.finish(first.running[0])
    world.settle()
    assert len(second.running) == 1
    assert world.seats.free == 0


def test_call_that_goes_on_while_a_seat_is_free_takes_that():
    world = World(1)
    first = busy(world, calls=1)
    (parent,) = first.running
    first.scheduler.waits(parent, parent.running.number, 1)
    second = busy(world, calls=1)
    world.finish(second.running[0])
    world.end(second.workers[0])
    second.share.close()
    world.settle()
    world.go_on(parent)
    world.settle()
    assert (first.held, world.seats.free) == (1, 0)


def test_seats_of_a_client_that_has_left_come_back_with_its_workers():
    world = World(2)
    first = busy(world)
    second = busy(world)
    for call in first.calls:
        first.scheduler.main.queue.cancel(call)
    first.share.close()
    assert world.seats.free == 0
    for worker in first.workers:
        world.end(worker)
    world.settle()
    assert len(second.running) == 2


@pytest.mark.parametrize("seed", range(15))
def test_nothing_is_lost_and_nobody_waits_for_ever(seed):
    random = Random(seed)
    world = World(random.randint(1, 4))
    clients = [world.client() for _ in range(random.randint(2, 4))]
    for _ in range(700):
        action = random.random()
        client = random.choice(clients)
        if action < 0.2:
            client.submit(ASYNCIO if random.random() < 0.2 else MAIN)
        elif action < 0.3:
            world.pass_time(random.choice([0.001, TURN]))
        elif action < 0.33 and client.workers:
            worker = random.choice(client.workers)
            if not worker.waiting:
                world.end(worker)
        else:
            for worker in client.workers:
                if worker.waiting:
                    if random.random() < 0.3:
                        world.go_on(worker)
                elif worker.running and random.random() < 0.1:
                    client.scheduler.waits(worker, worker.running.number, 1)
                elif worker.queue and random.random() < 0.6:
                    world.read(worker)
                elif worker.running and random.random() < 0.5:
                    world.finish(worker)
                elif worker.lane_place.outstanding and random.random() < 0.2:
                    world.finish(worker, next(iter(worker.lane_place.outstanding.values())))
                elif worker.stopping and not worker.is_busy:
                    world.end(worker)
        world.round()
    for _ in range(2000):
        if all(call.receiver.outcome is not None for client in clients for call in client.calls):
            break
        world.pass_time(TURN / 2)
        world.settle()
        for client in clients:
            for worker in client.workers:
                if worker.waiting:
                    world.go_on(worker)
                if worker.running:
                    world.finish(worker)
                for call in [*worker.lane_place.outstanding.values()]:
                    world.finish(worker, call)
    assert all(call.receiver.outcome is not None for client in clients for call in client.calls)
    world.settle()
    spares = max(world.seats.count, len(clients))
    assert sum(len(client.workers) for client in clients) <= world.seats.count + spares + len(clients)
    for _ in range(3):
        world.pass_time(SPARE)
        world.settle()
    assert sum(len(client.workers) for client in clients) <= world.seats.count + len(clients)
    assert world.seats.free >= 0


# -- what a neighbour costs (S23) -------------------------------------------------------------------------------------


class Flood:
    """A client that always has very much to do."""

    def __init__(self, client):
        self.client = client
        self.pinned = []

    def short_calls_with_priority(self, takes=TICK):
        line = Line(1000, client=self.client)
        while len(self.client.scheduler.main.queue) < 300:
            call = self.client.make(takes=takes)
            call.line = line
            self.client.scheduler.add(call)

    def long_calls(self):
        self.short_calls_with_priority(TAKES)

    def coroutines(self):
        while len(self.client.scheduler.lanes.queue) < 300:
            self.client.submit(ASYNCIO)

    def streams(self):
        while len(self.client.scheduler.lanes.queue) < 300:
            self.client.submit(THREAD)

    def pinned_calls(self):
        self.pinned = [call for call in self.pinned if call.receiver.outcome is None]
        if not self.pinned:
            pinning = Pinning(self.client.scheduler, self.client)
            self.pinned = [call for _, call in pinning.run_on_all(self.client.make)]


def percentile(world, neighbour, flood=None, calls=100):
    """Return the 99th percentile of the seconds that calls of a client take that it submits one after the other."""
    found, submitted, pause = [], world.now, 0
    call = neighbour.submit()
    while len(found) < calls:
        if flood is not None:
            flood()
        world.pass_time(TICK)
        world.settle()
        for worker in [worker for client in world.clients for worker in client.running]:
            if world.now >= worker.page.since + worker.running.receiver.takes - TICK / 2:
                world.finish(worker)
        if call is not None and call.receiver.outcome is not None:
            found.append(world.now - submitted)
            call, pause = None, 5
        elif call is None:
            pause -= 1
            if not pause:
                call, submitted = neighbour.submit(), world.now
    return sorted(found)[calls * 99 // 100 - 1]


def test_clients_that_always_have_calls_take_whole_turns():
    world = World(1)
    floods = [Flood(world.client()) for _ in range(2)]
    turns = []
    for _ in range(500):
        for flood in floods:
            flood.short_calls_with_priority()
        world.pass_time(TICK)
        world.settle()
        for worker in [worker for client in world.clients for worker in client.running]:
            turns.append(worker.client)
            world.finish(worker)
    changes = sum(before is not after for before, after in pairwise(turns))
    assert 5 <= changes <= 12, changes  # ten turns of 50 ms, and not one for each call


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["short_calls_with_priority", "long_calls", "pinned_calls", "coroutines", "streams"])
@pytest.mark.parametrize("seats", [1, 2, 4])
def test_flood_of_one_client_at_most_doubles_what_calls_of_another_take(kind, seats):
    alone = World(seats)
    usual = percentile(alone, alone.client())
    world = World(seats)
    flood = Flood(world.client())
    assert percentile(world, world.client(), getattr(flood, kind)) <= 2 * usual + TICK
