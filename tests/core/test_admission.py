from random import Random

import pytest

from woolexec.core.admission import Admission, late_after
from woolexec.core.offer import Offer
from woolexec.core.window import HORIZON
from woolexec.resources import Requirement

GPU = Requirement({"gpu": 1})


@pytest.fixture
def admission():
    return Admission(2, Offer((), {"gpu": 1}))


def test_offers_are_taken_while_a_place_is_free(admission):
    assert admission.admit("a", None, offer=True) is not None
    assert admission.free == 1
    assert admission.admit("b", 100.0, offer=True) is not None
    assert admission.free == 0
    assert admission.admit("c", None, offer=True) is None


def test_short_calls_that_are_sent_ahead_are_taken(admission):
    for _ in range(100):
        assert admission.admit("a", HORIZON / 2, offer=False) is not None
    assert admission.free == 0


def test_short_calls_do_not_wait_behind_long_ones(admission):
    weights = [admission.admit("a", None, offer=True) for _ in range(2)]
    assert admission.admit("b", HORIZON / 100, offer=False) is None
    admission.done("a", weights[0])
    assert admission.next() == "b"
    assert admission.admit("b", HORIZON / 100, offer=False) is not None


def test_short_calls_take_part_of_a_place(admission):
    for _ in range(4):
        admission.admit("a", HORIZON / 4, offer=False)
    assert admission.free == 1
    admission.admit("a", HORIZON / 4, offer=False)
    assert admission.free == 0


def test_who_was_refused_is_told_when_there_is_room_and_who_waited_longest_first(admission):
    weights = [admission.admit("a", None, offer=True) for _ in range(2)]
    for client in ("b", "c", "b"):
        assert admission.admit(client, None, offer=True) is None
    assert admission.next() is None
    admission.done("a", weights[0])
    assert [admission.next(), admission.next(), admission.next()] == ["b", "c", None]
    assert not admission.has_waiting


def test_who_has_left_is_not_told(admission):
    weight, _ = (admission.admit("a", None, offer=True) for _ in range(2))
    admission.admit("b", None, offer=True)
    admission.leave("b")
    admission.done("a", weight)
    assert admission.next() is None


def test_resource_is_held_until_the_call_is_over(admission):
    weight = admission.admit("a", None, GPU, offer=True)
    assert admission.admit("b", None, GPU, offer=True) is None
    assert admission.admit("b", None, offer=True) is not None
    admission.done("a", weight, GPU)
    assert admission.next() == "b"
    assert admission.admit("b", None, GPU, offer=True) is not None


def test_what_runs_beside_main_threads_takes_no_place(admission):
    for _ in range(10):
        assert admission.admit("a", None, offer=True, is_lane=True) == 0.0
    assert admission.free == 2


def test_who_waits_for_a_resource_is_not_told_of_a_place(admission):
    weight = admission.admit("a", None, GPU, offer=True)
    assert admission.admit("b", None, GPU, offer=True) is None
    assert admission.free == 1
    assert admission.next() is None
    admission.admit("c", None, GPU, offer=True)
    admission.admit("c", None, offer=True)
    admission.done("a", weight, GPU)
    assert admission.next() == "b"


def test_call_for_one_worker_is_never_refused_and_counts(admission):
    for _ in range(2):
        admission.admit("a", None, offer=True)
    assert admission.admit("b", None, offer=True, pinned=True) is not None
    assert admission.free == 0


def test_who_was_refused_more_is_told_again_while_it_uses_what_it_is_told_of():
    admission = Admission(4, Offer())
    weights = [admission.admit("a", None, offer=True) for _ in range(4)]
    for _ in range(2):
        assert admission.admit("b", None, offer=True) is None
    assert admission.admit("c", None, offer=True) is None
    admission.done("a", weights.pop())
    assert admission.next() == "b"
    assert admission.admit("b", None, offer=True) is not None
    admission.done("a", weights.pop())
    assert admission.next() == "c"
    assert admission.next() == "b"
    assert admission.next() is None  # neither has used it
    assert not admission.has_waiting


@pytest.mark.parametrize("seed", range(20))
def test_who_was_refused_is_in_line_until_it_is_told(seed):
    random = Random(seed)
    admission = Admission(3, Offer((), {"gpu": 1}))
    taken, refused = [], set()
    for _ in range(2000):
        if taken and random.random() < 0.4:
            admission.done(*taken.pop(random.randrange(len(taken))))
        elif random.random() < 0.5:
            client, seconds = random.choice("abcd"), random.choice([None, 0.001])
            requirement = random.choice([None, None, GPU])
            weight = admission.admit(client, seconds, requirement, offer=seconds is None)
            if weight is None:
                refused.add(client)
            else:
                taken.append((client, weight, requirement))
        elif (client := admission.next()) is not None:
            refused.discard(client)
        assert refused <= admission._waiting.keys()
    for each in taken:
        admission.done(*each)
    while (client := admission.next()) is not None:
        refused.discard(client)
    assert not refused
    assert not admission.has_waiting


def test_client_that_is_refused_for_ever_new_requirements_takes_bounded_memory_and_is_told_of_any_place(admission):
    weights = [admission.admit("a", None, offer=True) for _ in range(2)]
    for number in range(1, 1000):
        assert admission.admit("b", None, Requirement({"gpu": 1 + number}), offer=True) is None
    (turn,) = admission._waiting.values()
    assert len(turn.wanted) <= 64
    assert admission.next() is None
    admission.done("a", weights[0])
    assert admission.next() == "b"


def test_call_that_was_expected_to_be_short_and_is_long_takes_a_place_until_it_ends(admission):
    weights = [admission.admit("a", HORIZON / 100, offer=False) for _ in range(2)]
    assert admission.free == 1
    weights = [admission.late("a", weight) for weight in weights]
    assert admission.free == 0
    assert admission.admit("b", None, offer=True) is None
    assert admission.admit("b", HORIZON / 100, offer=False) is None  # it would wait behind them
    admission.done("a", weights[0])
    assert admission.next() == "b"
    assert admission.admit("b", None, offer=True) is not None
    admission.done("a", weights[1])
    assert admission.free == 1


def test_pinned_call_that_is_late_does_not_keep_short_ones_out(admission):
    for _ in range(2):
        weight = admission.admit("a", HORIZON / 100, offer=False, pinned=True)
        admission.late("a", weight, pinned=True)
    assert admission.admit("b", HORIZON / 100, offer=False) is not None


def test_call_is_late_when_it_has_run_for_twice_as_long_as_expected():
    assert late_after(HORIZON * 0.9) == HORIZON * 1.8
    assert late_after(HORIZON / 100) == HORIZON / 2
    assert late_after(HORIZON) is None  # it takes a whole place
    assert late_after(0.0) is None  # it takes none
