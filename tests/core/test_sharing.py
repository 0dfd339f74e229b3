import pytest

from woolexec.core.sharing import AT_ONCE, Sharing


def everywhere(target, holder):
    return 1


@pytest.fixture
def sharing():
    return Sharing(everywhere)


def steps(sharing):
    made = []
    while (step := sharing.next()) is not None:
        made.append(step)
    return made


def test_owner_gives_to_a_few_at_once_and_the_others_wait(sharing):
    for target in "abcde":
        sharing.add(target)
    assert steps(sharing) == [("a", None), ("b", None)]


def test_whoever_has_it_gives_it_to_a_few_at_once(sharing):
    for target in "abcdefgh":
        sharing.add(target)
    steps(sharing)
    sharing.hold("a", b"key")
    assert steps(sharing) == [("c", "a"), ("d", "a")]
    sharing.hold("b", b"key")
    assert steps(sharing) == [("e", "b"), ("f", "b")]
    sharing.hold("c", b"key")
    assert steps(sharing) == [("g", "c"), ("h", "a")]


@pytest.mark.parametrize("count", [1, 2, 8, 100])
def test_all_get_it_in_as_many_turns_as_its_logarithm_and_it_leaves_the_owner_twice(sharing, count):
    for target in range(count):
        sharing.add(target)
    turns, from_owner = 0, 0
    while begun := steps(sharing):
        turns += 1
        from_owner += sum(giver is None for _, giver in begun)
        for target, _ in begun:
            sharing.hold(target, b"key")
    assert len(sharing.holders) == count
    assert from_owner == min(count, AT_ONCE)
    assert AT_ONCE * 3 ** (turns - 2) < max(count, 2)


def test_nearest_holder_gives_it():
    hosts = {"a1": "a", "b1": "b", "b2": "b"}
    sharing = Sharing(lambda target, holder: 1 + (hosts[target] == hosts[holder]))
    for holder in ("a1", "b1"):
        sharing.hold(holder, b"key")
    sharing.add("b2")
    assert sharing.next() == ("b2", "b1")


def test_holder_that_gives_to_fewer_is_asked_first(sharing):
    for holder in "ab":
        sharing.hold(holder, b"key")
    for target in "cdef":
        sharing.add(target)
    assert [giver for _, giver in steps(sharing)] == ["a", "b", "a", "b"]


def test_target_that_reaches_nobody_gets_it_from_the_owner_at_once():
    sharing = Sharing(lambda target, holder: target != "far")
    for target in ("a", "b", "c", "far"):
        sharing.add(target)
    assert steps(sharing) == [("a", None), ("b", None), ("far", None)]


def test_target_that_could_not_fetch_it_gets_it_from_the_owner_once(sharing):
    sharing.hold("a", b"key")
    sharing.add("b")
    assert sharing.next() == ("b", "a")
    assert sharing.fail("b")
    assert not sharing.fail("b")
    assert not sharing.fail("a")
    assert sharing.taking == {"b": None}
    assert sharing.takers("a") == []


def test_target_without_a_key_gives_nothing(sharing):
    for target in "abc":
        sharing.add(target)
    steps(sharing)
    sharing.hold("a", b"")
    assert steps(sharing) == [("c", None)]


def test_target_that_is_removed_frees_whom_it_took_it_from(sharing):
    for target in "abc":
        sharing.add(target)
    steps(sharing)
    sharing.remove("a")
    assert steps(sharing) == [("c", None)]
    sharing.hold("b", b"key")
    sharing.remove("b")
    sharing.remove("c")
    assert not sharing.holders
    assert not sharing.taking
