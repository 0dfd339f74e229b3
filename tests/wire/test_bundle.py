"""The globals of functions of ``__main__`` in a worker; here in this process, which loads bundles as a worker does."""

import pickle
import sys
import types

import pytest

from woolexec.wire import bundle, classes, main_module, modules, pickling, unpickling
from woolexec.wire.payload import LARGE
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads
from woolexec.wire.values import Needs


@pytest.fixture
def main(monkeypatch):
    """A program: `define` runs source in its ``__main__``."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    module.define = lambda source, **names: exec(source, module.__dict__, module.__dict__.update(names))
    return module


@pytest.fixture
def worker(monkeypatch, main):
    """Take a payload as a worker does, with a ``__main__`` of its own."""
    names = types.ModuleType("__main__")
    monkeypatch.setattr(main_module, "_arrived", {})
    monkeypatch.setattr(main_module, "_spaces", {})

    class Worker:
        namespace = names.__dict__
        large = {}

        def take(self, fn, **options):
            needs = Needs(self.large)
            payload = dumps(fn, is_function=isinstance(fn, types.FunctionType), needs=needs, **options)
            sys.modules["__main__"] = names
            unpickling.is_worker = True
            try:
                return main_module.load(payload, [large.payload for large in needs])
            finally:
                unpickling.is_worker = False
                sys.modules["__main__"] = main

    yield Worker()
    Worker.large.clear()


def test_default_that_is_a_global_is_that_global(main, worker):
    main.define(
        "missing = object()\ndef read(x=missing): return x is missing\ndef write(x=missing): return x is missing"
    )

    assert worker.take(main.read)()
    assert worker.take(main.write)()
    assert worker.take(main.read)()


def test_cache_outlives_other_functions_and_changed_globals(main, worker):
    main.define(
        "import functools\n"
        "progress = {'done': 0}\n"
        "@functools.lru_cache\n"
        "def model(): return object()\n"
        "def predict(): return model(), progress['done']\n"
        "def explain(): return model()\n"
        "def keep():\n"
        "    keep.count = getattr(keep, 'count', 0) + 1\n"
        "    return keep.count, progress['done']\n"
    )

    first, done = worker.take(main.predict)()
    assert done == 0
    assert worker.take(main.keep)() == (1, 0)
    main.progress["done"] = 1
    assert worker.take(main.predict)() == (first, 1)
    assert worker.take(main.explain)() is first
    assert worker.take(main.keep)() == (2, 1)


def test_global_that_a_task_has_changed_stays_until_the_caller_changes_it(main, worker):
    main.define(
        "value, level = None, 1\ndef set_value():\n    global value\n    value = 'task'\ndef get(): return value, level"
    )

    worker.take(main.set_value)()
    assert worker.take(main.get)() == ("task", 1)
    main.level = 2
    assert worker.take(main.get)() == ("task", 2)
    main.value = "caller"
    assert worker.take(main.get)() == ("caller", 2)


def test_variable_that_two_global_functions_capture_is_one_in_the_worker(main, worker):
    main.define(
        "def counter():\n"
        "    count = 0\n"
        "    def step():\n"
        "        nonlocal count\n"
        "        count += 1\n"
        "        return count\n"
        "    def get(): return count\n"
        "    return step, get\n"
        "step, get = counter()\n"
        "def both(): return step(), get()\n"
    )

    assert worker.take(main.both)() == (1, 1)
    assert worker.take(main.get)() == 1  # as a fork's, until the caller changes it
    assert worker.take((main.get, main.step))[1]() == 2
    assert worker.take(main.get)() == 2
    assert [main.step() for _ in range(4)][-1] == 4
    assert worker.take(main.get)() == 4
    assert worker.take(main.both)() == (5, 5)


def test_class_is_the_same_when_its_first_instance_has_been_pickled(main):
    main.define("class Only: pass\nOnly.kept = [Only()]\ndef f(): return Only\n")

    first, second = (dumps(main.f, is_function=True) for _ in range(2))

    assert first == second  # a worker takes a class that is another one again, and its only instance with it


def test_changed_function_is_seen_also_where_another_one_calls_it(main, worker):
    main.define("def inner(): return 1\ndef outer(): return inner()")
    assert worker.take(main.outer)() == 1
    main.define("def inner(): return 2")
    assert worker.take(main.outer)() == 2


@pytest.mark.parametrize("change", ["namespace.update(y=2)", "y.append(0)"], ids=["other", "changed"])
def test_changed_global_of_a_namespace_that_is_no_module_is_seen_where_a_function_of_the_program_uses_it(
    main, worker, change
):
    namespace = {"__name__": "console", "y": []}
    exec("def h(): return str(y)\nclass K:\n    def m(self): return str(y)\n", namespace)
    main.define("def f(): return h(), K().m()", h=namespace["h"], K=namespace["K"])
    before = worker.take(main.f)()
    exec(change, {"namespace": namespace, "y": namespace["y"]})

    assert before == ("[]", "[]")
    assert worker.take(main.f)() == (str(namespace["y"]),) * 2


def test_values_share_parts_as_they_do_here(main, worker):
    main.define(
        "config = {'a': 1}\napp = {'config': config}\ndef change():\n    app['config']['a'] += 1\n    return config"
    )

    assert worker.take(main.change)() == {"a": 2}


def test_value_with_a_changed_part_is_taken_again(main, worker):
    main.define(
        "class Item: rate = 1\nitems = [Item()]\ndef total(): return sum(i.rate for i in items), type(items[0]) is Item"
    )
    assert worker.take(main.total)() == (1, True)
    main.define("class Item: rate = 5\nitems[0].__class__ = Item")
    assert worker.take(main.total)() == (5, True)


def test_globals_that_refer_to_each_other_in_circles_keep_what_tasks_change(main, worker):
    main.define(
        "class Node: count = 0\n"
        "one, two, three = Node(), Node(), Node()\n"
        "one.links, two.links, three.links = [two], [one, three], [two, one]\n"
        "def step():\n"
        "    one.count += 1\n"
        "    return one.count, two.links[1].links[1].count, three.links[0].links[0] is one.links[0].links[0] is one\n"
        "def second(): return two.links[0].count\n"
        "def third(): return three.links[1].count\n"
    )
    assert [worker.take(main.step)() for _ in range(3)] == [(count, count, True) for count in (1, 2, 3)]
    assert [worker.take(fn)() for fn in (main.third, main.second, main.third)] == [3] * 3
    assert worker.take((main.third, main.step))[1]() == (4, 4, True)


def test_globals_that_refer_to_each_other_in_a_circle_arrive(main, worker):
    main.define(
        "loop = [1]\n"
        "other = {'loop': loop}\n"
        "loop += [loop, other]\n"
        "def f(x=loop): return x\n"
        "loop.append(f)\n"
        "def look(): return loop[1] is loop and loop[2] is other and other['loop'] is loop and f() is loop\n"
    )

    assert worker.take(main.look)()
    assert worker.take(main.f)() is worker.namespace["loop"]


def test_arguments_are_copies_but_their_functions_and_classes_are_those_that_are_there(main, worker):
    main.define("table = [1]\nclass Item: pass\ndef f(): return Item")
    worker.take(main.f)()

    table, item, fn = worker.take([main.table, main.Item(), main.f])

    assert table == [1]
    assert table is not worker.namespace.get("table")
    assert type(item) is worker.namespace["Item"]
    assert fn is worker.namespace["f"]


def test_names_of_a_namespace_that_only_calls_itself_main_do_not_mix_with_others(main, worker):
    scripts = [{"__name__": "__main__", "value": value} for value in ("one", "two")]
    for script in scripts:
        exec("def get(): return value\ndef put(x):\n    global value\n    value = x", script)
    main.define("value = 'main'\ndef get(): return value")

    worker.take(scripts[0]["put"])("changed")

    assert worker.take(main.get)() == "main"
    assert [worker.take(script["get"])() for script in scripts] == ["changed", "two"]


def test_function_of_a_module_that_was_loaded_by_path_and_is_gone_travels_by_value(main, monkeypatch):
    module = types.ModuleType("made_up_and_gone")
    exec("RATE = 3\ndef run(n): return n * RATE", module.__dict__)
    monkeypatch.setitem(modules.by_path, "made_up_and_gone", b"made_up_and_gone")

    assert loads(dumps(module.run, is_function=True))(2) == 6


def test_large_global_is_made_once_while_it_is_the_same_and_taken_once(main, worker, recwarn):
    numpy = pytest.importorskip("numpy")
    main.define("def row(n): return table[n]\ndef head(): return table[0]", table=numpy.zeros(LARGE // 4))
    needs = [Needs(worker.large) for _ in range(3)]
    payloads = [dumps(fn, is_function=True, needs=need) for fn, need in ((main.row, needs[0]), (main.row, needs[1]))]
    assert payloads[0] == payloads[1]
    assert needs[0][0] is needs[1][0]

    assert worker.take(main.row)(3) == 0.0
    before = worker.namespace["table"]
    assert worker.take(main.head)() == 0.0
    assert worker.namespace["table"] is before

    main.table[3] = 7.0
    dumps(main.row, is_function=True, needs=needs[2])
    assert needs[2][0] is not needs[0][0]
    assert needs[2][0].family is needs[0][0].family
    assert worker.take(main.row)(3) == 7.0


def test_large_global_is_named_in_a_warning_once(main, monkeypatch):
    monkeypatch.setattr(bundle, "_warned", set())
    main.define("def row(n): return table[n]", table=bytearray(1 << 20))

    with pytest.warns(RuntimeWarning, match="row names the global 'table' of 1 MB"):
        dumps(main.row, is_function=True, needs=Needs({}))
    dumps(main.row, is_function=True, needs=Needs({}))  # a second warning would be an error


def test_function_for_a_task_of_a_task_has_its_large_globals_with_it(main, worker):
    main.define("def row(n): return table[n]", table=bytearray(LARGE))

    payload = pickling.dumps_inline(main.row, is_function=True)

    assert len(payload) > LARGE
    assert loads(payload)(3) == 0


CLASS = """
import dataclasses, functools
@dataclasses.dataclass
class Item:
    number: int = 1
    rate = 1
    def total(self): return self.number * self.rate
    @property
    def half(self): return self.number / 2
    @staticmethod
    def nothing(): return missing
def other(self): return 0
items = [Item()]
"""

CHANGES = {
    "attribute": "Item.rate = 2",
    "new attribute": "Item.added = 2",
    "method": "Item.total = other",
    "code of a method": "Item.total.__code__ = other.__code__",
    "default of a method": "Item.total.__defaults__ = (5,)",
    "attribute of a method": "Item.total.mark = 1",
    "property": "Item.half = property(other)",
    "global that a method names": "missing = 3",
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_class_is_seen_by_the_next_task(main, change):
    main.define(CLASS)
    before = dumps(main.items)
    assert dumps(main.items) == before

    main.define(CHANGES[change])

    assert dumps(main.items) != before


def test_class_with_an_attribute_that_changes_unseen_is_pickled_anew(main):
    main.define("class Item:\n    seen = []\nitems = [Item()]")
    before = dumps(main.items)

    main.Item.seen.append(1)

    assert dumps(main.items) != before


def test_outcome_refers_to_a_class_by_name_where_it_came_from(main, worker, monkeypatch):
    main.define("class Item: pass\ndef make(): return Item()")
    item = worker.take(main.make)()
    monkeypatch.setattr(unpickling, "is_worker", True)
    payload = pickling.dumps_value([item], goes_home=True)
    sent = pickling.dumps_value([item])
    monkeypatch.setattr(unpickling, "is_worker", False)

    assert len(payload) < 200 < len(sent)
    assert type(loads(payload)[0]) is worker.namespace["Item"]  # one process: it is found where it was made
    assert classes.find_at_home("__main__", "Item", "of a class that is gone") is main.Item
    with pytest.raises(AttributeError, match="Gone"):
        classes.find_at_home("__main__", "Gone", "of a class that is gone")


def test_class_that_is_there_in_another_version_travels_home_itself(main, worker, monkeypatch):
    main.define("class Item: pass\ndef make(): return Item()")
    item = worker.take(main.make)()
    main.define("class Item: new = True")
    assert worker.take(main.make)().new
    monkeypatch.setattr(unpickling, "is_worker", True)

    assert len(pickling.dumps_value(item, goes_home=True)) > 200


def test_names_of_one_function_or_class_are_one_object_there(main, worker):
    main.define(
        "later = None\n"
        "def f(): return 1\n"
        "class Item: pass\n"
        "later = other = f\n"
        "Alias = Item\n"
        "def look(): return later is other is f, Alias is Item\n"
        "def name(): return later\n"
    )

    assert worker.take(main.look)() == (True, True)
    assert worker.take(main.name)() is worker.namespace["f"]
    assert worker.take([main.f, main.later]) == [worker.namespace["f"]] * 2


def test_method_is_found_in_its_object_unless_another_one_is_there(main, worker):
    main.define(
        "class Item:\n"
        "    def method(self): return 'own'\n"
        "    @classmethod\n"
        "    def made(cls): return cls\n"
        "class Odd(Item):\n"
        "    def __getattribute__(self, name):\n"
        "        return (lambda: 'looked up') if name == 'method' else object.__getattribute__(self, name)\n"
    )
    item = main.Item()
    method = item.method
    assert len(dumps(method)) < len(dumps(main.Item)) + 120
    assert worker.take(method)() == "own"
    assert worker.take(main.Item.made)() is worker.namespace["Item"]
    item.method = lambda: "of the object"
    assert worker.take(method)() == "own"
    assert worker.take(types.MethodType(main.Item.method, main.Odd()))() == "own"


def test_function_that_names_a_class_is_pickled_anew_when_the_class_changes(main, worker):
    main.define("class Item:\n    def get(self): return limit\nlimit = 1\ndef make(): return Item().get()")

    assert worker.take(main.make)() == 1
    main.limit = 2
    assert worker.take(main.make)() == 2
    main.define("Item.get = lambda self: limit + 1")
    assert worker.take(main.make)() == 3


def test_global_that_cannot_be_unpickled_is_an_error_where_it_is_used_only(main, worker):
    main.define(
        "class Bad:\n"
        "    ready = False\n"
        "    def __reduce__(self): return revive, ()\n"
        "def revive():\n"
        "    if not Bad.ready: raise OSError('no such bar')\n"
        "    return 'revived'\n"
        "bar = Bad()\n"
        "held = [bar]\n"
        "def use(really): return (bar, held) if really == 'pass' else bar.value if really else 7\n"
    )

    use = worker.take(main.use)

    assert use(False) == 7
    bar, _ = use("pass")
    assert "'bar' is not in this process, because it cannot be unpickled (OSError: no such bar" in repr(bar)
    with pytest.raises(pickle.PicklingError, match="no such bar"):
        use(True)
    main.Bad.ready = True
    assert worker.take(main.use)("pass") == ("revived", ["revived"])


def test_function_that_needs_what_cannot_be_unpickled_raises_its_error(main, worker):
    main.define(
        "class Bad:\n"
        "    def __reduce__(self): return revive, ()\n"
        "def revive(): raise OSError('no such bar')\n"
        "bar = Bad()\n"
        "def use(x=bar): return 7\n"
    )

    with pytest.raises(OSError, match="no such bar"):
        worker.take(main.use)


def test_what_unpickling_a_global_needs_may_come_after_it(main, worker):
    main.define(
        "class Item:\n"
        "    def __init__(self): self.x = 0\n"
        "    def __getstate__(self): return {}\n"
        "    def __setstate__(self, state): self.x = helper()\n"
        "def helper(): return later + 1\n"
        "items = [Item()]\n"
        "later = 4\n"
        "def look(): return items[0].x\n"
    )

    assert worker.take(main.look)() == 5


def test_base_class_whose_name_stands_for_another_one_stays_the_base(main, worker):
    main.define("class Base:\n    x = 1\nclass Child(Base): pass\ndef look(): return Child.x")
    assert worker.take([main.Child])[0].x == 1
    main.define("class Base:\n    x = 2")
    assert worker.take([main.Child])[0].x == 1
    del main.Base
    assert worker.take([main.Child])[0].x == 1
    assert worker.take(main.look)() == 1
