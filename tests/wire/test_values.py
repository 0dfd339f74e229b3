import pickle

import pytest

from woolexec.wire import values
from woolexec.wire.inputs import Unbound, bind, value_of
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Value, WithValues


class Wants:
    """Is replaced by the value with this number."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return value_of, (self.number,)


def bound(arguments, *contents):
    return bind(Unbound(pickle.dumps(arguments), contents), contents)


def received(payload):
    """What a worker makes of it."""
    return WithValues(payload.payload, [value.payload for value in payload.values])


def test_numbers_of_values_are_unique():
    assert Value(b"x").number != Value(b"x").number


def test_arguments_refer_to_values_and_contain_others():
    shared = Value(pickle.dumps(["shared"]))
    payload = bound([Wants(0), Wants(1), Wants(0)], shared, pickle.dumps("copied"))
    assert payload.values == [shared]
    assert len(payload) == len(payload.payload)
    first, copied, again = loads(received(payload))
    assert (first, copied) == (["shared"], "copied")
    assert first is again


def test_each_call_has_objects_of_its_own():
    payload = received(bound([Wants(0)], Value(pickle.dumps(["shared"]))))
    assert loads(payload)[0] is not loads(payload)[0]


def test_arguments_without_values_are_no_more_than_bytes():
    payload = bound([Wants(0)], pickle.dumps("copied"))
    assert payload.__class__ is bytes
    assert loads(payload) == ["copied"]


def test_small_arguments_are_bound_like_large_ones():
    contents = pickle.dumps("one"), pickle.dumps({"two": 2})
    short = bound([Wants(1), Wants(0)], *contents)
    assert loads(short) == [{"two": 2}, "one"] == pickle._loads(short)


def test_thread_has_values_while_it_unpickles_only():
    class Fails:
        def __reduce__(self):
            return int, ("no number",)

    with pytest.raises(ValueError, match="no number"):
        loads(WithValues(pickle.dumps(Fails()), [b"value"]))
    assert values.here.payloads == ()
