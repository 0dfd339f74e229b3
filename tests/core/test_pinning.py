from tests.core.parts import Actions, make_call
from tests.core.peers import Far
from woolexec.core.call import ASYNCIO
from woolexec.core.pinning import Pinning
from woolexec.core.remote_place import RemoteLane
from woolexec.core.scheduler import Scheduler


def scene(limit, startable=None):
    actions = Actions(limit if startable is None else startable)
    actions.scheduler = Scheduler(actions, limit)
    return actions, actions.scheduler, Pinning(actions.scheduler, actions)


def test_each_worker_gets_a_call_of_its_own_and_missing_workers_are_started():
    actions, scheduler, pinning = scene(3)
    made = pinning.run_on_all(make_call)

    assert [worker for worker, _ in made] == list(scheduler.workers.values())
    assert actions.sent() == {worker: [call.number] for worker, call in made}


def test_each_worker_of_a_peer_gets_one_whatever_is_outstanding_there():
    actions, scheduler, pinning = scene(0)
    link = Far("far", 2)
    link.lane_place = RemoteLane(link, 10)
    scheduler.linked(link)
    link.load = 100.0
    made = pinning.run_on_all(make_call)

    assert [(target, call.pin) for target, call in made] == [(link, 1), (link, 2)]
    assert actions.sent() == {link: [call.number for _, call in made]}


def test_workers_that_end_are_left_out():
    _, scheduler, pinning = scene(2)
    pinning.run_on_all(make_call)
    first, second = scheduler.workers.values()
    first.stopping = True

    assert [worker for worker, _ in pinning.run_on_all(make_call)] == [second]


def test_workers_are_counted_round():
    _, scheduler, pinning = scene(2)
    calls = [make_call(lane=ASYNCIO) for _ in range(3)]
    for number, call in enumerate(calls, 1):
        pinning.run_on(number, call)
    first, second = scheduler.workers.values()

    assert [call.place for call in calls] == [first.lane_place, second.lane_place, first.lane_place]


def test_call_waits_where_no_worker_can_be_started():
    _, scheduler, pinning = scene(1, startable=0)
    call = make_call()
    pinning.run_on(1, call)

    assert scheduler.main.queue.head() is call
