"""The note that says what could not be pickled."""

import collections
import dataclasses
import functools
import pickle
from typing import NamedTuple

import pytest

from woolexec.wire.pickling import dumps, dumps_call, dumps_inline, dumps_value


class Box:
    def __init__(self, content):
        self.content = content

    def open(self):
        return self.content


class Slotted:
    __slots__ = ("__hidden", "content")

    def __init__(self, content):
        self.content = self.__hidden = content


@dataclasses.dataclass
class Config:
    name: str
    source: object


class Made:
    """Its pickling makes what does not pickle."""

    def __reduce__(self):
        return list, ((n for n in ()),)


class Raising:
    def __reduce__(self):
        raise LookupError("not today")


class Liar:
    @property
    def __class__(self):
        raise RuntimeError("no class")

    def __reduce_ex__(self, protocol):
        raise LookupError("not today")


class Pair(NamedTuple):
    left: object
    right: object


def bad():
    return (n for n in ())


def ours(error):
    """Return the notes of an exception but for those that the pickler of Python 3.14 and later adds."""
    return [text for text in error.__notes__ if not text.startswith("when serializing ")]


def note(pickle_it, *args):
    with pytest.raises((TypeError, LookupError, pickle.PicklingError)) as raised:
        pickle_it(*args)
    [text] = ours(raised.value)
    return text.removeprefix("cannot be pickled: ")


PLACES = {
    "args[0]": lambda it: ((it,), {}),
    "args[2]": lambda it: ((1, "two", it), {}),
    "kwargs['source']": lambda it: ((1,), {"source": it}),
    "args[0].content": lambda it: ((Box(it),), {}),
    "args[0].content.content": lambda it: ((Box(Box(it)),), {}),
    "args[0][1]['key']": lambda it: (([0, {"key": it}],), {}),
    "args[0].source": lambda it: ((Config("name", it),), {}),
    "args[0].right": lambda it: ((Pair(1, it),), {}),
    "args[0].func.__self__.content": lambda it: ((functools.partial(Box(it).open),), {}),
    "args[0].args[0]": lambda it: ((functools.partial(print, it),), {}),
    "args[0].keywords['end']": lambda it: ((functools.partial(print, end=it),), {}),
    "args[0].__self__.content": lambda it: ((Box(it).open,), {}),
    "an element of args[0]": lambda it: (({it},), {}),
    "args[0].args[1]": lambda it: ((ValueError("text", it),), {}),
    "args[0][1]": lambda it: ((collections.deque([1, it]),), {}),
}


@pytest.mark.parametrize("place", PLACES)
def test_argument_is_named_with_the_way_to_what_does_not_pickle(place):
    assert note(dumps_call, *PLACES[place](bad())) == f"{place}, a generator"


def test_inside_of_what_c_code_made_is_searched():
    assert note(dumps_call, (iter([bad()]),), {}).startswith("the inside of args[0]")


def test_slots_are_named():
    assert note(dumps_call, (Slotted(bad()),), {}) in (
        "args[0].content, a generator",
        "args[0]._Slotted__hidden, a generator",
    )


def test_result_and_any_other_value_is_named():
    assert note(dumps_value, [bad()]) == "value[0], a generator"
    assert note(dumps_inline, {"key": bad()}) == "value['key'], a generator"


def test_captured_variable_is_named():
    client = Box(bad())

    def work():
        return client

    where = "captured variable of test_captured_variable_is_named.<locals>.work"
    assert note(dumps, work) == f"client.content, a generator; client is a {where}"
    assert note(dumps_call, (work,), {}) == f"client.content, a generator; client is a {where}, which is args[0]"


def test_default_is_named():
    def work(x, y=bad()):  # noqa: B008  # it is to be there already
        return x, y

    def other(*, z=bad()):  # noqa: B008
        return z

    where = "is a default of test_default_is_named.<locals>"
    assert note(dumps, work) == f"y, a generator; y {where}.work"
    assert note(dumps, other) == f"z, a generator; z {where}.other"


def test_item_of_a_map_is_named():
    assert note(dumps, (False, [Box(bad())]), ("", "item")) == "item.content, a generator"


def test_object_whose_own_pickling_raises_is_named():
    assert note(dumps_call, (Box(Raising()),), {}) == f"args[0].content, a {__name__}.Raising"


def test_object_whose_pickling_makes_what_does_not_pickle_is_named():
    assert note(dumps_call, (Box(Made()),), {}) == (
        f"args[0].content, a {__name__}.Made, whose pickling creates a generator"
    )


def test_object_that_lies_about_its_class_is_no_obstacle():
    assert note(dumps_call, ([Liar(), bad()],), {}) == f"args[0][0], a {__name__}.Liar"


def test_very_deep_way_is_cut():
    deep = bad()
    for _ in range(60):
        deep = Box(deep)

    text = note(dumps_call, (deep,), {})

    assert text.startswith("args[0].content.content")
    assert "more" in text
    assert len(text) < 300


@pytest.mark.slow
def test_endless_recursion_has_a_note():
    deep = []
    for _ in range(100_000):  # from Python 3.14 on the stack is the limit
        deep = [deep]

    with pytest.raises((pickle.PicklingError, RecursionError)) as raised:
        dumps_call((deep,), {})
    assert ours(raised.value)


def test_note_is_added_once_to_an_exception_that_is_raised_again():
    shared = LookupError("shared")

    class Shared:
        def __reduce__(self):
            raise shared

    for _ in range(3):
        with pytest.raises(LookupError):
            dumps([Shared()])
    assert len(ours(shared)) == 1


def test_what_pickles_is_not_searched(monkeypatch):
    monkeypatch.setattr("woolexec.wire.culprit.annotate", None)

    dumps(lambda: Box(1))
    dumps_call((Box(1),), {})
