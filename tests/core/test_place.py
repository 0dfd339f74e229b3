from types import SimpleNamespace

from woolexec.core.call import Call, Function
from woolexec.core.place import Place
from woolexec.core.window import BYTES, DEPTH, HORIZON


class Worker(Place):
    page = SimpleNamespace(started=3)


def filled(count, cost=0.0, size=0, made=Place):
    place = made()
    for number in range(1, count + 1):
        place.sent(Call(Function(b"", "f"), b"", None), number, cost, size)
    return place


def test_call_that_a_worker_runs_is_the_innermost_one_whose_outcome_is_not_on_its_way():
    place = filled(5, made=Worker)
    calls = [*place.outstanding.values()]

    assert place.current is calls[2]
    assert [place.runs_here(call) for call in calls] == [False, False, True, False, False]

    place.waiting = [1]  # 2 has ended, and 3 runs on top of 1
    assert [place.runs_here(call) for call in calls] == [True, False, True, False, False]

    for number in (2, 3):
        place.gone(number, 0)
    place.waiting = []  # 1 goes on
    assert place.current is calls[0]

    place.gone(1, 0)
    assert place.current is None


def test_idle_place_takes_a_call_of_unknown_cost_and_any_size():
    assert Place().has_room(None, 10 * BYTES)


def test_call_of_unknown_cost_is_not_sent_ahead():
    assert not filled(1).has_room(None, 0)


def test_one_call_is_sent_ahead_however_long():
    place = filled(1, cost=100.0)

    assert place.has_room(100.0, 0)
    assert not filled(2, cost=100.0).has_room(0.0, 0)


def test_short_calls_are_sent_ahead_up_to_the_horizon():
    place = filled(3, cost=HORIZON / 10)

    assert place.has_room(HORIZON * 0.6, 0)
    assert not place.has_room(HORIZON * 0.8, 0)


def test_outstanding_bytes_are_bounded():
    place = filled(2, size=BYTES // 2)

    assert place.has_room(0.0, 0)
    assert not place.has_room(0.0, 1)


def test_outstanding_calls_are_bounded():
    assert filled(DEPTH - 1).has_room(0.0, 0)
    assert not filled(DEPTH).has_room(0.0, 0)


def test_nothing_is_sent_to_a_place_that_leaves_waits_or_gives_back():
    for name, value in (("ready", False), ("waiting", [3]), ("recalling", 1), ("remaining", 0)):
        place = Place()
        setattr(place, name, value)
        assert not place.has_room(0.0, 0), name


def test_sending_is_booked_at_once_and_undone_when_it_is_over():
    place, call = Place(), Call(Function(b"", "f"), b"", None)
    place.remaining = 2

    place.sent(call, 9, 0.5, 100)
    assert (place.load, place.size, place.remaining) == (0.5, 100, 1)
    assert (call.number, call.place, call.attempts, call.state) == (9, place, 1, "sent")
    assert not place.idle

    assert place.gone(9, 100) is call
    assert (place.load, place.size, call.place) == (0.0, 0, None)
    assert place.idle
    assert place.gone(9, 100) is None


def test_books_are_exactly_zero_when_nothing_is_outstanding():
    place = filled(10, cost=0.1)
    for number in range(1, 11):
        place.gone(number, 0)

    assert place.load == 0.0


def test_what_is_not_started_is_what_has_a_higher_number():
    place = filled(4)

    assert [call.number for call in place.unstarted(2)] == [3, 4]
    assert place.unstarted(4) == []


def test_tasks_of_its_own_that_a_waiting_call_runs_are_not_counted():
    place = Place()
    place.remaining = 1
    place.sent(Call(Function(b"", "f"), b"", None), 1, 0.0, 0)
    place.waiting.append(1)
    place.sent(Call(Function(b"", "f"), b"", None), 2, 0.0, 0)

    assert place.remaining == 0
    assert place.is_used_up
