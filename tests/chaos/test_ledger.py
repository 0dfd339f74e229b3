"""Each broken guarantee is reported, and nothing else is."""

from collections import Counter
from concurrent.futures import CancelledError

import pytest

from tests.chaos.ledger import SHOWN, Expected, Ledger


@pytest.fixture
def ledger(clock):
    return Ledger(clock)


PLAIN = Expected("plain", lambda number, value: value == 3 * number, (KeyError,))
RETRIED = Expected("retried", lambda number, value: value == 3 * number, (KeyError,), starts=3)
UNNOTED = Expected("map", lambda number, value: value is True, (), starts=0)


def raising(exc):
    def outcome():
        raise exc

    return outcome


def ended(ledger, expected, outcome):
    number = ledger.accept(expected)
    ledger.end(number, outcome if callable(outcome) else lambda: outcome)
    return number


def test_nothing_is_wrong_with_calls_that_end_as_they_should(ledger):
    starts = Counter()
    starts[ended(ledger, PLAIN, 3)] = 1
    starts[ended(ledger, PLAIN, raising(KeyError()))] = 1
    starts[ended(ledger, RETRIED, 9)] = 3
    ended(ledger, PLAIN, raising(CancelledError()))
    ended(ledger, UNNOTED, True)
    assert ledger.faults(starts) == []
    assert ledger.counts == {
        "plain: value": 1,
        "plain: KeyError": 1,
        "plain: CancelledError": 1,
        "retried: value": 1,
        "map: value": 1,
    }


def test_value_that_is_not_right_is_named(ledger):
    ended(ledger, PLAIN, 4)
    assert ledger.faults({1: 1}) == ["call 1 (plain) has the value 4"]


def test_error_that_is_not_promised_is_named(ledger):
    ended(ledger, PLAIN, raising(ValueError("x")))
    assert ledger.faults({1: 1}) == ["call 1 (plain) raised ValueError('x')"]


def test_error_is_permitted_while_something_is_missing(ledger):
    ledger.shortage(OSError)
    assert ledger.is_short
    ended(ledger, PLAIN, raising(OSError("no descriptor")))
    ledger.shortage()
    assert not ledger.is_short
    ended(ledger, PLAIN, raising(OSError("no descriptor")))
    assert ledger.faults({}) == ["call 2 (plain) raised OSError('no descriptor')"]


def test_call_that_ends_twice_is_named(ledger):
    ledger.end(ended(ledger, PLAIN, 3), lambda: 3)
    assert ledger.faults({1: 1}) == ["call 1 ended twice"]


def test_call_that_starts_too_often_is_named(ledger):
    ended(ledger, PLAIN, 3)
    ended(ledger, RETRIED, 6)
    assert ledger.faults({1: 2, 2: 4}) == [
        "call 1 started 2 times, and may 1 times",
        "call 2 started 4 times, and may 3 times",
    ]


def test_value_without_a_start_is_named(ledger):
    ended(ledger, PLAIN, 3)
    assert ledger.faults(Counter()) == ["call 1 has a value and never started"]


def test_start_of_a_cancelled_call_is_named_unless_it_was_cancelled_by_force(ledger):
    ended(ledger, PLAIN, raising(CancelledError()))
    number = ledger.accept(PLAIN)
    ledger.forced(number)
    ledger.end(number, raising(CancelledError()))
    assert ledger.faults({1: 1, 2: 1}) == ["call 1 (plain) was cancelled and started"]


def test_call_that_may_start_again_may_have_started_before_it_was_cancelled(ledger):
    ended(ledger, RETRIED, raising(CancelledError()))
    assert ledger.faults({1: 1}) == []


def test_call_that_does_not_end_is_named_and_overdue_after_its_time(ledger, clock):
    ledger.accept(PLAIN)
    clock.now += 10.0
    assert ledger.overdue(10.0) == []
    assert ledger.overdue(9.0) == ["call 1 (plain) has not ended for 10 s"]
    assert ledger.pending == ledger.accepted == 1
    assert ledger.faults(Counter()) == ["call 1 (plain) has not ended"]


def test_many_faults_of_one_sort_are_counted(ledger):
    for _ in range(SHOWN + 5):
        ended(ledger, PLAIN, 0)
    found = ledger.faults(Counter(range(1, SHOWN + 6)))
    assert len(found) == SHOWN + 1
    assert found[-1] == "... and 5 more like these"
