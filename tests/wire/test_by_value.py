import pytest

from woolexec.wire.by_value import Verdicts, dumps_by_value, substitute
from woolexec.wire.pickling import dumps
from woolexec.wire.stand_ins import StandIn


class Odd:
    """Cannot be pickled; counts how often that was tried."""

    def __init__(self):
        self.tries = 0

    def __reduce__(self):
        self.tries += 1
        raise LookupError("odd")


def inline(_):
    return True


def test_value_is_tried_once_for_all_that_name_it(program):
    odd = Odd()
    verdicts = Verdicts()
    program("")
    found = [verdicts.find(owner, "ODD", odd) for owner in ("one", "other")]

    assert found[0] is found[1]
    assert isinstance(found[0], StandIn)
    assert odd.tries == 1


def test_value_that_can_be_pickled_replaces_itself(program):
    program("")
    value = [1]

    assert substitute("fn", "value", value) is value


def test_error_of_an_argument_is_raised_with_a_note_and_without_the_buffers_of_the_attempt(program):
    program("")
    buffers = ["left over"]
    with pytest.raises(LookupError, match="odd") as raised:
        dumps_by_value([[1], Odd()], inline, buffers, ("first", "second"))

    assert buffers == []
    assert any("second" in note for note in raised.value.__notes__)


def test_object_that_is_nested_too_deeply_raises_what_the_c_pickler_raises():
    nested = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(RecursionError):
        dumps(nested)
