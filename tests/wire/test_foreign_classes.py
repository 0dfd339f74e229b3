import ctypes
import operator
import sys
import types
import uuid

import pytest

from woolexec.wire.foreign_classes import make_struct, make_structure, reduce


def copy_of(cls):
    """Create a class as a process does that has never seen it."""
    make, (*args, _), state, *_, set_state = reduce(cls)
    assert make in (make_structure, make_struct)
    made = make(*args, uuid.uuid4().hex)
    assert made is not cls
    return set_state(made, state)


def test_ordinary_class_is_not_reduced():
    assert reduce(type("A", (), {})) is None


class Point(ctypes.Structure):
    _pack_ = 1
    if sys.version_info >= (3, 14):
        _layout_ = "ms"
    _fields_ = (("tag", ctypes.c_char), ("x", ctypes.c_double))

    def twice(self):
        return 2 * self.x


class Inner(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("octets", ctypes.c_ubyte * 4))


def test_structure_is_recreated_with_its_fields_and_layout():
    made = copy_of(Point)
    point = made(b"t", 1.5)

    assert (ctypes.sizeof(made), made.x.offset, made.__module__) == (9, 1, __name__)
    assert (point.tag, point.twice()) == (b"t", 3.0)


def test_union_is_recreated():
    made = copy_of(Inner)

    assert made(number=0x01010101).octets[3] == 1
    assert issubclass(made, ctypes.Union)


def test_structure_that_refers_to_itself_is_recreated():
    class Node(ctypes.Structure):
        pass

    Node._fields_ = (("value", ctypes.c_int), ("next", ctypes.POINTER(Node)))
    make, (*args, _), (names, slots, fields), *_, set_state = reduce(Node)
    made = make(*args, uuid.uuid4().hex)
    fields = [(name, ctypes.POINTER(made) if name == "next" else kind) for name, kind in fields]
    set_state(made, (names, slots, fields))

    assert made(1, ctypes.pointer(made(2))).next.contents.value == 2


def test_structure_that_is_known_and_complete_is_left_as_it_is():
    tracker = uuid.uuid4().hex
    make, (*args, _), state, *_, set_state = reduce(Point)
    made = set_state(make(*args, tracker), state)

    assert set_state(make(*args, tracker), state) is made


NAMES = ("_flags_", "_restype_", "_argtypes_")


@pytest.mark.parametrize(
    "cls",
    [
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Point)),
        ctypes.CFUNCTYPE(None, use_errno=True),
        ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_long),
    ],
    ids=range(3),
)
def test_type_of_c_functions_is_one_in_each_process(cls):
    make, args = reduce(cls)
    made = make(*args)

    assert made is make(*args)
    assert [getattr(made, name) for name in NAMES] == [getattr(cls, name) for name in NAMES]
    assert made(lambda *_: None)


def test_types_that_ctypes_makes_from_others_are_made_there_from_those():
    assert reduce(Point * 3) == (operator.mul, (Point, 3))
    assert reduce(ctypes.POINTER(Point)) == (ctypes.POINTER, (Point,))
    other = ctypes.c_int.__ctype_be__ if ctypes.c_int.__ctype_le__ is ctypes.c_int else ctypes.c_int.__ctype_le__
    make, args = reduce(other)
    assert make(*args) is other


def test_struct_of_msgspec_is_recreated_with_its_defaults_and_options():
    msgspec = pytest.importorskip("msgspec")

    class Item(msgspec.Struct, rename="camel", tag="thing", forbid_unknown_fields=True):
        full_name: str
        tags: list = msgspec.field(default_factory=list)
        size: int = 3

        def shout(self):
            return self.full_name.upper()

    made = copy_of(Item)
    item = made("x")

    assert (item.shout(), item.size, item.tags) == ("X", 3, [])
    assert item.tags is not made("y").tags
    assert msgspec.json.encode(item) == msgspec.json.encode(Item("x"))
    with pytest.raises(TypeError):
        made()


def test_struct_of_msgspec_with_keyword_only_fields_is_recreated():
    msgspec = pytest.importorskip("msgspec")
    made = copy_of(types.new_class("Item", (msgspec.Struct,), {"kw_only": True, "frozen": True}, annotate))

    assert made(x=1) == made(x=1)
    with pytest.raises(TypeError):
        made(1)
    with pytest.raises(AttributeError):
        made(x=1).x = 2


def annotate(names):
    names.update(__annotations__={"x": int}, __module__=__name__)


def test_parametrized_model_of_pydantic_is_made_from_its_origin():
    pydantic = pytest.importorskip("pydantic")
    from typing import Generic, TypeVar

    one, other = TypeVar("one"), TypeVar("other")

    class Pair(pydantic.BaseModel, Generic[one, other]):
        a: one
        b: other

    assert reduce(Pair[int, str]) == (operator.getitem, (Pair, (int, str)))
    assert reduce(Pair) is None
