import itertools

import pytest

from tests.core.parts import Actions, Worker, clock, make_call
from tests.core.peers import Far
from woolexec.core.balance import FAR_REST, REST, STEAL, Balance
from woolexec.core.group import Group
from woolexec.core.workforce import Workforce


class Scene:
    def __init__(self, workers, links=(), limit=None):
        self.group = Group(itertools.count(1).__next__)
        self.workforce = Workforce(workers if limit is None else limit)
        self.workers = [Worker(number) for number in range(1, workers + 1)]
        self.links = list(links)
        self.actions = Actions()
        self.time, now = clock(100.0)
        for worker in self.workers:
            self.workforce.workers[worker.id] = worker
            worker.page.since = self.time.now
        for place in [*self.workers, *self.links]:
            self.group.join(place)
        self.balance = Balance(self.group, self.workforce, self.links, self.actions, now)

    def fill(self, place, *costs):
        """Have a place run the first of these calls, and the others wait there."""
        calls = [make_call(cost) for cost in costs]
        for call in calls:
            self.group.record(place, call, call.function.seconds)
        place.page.started = calls[0].number
        return calls


def test_work_that_waits_goes_to_an_idle_worker():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, 0.01)

    assert scene.balance.choose() is scene.workers[0]


def test_work_that_is_hardly_worth_it_stays():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, STEAL / 2)

    assert scene.balance.choose() is None
    assert [seconds for seconds, _ in scene.actions.timers] == [REST]


def test_what_waits_behind_a_call_that_runs_longer_than_expected_is_taken():
    scene = Scene(2)
    scene.fill(scene.workers[0], 1e-5, 1e-5)
    scene.time.now += 2 * REST

    assert scene.balance.choose() is scene.workers[0]


def test_worker_with_the_most_waiting_work_gives_it_back():
    scene = Scene(3)
    scene.fill(scene.workers[0], 0.01, 0.01)
    scene.fill(scene.workers[1], 0.01, 0.02)

    assert scene.balance.choose() is scene.workers[1]


def test_nothing_moves_while_nobody_is_idle():
    scene = Scene(2)
    for worker in scene.workers:
        scene.fill(worker, 0.01, 0.01)

    assert scene.balance.choose() is None
    assert scene.actions.timers == []


def test_worker_that_could_still_be_started_is_as_good_as_an_idle_one():
    scene = Scene(1, limit=2)
    scene.fill(scene.workers[0], 0.01, 0.01)

    assert scene.balance.choose() is scene.workers[0]


@pytest.mark.parametrize("change", [{"recalling": 1}, {"waiting": [1]}])
def test_place_that_gives_back_already_or_waits_for_its_tasks_is_left_alone(change):
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, 0.01)
    for name, value in change.items():
        setattr(scene.workers[0], name, value)

    assert scene.balance.choose() is None


def test_balance_is_checked_once_more_later_and_not_twice_at_once():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, STEAL / 2)
    scene.balance.choose()
    scene.balance.choose()
    ((_, piece),) = scene.actions.timers
    piece()
    scene.balance.choose()

    assert len(scene.actions.timers) == 2


def test_idle_workers_are_granted_permits_where_permits_work():
    scene = Scene(3)
    scene.workers[0].remaining = 5  # such a worker counts its calls
    scene.workers[1].pinned.append(make_call())
    scene.balance.choose()
    assert scene.actions.done == []

    scene.balance.grants_permits = True
    scene.balance.choose()
    scene.balance.choose()
    assert scene.actions.done == [("grant", scene.workers[2])]


def test_worker_whose_call_waits_for_tasks_that_run_elsewhere_is_idle():
    scene = Scene(2)
    parent, *_ = scene.fill(scene.workers[0], 0.01)
    scene.group.wait(scene.workers[0], parent.number)
    scene.fill(scene.workers[1], 0.01, 0.01)
    assert scene.balance.choose() is None

    child = make_call(0.01, parent=parent.number)
    scene.group.record(scene.workers[1], child, 0.01)
    assert scene.balance.choose() is scene.workers[1]


def test_peer_whose_calls_wait_for_long_is_asked_for_them_and_not_again_at_once():
    far = Far("far", 1)
    scene = Scene(1, [far])
    scene.fill(far, 1.0, 1.0)
    far.begun.add(far.page.started)
    scene.time.now += 2 * FAR_REST

    assert scene.balance.choose() is far
    assert scene.balance.choose() is None
    scene.time.now += 2 * FAR_REST
    assert scene.balance.choose() is far


def test_peer_whose_calls_are_soon_started_is_not_asked():
    far = Far("far", 1)
    scene = Scene(1, [far])
    scene.fill(far, 0.01, 0.01)
    far.begun.add(far.page.started)
    far.sent_at = scene.time.now

    assert scene.balance.choose() is None
    assert [seconds for seconds, _ in scene.actions.timers] == [FAR_REST]
