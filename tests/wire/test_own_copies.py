import collections
import datetime as dt
import enum
import functools
import itertools
import operator
import pathlib
import pickle
import re

import pytest

from woolexec.wire.own_copies import has_state, share


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, n):
        self.count += n
        return self.count

    @classmethod
    def name(cls):
        return cls.__name__

    def __call__(self, n):
        return self.add(n)


class Color(enum.Enum):
    RED = []


@pytest.mark.parametrize(
    "fn",
    [
        Counter().add,
        Counter(),
        [].append,
        {}.setdefault,
        functools.partial(max, []),
        functools.partial(max, 1, key=Counter()),
        functools.partial(functools.partial(max, 1), (1, [])),
        functools.partial(Counter().add, 1),
    ],
    ids=range(8),
)
def test_callable_with_something_that_a_call_may_change_has_state(fn):
    assert has_state(fn)


@pytest.mark.parametrize(
    "fn",
    [
        abs,
        len,
        Counter,
        Counter.name,
        Counter.add,
        lambda: [1],
        "abc".upper,
        int.from_bytes,
        str.upper,
        re.compile("a").match,
        operator.itemgetter(1),
        functools.lru_cache(abs),
        functools.partial(max, 1, (2, "x"), key=abs),
        functools.partial(operator.methodcaller("upper"), Color.RED),
    ],
    ids=range(14),
)
def test_function_or_class_or_what_is_bound_to_constants_has_none(fn):
    assert not has_state(fn)


def test_object_that_pickles_as_the_name_of_a_global_has_none():
    assert not has_state(Counter(), pickle.dumps(Color, 5))


SHARED = []
INNER = Counter()
INNER.kept = SHARED


@pytest.mark.parametrize(
    "items",
    [
        [SHARED, SHARED],
        [(1, SHARED), (2, SHARED)],
        [(1, ("x", SHARED)), (2, ("y", SHARED))],
        [{"a": SHARED}, {"b": [SHARED]}],
        [INNER, [SHARED]],
        [bytearray(b"x")] * 2,
        [[[] for _ in range(10_000)], [1]],
    ],
    ids=range(7),
)
def test_items_that_refer_to_one_object_share_it_or_are_large(items):
    assert share(items, star=False)


@pytest.mark.parametrize(
    "items",
    [
        range(3),
        ["a", "a", None, 1.5],
        [[], []],
        [(1, "x"), (2, "x")],
        [POINT := (1, (2, 3)), POINT],
        [{"a": 1, "b": [1]}, {"a": 1, "b": [1]}],
        [Counter(), Counter()],
        [Color.RED, Color.RED],
        [DAY := dt.date(2020, 1, 1), DAY],
        [HERE := pathlib.Path("x"), HERE],
        [len, Counter, collections, len, Counter, collections],
    ],
    ids=range(11),
)
def test_items_with_objects_of_their_own_or_constants_share_nothing(items):
    assert not share(list(items), star=False)


def test_tuples_of_arguments_are_nobody_elses():
    assert not share(list(zip(range(3), "abc", strict=True)), star=True)
    assert share(list(zip(range(3), itertools.repeat([]))), star=True)  # one of them is endless
