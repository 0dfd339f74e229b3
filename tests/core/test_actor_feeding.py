"""Which calls of an actor are sent over a link."""

from tests.core.parts import make_call
from woolexec.core.actor_feeding import AHEAD, APART, Ahead


def test_over_a_link_only_so_many_calls_are_ahead_and_a_large_one_is_alone():
    calls = [make_call() for _ in range(AHEAD)]
    ahead = Ahead(calls[:-1])
    assert ahead.may_grow(calls[-1])
    ahead.add(calls[-1])
    assert not ahead.may_grow(make_call())

    large = make_call()
    large.payload = b"x" * APART
    assert not Ahead(calls[:1]).may_grow(large)
    assert Ahead([]).may_grow(large)
    assert not Ahead([large]).may_grow(calls[0])
