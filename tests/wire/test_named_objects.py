import copyreg
import pickle
import sys
import types

import pytest

from woolexec.wire import named_objects, unpickling
from woolexec.wire.by_value import dumps_by_value
from woolexec.wire.unpickling import loads

NAMED = """
class Named:
    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


class Inside:
    given = Named("Inside.given")


class Sometimes(Named):
    def __reduce__(self):
        return self.name or (Sometimes, ("",))


class Counted:
    count = 0

    def __reduce__(self):
        Counted.count += 1
        return Counted, ()


MISSING = Named("MISSING")
FOUND = Sometimes("FOUND")
"""


@pytest.fixture
def as_worker(monkeypatch):
    """Unpickle as a worker does, whose ``__main__`` has none of the names."""

    def become():
        other = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", other)
        monkeypatch.setattr(unpickling, "is_worker", True)
        monkeypatch.setattr(named_objects, "_arrived", {})
        return other

    return become


def test_object_comes_home_as_itself_with_the_state_that_it_has_here(program):
    main = program(NAMED)
    pickled = dumps_by_value([main.MISSING, main.Inside.given])
    main.MISSING.name = "changed"

    back = loads(pickled)

    assert back[0] is main.MISSING
    assert back[1] is main.Inside.given
    assert main.MISSING.name == "changed"


def test_worker_has_one_object_for_each_name(program, as_worker):
    main = program(NAMED)
    first, later = dumps_by_value([main.MISSING, main.Inside.given]), dumps_by_value(main.MISSING)
    there = as_worker()

    named, inner = loads(first)

    assert (named.name, inner.name) == ("MISSING", "Inside.given")
    assert there.MISSING is named
    assert loads(later) is named
    assert loads(pickle.dumps(named)) is named  # as a task does
    assert not named_objects._incomplete


def test_object_of_a_class_that_was_defined_anew_takes_the_place_of_the_old_one(program, as_worker):
    main = program(NAMED)
    old = dumps_by_value(main.MISSING)
    program(NAMED)
    new = dumps_by_value(main.MISSING)
    there = as_worker()

    before, after = loads(old), loads(new)

    assert type(before) is not type(after)
    assert there.MISSING is after


def test_object_that_returns_to_a_program_that_has_it_no_longer_changes_no_global(program):
    main = program(NAMED)
    pickled = dumps_by_value(main.MISSING)
    del main.MISSING

    assert loads(pickled).name == "MISSING"
    assert not hasattr(main, "MISSING")


def test_other_reductions_are_used_once(program):
    main = program(NAMED)

    assert type(loads(dumps_by_value(main.Counted()))) is main.Counted
    assert main.Counted.count == 1


def test_object_of_an_importable_module_travels_by_name_alone(program, monkeypatch):
    program(NAMED)

    class Importable:
        def __reduce__(self):
            return "IMPORTABLE"

    Importable.__module__ = __name__
    named = Importable()
    monkeypatch.setattr(sys.modules[__name__], "IMPORTABLE", named, raising=False)

    assert loads(dumps_by_value(named)) is named
    assert named_objects.reduce_named(named, "IMPORTABLE") == "IMPORTABLE"


def test_reducer_that_is_registered_for_a_class_comes_first(program):
    main = program(NAMED)
    copyreg.pickle(main.Named, lambda named: (str, (named.name,)))
    try:
        assert loads(dumps_by_value(main.MISSING)) == "MISSING"
    finally:
        del copyreg.dispatch_table[main.Named]


def test_one_instance_may_be_named_and_another_not(program, as_worker):
    main = program(NAMED)
    pickled = dumps_by_value([main.Sometimes(""), main.FOUND])
    there = as_worker()

    other, found = loads(pickled)

    assert (other.name, found.name) == ("", "FOUND")
    assert there.FOUND is found
