"""How nodes are read; if dask is installed, tests/graphs/test_dask.py compares each with dask."""

from functools import partial
from operator import add, neg
from typing import NamedTuple

import pytest

from woolexec.graphs.composed import Composed
from woolexec.graphs.nodes import Alias, Data, Node, NodeReader, Ref


class Point(NamedTuple):
    x: object
    y: object


KEYS = {"a": 10, "b": 20, ("t", 1): 30, 7: 40, 0.5: 50}


class Called:
    """A node that has dependencies, and is called with their values."""

    dependencies = frozenset({"a", ("t", 1)})

    def __call__(self, values):
        return sorted(values.values())


class Unhashable:
    __hash__ = None

    def __call__(self, value):
        return -value


def value_of(node):
    """Run a node whose references have the values of KEYS."""
    return Composed(node.code)(*(KEYS[leaf.key] if isinstance(leaf, Ref) else leaf for leaf in node.leaves))


@pytest.mark.parametrize(
    ("value", "result", "refs"),
    [
        ((add, "a", "b"), 30, ["a", "b"]),
        ((add, "a", 1), 11, ["a"]),
        ((add, 7, ("t", 1)), 70, [7, ("t", 1)]),
        ((add, "a", (neg, "b")), -10, ["a", "b"]),
        ((sum, ["a", (neg, "b"), 1]), -9, ["a", "b"]),
        ((len, ["c", "d"]), 2, []),
        ((sum, [["a"], ["b"]], []), [10, 20], ["a", "b"]),
        ((dict.get, {"k": "a"}, "k"), 10, ["a"]),
        ((dict.get, {"a": "b"}, "z", (neg, 0.5)), -50, ["b", 0.5]),
        (["a", ["b", 3]], [10, [20, 3]], ["a", "b"]),
        ({"x": "a", "y": (neg, "a")}, {"x": 10, "y": -10}, ["a"]),
        ((list, ("a", 3)), [10, 3], ["a"]),
        ((set, {"a"}), {10}, ["a"]),
        ((tuple, Point("a", 2)), (10, 2), ["a"]),
        ((add, True, 1), 2, []),
        ((partial(add, 5), "a"), 15, ["a"]),
        ((Unhashable(), "a"), -10, ["a"]),
        ((list,), [], []),
        (Called(), [10, 30], ["a", ("t", 1)]),
        ((sum, Called()), 40, ["a", ("t", 1)]),
    ],
)
def test_call_is_read_with_its_references(value, result, refs):
    node = NodeReader(KEYS).read(value)
    assert isinstance(node, Node)
    assert value_of(node) == result
    assert sorted(node.refs, key=repr) == sorted(refs, key=repr)


@pytest.mark.parametrize(
    "value", [1, "c", b"a", None, True, [1, 2], [], {}, ("c", 2), Point(1, 2), {"k": [1]}, add, 1j]
)
def test_anything_else_is_a_value_as_it_is(value):
    node = NodeReader(KEYS).read(value)
    assert isinstance(node, Data)
    assert node.value is value


@pytest.mark.parametrize("value", ["a", 7, 0.5, ("t", 1)])
def test_key_is_another_name_of_its_node(value):
    node = NodeReader(KEYS).read(value)
    assert isinstance(node, Alias)
    assert node.key == value


def test_object_that_equals_a_key_is_no_reference_if_it_is_of_another_type():
    node = NodeReader({1: 2}).read((neg, True))
    assert node.refs == ()


def test_containers_without_references_are_one_argument():
    numbers = list(range(100, 10_000))
    node = NodeReader(KEYS).read((sum, numbers))
    assert node.leaves == [numbers]
    assert node.leaves[0] is numbers


def test_nodes_of_the_same_shape_have_the_same_code():
    reader = NodeReader(KEYS)
    first, second = (reader.read((add, (neg, "a"), number)) for number in (1, 2))
    assert first.code == second.code


def test_function_object_is_part_of_the_code_when_it_occurs_again():
    reader, fn = NodeReader(KEYS), partial(add, 1)
    codes = [reader.read((fn, number)).code for number in range(3)]
    assert codes[1] == codes[2]
    assert codes[1][-1][0] is fn


def test_deeply_nested_call_needs_no_recursion():
    task = (neg, 1)
    for _ in range(20_000):
        task = (neg, task)
    assert value_of(NodeReader(KEYS).read(task)) == -1


def test_reference_that_occurs_twice_is_noted():
    reader = NodeReader(KEYS)
    assert reader.read((add, "a", "a")).repeats
    assert not reader.read((add, "a", "b")).repeats


class _Answering(type):
    def __getattr__(cls, name):
        return lambda *_: name


class _Answered(metaclass=_Answering):
    pass


def test_value_whose_metaclass_answers_every_name_is_no_node():
    assert NodeReader(()).kind_of(_Answered) is None
