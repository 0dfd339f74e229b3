import dataclasses
import datetime as dt
import enum
from typing import NamedTuple

import numpy as np
import pytest

from woolexec.wire import sure_classes
from woolexec.wire.sure_classes import is_sure


class Pair(NamedTuple):
    a: int
    b: int


@dataclasses.dataclass
class Point:
    x: int


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("x",)


class Reduced:
    def __reduce__(self):
        return int, ()


class Restored:
    def __setstate__(self, state):
        raise LookupError


class Particular:
    def __new__(cls, needed):
        return object.__new__(cls)


class Listed(list):
    pass


@pytest.mark.parametrize(
    "value",
    [[], {}, Pair(1, 2), Point(1), Colour.RED, Slotted(), np.arange(3), np.float64(1), dt.date(2000, 1, 1), len],
    ids=lambda value: type(value).__name__,
)
def test_classes_without_code_of_their_own_are_sure(value):
    assert is_sure(value)


@pytest.mark.parametrize(
    "value", [Reduced(), Restored(), Particular(1), Listed(), ValueError()], ids=lambda value: type(value).__name__
)
def test_others_are_not(value):
    assert not is_sure(value)


def test_not_all_classes_that_there_ever_were_are_remembered(monkeypatch):
    monkeypatch.setattr(sure_classes, "_MOST", 3)
    monkeypatch.setattr(sure_classes, "_known", {})
    for number in range(10):
        assert is_sure(type(f"Class{number}", (), {})())
    assert len(sure_classes._known) <= 3
