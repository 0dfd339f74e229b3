import pytest

from woolexec.core.scaling import CONNECTS, EARLY, GUESS, HORIZON, LONGEST, PAUSE, Scaling

TIMEOUT = 60.0
FEW, MANY = [(1, 4)], [(1000, 4)]


def scaling_with(ready=0, *, least=0, most=16, busy=False):
    """Return one with peers that have been ready for a while."""
    made = Scaling(least, most, TIMEOUT)
    made.started(range(ready), 0, 0.0)
    for key in range(ready):
        made.ready(key, 0.0)
        made.busy(key, 0.0, is_busy=busy)
    return made


def step(scaling, lines, now, *, seconds=None, oldest=0.0):
    return scaling.step(lines, seconds, oldest, now)


def test_first_call_starts_one_peer_at_once():
    assert step(Scaling(0, 16, TIMEOUT), FEW, 0.0) == (1, [])


def test_nothing_to_do_starts_nothing():
    assert step(Scaling(0, 16, TIMEOUT), [], 0.0) == (0, [])


def test_floor_is_started_without_work():
    assert step(Scaling(3, 16, TIMEOUT), [], 0.0) == (3, [])


def test_what_has_been_asked_for_is_not_asked_for_again():
    scaling = Scaling(0, 16, TIMEOUT)
    assert step(scaling, FEW, 0.0) == (1, [])
    assert scaling.is_starting(0.0)
    assert step(scaling, FEW, 0.1) == (0, [])
    scaling.started(["a"], 1, 0.2)
    assert scaling.is_starting(0.0)
    assert step(scaling, FEW, 0.3) == (0, [])
    scaling.ready("a", 1.0)
    assert not scaling.is_starting(0.0)
    assert step(scaling, FEW, 1.1) == (0, [])


def test_peer_that_was_found_and_cannot_be_connected_is_not_on_its_way():
    scaling = Scaling(0, 16, TIMEOUT)
    step(scaling, FEW, 0.0)
    scaling.started(["a"], 1, 1.0)
    assert scaling.is_starting(1000.0)
    scaling.found("a", 1000.0)
    scaling.found("a", 1009.0)  # what is announced again was found before
    assert scaling.is_starting(999.0 + CONNECTS)
    assert not scaling.is_starting(1000.0 + CONNECTS)
    assert step(scaling, FEW, 1100.0) == (0, [])


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(None, 1000 * GUESS / HORIZON / 4), (0.001, 1), (HORIZON, 250), (1000.0, 250)]
)
def test_enough_peers_are_wanted_to_do_what_waits_within_the_horizon(seconds, wanted):
    assert Scaling(0, 10_000, TIMEOUT).wanted(MANY, seconds, 0.0) == wanted


def test_calls_take_at_least_as_long_as_the_oldest_has_run():
    assert Scaling(0, 10_000, TIMEOUT).wanted(MANY, None, HORIZON) == 250


def test_slow_starts_are_not_made_for_work_that_is_done_before_them():
    fast, slow = Scaling(0, 10_000, TIMEOUT), Scaling(0, 10_000, TIMEOUT)
    slow.started(["a"], 0, 0.0)
    slow.ready("a", 100.0)
    assert slow.wanted(MANY, 1.0, 0.0) < fast.wanted(MANY, 1.0, 0.0)


def test_kinds_of_calls_that_few_fit_on_a_peer_want_more_peers():
    assert Scaling(0, 100, TIMEOUT).wanted([(8, 1), (8, 8)], HORIZON, 0.0) == 9


def test_ceiling_holds_with_those_that_are_stopping():
    scaling = scaling_with(2, most=2)
    assert sorted(step(scaling, [], TIMEOUT)[1]) == [0, 1]
    assert step(scaling, MANY, TIMEOUT + 1) == (0, [])
    scaling.gone(0, TIMEOUT + 2)
    assert step(scaling, MANY, TIMEOUT + 2) == (1, [])


def test_idle_peer_is_stopped_after_its_time_and_not_before():
    scaling = scaling_with(1)
    assert step(scaling, [], TIMEOUT - 1) == (0, [])
    assert step(scaling, [], TIMEOUT) == (0, [0])
    assert step(scaling, [], TIMEOUT + 1) == (0, [])


def test_busy_peer_is_never_stopped():
    scaling = scaling_with(2, busy=True)
    assert step(scaling, [], 10 * TIMEOUT) == (0, [])
    scaling.busy(1, 10 * TIMEOUT, is_busy=False)
    assert step(scaling, [], 11 * TIMEOUT - 1) == (0, [])
    assert step(scaling, [], 11 * TIMEOUT) == (0, [1])


def test_the_longest_idle_is_stopped_first_and_the_floor_stays():
    scaling = scaling_with(3, least=1)
    scaling.busy(0, 1.0, is_busy=True)
    scaling.busy(0, 2.0, is_busy=False)
    assert step(scaling, [], 10 * TIMEOUT) == (0, [1, 2])


def test_start_that_is_no_longer_needed_is_taken_back_after_the_idle_time():
    scaling = Scaling(0, 16, TIMEOUT)
    assert step(scaling, FEW, 0.0) == (1, [])
    scaling.started(["a"], 1, 0.0)
    assert step(scaling, [], 1.0) == (0, [])
    assert step(scaling, FEW, 30.0) == (0, [])  # it is needed again
    assert step(scaling, [], TIMEOUT + 2) == (0, [])
    assert step(scaling, [], 2 * TIMEOUT + 2) == (0, ["a"])


def test_failed_start_is_tried_again_after_pauses_that_double():
    scaling, now = Scaling(0, 16, TIMEOUT), 0.0
    pause = PAUSE
    for _ in range(12):
        more, _ = step(scaling, MANY, now)
        assert more >= 1
        scaling.started([], more, now)
        assert step(scaling, MANY, now + pause * 0.99) == (0, [])
        now += pause
        pause = min(2 * pause, LONGEST)


def test_after_a_failure_one_start_shows_whether_it_works_again():
    scaling = Scaling(0, 16, TIMEOUT)
    more, _ = step(scaling, MANY, 0.0)
    assert more > 1
    scaling.started([], more, 0.0)
    assert step(scaling, MANY, PAUSE) == (1, [])


def test_work_that_is_done_forgets_the_failures():
    scaling = Scaling(0, 16, TIMEOUT)
    scaling.started([], 1, 0.0)
    scaling.started(["a"], 0, 1.0)
    scaling.ready("a", 2.0)
    scaling.busy("a", 3.0, is_busy=True)
    assert scaling.failures == 0


@pytest.mark.parametrize("age", [0.0, EARLY - 1])
def test_peer_that_is_lost_at_once_counts_as_a_failed_start(age):
    scaling = scaling_with(1)
    scaling.gone(0, age)
    assert scaling.failures == 1
    assert step(scaling, FEW, age) == (0, [])


def test_peer_that_is_lost_later_is_replaced_at_once():
    scaling = scaling_with(1)
    scaling.gone(0, EARLY + 1)
    assert step(scaling, FEW, EARLY + 1) == (1, [])


def test_peer_that_ends_because_it_was_stopped_is_no_failure():
    scaling = scaling_with(1)
    assert step(scaling, [], TIMEOUT) == (0, [0])
    scaling.gone(0, TIMEOUT)
    assert scaling.failures == 0
