"""Devices, the workers that have them, and calls that wait for them, in seeded histories."""

import random

import pytest

from tests.core.parts import Actions, clock, make_call
from woolexec.core.call import ASYNCIO, MAIN
from woolexec.core.devices import SETTLED, Devices, Promise, amount_of, without_devices
from woolexec.core.scheduler import Scheduler
from woolexec.options import TaskOptions
from woolexec.resources import Requirement


def gpus(amount, **others):
    return Requirement({"gpu": amount, **others})


class Scene:
    """A scheduler with devices, whose workers the test ends."""

    def __init__(self, limit, resources, devices):
        self.actions = Actions(10_000)
        self.time, now = clock()
        offer = Devices(resources, [f"d{number}" for number in range(devices)])
        self.scheduler = self.actions.scheduler = Scheduler(self.actions, limit, offer=offer, clock=now)
        self.offer = offer

    def submit(self, lane=MAIN, **require):
        call = make_call(lane=lane, options=TaskOptions(require=require) if require else None)
        self.scheduler.add(call)
        return call

    @property
    def workers(self):
        return list(self.scheduler.workers.values())

    def feed(self):
        """Feed until nothing changes; workers begin their first calls, and end at once if they are to leave."""
        for _ in range(20):
            self.scheduler.feed()
            for worker in self.workers:
                worker.page.started = next(iter(worker.outstanding), 0)
                if worker.is_used_up and not worker.is_busy:
                    worker.stopping = True
            leaving = [worker for worker in self.workers if worker.stopping]
            for worker in leaving:
                assert not worker.is_busy
                self.scheduler.left(worker)
            if not leaving:
                return

    def finish(self, call):
        place = call.place
        self.scheduler.group_of(call).finish(place, call.number, 1.0)


# -- the devices -------------------------------------------------------------------------------------------------------


def test_devices_are_bound_and_released():
    devices = Devices({"gpu": 2}, ["a", "b"])
    first = devices.bind(1)
    assert first.names == ("a",)
    assert devices.bind(2) is None
    assert devices.bind(1).names == ("b",)
    assert devices.bind(1) is None
    devices.release(first)
    assert devices.bind(1).names == ("a",)


def test_parts_of_a_device_share_it_before_another_one_is_begun():
    devices = Devices({"gpu": 2}, ["a", "b"])
    assert [devices.bind(0.5).names for _ in range(4)] == [("a",), ("a",), ("b",), ("b",)]
    assert devices.bind(0.1) is None


def test_more_than_one_device_is_a_whole_number_of_them():
    assert Devices({"gpu": 4}, "abcd").bind(1.5).names == ("a", "b")


def test_worker_with_devices_runs_calls_that_require_as_many_one_at_a_time():
    devices = Devices({"gpu": 2}, ["a", "b"])
    bound = devices.bind(1)
    assert not bound.has(None)
    assert not bound.has(gpus(2))
    assert not bound.has(gpus(0.5))
    assert bound.has(gpus(1))
    bound.take(gpus(1))
    assert not bound.has(gpus(1))
    bound.give(gpus(1))
    assert bound.has(gpus(1))


def test_other_resources_are_shared_by_all_workers():
    devices = Devices({"gpu": 1, "db": 1}, ["a"])
    bound = devices.bind(1)
    assert bound.has(gpus(1, db=1))
    devices.without.take(Requirement({"db": 1}))
    assert not bound.has(gpus(1, db=1))
    assert bound.has(gpus(1))
    assert not devices.without.has(Requirement({"db": 1}))
    devices.without.give(Requirement({"db": 1}))
    bound.take(gpus(1, db=1))
    assert not devices.without.has(Requirement({"db": 1}))
    bound.give(gpus(1, db=1))
    assert devices.without.has(Requirement({"db": 1}))


def test_rest_of_a_requirement_has_no_devices():
    assert without_devices(gpus(1, zone="b", db=2)) == Requirement({"zone": "b", "db": 2})
    assert without_devices(None) is None
    assert amount_of(gpus(0.25)) == 0.25
    assert amount_of(Requirement({"db": 1})) == amount_of(None) == 0


# -- the scheduler -----------------------------------------------------------------------------------------------------


def test_calls_wait_for_a_free_device_and_plain_ones_go_past_them():
    scene = Scene(4, {"gpu": 1}, 1)
    first, second, plain = scene.submit(gpu=1), scene.submit(gpu=1), scene.submit()
    scene.feed()
    assert first.place.devices.names == ("d0",)
    assert second.place is None
    assert plain.place is not None
    assert plain.place.devices is None
    worker = first.place
    scene.finish(first)
    scene.feed()
    assert second.place is worker


def test_worker_with_a_device_gets_no_permit_and_no_plain_call():
    scene = Scene(1, {"gpu": 1}, 1)
    scene.scheduler.balancing.grants_permits = True
    first = scene.submit(gpu=1)
    scene.feed()
    worker = first.place
    scene.finish(first)
    scene.scheduler.balance()
    assert not worker.has_permit
    plain = scene.submit()
    scene.feed()
    assert plain.place is not worker  # that one made way, because there may be one worker


def test_idle_workers_make_way_for_another_kind_of_call():
    scene = Scene(2, {"gpu": 2}, 2)
    for calls in ([{"gpu": 1}] * 2, [{"gpu": 2}], [{}], [{"gpu": 0.5}] * 2, [{}], [{"gpu": 1}] * 2):
        submitted = [scene.submit(**require) for require in calls]
        scene.feed()
        assert all(call.place is not None for call in submitted), calls
        for call in submitted:
            scene.finish(call)


@pytest.mark.parametrize(("there", "wanted"), [({}, {"gpu": 1}), ({"gpu": 1}, {}), ({"gpu": 0.5}, {"gpu": 1})])
def test_busy_worker_makes_way_after_its_call_and_not_after_all_that_wait(there, wanted):
    scene = Scene(1, {"gpu": 1}, 1)
    first, *others = (scene.submit(**there) for _ in range(3))
    scene.feed()
    scene.time.now = SETTLED
    waiting = scene.submit(**wanted)
    scene.feed()
    assert waiting.place is None
    scene.finish(first)
    scene.feed()
    assert waiting.place is not first.place
    assert waiting.place.devices is None or waiting.place.devices.amount == wanted["gpu"]
    assert [call.place for call in others] == [None, None]  # though they have waited for longer


def test_calls_that_a_worker_has_not_started_wait_elsewhere_when_it_makes_way():
    scene = Scene(1, {"gpu": 1}, 1)
    calls = [scene.submit() for _ in range(3)]
    for call in calls:
        call.function.seconds = 1e-5
    scene.feed()
    worker = calls[0].place
    assert [call.place for call in calls] == [worker] * 3
    scene.time.now = SETTLED
    scene.submit(gpu=1)
    scene.feed()
    assert worker.recalling
    scene.scheduler.main.recalled(worker, [call.number for call in calls[1:]])
    assert [call.place for call in calls] == [worker, None, None]
    scene.feed()
    assert calls[1].place is None


def test_worker_that_has_just_been_started_makes_way_when_it_has_served_for_a_while():
    scene = Scene(1, {"gpu": 1}, 1)
    scene.time.now = 5.0
    plain = [scene.submit() for _ in range(3)]
    scene.feed()
    on_device = scene.submit(gpu=1)
    scene.feed()
    scene.finish(plain[0])
    scene.feed()
    assert plain[1].place is not None
    assert on_device.place is None
    seconds, look = next(timer for timer in scene.actions.timers if timer[0] == SETTLED)
    scene.time.now += seconds
    look()
    scene.feed()
    scene.finish(plain[1])
    scene.feed()
    assert on_device.place is not None


def test_one_worker_makes_way_for_one_kind_of_call_and_the_others_go_on():
    scene = Scene(3, {"gpu": 2}, 2)
    plain = [scene.submit() for _ in range(20)]
    scene.feed()
    scene.time.now = SETTLED
    on_device = [scene.submit(gpu=1) for _ in range(4)]
    for _ in range(8):
        scene.feed()
        running = [call for call in plain + on_device if call.place is not None]
        assert sum(worker.is_used_up for worker in scene.workers) <= 1
        assert sum(worker.devices is not None for worker in scene.workers) <= 1
        for call in running:
            scene.finish(call)
    assert all(call.attempts for call in on_device)


def test_place_that_was_made_for_a_call_goes_to_others_if_it_is_cancelled():
    scene = Scene(1, {"gpu": 1}, 1)
    first, second = scene.submit(), scene.submit()
    scene.feed()
    scene.time.now = SETTLED
    on_device = scene.submit(gpu=1)
    scene.feed()
    assert scene.workers[0].is_used_up
    scene.scheduler.main.queue.claim(on_device)
    scene.finish(first)
    scene.feed()
    assert second.place is not None


def test_worker_whose_call_waits_for_its_own_tasks_or_that_runs_coroutines_does_not_make_way():
    scene = Scene(2, {"gpu": 1}, 1)
    waiting, coroutine = scene.submit(), scene.submit(ASYNCIO)
    scene.feed()
    waiting.place.waiting.append(waiting.number)
    scene.time.now = SETTLED
    scene.submit(gpu=1)
    scene.feed()
    assert coroutine.place is not None
    assert not any(worker.is_used_up for worker in scene.workers)


def test_coroutines_have_devices_of_their_own_too():
    scene = Scene(3, {"gpu": 2}, 2)
    calls = [scene.submit(ASYNCIO, gpu=1) for _ in range(3)]
    plain = scene.submit(ASYNCIO)
    scene.feed()
    assert {call.place.target.devices.names for call in calls[:2]} == {("d0",), ("d1",)}
    assert calls[2].place is None
    assert plain.place.target.devices is None
    scene.finish(calls[0])
    scene.feed()
    assert calls[2].place.target.devices.names == ("d0",)


@pytest.mark.parametrize("parent", [{}, {"gpu": 1}])
def test_task_of_a_task_that_waits_for_it_has_a_worker_with_a_device_whatever_the_limit(parent):
    scene = Scene(1, {"gpu": 2}, 2)
    parent = scene.submit(**parent)
    scene.feed()
    scene.scheduler.waits(parent.place, parent.number, 1)
    child = make_call(options=TaskOptions(require={"gpu": 1}), parent=parent.number)
    scene.scheduler.add(child)
    scene.feed()
    assert child.place is None  # the worker has not answered yet: it may have started another call
    scene.scheduler.main.recalled(parent.place, [])
    scene.feed()
    scene.feed()
    assert child.place is not None
    assert child.place is not parent.place


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(60))
def test_no_history_gives_a_device_twice_or_leaves_a_call_behind(seed):
    chance = random.Random(seed)
    count, limit, most = chance.randrange(1, 4), chance.randrange(1, 5), chance.randrange(1, 4)
    scene = Scene(limit, {"gpu": count, "db": most}, count)
    waiting, running, done = [], [], 0
    kinds = [{}, {"db": 1}, {"gpu": 0.5}, {"gpu": 0.25}, {"gpu": 1}, {"gpu": 1, "db": 1}, {"gpu": count}]
    total = 120
    submitted = 0
    for _ in range(5000):
        scene.time.now += chance.choice([0.0, SETTLED / 2])
        if submitted < total and chance.random() < 0.4:
            require = chance.choice(kinds)
            waiting.append((scene.submit(chance.choice([MAIN, MAIN, ASYNCIO]), **require), require))
            submitted += 1
        elif running and chance.random() < 0.7:
            call, _ = running.pop(chance.randrange(len(running)))
            scene.finish(call)
            done += 1
        elif chance.random() < 0.02 and (busy := [worker for worker in scene.workers if worker.is_busy]):
            worker = chance.choice(busy)
            lost = scene.scheduler.left(worker)  # it has died; nothing that it was sent had been started, or all
            for call in lost:
                call.move("fail")
                done += 1
            running = [each for each in running if each[0] not in lost]
        scene.feed()
        for each in list(waiting):
            if each[0].place is not None:
                waiting.remove(each)
                running.append(each)
        again = [each for each in running if each[0].place is None]
        running = [each for each in running if each[0].place is not None]
        waiting += again
        held = {}
        for call, require in running:
            worker = call.place.target
            if amount := require.get("gpu"):
                assert worker.devices.amount == amount, seed
                for name in worker.devices.names:
                    held[name] = held.get(name, 0) + min(1, amount)
            else:
                assert worker.devices is None, seed
        assert all(share <= 1 for share in held.values()), (seed, held)
        assert sum(require.get("db", 0) for _, require in running) <= most, seed
        assert len(scene.workers) <= limit, seed
        if submitted == total and not waiting and not running:
            break
    assert not waiting, (seed, [require for _, require in waiting], scene.workers)
    assert not running, seed


def test_place_that_is_reserved_here_is_for_no_call_whose_value_is_at_a_peer():
    scene = Scene(1, {"gpu": 1}, 1)
    promise = Promise(scene.offer, gpus(1), is_own=False)
    call = make_call(options=TaskOptions(require={"gpu": 1}))
    assert promise.has(call.line.requirement)
    call.line = call.line._replace(away=True)
    scene.scheduler.main.add(call)
    assert scene.scheduler.main.queue.head(promise) is None
