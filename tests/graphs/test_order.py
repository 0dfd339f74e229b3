from graphlib import CycleError
from operator import add, neg

import pytest

from woolexec.graphs.order import Plan


def largest(graph, keys):
    """The largest number of values that exist at the same time if the nodes run in the order of their plan."""
    plan = Plan(graph, keys)
    uses, alive, most = dict(plan.uses), 0, 0
    for key in plan.order:
        alive += 1
        most = max(most, alive)
        for needed in plan.refs_of(key):
            uses[needed] -= 1
            alive -= not uses[needed]
    return most


def tree(depth, prefix="n"):
    if not depth:
        return {prefix: (abs, 1)}
    return {prefix: (add, prefix + "0", prefix + "1"), **tree(depth - 1, prefix + "0"), **tree(depth - 1, prefix + "1")}


def test_each_node_comes_after_what_it_needs():
    graph = {"d": (add, "b", "c"), "c": (neg, "a"), "b": (neg, "a"), "a": 1}
    order = Plan(graph, ["d"]).order
    assert order[0] == "a"
    assert order[-1] == "d"


def test_what_nobody_asks_for_is_not_in_the_order():
    assert Plan({"a": 1, "b": (neg, "a"), "c": (neg, "b")}, ["b"]).order == ["a", "b"]


def test_values_of_a_tree_of_1024_leaves_are_at_most_11_at_a_time():
    assert largest(tree(10), ["n"]) == 12  # the last one is made while its two inputs exist


@pytest.mark.parametrize("is_right", [False, True], ids=["left", "right"])
def test_chain_of_sums_needs_three_values_at_a_time_on_whichever_side_the_chain_is(is_right):
    graph = {("leaf", n): (abs, n) for n in range(100)}
    graph[("sum", 0)] = (neg, ("leaf", 0))
    for n in range(1, 100):
        pair = [("leaf", n), ("sum", n - 1)]
        graph[("sum", n)] = (add, *(pair if is_right else pair[::-1]))
    assert largest(graph, [("sum", 99)]) == 3


@pytest.mark.parametrize("is_ring", [False, True], ids=["line", "ring"])
def test_stencil_needs_two_rows_at_a_time_however_many_steps_it_has(is_ring):
    width = 32

    def graph(steps):
        found = {(0, x): (abs, x) for x in range(width)}
        for step in range(1, steps + 1):
            for x in range(width):
                near = [y % width if is_ring else y for y in (x - 1, x, x + 1) if is_ring or 0 <= y < width]
                found[step, x] = (max, *((step - 1, y) for y in near))
        return found | {"end": (max, [(steps, x) for x in range(width)])}

    assert largest(graph(32), ["end"]) <= 2 * width
    assert largest(graph(128), ["end"]) <= 2 * width


def test_branches_are_finished_one_after_the_other():
    graph = {"end": (max, [("c", n) for n in range(50)])}
    for n in range(50):
        graph |= {("a", n): (abs, n), ("b", n): (neg, ("a", n)), ("c", n): (neg, ("b", n))}
    assert [key[1] for key in Plan(graph, ["end"]).order[:-1]] == [n for n in range(50) for _ in "abc"]


@pytest.mark.parametrize(
    "graph",
    [
        {"a": (neg, "b"), "b": (neg, "a")},
        {"a": (neg, "a")},
        {"a": "b", "b": "a"},
        {"a": "a"},
        {"a": (neg, "b"), "b": "a"},
        {"x": (neg, "a"), "a": [1, ["b"]], "b": {"k": "c"}, "c": (neg, "a")},
    ],
)
def test_nodes_that_need_each_other_are_an_error(graph):
    with pytest.raises(CycleError) as caught:
        Plan(graph, [next(iter(graph))])
    cycle = caught.value.args[1]
    assert cycle[0] == cycle[-1]
    assert set(cycle) <= set(graph)


def test_cycle_that_nobody_asks_for_is_none():
    assert Plan({"a": 1, "b": (neg, "b")}, ["a"]).order == ["a"]


class Needing:
    dependencies = frozenset({"missing"})

    def __call__(self, values):
        return values


def test_missing_key_is_named_with_the_node_that_needs_it():
    with pytest.raises(KeyError, match="node 'a' of the graph needs 'missing', which is not in the graph"):
        Plan({"a": Needing()}, ["a"])


def test_missing_key_that_is_asked_for_is_named():
    with pytest.raises(KeyError, match="'z' is requested, but is not in the graph"):
        Plan({"a": 1}, ["a", "z"])


def test_other_names_are_followed_to_the_node():
    plan = Plan({"a": (abs, 1), "b": "a", "c": "b", "d": (add, "b", "c")}, ["c", "d"])
    assert plan.targets == ["a", "d"]
    assert plan.order == ["a", "d"]
    assert plan.nodes["d"].refs == ("a",)
    assert plan.nodes["d"].repeats


@pytest.mark.slow
def test_deep_graph_needs_no_recursion():
    graph = {n: (neg, n - 1) for n in range(1, 100_000)} | {0: (abs, 1.5)}
    assert Plan(graph, [99_999]).order == list(range(100_000))
