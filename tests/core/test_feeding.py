import itertools

import pytest

from tests.core.parts import Worker, make_call
from woolexec.core import feeding
from woolexec.core.call import ASYNCIO, Chunk, Function
from woolexec.core.group import Group
from woolexec.core.offer import Offer
from woolexec.options import TaskOptions
from woolexec.resources import Requirement


@pytest.fixture
def group():
    return Group(itertools.count(1).__next__)


def joined(group, count=1, *, lanes=False):
    workers = [Worker(number) for number in range(1, count + 1)]
    for worker in workers:
        group.join(worker.lane_place if lanes else worker)
    return workers


def added(group, *calls):
    for call in calls:
        group.add(call)
    return list(calls)


def test_call_of_unknown_length_goes_alone(group):
    (worker,) = joined(group)
    calls = added(group, *(make_call() for _ in range(3)))

    assert feeding.assign(group, worker) == calls[:1]
    assert feeding.assign(group, worker) == []


def test_short_calls_are_shared_among_the_places(group):
    first, second = joined(group, 2)
    calls = added(group, *(make_call(1e-5) for _ in range(10)))

    assert feeding.assign(group, first) == calls[:5]
    assert feeding.assign(group, second) == calls[5:8]  # its share of what is left; the next round gives it the rest


def test_chunk_is_cut_into_spans(group):
    (worker,) = joined(group)
    chunk = Chunk(Function(b"", "f"), b"", 1000, None)
    chunk.function.seconds = 1e-4
    group.queue.add(chunk)
    calls = feeding.assign(group, worker)

    assert calls[0].first == 0
    assert [call.first for call in calls[1:]] == [call.first + call.count for call in calls[:-1]]
    assert sum(call.cost for call in calls) <= 0.041


def test_child_does_not_wait_behind_the_call_that_waits_for_it(group):
    (worker,) = joined(group)
    (parent,) = added(group, make_call(1e-5))
    feeding.assign(group, worker)
    added(group, make_call(1e-5, parent=parent.number))

    assert feeding.assign(group, worker) == []


def test_place_whose_call_waits_runs_its_children_one_at_a_time(group):
    (worker,) = joined(group)
    (parent,) = added(group, make_call(1e-5))
    feeding.assign(group, worker)
    group.wait(worker, parent.number)
    stranger, older, newer = added(group, make_call(1e-5), *(make_call(1e-5, parent=parent.number) for _ in range(2)))

    assert feeding.assign(group, worker) == [newer]
    assert feeding.assign(group, worker) == []
    group.finish(worker, newer.number, 0.0)
    assert feeding.assign(group, worker) == [older]
    assert stranger.place is None


def test_place_that_has_not_answered_a_recall_gets_no_children(group):
    (worker,) = joined(group)
    (parent,) = added(group, make_call(1e-5))
    feeding.assign(group, worker)
    group.wait(worker, parent.number)
    added(group, make_call(parent=parent.number))
    worker.recalling = 1

    assert feeding.assign(group, worker) == []


def test_pinned_call_goes_before_others_when_its_place_has_nothing_left(group):
    (worker,) = joined(group)
    (running,) = added(group, make_call(1e-5))
    feeding.assign(group, worker)
    pinned = make_call()
    group.pin(worker, pinned)
    added(group, make_call(1e-5))

    assert feeding.assign(group, worker) == []
    group.finish(worker, running.number, 0.0)
    assert feeding.assign(group, worker) == [pinned]


def test_pinned_call_of_a_lane_runs_beside_the_others_there(group):
    (worker,) = joined(group, lanes=True)
    added(group, make_call(lane=ASYNCIO))
    feeding.spread(group)
    pinned = make_call(lane=ASYNCIO)
    group.pin(worker.lane_place, pinned)

    assert feeding.assign(group, worker.lane_place) == [pinned]


def test_cancelled_pinned_call_is_skipped(group):
    (worker,) = joined(group)
    first, second = make_call(), make_call()
    group.pin(worker, first)
    group.pin(worker, second)
    group.queue.claim(first)

    assert feeding.assign(group, worker) == [second]


def test_call_that_requires_something_does_not_wait_behind_another(group):
    (worker,) = joined(group)
    worker.offer = Offer((), {"gpu": 1})
    options = TaskOptions(require=Requirement({"gpu": 1}))
    first, second = added(group, make_call(1e-5, options=options), make_call(1e-5, options=options))

    assert feeding.assign(group, worker) == [first]
    group.finish(worker, first.number, 1e-5)
    assert feeding.assign(group, worker) == [second]


def test_coroutines_go_where_the_fewest_are(group):
    first, second = joined(group, 2, lanes=True)
    calls = added(group, *(make_call(lane=ASYNCIO) for _ in range(5)))
    feeding.spread(group)

    assert sorted(len(worker.lane_place.outstanding) for worker in (first, second)) == [2, 3]
    assert all(call.place for call in calls)


def test_full_lane_takes_no_more_but_nested_tasks(group):
    (worker,) = joined(group, lanes=True)
    worker.lane_place.limit = 1
    first, second = added(group, make_call(lane=ASYNCIO), make_call(lane=ASYNCIO))
    feeding.spread(group)
    assert (first.place, second.place) == (worker.lane_place, None)

    (nested,) = added(group, make_call(lane=ASYNCIO, parent=99))
    feeding.spread(group)
    assert nested.place is worker.lane_place
    assert second.place is None


def test_lane_counts_as_calls_of_its_worker(group):
    (worker,) = joined(group, lanes=True)
    worker.remaining = 1
    first, second = added(group, make_call(lane=ASYNCIO), make_call(lane=ASYNCIO))
    feeding.spread(group)

    assert (first.place, second.place, worker.remaining) == (worker.lane_place, None, 0)
