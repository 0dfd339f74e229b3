import threading

from woolexec.core.call import Call, Chunk, Function
from woolexec.core.offer import NOTHING, Offer
from woolexec.core.ready_queue import ReadyQueue
from woolexec.resources import Line, Requirement

FUNCTION = Function(b"", "f")


def make_call(parent=0):
    return Call(FUNCTION, b"", None, None, parent)


def added(queue, *calls):
    for call in calls:
        queue.offer(call)
        queue.add(call)
    return calls


def drained(queue):
    taken = []
    while (entry := queue.head()) is not None:
        if queue.take(entry):
            taken.append(entry)
    return taken


def test_first_in_is_first_out():
    queue = ReadyQueue()
    calls = added(queue, *[make_call() for _ in range(5)])

    assert drained(queue) == list(calls)


def test_what_is_given_back_goes_to_the_front():
    queue = ReadyQueue()
    one, other = added(queue, make_call(), make_call())
    queue.take(queue.head())

    queue.give_back(one)

    assert drained(queue) == [one, other]


def test_nested_tasks_go_to_the_front_newest_first():
    queue = ReadyQueue()
    plain, older, newer = added(queue, make_call(), make_call(parent=3), make_call(parent=3))

    assert drained(queue) == [newer, older, plain]


def test_exactly_one_claim_succeeds():
    queue = ReadyQueue()
    (call,) = added(queue, make_call())

    assert queue.claim(call)
    assert not queue.claim(call)
    assert queue.head() is None


def test_claims_from_many_threads_never_both_succeed():
    for _ in range(100):
        queue, barrier, won = ReadyQueue(), threading.Barrier(4), []
        (call,) = added(queue, make_call())

        def race(queue=queue, barrier=barrier, won=won, call=call):
            barrier.wait()
            if queue.claim(call):
                won.append(1)

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [1]


def test_call_cancelled_before_it_is_added_is_dropped():
    queue = ReadyQueue()
    call = make_call()
    queue.offer(call)
    queue.claim(call)

    queue.add(call)

    assert queue.head() is None


def test_taking_a_call_that_was_cancelled_in_this_moment_fails():
    queue = ReadyQueue()
    (call,) = added(queue, make_call())
    head = queue.head()
    queue.claim(call)

    assert not queue.take(head)
    assert queue.head() is None


def test_waiting_call_is_given_its_newest_child_only():
    queue = ReadyQueue()
    _, older, newer, _ = added(queue, make_call(), make_call(parent=3), make_call(parent=3), make_call(parent=4))

    assert queue.take_child(3, NOTHING) is newer
    assert queue.take_child(3, NOTHING) is older
    assert queue.take_child(3, NOTHING) is None


def test_child_taken_as_a_child_is_not_met_in_the_line_again():
    queue = ReadyQueue()
    added(queue, make_call(parent=3))
    queue.take_child(3, NOTHING)

    assert queue.head() is None


def test_child_that_the_line_gave_away_is_not_given_to_its_parent_again():
    queue = ReadyQueue()
    added(queue, make_call(parent=3))
    queue.take(queue.head())

    assert queue.take_child(3, NOTHING) is None


def test_children_of_a_call_that_ended_stay_in_line_and_leave_the_index():
    queue = ReadyQueue()
    (child,) = added(queue, make_call(parent=3))

    queue.forget_parent(3)

    assert queue.take_child(3, NOTHING) is None
    assert drained(queue) == [child]
    assert not queue.children


def test_used_up_and_cancelled_chunks_are_dropped():
    queue = ReadyQueue()
    used, cancelled, good = (Chunk(FUNCTION, b"", 3, None) for _ in range(3))
    for chunk in (used, cancelled, good):
        queue.add(chunk)
    used.cut(3)
    cancelled.cancelled = True

    assert queue.head() is good


def test_span_of_a_cancelled_chunk_is_dropped_when_it_comes_back():
    queue = ReadyQueue()
    chunk = Chunk(FUNCTION, b"", 3, None)
    span = chunk.cut(2)
    chunk.cancelled = True

    queue.give_back(span)

    assert queue.head() is None
    assert not queue.claim(span)


def test_clear_takes_everything_that_still_waits():
    queue = ReadyQueue()
    one, two, three = added(queue, make_call(), make_call(), make_call(parent=5))
    chunk = Chunk(FUNCTION, b"", 3, None)
    queue.add(chunk)
    queue.claim(two)

    assert queue.clear() == [three, one, chunk]
    assert queue.head() is None
    assert not queue.claim(one)


def in_line(queue, count, **line):
    calls = [make_call() for _ in range(count)]
    for call in calls:
        call.line = Line(**line)
    return added(queue, *calls)


def test_lines_of_the_same_priority_take_turns():
    queue = ReadyQueue()
    plain, ours, theirs = (
        added(queue, *[make_call() for _ in range(2)]),
        in_line(queue, 2, client="a"),
        in_line(queue, 2, client="b"),
    )

    taken = drained(queue)

    assert set(taken[:3]) == {plain[0], ours[0], theirs[0]}
    assert set(taken[3:]) == {plain[1], ours[1], theirs[1]}


def test_line_of_higher_priority_goes_first():
    queue = ReadyQueue()
    plain, low, high = added(queue, make_call()), in_line(queue, 1, priority=-1), in_line(queue, 1, priority=1)

    assert drained(queue) == [*high, *plain, *low]


def test_line_that_a_place_cannot_serve_is_passed_over():
    queue, gpu = ReadyQueue(), Requirement({"gpu": 1})
    special = in_line(queue, 1, requirement=gpu)
    plain = added(queue, make_call())

    assert queue.head(Offer()) is plain[0]
    queue.take(plain[0])
    assert queue.head(Offer()) is None
    assert queue.head(Offer((), {"gpu": 1})) is special[0]


def test_what_is_given_back_goes_to_the_front_of_its_line():
    queue = ReadyQueue()
    first, second = in_line(queue, 2, client="a")
    queue.take(queue.head())
    queue.give_back(first)

    assert drained(queue) == [first, second]


def test_lines_are_counted_together():
    queue = ReadyQueue()
    added(queue, make_call())
    in_line(queue, 2, client="a")
    in_line(queue, 3, priority=1)

    assert len(queue) == 6
    assert len(queue.clear()) == 6
    assert queue.head() is None


def test_task_that_comes_back_after_the_queue_was_cleared_is_still_a_child():
    queue, child = ReadyQueue(), make_call(parent=3)
    added(queue, child)
    assert queue.take_child(3, NOTHING) is child
    queue.clear()
    queue.give_back(child)

    assert queue.take_child(3, NOTHING) is child


def test_one_line_can_be_cleared():
    queue, gpu = ReadyQueue(), Requirement({"gpu": 1})
    plain, special = added(queue, make_call()), in_line(queue, 2, requirement=gpu)

    assert queue.clear({gpu}) == list(special)
    assert drained(queue) == list(plain)


def test_lines_that_are_empty_are_forgotten():
    queue = ReadyQueue()
    for number in range(100):
        in_line(queue, 1, client=number)
    drained(queue)

    assert not queue.has_lines


def test_child_that_a_place_cannot_run_is_left_for_others():
    queue, gpu = ReadyQueue(), Requirement({"gpu": 1})
    plain, special = make_call(parent=3), make_call(parent=3)
    special.line = Line(requirement=gpu)
    added(queue, plain, special)

    assert queue.take_child(3, NOTHING) is plain
    assert queue.take_child(3, NOTHING) is None
    assert queue.take_child(3, Offer((), {"gpu": 1})) is special


def test_what_waits_is_counted_without_what_was_cancelled():
    queue = ReadyQueue()
    made = added(queue, *[make_call() for _ in range(50)])
    chunk, other = (Chunk(FUNCTION, b"", 10, None) for _ in range(2))
    queue.add(chunk)
    queue.add(other)
    span = chunk.cut(4)
    queue.give_back(span)
    other.cancelled = True
    queue.cancel(made[3])
    assert (queue.claimable, queue.items()) == (50, 3 + 6)
