"""Which nodes run together, with invented futures and run times."""

from operator import add, neg

import pytest

from woolexec.graphs.composed import Composed
from woolexec.graphs.grouping import MANY, SHORT, Grouping, Piece
from woolexec.graphs.nodes import NodeReader


class World:
    """What is submitted runs at once; futures are named."""

    def __init__(self, **seconds):
        self.seconds = seconds
        self.values = {}
        self.submitted = []
        self.grouping = Grouping(self.seconds_of, self.submit)

    def seconds_of(self, code):
        return self.seconds.get(getattr(code[-1][0], "__name__", ""))

    def submit(self, piece):
        arguments = [self.values.get(leaf, leaf) if isinstance(leaf, str) else leaf for leaf in piece.leaves]
        self.submitted.append(piece.count)
        name = f"future {len(self.submitted)}"
        self.values[name] = Composed(piece.code)(*arguments)
        return name

    def piece(self, task, needed=()):
        values = dict(needed)
        return self.grouping.join(NodeReader(values).read(task), values)


def test_node_that_needs_one_other_is_joined_to_it_even_if_nobody_knows_how_long_they_take():
    world = World()
    inner = world.piece((neg, 3))
    outer = world.piece((abs, "a"), {"a": inner})
    assert (outer.count, outer.seconds, world.submitted) == (2, None, [])
    assert world.values[world.submit(outer)] == 3


def test_short_nodes_are_joined_to_the_one_that_needs_them():
    world = World(neg=1e-6, add=1e-6)
    needed = {"a": world.piece((neg, 3)), "b": world.piece((neg, 4))}
    outer = world.piece((add, "a", "b"), needed)
    assert outer.count == 3
    assert outer.seconds == pytest.approx(3e-6)
    assert world.values[world.submit(outer)] == -7


@pytest.mark.parametrize("seconds", [{"neg": SHORT, "add": 1e-6}, {"neg": 1e-6}], ids=["long", "unknown"])
def test_nodes_that_are_not_known_to_be_short_run_by_themselves(seconds):
    world = World(**seconds)
    needed = {"a": world.piece((neg, 3)), "b": world.piece((neg, 4))}
    outer = world.piece((add, "a", "b"), needed)
    assert outer.count == 1
    assert world.values[world.submit(outer)] == -7


def test_many_short_nodes_that_one_needs_run_in_groups():
    world = World(neg=1e-6, sum=1e-6)
    needed = {f"k{n}": world.piece((neg, n)) for n in range(1000)}
    outer = world.piece((sum, list(needed)), needed)
    assert sum(world.submitted) == 1000
    assert max(world.submitted) <= MANY
    assert len(world.submitted) <= 1 + 1000 // MANY
    assert world.values[world.submit(outer)] == -sum(range(1000))


def test_groups_are_as_long_as_one_call_may_be():
    world = World(neg=SHORT / 4, sum=1e-6)
    needed = {f"k{n}": world.piece((neg, n)) for n in range(100)}
    world.piece((sum, list(needed)), needed)
    assert max(world.submitted) <= 4


def test_value_that_a_node_needs_twice_is_made_once():
    world = World(neg=1e-6, add=1e-6)
    outer = world.piece((add, "a", "a"), {"a": world.piece((neg, 3))})
    assert world.submitted == [1]
    assert world.values[world.submit(outer)] == -6


def test_chain_is_cut():
    world = World()
    piece = world.piece((neg, 1))
    for _ in range(MANY - 1):
        piece = world.piece((neg, "a"), {"a": piece})
    assert piece.count == MANY
    assert world.piece((neg, "a"), {"a": piece}).count == 1
    assert world.submitted == [MANY]


def test_nodes_between_other_arguments_run_by_themselves():
    world = World(neg=SHORT / 2, max=1e-6)
    needed = {f"k{n}": world.piece((neg, n)) for n in range(4)}
    outer = world.piece((max, "k0", "k1", 5, "k2", "k3"), needed)
    assert world.values[world.submit(outer)] == 5


def test_piece_of_many_nodes_is_not_short():
    assert not Piece((), [], MANY, 0.0).is_short
    assert Piece((), [], 1, 0.0).is_short
