"""How the clients of a peer share its devices, in the world of `tests.core.test_seats`."""

import random

import pytest

from tests.core.test_seats import Client, World
from woolexec.core.admission import Admission
from woolexec.core.call import MAIN, Call
from woolexec.core.peer_devices import Admitted, PeerDevices
from woolexec.core.scheduler import Scheduler
from woolexec.resources import Line, Requirement


class DeviceClient(Client):
    """A client whose calls are admitted before they come, as by a session."""

    def __init__(self, world):
        super().__init__(world)
        world.seats.leave(self.share)
        self.share = type(self.share)(world.seats, lambda: None)
        self.offer = world.peer.for_engine(lambda: None)
        self.scheduler = Scheduler(self, 0, offer=self.offer, clock=lambda: world.now, share=self.share)

    def start_worker(self, actor=None, devices=None):
        worker = super().start_worker()
        worker.devices = devices
        worker.offer = worker.lane_place.offer = self.offer.of(worker)
        return worker

    def ask(self, lane=MAIN, **require):
        """Submit a call if it is admitted."""
        requirement = Requirement(require) if require else None
        weight = self.world.admission.admit(self, 1.0, requirement, offer=True, is_lane=lane != MAIN)
        if weight is None:
            return None
        call = Call(self.functions[lane], b"", self.receiver())
        call.receiver.weight, call.receiver.requirement = weight, requirement
        needs = self.world.peer.after_admission(requirement)
        call.line = None if needs is None else Line(0, needs, client=self)
        self.calls.append(call)
        self.scheduler.add(call)
        return call

    def nested(self, **require):
        """Submit a task of a task, which nobody admits."""
        call = Call(self.functions[MAIN], b"", self.receiver())
        call.receiver.weight, call.line = None, Line(0, Requirement(require))
        self.calls.append(call)
        self.scheduler.add(call)
        return call

    def receiver(self):
        return self.make().receiver


class DeviceWorld(World):
    """Seats, devices, and clients."""

    def __init__(self, seats, resources, tags=()):
        super().__init__(seats)
        self.peer = PeerDevices(tags, resources, [f"d{number}" for number in range(int(resources["gpu"]))])
        self.admission = Admission(seats, self.peer)

    def client(self):
        self.clients.append(DeviceClient(self))
        return self.clients[-1]

    def finish(self, worker, call=None):
        call = call or worker.running
        super().finish(worker, call)
        if call.receiver.weight is not None:
            self.admission.done(worker.client, call.receiver.weight, call.receiver.requirement)

    def settle(self):
        for _ in range(3):  # a worker that ends makes room for another, which is to read as well
            super().settle()

    def running(self):
        return [(worker, worker.running) for client in self.clients for worker in client.workers if worker.running]

    def check(self):
        super().check()
        left = dict.fromkeys(self.peer.left_of, 1.0)
        for client in self.clients:
            for worker in client.workers:
                for name in worker.devices.names if worker.devices else ():
                    left[name] -= min(1.0, worker.devices.amount)
        assert left == pytest.approx(self.peer.left_of)
        assert all(share > -1e-6 for share in left.values())


def names(call):
    return call.place.target.devices.names


def test_admitted_call_runs_in_a_worker_that_has_the_device():
    world = DeviceWorld(2, {"gpu": 2, "db": 1}, ["zone=a"])
    client = world.client()
    calls = [client.ask(gpu=1, zone="a"), client.ask(gpu=1, db=1)]
    world.settle()
    assert sorted(map(names, calls)) == [("d0",), ("d1",)]
    assert client.ask(gpu=1) is None
    plain = world.client().ask()
    assert plain is None or plain.place is None


def test_device_goes_from_the_idle_worker_of_one_client_to_another_client():
    world = DeviceWorld(2, {"gpu": 1})
    one, other = world.client(), world.client()
    for client in (one, other, one, other):
        call = client.ask(gpu=1)
        world.settle()
        assert names(call) == ("d0",)
        world.finish(call.place.target)
        world.settle()
        assert call.receiver.outcome == b"done"


def test_worker_keeps_its_device_while_no_other_client_needs_it():
    world = DeviceWorld(2, {"gpu": 1})
    client = world.client()
    workers = set()
    for _ in range(3):
        call = client.ask(gpu=1)
        world.settle()
        workers.add(call.place.target)
        world.finish(call.place.target)
        world.settle()
    assert len(workers) == 1


def test_worker_with_a_device_that_has_lost_its_seat_gets_one_again():
    world = DeviceWorld(1, {"gpu": 1})
    one, other = world.client(), world.client()
    for client, require in ((one, {"gpu": 1}), (other, {}), (one, {"gpu": 1}), (one, {}), (one, {"gpu": 1})):
        call = client.ask(**require)
        world.settle()
        assert call.place is not None, require
        world.finish(call.place.target)
        world.settle()


def test_worker_with_a_device_gives_its_seat_to_plain_calls_and_gets_it_back():
    world = DeviceWorld(2, {"gpu": 1})
    client = world.client()
    call = client.ask(gpu=1)
    world.settle()
    worker = call.place.target
    world.finish(worker)
    plain = [client.ask(), client.ask()]
    world.settle()
    assert all(each.place.target.running for each in plain)
    assert list(client.scheduler.workforce.parked) == [worker]
    for each in plain:
        world.finish(each.place.target)
    again = client.ask(gpu=1)
    world.settle()
    assert again.place.target is worker


def test_task_of_a_task_takes_what_it_requires_when_it_is_sent():
    world = DeviceWorld(2, {"gpu": 1, "db": 1})
    client = world.client()
    call = client.nested(gpu=1, db=1)
    world.settle()
    assert names(call) == ("d0",)
    assert client.ask(db=1) is None
    assert world.client().ask(gpu=1) is None
    world.finish(call.place.target)
    assert client.ask(db=1) is not None


def test_devices_of_an_admitted_call_equal_what_tasks_require():
    peer = PeerDevices((), {"gpu": 2, "db": 1}, ["a", "b"])
    needs = peer.after_admission(Requirement({"gpu": 1, "db": 1}))
    assert isinstance(needs, Admitted)
    assert needs == Requirement({"gpu": 1})
    assert peer.after_admission(Requirement({"db": 1})) is peer.after_admission(None) is None


def test_client_that_has_left_is_forgotten():
    peer = PeerDevices((), {"gpu": 1}, ["a"])
    woken = []
    engine = peer.for_engine(lambda: woken.append(1))
    peer.leave(engine)
    peer.freed()
    assert woken == []


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(60))
def test_no_history_gives_a_device_twice_or_leaves_a_call_behind(seed):
    chance = random.Random(seed)
    seats, count = chance.randrange(1, 4), chance.randrange(1, 4)
    world = DeviceWorld(seats, {"gpu": count, "db": 2})
    clients = [world.client() for _ in range(chance.randrange(1, 4))]
    kinds = [{}, {"db": 1}, {"gpu": 0.5}, {"gpu": 1}, {"gpu": 1, "db": 1}, {"gpu": count}]
    asked = 0
    for _ in range(300):
        if chance.random() < 0.5:
            client = chance.choice(clients)
            require = chance.choice(kinds)
            asked += client.ask(**require) is not None
        elif busy := world.running():
            worker, call = chance.choice(busy)
            wanted = call.line and call.line.requirement
            assert (worker.devices.amount if worker.devices else 0) == (dict(wanted.resources)["gpu"] if wanted else 0)
            world.finish(worker)
        world.pass_time(chance.choice([0.0, 0.01, 0.1]))
        world.settle()
    for _ in range(200):
        if not (busy := world.running()):
            break
        world.finish(busy[0][0])
        for _ in range(3):
            world.pass_time(0.1)
            world.settle()
    left = [call for client in clients for call in client.calls if call.receiver.outcome is None]
    assert asked > 20
    assert not left, (seed, [call.line for call in left])
