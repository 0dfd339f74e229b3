import sys
import types

import pytest

from woolexec.wire import arrivals, main_module, unpickling
from woolexec.wire.pickling import dumps_inline
from woolexec.wire.unpickling import loads


@pytest.fixture
def worker(monkeypatch):
    """Unpickle as a worker does, with a ``__main__`` of its own."""
    names = types.ModuleType("__main__")
    monkeypatch.setattr(arrivals, "_seen", {})
    monkeypatch.setattr(main_module, "_arrived", {})

    def take(data):
        with monkeypatch.context() as patch:
            patch.setattr(unpickling, "is_worker", True)
            patch.setitem(sys.modules, "__main__", names)
            return loads(data)

    return take


def make(**attributes):
    return type("Made", (), {"__module__": "__main__", **attributes})


def complete(cls, **attributes):
    return arrivals.set_class_state(cls, (attributes, {}))


def test_class_that_comes_back_to_where_it_was_defined_is_not_changed():
    cls = make(value=1)
    arrivals.sent(cls)

    assert complete(cls, value=2) is cls
    assert cls.value == 1
    assert arrivals.is_ours(cls)


@pytest.mark.parametrize("arrives", ["created", "completed"])
def test_class_that_arrived_and_is_sent_on_stays_the_senders(arrives):
    cls = make()
    arrivals.came(cls) if arrives == "created" else complete(cls)
    arrivals.sent(cls)

    complete(cls, value=2)

    assert cls.value == 2
    assert not arrivals.is_ours(cls)


def test_class_that_arrives_in_the_caller_takes_every_value():
    cls = make()
    complete(cls, value=1)
    cls.value = 7

    complete(cls, value=1)

    assert cls.value == 1


def test_attribute_that_a_task_has_set_stays_until_the_callers_value_changes(monkeypatch):
    monkeypatch.setattr(unpickling, "is_worker", True)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    cls = make()
    complete(cls, value=1, other="a")
    cls.value = cls.other = 7

    complete(cls, value=1, other="b")

    assert (cls.value, cls.other) == (7, "b")


def test_methods_are_always_news(monkeypatch):
    monkeypatch.setattr(unpickling, "is_worker", True)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    cls = make()
    method = property(lambda _: 1)
    complete(cls, value=method)
    cls.value = 7

    complete(cls, value=method)

    assert cls.value is method


def test_class_of_main_has_its_name_there_and_one_inside_another_has_not(monkeypatch):
    monkeypatch.setattr(unpickling, "is_worker", True)
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    outer, inner = make(), make(__qualname__="Outer.Made")

    complete(inner)
    assert not hasattr(main, "Made")
    complete(outer)
    assert main.Made is outer


def test_global_that_a_task_has_stored_stays_until_the_callers_value_changes(program, worker):
    main = program("def fn(): return K", K=1)
    data = dumps_inline(main.fn)
    fn = worker(data)
    fn.__globals__["K"] = 7

    assert (worker(data)(), fn()) == (7, 7)

    main.K = 2
    assert worker(dumps_inline(main.fn))() == 2


def test_value_that_cannot_be_compared_is_always_news(program, worker):
    main = program(
        "class Odd:\n"
        "    def __init__(self, fails): self.fails = fails\n"
        "    def __reduce__(self):\n"
        "        if self.fails: raise LookupError('odd')\n"
        "        return Odd, (True,)\n"  # what arrives cannot be pickled
        "ODD = Odd(False)\n"
        "def fn(): return ODD\n"
    )
    data = dumps_inline(main.fn)
    fn = worker(data)
    fn.__globals__["ODD"] = None

    worker(data)

    assert type(fn()).__name__ == "Odd"
