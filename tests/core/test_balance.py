import itertools

import pytest

from tests.core.parts import Actions, Worker, clock, make_call
from tests.core.peers import Far
from woolexec.core.balance import FAR_FACTOR, FAR_RATE, FAR_REST, FAR_STEAL, FAR_TIMES, REST, STEAL, STUCK, Balance
from woolexec.core.group import Group
from woolexec.core.workforce import Workforce
from woolexec.options import TaskOptions


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

    def choose(self):
        """Return the place that should give back calls."""
        chosen = self.balance.choose()
        return None if chosen is None else chosen[0]

    def fill(self, place, *costs, **options):
        """Have a place run the first of these calls, and the others wait there."""
        calls = [make_call(cost, options=TaskOptions(**options) if options else None) for cost in costs]
        for call in calls:
            self.group.record(place, call, call.function.seconds)
        place.page.started = calls[0].number
        return calls

    def run_far(self, link, *calls):
        """Have a peer report that it has started these calls."""
        for call in calls:
            link.began(call.number, self.time.now)

    def moved(self):
        """Return the number of the first call that is to be given back."""
        chosen = self.balance.choose()
        return None if chosen is None else chosen[1]


def test_work_that_waits_goes_to_an_idle_worker():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, 0.01)

    assert scene.choose() is scene.workers[0]


def test_work_that_is_hardly_worth_it_stays():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, STEAL / 2)

    assert scene.choose() is None
    assert [seconds for seconds, _ in scene.actions.timers] == [REST]


def test_what_waits_behind_a_call_that_runs_longer_than_expected_is_taken():
    scene = Scene(2)
    scene.fill(scene.workers[0], 1e-5, 1e-5)
    scene.time.now += 2 * REST

    assert scene.choose() is scene.workers[0]


def test_worker_with_the_most_waiting_work_gives_it_back():
    scene = Scene(3)
    scene.fill(scene.workers[0], 0.01, 0.01)
    scene.fill(scene.workers[1], 0.01, 0.02)

    assert scene.choose() is scene.workers[1]


def test_nothing_moves_while_nobody_is_idle():
    scene = Scene(2)
    for worker in scene.workers:
        scene.fill(worker, 0.01, 0.01)

    assert scene.choose() is None


def test_what_waits_behind_a_call_that_runs_much_longer_than_expected_goes_to_who_is_free_next():
    scene = Scene(2)
    for worker in scene.workers:
        scene.fill(worker, 0.001, 0.001)
    assert scene.choose() is None
    ((seconds, _),) = scene.actions.timers
    assert seconds == STUCK / 2
    scene.workers[0].page.since = scene.time.now  # that one has just started its call
    scene.time.now += STUCK + 0.001
    scene.workers[0].page.since = scene.time.now
    assert scene.choose() is scene.workers[1]
    scene.time.now += STUCK + 0.001
    scene.workers[0].page.since = scene.time.now
    scene.workers[1].recalling = 1
    assert scene.choose() is None


def test_call_that_was_expected_to_be_long_is_given_its_time_before_others_are_moved():
    scene = Scene(1)
    scene.fill(scene.workers[0], 1.0, 1.0)
    for passed, expected in ((1.9, None), (0.2, scene.workers[0])):
        scene.time.now += passed
        assert scene.choose() is expected


def test_worker_that_could_still_be_started_is_as_good_as_an_idle_one():
    scene = Scene(1, limit=2)
    scene.fill(scene.workers[0], 0.01, 0.01)

    assert scene.choose() is scene.workers[0]


@pytest.mark.parametrize("change", [{"recalling": 1}, {"waiting": [1]}])
def test_place_that_gives_back_already_or_waits_for_its_tasks_is_left_alone(change):
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, 0.01)
    for name, value in change.items():
        setattr(scene.workers[0], name, value)

    assert scene.choose() is None


def test_balance_is_checked_once_more_later_and_not_twice_at_once():
    scene = Scene(2)
    scene.fill(scene.workers[0], 0.01, STEAL / 2)
    scene.choose()
    scene.choose()
    ((_, piece),) = scene.actions.timers
    piece()
    scene.choose()

    assert len(scene.actions.timers) == 2


def test_balance_is_checked_sooner_once_a_worker_is_idle():
    scene = Scene(2)
    for worker in scene.workers:
        scene.fill(worker, 0.001, STEAL / 2)
    scene.choose()
    for call in list(scene.workers[0].outstanding):
        scene.group.finish(scene.workers[0], call, 0.001)
    scene.choose()
    assert [seconds for seconds, _ in scene.actions.timers] == [STUCK / 2, REST]


def test_idle_workers_are_granted_permits_where_permits_work():
    scene = Scene(3)
    scene.workers[0].remaining = 5  # such a worker counts its calls
    scene.workers[1].pinned.append(make_call())
    scene.choose()
    assert scene.actions.done == []

    scene.balance.grants_permits = True
    scene.choose()
    scene.choose()
    assert scene.actions.done == [("grant", scene.workers[2])]


def test_worker_whose_call_waits_for_tasks_that_run_elsewhere_is_idle():
    scene = Scene(2)
    parent, *_ = scene.fill(scene.workers[0], 0.01)
    scene.group.wait(scene.workers[0], parent.number)
    scene.fill(scene.workers[1], 0.01, 0.01)
    assert scene.choose() is None

    child = make_call(0.01, parent=parent.number)
    scene.group.record(scene.workers[1], child, 0.01)
    assert scene.choose() is scene.workers[1]


def test_peer_whose_calls_wait_for_long_is_asked_for_them_and_not_again_at_once():
    far = Far("far", 1)
    scene = Scene(1, [far])
    calls = scene.fill(far, 1.0, 1.0)
    scene.run_far(far, calls[0])

    assert scene.balance.choose() == (far, calls[1].number)
    far.recalling = 1
    scene.time.now += 1.0
    assert scene.choose() is None
    far.recalling = 0  # it took a second to answer
    assert scene.choose() is None
    scene.time.now += 1.0
    assert scene.choose() is None
    scene.time.now += 1.1
    assert scene.choose() is far


def test_peer_whose_calls_are_soon_started_is_not_asked():
    far = Far("far", 1)
    scene = Scene(1, [far])
    calls = scene.fill(far, 0.01, 0.01)
    scene.run_far(far, calls[0])

    assert scene.choose() is None
    assert [seconds for seconds, _ in scene.actions.timers] == [FAR_REST]


def test_peer_that_has_a_free_place_beside_its_calls_counts_as_free():
    far, other = Far("far", 1), Far("other", 2)
    scene = Scene(0, [far, other])
    calls = scene.fill(far, 0.001, 0.001)
    scene.run_far(far, calls[0])
    scene.run_far(other, *scene.fill(other, 1.0))
    assert scene.choose() is None
    scene.time.now += 2 * FAR_REST
    assert scene.choose() is far

    other.candidate.taken = 1  # by another client
    scene.time.now += 2 * FAR_REST
    assert scene.choose() is None


def test_call_that_runs_for_much_longer_than_expected_takes_a_whole_worker():
    far, other = Far("far", 2), Far("other", 1)
    scene = Scene(0, [far, other])
    calls = scene.fill(far, 0.001, 0.001)
    scene.run_far(far, *calls)
    assert (far.candidate.free, far.soon_free, far.has_room(0.001, 0)) == (1, 2, True)
    scene.choose()
    ((seconds, _),) = scene.actions.timers
    scene.time.now += seconds + 0.001
    scene.choose()
    assert (far.candidate.free, far.soon_free, far.has_room(0.001, 0)) == (0, 0, False)
    for call in calls:
        scene.group.finish(far, call.number, 1.0)
    assert (far.load, far.soon_free, far.begun) == (0.0, 2, {})


def test_where_all_workers_run_long_calls_others_start_sooner_at_home_unless_more_wait_there():
    far, other = Far("far", 1), Far("other", 1)
    scene = Scene(0, [far, other])
    calls = scene.fill(far, 0.001, 0.001)
    scene.run_far(far, calls[0])
    scene.fill(other, 0.001, 0.001)  # its worker goes on
    for _ in range(200):
        scene.group.add(make_call(0.001))
    scene.time.now += 0.1
    other.page.since = scene.time.now
    assert scene.choose() is None
    scene.time.now += 0.2
    other.page.since = scene.time.now
    assert scene.choose() is far


def test_calls_stay_where_all_workers_run_long_calls_while_no_other_goes_on():
    far, other = Far("far", 1), Far("other", 1)
    scene = Scene(0, [far, other])
    for link in (far, other):
        scene.run_far(link, scene.fill(link, 0.001, 0.001)[0])
    for _ in range(3):
        scene.time.now += 10.0
        assert scene.choose() is None


def test_only_as_many_calls_are_moved_as_leave_both_sides_with_as_much_work():
    far, other = Far("far", 1), Far("other", 1)
    scene = Scene(0, [far, other])
    calls = scene.fill(far, *[0.01] * 11)
    scene.run_far(far, calls[0])
    assert scene.moved() == calls[6].number


def test_what_takes_long_to_send_again_must_wait_for_longer():
    far = Far("far", 1)
    scene = Scene(1, [far])
    calls = scene.fill(far, 0.001, 0.001)
    calls[1].payload = bytes(int(2 * FAR_REST * FAR_RATE))
    scene.run_far(far, calls[0])
    scene.time.now += 2.9 * FAR_REST
    assert scene.choose() is None
    scene.time.now += 0.2 * FAR_REST
    assert scene.choose() is far


@pytest.mark.parametrize(("recalls", "counted"), [(2, 2), (9, FAR_TIMES)], ids=["again", "often"])
def test_call_waits_for_longer_each_time_before_it_is_moved_again_a_few_times_while_a_place_is_free(recalls, counted):
    far = Far("far", 1)
    scene = Scene(1, [far])
    calls = scene.fill(far, 0.001, 0.001)
    scene.run_far(far, calls[0])
    calls[1].recalls = recalls
    scene.time.now += 0.9 * FAR_FACTOR**counted * FAR_REST
    assert scene.choose() is None
    scene.time.now += 0.2 * FAR_FACTOR**counted * FAR_REST
    assert scene.choose() is far


def test_call_that_only_one_peer_can_run_waits_there():
    far, other = Far("far", 1, tags=("disk=ssd",)), Far("other", 1)
    scene = Scene(1, [far, other], limit=1)
    calls = scene.fill(far, 0.001, 0.001, require={"disk": "ssd"})
    scene.run_far(far, calls[0])
    scene.time.now += 10.0
    assert scene.choose() is None

    third = Far("third", 1, tags=("disk=ssd",))
    scene.links.append(third)
    scene.group.join(third)
    assert scene.choose() is far


def test_calls_before_one_that_was_started_out_of_turn_are_moved_too():
    far = Far("far", 1)
    scene = Scene(1, [far])
    calls = scene.fill(far, 0.001, 0.001, 0.001)
    scene.run_far(far, calls[2])
    scene.time.now += 10.0
    assert scene.moved() in {calls[0].number, calls[1].number}


def test_work_here_goes_to_a_peer_only_if_it_is_worth_the_way():
    scene = Scene(2, [Far("far", 1)])
    for worker in scene.workers:
        scene.fill(worker, 0.01, 2 * STEAL)
    assert scene.choose() is None
    scene.group.record(scene.workers[1], make_call(), FAR_STEAL)
    assert scene.choose() is scene.workers[1]


@pytest.mark.parametrize("where", ["here", "at a peer"])
def test_balance_is_checked_again_after_it_was_checked_sooner_for_something_else(where):
    far = Far("far", 1)
    scene = Scene(2, [far])
    waiting = [0.001]
    for worker in scene.workers:
        scene.fill(worker, 1.0, *waiting * (where == "here"))
    scene.run_far(far, *scene.fill(far, 1.0, *waiting * (where == "at a peer"))[:1])
    for _ in range(10):
        scene.group.add(make_call(1.0))  # so nothing would start sooner at home
    scene.balance._check_after(REST)
    assert scene.choose() is None
    ((_, piece),) = scene.actions.timers
    scene.time.now += REST
    piece()
    assert scene.choose() is None
    assert len(scene.actions.timers) == 2
