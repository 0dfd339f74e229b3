from woolexec.core.call import RANKED, Call, Function
from woolexec.core.ranked import Ranked
from woolexec.core.ready_queue import ReadyQueue


def ranked(rank):
    return Call(Function(b"f", "f"), b"", None, rank=rank)


def queued(*calls):
    queue = ReadyQueue()
    for each in calls:
        queue.offer(each)
        queue.add(each)
    return queue


def taken(queue):
    ranks = []
    while (entry := queue.head()) is not None:
        assert queue.take(entry)
        ranks.append(entry.rank)
    return ranks


def test_calls_leave_the_queue_in_the_order_of_their_ranks():
    assert taken(queued(*map(ranked, [5, 2, 9, 1]))) == [1, 2, 5, 9]


def test_call_that_is_added_later_overtakes_those_of_higher_ranks():
    queue = queued(*map(ranked, [1, 4, 5]))
    assert queue.take(queue.head())
    late = ranked(2)
    queue.offer(late)
    queue.add(late)
    assert taken(queue) == [2, 4, 5]


def test_call_that_is_given_back_keeps_its_rank():
    first, second, third = map(ranked, [1, 2, 3])
    queue = queued(first, second, third)
    assert queue.take(first)
    assert queue.take(second)
    queue.give_back(second)
    queue.give_back(first)
    assert taken(queue) == [1, 2, 3]


def test_cancelled_calls_are_skipped():
    first, second = ranked(1), ranked(2)
    queue = queued(first, second)
    queue.cancel(first)
    assert taken(queue) == [2]


def test_calls_with_ranks_and_others_are_served_in_turn():
    plain = [Call(Function(b"f", "f"), b"", None) for _ in range(3)]
    queue = queued(*map(ranked, [1, 2, 3]), *plain)
    assert sorted(taken(queue)[:4]) == [0, 0, 1, 2]


def test_many_calls_that_were_cancelled_are_dropped_before_they_reach_the_front():
    calls = [ranked(rank) for rank in range(1, 1025)]
    queue = queued(*calls)
    for each in calls[:1014]:
        queue.cancel(each)
    for rank in (2000, 2001):
        last = ranked(rank)
        queue.offer(last)
        queue.add(last)
    assert len(queue) == 12


def test_another_attempt_has_the_same_rank():
    again = ranked(7).anew(None)
    assert (again.rank, again.line) == (7, RANKED)


def test_line_is_iterated_in_order():
    line = Ranked()
    line.extend(map(ranked, [3, 1, 2]))
    assert [each.rank for each in line] == [1, 2, 3]
