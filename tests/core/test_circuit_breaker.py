"""When something that fails repeatedly counts as broken, and when it is tried again."""

import pytest

from woolexec.core.circuit_breaker import FIRST, LIMIT, PERIOD, SLOWEST, CircuitBreaker


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(clock)


def fail(breaker, count=LIMIT, cause="fork"):
    for _ in range(count):
        breaker.failed(cause, f"{cause} failed")


def test_nothing_waits_while_nothing_has_failed(breaker):
    assert breaker.may_try()
    assert breaker.may_try()
    assert (breaker.is_open, breaker.pause, breaker.open_for, breaker.reason) == (False, 0.0, 0.0, "")


def test_some_failures_of_one_cause_open_it_and_fewer_do_not(breaker, clock):
    fail(breaker, LIMIT - 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert breaker.reason == "fork failed"
    clock.now += 5.0
    assert breaker.open_for == 5.0


def test_failures_of_different_causes_are_counted_apart(breaker):
    for cause in ("fork", "fork server"):
        fail(breaker, LIMIT - 1, cause)
    assert not breaker.is_open


def test_failures_that_are_long_ago_do_not_count(breaker, clock):
    for _ in range(10):
        fail(breaker, LIMIT - 1)
        clock.now += PERIOD
    assert not breaker.is_open


def test_failure_for_good_opens_it_at_once(breaker):
    breaker.failed("fork", "not a Python", for_good=True)
    assert breaker.is_open


def test_success_closes_it_and_begins_the_count_anew(breaker, clock):
    fail(breaker)
    breaker.worked()
    assert (breaker.is_open, breaker.pause, breaker.open_for, breaker.reason) == (False, 0.0, 0.0, "")
    assert breaker.may_try()
    fail(breaker, LIMIT - 1)
    assert not breaker.is_open
    assert breaker.pause == pytest.approx(FIRST * 2 ** (LIMIT - 2))


def test_pauses_grow_to_the_longest(breaker, clock):
    pauses = []
    for _ in range(1100):
        breaker.failed("fork", "")
        pauses.append(breaker.pause)
        clock.now += breaker.pause
    assert pauses[:3] == pytest.approx([FIRST, 2 * FIRST, 4 * FIRST])
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[-1] == pytest.approx(SLOWEST)


def test_after_each_pause_there_is_one_try(breaker, clock):
    fail(breaker)
    assert not breaker.may_try()
    clock.now += breaker.pause
    assert [breaker.may_try() for _ in range(3)] == [True, False, False]
    clock.now += breaker.pause  # nothing was heard of that try
    assert breaker.may_try()


def test_it_remains_open_while_tries_fail_and_counts_from_when_it_opened(breaker, clock):
    fail(breaker)
    for _ in range(5):
        clock.now += 20.0
        assert breaker.may_try()
        breaker.failed("fork", "again")
        assert breaker.is_open
    assert (breaker.open_for, breaker.reason) == (100.0, "again")
