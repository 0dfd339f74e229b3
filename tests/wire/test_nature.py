from functools import partial

import numpy as np
import pytest

from woolexec.wire import modules
from woolexec.wire.nature import BULKY, BY_VALUE, WALKED, nature_of


class Own:
    def method(self):
        pass


def plain():
    pass


@pytest.fixture(autouse=True)
def own_travels_by_value(monkeypatch):
    monkeypatch.setattr(modules, "comes_by_value", lambda name: name == __name__)


LARGE = b"x" * WALKED


CASES = {
    "number": (5, 0),
    "tuple": ((1, "a", None), 0),
    "large": (LARGE, BULKY),
    "nearly-large": ([LARGE[1:]], 0),
    "arguments": (((LARGE,), {}), BULKY),
    "dictionary": (({"a": [LARGE]}, {}), BULKY),
    "text": ("x" * WALKED, BULKY),
    "array": (np.zeros(WALKED), 0),
    "array-of-subclass": (np.zeros(WALKED, dtype="i1").view(np.recarray), BULKY),
    "object": (Own(), BY_VALUE),
    "class": (Own, 0),
    "object-and-large": (((Own(), LARGE), {}), BY_VALUE | BULKY),
    "method": (partial(Own().method), BY_VALUE),
    "function": (partial(plain), BY_VALUE),
    "value": ({"a": Own()}, BY_VALUE),
    "second": ([1, Own()], 0),
    "deep": ([[[[[Own()]]]]], 0),
    "empty-dictionary": ({}, 0),
    "empty-tuple": ((), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_nature_is_found_in_the_first_objects(name):
    obj, nature = CASES[name]
    assert nature_of(obj) == nature
