import threading

from woolexec.core.call import Call, Chunk, Function
from woolexec.core.queue import ReadyQueue

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

    assert queue.take_child(3) is newer
    assert queue.take_child(3) is older
    assert queue.take_child(3) is None


def test_child_taken_as_a_child_is_not_met_in_the_line_again():
    queue = ReadyQueue()
    added(queue, make_call(parent=3))
    queue.take_child(3)

    assert queue.head() is None


def test_child_that_the_line_gave_away_is_not_given_to_its_parent_again():
    queue = ReadyQueue()
    added(queue, make_call(parent=3))
    queue.take(queue.head())

    assert queue.take_child(3) is None


def test_children_of_a_call_that_ended_stay_in_line_and_leave_the_index():
    queue = ReadyQueue()
    (child,) = added(queue, make_call(parent=3))

    queue.forget_parent(3)

    assert queue.take_child(3) is None
    assert drained(queue) == [child]
    assert not queue._children


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
