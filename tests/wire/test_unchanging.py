"""When a pickle of a function or a class may be used again."""

import abc
import collections
import dataclasses
import enum
import functools
import types
import typing

import pytest

from woolexec.wire import modules
from woolexec.wire.unchanging import Snapshot


@pytest.fixture(autouse=True)
def by_value(monkeypatch):
    """Classes of this file travel by value."""
    monkeypatch.setitem(modules.by_path, __name__, __name__.encode())


class Base:
    def base(self):
        return 1


class Child(Base):
    __slots__ = ("x",)
    limit = 3
    names = ("a", ("b",))

    def method(self, n=1, *, m=2):
        return super().base(), n, m

    @property
    def prop(self):
        return 1

    @classmethod
    def made(cls):
        return cls()

    @staticmethod
    def helper(x=None):
        return x


@dataclasses.dataclass(frozen=True, order=True)
class Data:
    x: int
    y: list = dataclasses.field(default_factory=list)


class Named(typing.NamedTuple):
    x: int
    y: int = 2


Plain = collections.namedtuple("Plain", "a b", defaults=(1,))  # noqa: PYI024


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796
    MIX = (1, 2)

    def shout(self):
        return self.name.upper()


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Abstract(abc.ABC):
    @abc.abstractmethod
    def do(self): ...


def wrapped(fn):
    @functools.wraps(fn)
    def inner(*args):
        return fn(*args)

    return inner


class Decorated:
    @wrapped
    def method(self):
        return 1


UNCHANGING = [Base, Child, Data, Named, Plain, Colour, Bits, Abstract, Decorated, wrapped(len), Child.method]


@pytest.mark.parametrize("defined", UNCHANGING, ids=lambda defined: defined.__qualname__)
def test_definition_is_the_same_as_long_as_nothing_is_replaced(defined):
    found = Snapshot.of(defined)
    assert found is not None
    assert found.is_same()


def changed(cls, name, value):
    return lambda monkeypatch: monkeypatch.setattr(cls, name, value, raising=False)


CHANGES = {
    "attribute": (Child, changed(Child, "limit", 4)),
    "new attribute": (Child, changed(Child, "more", 4)),
    "method": (Child, changed(Child, "method", len)),
    "code of a method": (Base, changed(Base.base, "__code__", (lambda self: 7).__code__)),
    "code of a method of a base class": (Child, changed(Base.base, "__code__", (lambda self: 7).__code__)),
    "default of a method": (Child, changed(Child.method, "__defaults__", (2,))),
    "option of a method": (Child, changed(Child.method, "__kwdefaults__", {"m": 3})),
    "attribute of a method": (Child, changed(Child.method, "note", 1)),
    "base class": (Child, changed(Base, "base", len)),
    "method of an enumeration": (Colour, changed(Colour, "shout", len)),
    "attribute of a member": (Colour, changed(Colour.RED, "note", "x")),
    "code of a function that is wrapped": (
        Decorated,
        changed(Decorated.method.__wrapped__, "__code__", (lambda self: 7).__code__),
    ),
    "method of a named tuple": (Named, changed(Named, "__str__", lambda self: "")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_seen(monkeypatch, change):
    defined, make = CHANGES[change]
    before = Snapshot.of(defined)

    make(monkeypatch)

    assert not before.is_same()


def of(source):
    namespace = {"__name__": __name__, "enum": enum, "abc": abc}
    exec(source, namespace)
    return namespace["it"]


CHANGEABLE = {
    "list in a class": "class it: items = []",
    "instance in a class": "class it: thing = object()",
    "list as a default": "def it(x=[]): pass",
    "list in a closure": "def make(x):\n    def it(): return x\n    return it\nit = make([])",
    "list of a base class": "class base: items = []\nclass it(base): pass",
    "list as the value of a member": "class it(enum.Enum): A = [1]",
    "tuple with a list": "class it: items = (1, [2])",
    "class of a metaclass of the program": "class meta(type): pass\nclass it(metaclass=meta): pass",
    "cell that is empty": "def make():\n    def it(): return late\n    return it\n    late = 1\nit = make()",
    "class in a class": "class it:\n    class inner: items = []",
}


@pytest.mark.parametrize("kind", CHANGEABLE)
def test_what_may_change_unseen_is_pickled_anew(kind):
    assert Snapshot.of(of(CHANGEABLE[kind])) is None


def test_classes_that_hold_each_other_are_looked_at_once():
    one, other = types.new_class("one"), types.new_class("other")
    one.__module__ = other.__module__ = __name__
    one.other, other.one = other, one

    assert Snapshot.of(one).is_same()
