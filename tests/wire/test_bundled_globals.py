import threading
import types

import pytest

from woolexec.wire import bundled_globals
from woolexec.wire.bundled_globals import Group, Large, has_identity, names_in, own_name, space_of_definition
from woolexec.wire.payload import File, Parts

KEY = "__main__", "TABLE"
FAMILY = object()


def group(body=b"body", *buffers):
    made = Group((KEY,), body, list(buffers), [], [])
    made.sign()
    return made


@pytest.fixture(params=["file", "memory"])
def large(request, monkeypatch):
    """Make the payload of a large global, of either kind."""
    if request.param == "memory":

        def fail(_):
            raise OSError("out of descriptors")

        monkeypatch.setattr(bundled_globals, "store", fail)

    def make(made):
        payload = Large(made, FAMILY)
        assert type(payload.payload) is (File if request.param == "file" else Parts)
        return payload

    return make


def test_digest_is_of_the_pickle_and_all_buffers():
    digests = {each.digest for each in (group(), group(b"b0dy"), group(b"body", b"x"), group(b"body", b"x", b"y"))}

    assert len(digests) == 4
    assert group(b"body", b"x").digest == group(b"body", bytearray(b"x")).digest


def test_size_is_that_of_the_pickle_and_all_buffers():
    assert group(b"body", b"abc", b"de").size == 9


def test_group_that_wants_other_globals_is_the_same_otherwise():
    before = group(b"body", b"x")
    before.large = large = object()

    after = before.wanting([("fn", KEY)])

    assert (after.wanted, before.wanted) == ([("fn", KEY)], [])
    assert (after.digest, after.large, after.buffers) == (before.digest, large, [b"x"])


def test_large_global_is_known_by_its_content(large):
    made = group(b"body", bytes(1000), b"", b"end")
    kept = large(made)

    assert (kept.digest, kept.family) == (made.digest, FAMILY)
    assert kept.is_same(group(b"body", bytearray(1000), b"", b"end"))


@pytest.mark.parametrize(
    "changed",
    [
        (b"b0dy", bytes(1000), b"", b"end"),
        (b"body", bytes(999) + b"x", b"", b"end"),
        (b"body", bytes(1000), b"", b"eno"),
        (b"body", bytes(1000), b"e", b"nd"),
        (b"body", bytes(1000), b""),
        (b"body", bytes(1001), b"", b"end"),
    ],
)
def test_change_of_a_large_global_is_seen(large, changed):
    kept = large(group(b"body", bytes(1000), b"", b"end"))

    assert not kept.is_same(group(*changed))


def test_large_global_in_memory_does_not_change_with_its_source(monkeypatch):
    def fail(_):
        raise OSError("out of descriptors")

    monkeypatch.setattr(bundled_globals, "store", fail)
    source = bytearray(b"content")
    kept = Large(group(b"body", source), object())

    source[0] = 0

    assert kept.is_same(group(b"body", b"content"))
    assert not kept.is_same(group(b"body", source))


def test_functions_and_classes_name_themselves_and_values_do_not(program):
    main = program("def fn(): pass\nclass A: pass\n")

    assert (own_name(main.fn), own_name(main.A), own_name(main.A()), own_name(len)) == ("fn", "A", None, None)


def test_definitions_are_in_a_namespace_only_if_they_travel_by_value(program):
    main = program("def fn(): pass\nclass A: pass\n")

    assert [space_of_definition(each) for each in (main.fn, main.A, pytest.fixture, types.ModuleType)] == [
        "__main__",
        "__main__",
        None,
        None,
    ]


def test_identity_matters_for_what_arrives_by_value_and_for_instances(program):
    class Poses:
        """It says that it is a module."""

        __class__ = types.ModuleType

    main = program("def fn(): pass\nclass A: pass\n")
    matters = [main.fn, main.A, main.A(), threading.Lock(), [], Poses()]
    travels_by_name = [pytest.fixture, types.ModuleType, threading, len]

    assert [has_identity("name", value) for value in matters] == [True] * len(matters)
    assert [has_identity("name", value) for value in travels_by_name] == [False] * len(travels_by_name)
    assert not has_identity("__builtins__", main.A())


def test_names_in_a_function_are_its_globals_defined_or_not(program):
    main = program("def fn(x):\n    def inner(): return A\n    return len(x) + B + inner()\n", A=1)

    found = names_in(main.fn)

    assert {key for (_, key), _ in found} >= {("__main__", "A"), ("__main__", "B")}
    assert {owner for (owner, _), _ in found} == {"fn"}
    assert all(namespace is vars(main) for _, namespace in found)


def test_function_of_a_module_that_can_be_imported_names_nothing():
    assert names_in(group) == []
