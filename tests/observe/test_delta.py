import copy
import random

from woolexec.observe.delta import delta


def merge(into, change):
    """What the page does."""
    for key, value in change.items():
        if value is None:
            del into[key]
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def test_only_what_differs_is_told():
    assert delta({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}}) == {"b": {"c": 4}}
    assert delta({"a": {"b": 1}}, {"a": {"b": 1}}) == {}
    assert delta({"a": 1, "b": 2}, {"b": 2, "c": [3]}) == {"a": None, "c": [3]}


def test_merging_gives_the_new_one_whatever_it_is():
    chance = random.Random(7)

    def tree(depth):
        kinds = [lambda: chance.randrange(3), lambda: "x", lambda: [chance.randrange(2)]]
        if depth:
            kinds += [lambda: {f"k{chance.randrange(4)}": tree(depth - 1) for _ in range(4)}] * 3
        return chance.choice(kinds)()

    for _ in range(2000):
        old, new = ({f"k{chance.randrange(4)}": tree(3) for _ in range(4)} for _ in range(2))
        told, before = copy.deepcopy(old), copy.deepcopy(old)
        merge(told, copy.deepcopy(delta(old, new)))
        assert told == new
        assert old == before
