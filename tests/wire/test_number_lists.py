import pytest

from woolexec.wire.number_lists import dumps_numbers
from woolexec.wire.unpickling import loads


class Whole(int):
    pass


class Odd:
    def __reduce__(self):
        raise LookupError("odd")


@pytest.mark.parametrize("values", [[0, 1.5, None, True, 2**70, -3], [147] * 1000, [1.0]], ids=len)
def test_numbers_are_pickled_without_a_look_at_each(values):
    assert loads(dumps_numbers(values, (values, {}), 3)) == (values, {})


OTHERS = ["", b"", (1,), [], {}, {1}, 1j, Whole(1), Odd(), int, bytearray(1), lambda: None]


@pytest.mark.parametrize("other", OTHERS, ids=[type(other).__name__ for other in OTHERS])
def test_what_is_no_number_is_left_to_others(other):
    for values in ([other], [other, 1, 2, 3], [1, other, 2, 3, 4], [1, 2, 3, other]):
        assert dumps_numbers(values, (values, {}), 3) is None
