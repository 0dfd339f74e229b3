import pytest

from tests.core.parts import Actions, clock, make_call
from tests.core.peers import Far
from woolexec.core.call import ASYNCIO, DONE, QUEUED
from woolexec.core.remote_place import RemoteLane
from woolexec.core.scheduler import Scheduler, fail_outstanding, is_wanted
from woolexec.options import TaskOptions


class Scene:
    def __init__(self, limit, startable=None):
        self.actions = Actions(limit if startable is None else startable)
        self.time, now = clock()
        self.scheduler = self.actions.scheduler = Scheduler(self.actions, limit, clock=now)

    def submit(self, count=1, **about):
        calls = [make_call(**about) for _ in range(count)]
        for call in calls:
            self.scheduler.add(call)
        return calls

    def link(self, name, width):
        link = Far(name, width)
        link.lane_place = RemoteLane(link, 10)
        self.scheduler.linked(link)
        return link


def numbers(calls):
    return [call.number for call in calls]


def test_workers_are_started_as_long_as_calls_wait():
    scene = Scene(4)
    calls = scene.submit(3)
    scene.scheduler.feed()

    assert len(scene.scheduler.workers) == 3
    assert sorted(scene.actions.sent().values()) == [[number] for number in numbers(calls)]


def test_no_worker_is_started_for_what_an_idle_one_can_take():
    scene = Scene(4)
    (first,) = scene.submit()
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    scene.scheduler.main.finish(worker, first.number, 1.0)
    (second,) = scene.submit()
    scene.scheduler.feed()

    assert second.place is worker
    assert len(scene.scheduler.workers) == 1


def test_calls_wait_where_no_worker_can_be_started():
    scene = Scene(2, startable=0)
    (call,) = scene.submit()
    scene.scheduler.feed()

    assert call.place is None
    assert scene.scheduler.has_waiting
    assert scene.scheduler.can_accept()


def test_coroutines_get_workers_that_run_none_and_then_share_them():
    scene = Scene(2)
    scene.submit(5, lane=ASYNCIO)
    scene.scheduler.feed()

    assert len(scene.scheduler.workers) == 2
    assert sorted(map(len, scene.actions.sent().values())) == [2, 3]


def test_worker_that_was_heard_gets_more():
    scene = Scene(1)
    first, second, third = scene.submit(3)
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    scene.scheduler.main.finish(worker, first.number, 1.0)
    scene.actions.done.clear()
    scene.scheduler.heard(worker)

    assert scene.actions.sent() == {worker: [second.number]}
    assert third.place is None


def test_permit_of_an_idle_worker_is_revoked_before_it_is_sent_a_call():
    scene = Scene(1)
    (first,) = scene.submit()
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    scene.scheduler.main.finish(worker, first.number, 1.0)
    worker.has_permit = True
    seen = []
    scene.actions.revoke_permit = lambda worker: seen.append(dict(worker.outstanding))

    scene.submit()
    scene.scheduler.feed()

    assert seen == [{}]
    assert worker.outstanding


def test_balance_recalls_and_feeds_again():
    scene = Scene(2)
    function_seconds = 0.01
    calls = scene.submit(2, seconds=function_seconds)
    scene.scheduler.workforce.limit = 1
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    assert all(call.place is worker for call in calls)
    worker.page.started = calls[0].number
    scene.scheduler.workforce.limit = 2
    scene.scheduler.balance()

    assert ("recall", worker, 2, 0) in scene.actions.done
    assert calls[1].place not in (None, worker)


def test_idle_workers_beyond_the_limit_are_dismissed():
    scene = Scene(3)
    calls = scene.submit(3)
    scene.scheduler.feed()
    for call in calls:
        scene.scheduler.main.finish(call.place, call.number, 1.0)
    scene.scheduler.workforce.limit = 1
    scene.actions.done.clear()
    scene.scheduler.balance()

    assert [kind for kind, _ in scene.actions.done] == ["dismiss", "dismiss"]


def test_dead_worker_gives_back_what_it_had_not_started():
    scene = Scene(1)
    first, second = scene.submit(2, seconds=1e-5)
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    worker.page.started = first.number

    assert scene.scheduler.left(worker) == [first]
    assert scene.scheduler.workers == {}
    assert scene.scheduler.main.queue.head() is second


def test_link_that_broke_loses_all_that_was_sent():
    scene = Scene(0)
    link = scene.link("far", 2)
    calls = scene.submit(2)
    scene.scheduler.feed()

    assert scene.scheduler.left(link) == calls
    assert scene.scheduler.links == []


@pytest.mark.parametrize(("retries", "is_tried_again"), [(0, False), (1, True)])
def test_lost_call_is_tried_again_if_its_options_say_so(retries, is_tried_again):
    scene = Scene(1)
    (call,) = scene.submit(options=TaskOptions(retries=retries))
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    worker.page.started = call.number
    error = RuntimeError("lost")
    scene.scheduler.settle(scene.scheduler.left(worker), lambda _: error)

    assert (scene.scheduler.main.queue.head() is call) is is_tried_again
    assert call.receiver.failures == ([] if is_tried_again else [error])


@pytest.mark.parametrize(("options", "is_tried_again"), [({"name": "f"}, False), ({"retries": 1}, True)], ids=str)
def test_call_for_one_worker_that_is_gone_is_tried_again_if_its_options_say_so(options, is_tried_again):
    scene = Scene(1)
    scene.submit()
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    call = make_call(options=TaskOptions(**options))
    scene.scheduler.main.pin(worker, call)
    error = RuntimeError("lost")
    scene.scheduler.settle(scene.scheduler.left(worker), lambda _: error)

    assert (call.pin, call.state) == ((0, QUEUED) if is_tried_again else (1, DONE))
    assert call.receiver.failures == ([] if is_tried_again else [error])


def test_call_that_nobody_wants_is_not_tried_again():
    scene = Scene(1)
    (call,) = scene.submit(options=TaskOptions(retries=1))
    call.receiver.is_wanted = False
    scene.scheduler.feed()
    scene.scheduler.settle(scene.scheduler.left(call.place) or [call], lambda _: None)

    assert not is_wanted(call)
    assert not scene.scheduler.may_retry(call, ("woolexec.errors:WorkerLostError",))


def test_call_that_raised_is_tried_again_for_the_errors_that_its_options_name():
    scene = Scene(1)
    (call,) = scene.submit(options=TaskOptions(retries=1, retry_on=OSError))
    scene.scheduler.feed()
    worker = call.place

    assert not scene.scheduler.raised(worker, call, ("builtins:ValueError",))
    assert scene.scheduler.raised(worker, call, ("builtins:FileNotFoundError", "builtins:OSError"))
    assert worker.outstanding == {}
    assert scene.scheduler.main.queue.head() is call


def test_call_that_waits_gives_back_what_is_behind_it_and_its_wait_is_answered():
    scene = Scene(1)
    first, second = scene.submit(2, seconds=1e-5)
    scene.scheduler.feed()
    worker = first.place
    worker.page.started = first.number
    scene.actions.done.clear()
    scene.scheduler.waits(worker, first.number, 5)

    assert scene.actions.done == [("recall", worker, second.number, 5)]
    assert second.place is None


def test_wait_with_nothing_behind_it_is_answered_without_a_recall():
    scene = Scene(1)
    (call,) = scene.submit()
    scene.scheduler.feed()
    worker = call.place
    worker.page.started = call.number
    scene.actions.done.clear()
    scene.scheduler.waits(worker, call.number, 5)

    assert scene.actions.done == [("recall", worker, 0, 5)]
    assert worker.recalling == 0


def test_refused_calls_of_both_kinds_are_queued_again():
    scene = Scene(0)
    link = scene.link("far", 1)
    (plain,), (coroutine,) = scene.submit(), scene.submit(lane=ASYNCIO)
    scene.scheduler.feed()
    scene.scheduler.refused(link, [plain.number, coroutine.number])

    assert scene.scheduler.main.queue.head() is plain
    assert scene.scheduler.lanes.queue.head() is coroutine
    assert link.candidate.is_full


def test_policy_is_asked_again_after_a_pause_when_all_have_refused():
    scene = Scene(0)
    links = [scene.link(name, 1) for name in "ab"]
    scene.scheduler.offering.may_try = False
    for link in links:
        link.candidate.refused()
        link.candidate.is_full = False
    (call,) = scene.submit()
    scene.scheduler.feed()
    ((seconds, piece),) = scene.actions.timers
    assert call.place is None

    scene.time.now += seconds
    piece()
    scene.scheduler.feed()
    assert call.place in links


def test_everything_that_waits_fails():
    scene = Scene(0)
    calls = scene.submit(2) + scene.submit(lane=ASYNCIO)
    error = RuntimeError("no")
    scene.scheduler.fail_waiting(error)

    assert [call.receiver.failures for call in calls] == [[error]] * 3
    assert not scene.scheduler.has_waiting


def test_everything_that_was_sent_fails():
    scene = Scene(1)
    (plain,), (coroutine,) = scene.submit(), scene.submit(lane=ASYNCIO)
    scene.scheduler.feed()
    (worker,) = scene.scheduler.workers.values()
    error = RuntimeError("no")
    fail_outstanding(worker, error)

    assert plain.receiver.failures == coroutine.receiver.failures == [error]
    assert not worker.is_busy


def test_outstanding_call_is_found_wherever_it_is():
    scene = Scene(1)
    (plain,), (coroutine,) = scene.submit(), scene.submit(lane=ASYNCIO)
    scene.scheduler.feed()

    assert scene.scheduler.outstanding(plain.number) is plain
    assert scene.scheduler.outstanding(coroutine.number) is coroutine
    assert scene.scheduler.outstanding(99) is None


def test_what_calls_require_is_checked_again_when_a_peer_leaves():
    scene = Scene(0)
    link = scene.link("far", 1)
    scene.actions.timers.clear()
    scene.scheduler.left(link)
    assert [piece.__self__ for _, piece in scene.actions.timers] == [scene.scheduler.unmet]


def test_what_waits_without_a_place_is_told_once_and_submitting_threads_wake_the_engine_until_then():
    scene = Scene(0)
    told = []
    scene.scheduler.on_waiting = lambda: told.append(scene.scheduler.has_waiting)
    scene.scheduler.feed()
    assert scene.scheduler.can_accept()
    assert told == []

    scene.submit()
    scene.scheduler.feed()
    scene.scheduler.feed()
    assert told == [True]
    assert not scene.scheduler.can_accept()
