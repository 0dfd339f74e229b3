import pickle
from operator import add, mul, neg

import pytest

from woolexec.graphs.composed import CALL, DICT, LIST, NODE, SET, SPREAD, TUPLE, Composed, function_of, name_of


def pair(first, *, second):
    return first, second


@pytest.mark.parametrize(
    ("code", "arguments", "value"),
    [
        ([None, None, (add, 2)], [1, 2], 3),
        ([None, (neg, 1), None, None, (add, 2), (mul, 2)], [1, 2, 3], -5),
        ([(dict, 0)], [], {}),
        ([None, None, (LIST, 2)], [1, 2], [1, 2]),
        ([None, (TUPLE, 1)], [1], (1,)),
        ([None, None, (SET, 2)], [1, 1], {1}),
        ([None, None, None, None, (DICT, 4)], ["a", 1, "b", 2], {"a": 1, "b": 2}),
        ([None, None, (pair, 2, ("second",))], [1, 2], (1, 2)),
        ([None, None, None, (CALL, 2)], [add, 1, 2], 3),
        ([None, None, None, (NODE, 1)], [lambda values: values["k"] + 1, ["k"], 5], 6),
        ([None, (SPREAD, 3), (max, 3)], [(1, 3, 2)], 3),
    ],
)
def test_code_is_run(code, arguments, value):
    assert Composed(tuple(code))(*arguments) == value


def test_composed_function_is_pickled_with_its_code():
    composed = pickle.loads(pickle.dumps(Composed((None, (neg, 1), (neg, 1)))))
    assert composed(3) == 3


def test_code_with_nothing_but_a_call_is_the_function_itself():
    assert function_of((None, None, (add, 2))) is add
    assert isinstance(function_of((None, (neg, 1), (neg, 1))), Composed)
    assert isinstance(function_of((None, (pair, 1, ("second",)))), Composed)


def test_name_has_the_functions_from_the_last_to_the_first():
    assert name_of((None, (neg, 1), None, (add, 2))) == "add+neg"
    assert name_of((None, (neg, 1), (neg, 1), None, (add, 2), (abs, 1), (len, 1))) == "len+abs+add+..."
    assert name_of((None, (LIST, 1))) == "a node"
