import itertools

import pytest

from tests.core.parts import Worker, make_call
from woolexec.core.call import DONE, QUEUED, SENT, UNCERTAIN, Chunk, Function
from woolexec.core.group import Group


@pytest.fixture
def group():
    return Group(itertools.count(1).__next__)


@pytest.fixture
def worker(group):
    worker = Worker()
    group.join(worker)
    return worker


def sent(group, place, count):
    calls = [make_call(0.001) for _ in range(count)]
    for call in calls:
        group.add(call)
        assert group.queue.take(call)
        group.record(place, call, 0.001)
    return calls


def waiting(group):
    return list(iter(lambda: group.queue.head() and group.queue.cut(group.queue.head(), 1), None))


def test_finished_call_leaves_its_place_and_teaches_the_run_time(group, worker):
    (call,) = sent(group, worker, 1)
    call.function.seconds = None

    assert group.finish(worker, call.number, 0.25) is call
    assert (call.state, call.function.seconds, worker.outstanding) == (DONE, 0.25, {})
    assert group.finish(worker, call.number, 0.25) is None


def test_later_run_times_move_the_average(group, worker):
    one, other = sent(group, worker, 2)
    one.function = other.function
    one.function.seconds = None
    group.finish(worker, one.number, 1.0)
    group.finish(worker, other.number, 2.0)
    assert 1.0 < other.function.seconds < 2.0


def test_run_time_of_a_span_is_learnt_for_one_item(group, worker):
    chunk = Chunk(Function(b"", "f"), b"", 10, None)
    call = chunk.cut(10)
    group.record(worker, call, 0.0)
    group.finish(worker, call.number, 2.0)

    assert chunk.function.seconds == pytest.approx(0.2)


@pytest.mark.parametrize("end", ["finish", "again", "leave"])
def test_tasks_of_a_call_that_has_ended_wait_in_line_and_are_no_longer_its_children(group, worker, end):
    (parent,) = sent(group, worker, 1)
    child = make_call(parent=parent.number)
    group.add(child)

    if end == "finish":
        group.finish(worker, parent.number, 0.1)
    elif end == "again":
        group.again(worker, parent)
    else:
        group.leave(worker, started=parent.number)

    assert group.queue.take_child(parent.number, worker.offer) is None
    assert child in waiting(group)


def test_recall_takes_back_what_was_not_started_in_its_old_order(group, worker):
    calls = sent(group, worker, 3)
    worker.page.started = calls[0].number

    assert group.recall(worker) == calls[1].number
    assert waiting(group) == calls[1:]
    assert calls[0].state == SENT
    assert worker.recalling == 1


def test_call_that_was_started_while_it_was_recalled_is_uncertain_until_the_mark_is_answered(group, worker):
    calls = sent(group, worker, 2)
    worker.page.started = calls[1].number  # the worker has started both by the time that it can see the recall
    group.recall(worker, calls[0].number)

    assert [call.state for call in calls] == [UNCERTAIN, UNCERTAIN]
    group.recalled(worker, [calls[1].number])
    assert [call.state for call in calls] == [SENT, QUEUED]
    assert worker.page.recalled == 0


def test_call_that_was_recalled_just_as_it_started_runs_as_soon_as_the_place_says_so(group, worker):
    calls = sent(group, worker, 3)
    worker.page.started, worker.page.runs = calls[1].number, calls[0].number
    group.recall(worker, calls[0].number)
    assert [call.state for call in calls] == [SENT, UNCERTAIN, QUEUED]
    assert not group.is_running(worker, calls[1])

    worker.page.runs = calls[1].number
    assert group.is_running(worker, calls[1])
    assert calls[1].state == SENT


def test_recall_stays_in_force_until_the_last_mark_is_answered(group, worker):
    calls = sent(group, worker, 3)
    worker.page.started = calls[0].number
    group.recall(worker, calls[2].number)
    group.recall(worker, calls[1].number)
    group.recalled(worker, [])

    assert worker.page.recalled == calls[1].number
    group.recalled(worker, [])
    assert worker.page.recalled == 0


def test_place_that_leaves_gives_back_what_it_has_not_started_and_loses_the_rest(group, worker):
    calls = sent(group, worker, 3)

    assert group.leave(worker, calls[0].number) == calls[:1]
    assert waiting(group) == calls[1:]
    assert (group.places, group.width, worker.ready) == ([], 0, False)


def test_pinned_call_is_lost_with_its_place(group, worker):
    call = make_call()
    group.pin(worker, call)

    assert group.leave(worker, 0) == [call]
    assert group.queue.head() is None
    assert (call.state, call.attempts, worker.outstanding) == (SENT, 1, {})  # as if it had been started there


def test_call_that_is_tried_again_waits_for_any_place(group, worker):
    (call,) = sent(group, worker, 1)
    call.pin = 1
    group.again(worker, call)

    assert (call.state, call.pin, call.place, call.attempts) == (QUEUED, 0, None, 1)
    assert waiting(group) == [call]


def test_recalled_call_does_not_count_as_an_attempt(group, worker):
    (call,) = sent(group, worker, 1)
    worker.remaining = 5
    group.recall(worker)

    assert (call.attempts, worker.remaining) == (0, 6)


def test_waiting_calls_are_a_stack(group, worker):
    outer, inner = sent(group, worker, 2)
    group.wait(worker, outer.number)
    worker.above = inner.number
    group.wait(worker, inner.number)
    assert (worker.waiting, worker.above) == ([outer.number, inner.number], 0)

    group.resume(worker, outer.number)  # it is not on top: its answer comes later
    assert worker.waiting == [outer.number, inner.number]
    group.resume(worker, inner.number)
    assert (worker.waiting, worker.above) == ([outer.number], inner.number)
    group.resume(worker, outer.number)
    assert (worker.waiting, worker.above) == ([], 0)


@pytest.mark.parametrize(
    "end", [lambda group, worker, call: group.finish(worker, call.number, 0.001), Group.again], ids=["finish", "again"]
)
def test_call_that_has_ended_does_not_wait_although_it_never_resumed(group, worker, end):
    outer, inner = sent(group, worker, 2)
    for call in (outer, inner, inner):
        group.wait(worker, call.number)

    end(group, worker, inner)
    assert worker.waiting == [outer.number]
    end(group, worker, outer)
    assert worker.waiting == []
    assert worker.has_room(None, 0)


def test_only_a_started_call_that_is_not_in_doubt_is_running(group, worker):
    first, second = sent(group, worker, 2)
    worker.page.started = first.number

    assert group.is_running(worker, first)
    assert not group.is_running(worker, second)
    first.move("doubt")
    assert not group.is_running(worker, first)


def test_call_for_one_worker_of_a_peer_is_recorded_at_once(group, worker):
    sent(group, worker, 2)
    call = make_call()
    group.pin_far(worker, call, 7)

    assert (call.pin, call.place, call.is_plain, group.queue.claim(call)) == (7, worker, False, False)


@pytest.mark.parametrize(("fixed", "alone", "count"), [(True, False, 40), (False, True, 1), (False, False, 1)])
def test_span_of_a_chunk_is_whole_one_item_or_measured(group, worker, fixed, alone, count):
    chunk = Chunk(Function(b"", "f"), b"", 40, None, fixed=fixed)
    chunk.alone = alone
    chunk.function.seconds = 1.0

    assert group.span_of(chunk) == count
