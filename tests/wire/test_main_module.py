"""Handmade bundles; test_bundle.py tests how bundles are made."""

import io
import pickle
import sys
import types

import pytest

from woolexec.wire import main_module, modules, unpickling
from woolexec.wire.main_module import global_of, key_of_arrived, names_of, unbundle
from woolexec.wire.payload import Parts
from woolexec.wire.stand_ins import StandIn

A, B = ("__main__", "A"), ("__main__", "B")

loaded = []


class Noted:
    """A value that notes when it is unpickled."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return note, (self.name,)


def note(name):
    loaded.append(name)
    return name


class Fails:
    def __reduce__(self):
        return fail, ()


def fail():
    raise LookupError("no such file")


class Refers:
    """A value that refers to a global by its key."""

    def __init__(self, key):
        self.key = key

    def __reduce__(self):
        return list, (), None, iter([Found(self.key)])


class Found:
    def __init__(self, key):
        self.key = key

    def __reduce__(self):
        return global_of, self.key


@pytest.fixture
def main(monkeypatch):
    """The ``__main__`` of a worker to which nothing has come."""
    loaded.clear()
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(unpickling, "is_worker", True)
    monkeypatch.setattr(main_module, "_arrived", {})
    monkeypatch.setattr(main_module, "_spaces", {})
    return module


def entry(key, value, digest=b"1"):
    return (key,), digest, pickle.dumps([value]), ()


def take(*table, of=None):
    return unbundle(pickle.dumps(of), (), table)


# -- namespaces -------------------------------------------------------------------------------------------------------


def test_namespace_of_main_is_the_workers_own(main):
    assert names_of("__main__", {"__name__": "__main__", "__file__": "script.py"}) is vars(main)
    assert main.__file__ == "script.py"


def test_child_of_multiprocessing_finds_its_main_under_both_names(main, monkeypatch):
    monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)

    names_of("__main__", {"__name__": "__mp_main__"})

    assert sys.modules.pop("__mp_main__") is main


def test_namespace_that_only_calls_itself_main_is_one_of_its_own_and_stays(main):
    first = names_of("__main__#1", {"__name__": "__main__"})

    assert names_of("__main__#1", {}) is first
    assert names_of("__main__#2", {}) is not first
    assert first is not vars(main)


def test_module_that_cannot_be_imported_is_made_and_travels_on_by_value(main, monkeypatch):
    monkeypatch.setattr(modules, "by_path", {})
    names = names_of("loaded_by_path", {"__name__": "loaded_by_path"})
    try:
        assert vars(sys.modules["loaded_by_path"]) is names
        assert modules.comes_by_value("loaded_by_path")
    finally:
        del sys.modules["loaded_by_path"]


def test_function_that_returns_to_the_caller_has_names_of_its_own(main, monkeypatch):
    monkeypatch.setattr(unpickling, "is_worker", False)

    names = names_of("__main__", {"__file__": "script.py"})

    assert names == {"__name__": "__main__", "__file__": "script.py"}
    assert names_of("__main__", {}) is not names


def test_names_of_a_namespace_arrive_as_the_dictionary_that_is_there(main):
    names = main_module.Names(
        "__main__", {"__name__": "__main__", "__file__": "script.py", "__package__": None, "x": 1}
    )

    assert pickle.loads(pickle.dumps(names)) is vars(main)
    assert main.__file__ == "script.py"
    assert not hasattr(main, "x")


# -- bundles ----------------------------------------------------------------------------------------------------------


def test_globals_are_stored_before_the_object_is_unpickled(main):
    assert take(entry(A, Noted("a")), of=Noted("object")) == "object"

    assert (main.A, loaded) == ("a", ["a", "object"])


def test_global_with_the_same_digest_is_left_as_it_is(main):
    take(entry(A, Noted("a")))
    main.A = "changed by a task"

    take(entry(A, Noted("a")))
    assert (main.A, loaded) == ("changed by a task", ["a"])
    take(entry(A, Noted("new"), b"2"))
    assert (main.A, loaded) == ("new", ["a", "new"])


def test_global_that_another_one_refers_to_is_unpickled_first_and_once(main):
    take(entry(A, Refers(B)), entry(B, Noted("b")))

    assert (main.A, main.B, loaded) == (["b"], "b", ["b"])


def test_global_that_refers_to_one_that_arrived_earlier_gets_that_object(main):
    take(entry(A, []))

    [found] = take(entry(A, []), of=Refers(A))

    assert found is main.A


def test_global_that_cannot_be_unpickled_is_an_error_where_it_is_used_only(main):
    assert take(entry(A, Fails()), entry(B, Noted("b")), of=1) == 1

    assert main.B == "b"
    assert type(main.A) is StandIn
    with pytest.raises(pickle.PicklingError, match=r"'A' is not in this process.*LookupError: no such file"):
        main.A()


def test_object_that_needs_a_global_that_cannot_be_unpickled_raises_its_error(main):
    with pytest.raises(LookupError, match="no such file"):
        take(entry(A, Fails()), of=Refers(A))


class Looks:
    """Unpickling it needs a global that its pickle does not refer to."""

    def __reduce__(self):
        return look, ()


def look():
    loaded.append("look")
    return [sys.modules["__main__"].B]


def test_global_that_fails_is_tried_again_after_others_have_been_stored(main):
    take(entry(A, Looks()), entry(B, Noted("b")))

    assert (main.A, loaded) == (["b"], ["look", "b", "look"])


def test_large_global_is_read_from_its_own_payload(main):
    buffers = []
    body = pickle.dumps(
        [pickle.PickleBuffer(bytearray(b"large"))], 5, buffer_callback=lambda b: buffers.append(b.raw())
    )
    payload = pickle.dumps(Bundle((((A,), b"1", 0, ()),)))

    main_module.load(payload, [Parts([body, b"large"])])

    assert bytes(main.A) == b"large"
    main.A[0] = 0  # it is writable, whatever its payload was


class Bundle:
    def __init__(self, table):
        self.table = table

    def __reduce__(self):
        return unbundle, (pickle.dumps(None), (), self.table)


def test_function_of_a_task_of_a_task_has_its_large_globals_with_it(main):
    payload = pickle.dumps(Bundle((((A,), b"1", 0, ()),)))
    together = main_module.WithNeeds([payload], [[pickle.dumps([Noted("large")])]])

    pickle.loads(pickle.dumps(together))

    assert main.A == "large"


class Persistent(pickle.Pickler):
    """Refers to a global in another way than by a call."""

    def persistent_id(self, obj):
        return (obj.key, b"1") if isinstance(obj, Found) else None


def test_global_may_be_referred_to_by_a_persistent_id(main):
    file = io.BytesIO()
    Persistent(file).dump([[Found(B), 1]])

    take(((A,), b"1", file.getvalue(), ()), entry(B, Noted("b")))

    assert main.A == ["b", 1]


def test_payloads_of_large_globals_are_let_go_after_unpickling(main):
    with pytest.raises(pickle.UnpicklingError):
        main_module.load(b"no pickle", [Parts([b""])])

    assert list(main_module._loading.needs) == []


def test_caller_stores_no_globals_that_come_with_an_outcome(main, monkeypatch):
    monkeypatch.setattr(unpickling, "is_worker", False)

    assert take(entry(A, Noted("a")), of=Refers(A)) == ["a"]

    assert not hasattr(main, "A")
    assert main_module._arrived == {}


def test_class_is_known_by_the_key_under_which_it_arrived_until_another_arrives(main):
    first, second = (type("A", (), {"__module__": "__main__"}) for _ in range(2))
    main_module._arrived[A] = b"1", first
    assert (key_of_arrived(first), key_of_arrived(second)) == (A, None)

    main_module._arrived[A] = b"2", second

    assert (key_of_arrived(first), key_of_arrived(second)) == (None, A)


def test_class_whose_names_are_odd_is_not_known(main):
    cls = type("A", (), {})
    cls.__module__ = []

    assert key_of_arrived(cls) is None
