import functools
import logging
import os
import sys

import pytest

from woolexec.core.call import Function
from woolexec.engine.function_cache import Functions, name_of
from woolexec.wire.payload import LARGE
from woolexec.wire.unpickling import loads

SETTING = 1
TABLE = [1]


class Interned:
    """Stands for the engine's `intern`, and counts what was pickled anew."""

    def __init__(self):
        self.known = {}
        self.asked = 0

    def __call__(self, payload, name, lane):
        self.asked += 1
        return self.known.setdefault((payload, lane), Function(payload, name, lane))


@pytest.fixture
def interned():
    return Interned()


def defined(source, **names):
    """Define a function as a REPL or notebook does."""
    namespace = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace["f"]


@pytest.mark.parametrize("fn", [os.path.join, abs, os.getpid, int, functools.partial, Function])
def test_importable_callable_is_pickled_once(interned, fn):
    functions = Functions(interned)

    assert functions.get(fn) is functions.get(fn)
    assert interned.asked == 1


def test_built_in_method_of_an_object_is_pickled_anew_each_time(interned):
    functions, data = Functions(interned), [1]
    before = loads(functions.get(data.count).payload)

    data.append(1)

    assert before(1) == 1
    assert loads(functions.get(data.count).payload)(1) == 2


def test_class_by_value_is_pickled_once_while_all_it_refers_to_is_the_same(interned):
    functions, cls = Functions(interned), defined("class f:\n    K = 1\n    def x(self): return self.K + L", L=1)
    before = functions.get(cls)
    assert functions.get(cls) is before
    assert interned.asked == 1

    cls.K = 2
    assert loads(functions.get(cls).payload)().x() == 3
    cls.x.__globals__["L"] = 2
    assert loads(functions.get(cls).payload)().x() == 4


def test_function_by_value_is_pickled_once_while_all_it_refers_to_is_the_same(interned):
    functions, fn = Functions(interned), defined("def f(x): return x + K", K=1)

    assert functions.get(fn) is functions.get(fn)
    assert interned.asked == 1


def test_changed_global_is_seen_by_the_next_task(interned):
    functions, fn = Functions(interned), defined("def f(x): return x + K", K=1)
    before = loads(functions.get(fn).payload)

    fn.__globals__["K"] = 2

    assert before(1) == 2
    assert loads(functions.get(fn).payload)(1) == 3


@pytest.mark.parametrize("name", ["__console__", "__main__", "os", None])
def test_changed_global_of_any_namespace_is_seen(interned, name):
    functions, namespace = Functions(interned), {"K": 1, "L": []} | ({} if name is None else {"__name__": name})
    exec("def f(): return K, len(L)\ndef g(): return K", namespace)
    assert loads(functions.get(namespace["g"]).payload)() == 1
    assert loads(functions.get(namespace["f"]).payload)() == (1, 0)

    namespace["K"] = 2
    namespace["L"].append(0)

    assert loads(functions.get(namespace["g"]).payload)() == 2
    assert loads(functions.get(namespace["f"]).payload)() == (2, 1)


def test_changed_global_of_an_importable_module_is_seen_by_what_is_defined_in_its_functions(interned, monkeypatch):
    functions, fn = Functions(interned), make_reader()
    before = loads(functions.get(fn).payload)()
    monkeypatch.setattr(sys.modules[__name__], "SETTING", 5)

    assert (before, loads(functions.get(fn).payload)()) == (1, 5)


def make_reader():
    def read():
        return SETTING

    return read


def test_logger_among_the_globals_changes_nothing(interned):
    functions = Functions(interned)
    fn = defined("def f(): return log.name", log=logging.getLogger("some.name"))

    assert functions.get(fn) is functions.get(fn)
    assert interned.asked == 1
    assert loads(functions.get(fn).payload)() == "some.name"


def test_global_that_appears_later_is_seen(interned):
    functions, fn = Functions(interned), defined("def f(x): return x + K")
    functions.get(fn)

    fn.__globals__["K"] = 5

    assert loads(functions.get(fn).payload)(1) == 6


def test_changed_closure_is_seen(interned):
    functions, value = Functions(interned), 1

    def fn():
        return value

    assert loads(functions.get(fn).payload)() == 1
    value = 2
    assert loads(functions.get(fn).payload)() == 2


@pytest.mark.parametrize("attribute", ["__defaults__", "__kwdefaults__"])
def test_changed_defaults_are_seen(interned, attribute):
    functions, fn = Functions(interned), defined("def f(x=1, *, y=1): return x, y")
    functions.get(fn)

    setattr(fn, attribute, (7,) if attribute == "__defaults__" else {"y": 7})

    assert 7 in loads(functions.get(fn).payload)()


def test_changed_code_is_seen(interned):
    functions, fn = Functions(interned), defined("def f(): return 1")
    functions.get(fn)

    fn.__code__ = defined("def f(): return 2").__code__

    assert loads(functions.get(fn).payload)() == 2


def test_mutable_thing_that_changes_unseen_is_pickled_anew_each_time(interned):
    functions, fn = Functions(interned), defined("def f(): return T[0]", T=[1])
    assert loads(functions.get(fn).payload)() == 1

    fn.__globals__["T"][0] = 2

    assert loads(functions.get(fn).payload)() == 2


def test_function_called_by_a_function_is_followed(interned):
    functions = Functions(interned)
    inner = defined("def f(): return K", K=1)
    outer = defined("def f(): return g()", g=inner)
    assert loads(functions.get(outer).payload)() == 1

    inner.__globals__["K"] = 2

    assert loads(functions.get(outer).payload)() == 2


def test_recursive_function_is_followed_to_its_end(interned):
    fn = defined("def f(n): return n and n + f(n - 1)")

    assert loads(Functions(interned).get(fn).payload)(3) == 6


def test_function_with_attributes_is_pickled_anew(interned):
    functions, fn = Functions(interned), defined("def f(): return f.count")
    fn.count = 1
    functions.get(fn)

    fn.count = 2

    assert loads(functions.get(fn).payload)() == 2


def test_function_defined_anew_under_the_same_name_is_another(interned):
    functions = Functions(interned)

    assert functions.get(defined("def f(): return 1")) is not functions.get(defined("def f(): return 2"))


def test_known_functions_are_bounded(interned):
    functions = Functions(interned)
    for number in range(600):
        functions.get(defined(f"def f(): return {number}"))

    assert len(functions._known) <= 512


def test_function_that_names_a_large_global_is_one_until_that_changes_and_then_takes_its_place(interned):
    functions, fn = Functions(interned), defined("def f(): return TABLE[0]", TABLE=bytearray(LARGE))
    first = functions.get(fn)
    assert functions.get(fn) is first

    fn.__globals__["TABLE"][0] = 1
    second = functions.get(fn)

    assert second is not first
    assert second.family is first.family
    [before], [after] = first.needs, second.needs
    assert (before.name, before.family) == (after.name, after.family)
    assert before.payload is not after.payload
    assert functions.get(fn) is second


def test_large_global_of_two_functions_is_one_payload(interned):
    functions, one = Functions(interned), defined("def f(): return TABLE[0]", TABLE=bytearray(LARGE))
    other = eval("lambda: TABLE[1]", one.__globals__)

    first, second = functions.get(one), functions.get(other)

    assert first.needs == second.needs
    assert first.family is not second.family


class Callable:
    def __call__(self, x):
        return f"{x}!"

    def method(self, x):
        return f"{x}?"


@pytest.mark.parametrize(
    ("fn", "expected"),
    [(len, 2), (int, 12), (functools.partial(int, base=16), 18), (Callable(), "12!"), (Callable().method, "12?")],
)
def test_callables_of_every_kind_are_pickled(interned, fn, expected):
    copy = loads(Functions(interned).get(fn).payload)

    assert copy("12") == expected


def test_what_pickling_raises_is_raised(interned):
    class Odd:
        def __reduce__(self):
            raise RuntimeError("no")

        def __call__(self):
            pass

    with pytest.raises(RuntimeError):
        Functions(interned).get(Odd())


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (os.path.join, "join"),
        (Callable.method, "Callable.method"),
        (functools.partial(len), "len"),
        (Callable(), "Callable"),
    ],
)
def test_callables_are_named_for_messages(fn, name):
    assert name_of(fn) == name


def test_callable_that_hides_its_name_is_named_by_its_class():
    class Hidden:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert name_of(Hidden()).endswith("Hidden")
