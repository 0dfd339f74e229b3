import asyncio
import functools
import types
from types import MethodType

import pytest

from woolexec.wire import callables
from woolexec.wire.by_value import dumps_by_value
from woolexec.wire.unpickling import loads

reduce_method = callables.REDUCERS[MethodType]


def inline(_):
    return True


class Plain:
    def fn(self):
        return "plain"

    other = fn


class Derived(Plain):
    def fn(self):
        return "derived"


class Looks(Plain):
    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


def test_method_is_a_lookup_on_its_object():
    for owner in (Plain(), Derived()):
        assert reduce_method(owner.fn) == (getattr, (owner, "fn"))


def test_method_that_a_lookup_would_not_find_is_no_lookup():
    shadowed = Plain()
    method = shadowed.fn
    shadowed.fn = 1
    replaced = types.MethodType(lambda _: 1, Plain())

    assert reduce_method(method) is None
    assert reduce_method(replaced) is None
    assert reduce_method(MethodType(Plain.fn, Derived())) is None
    assert reduce_method(Looks().fn) is None
    assert reduce_method(MethodType(functools.partial(print), Plain())) is None


def test_method_under_another_name_is_found_under_its_functions_name():
    owner = Plain()

    assert reduce_method(owner.other) == (getattr, (owner, "fn"))


def test_cached_function_that_can_be_imported_travels_by_name():
    import fnmatch

    cached = next(value for value in vars(fnmatch).values() if isinstance(value, functools._lru_cache_wrapper))

    assert callables.REDUCERS[functools._lru_cache_wrapper](cached) is None


def test_annotations_that_cannot_be_evaluated_are_text(monkeypatch):
    class Later:
        """Evaluates its annotations on access, as functions do from Python 3.14 on."""

        @property
        def __annotations__(self):
            raise NameError("name 'Missing' is not defined")

    texts = types.SimpleNamespace(
        Format=types.SimpleNamespace(STRING="text"),
        get_annotations=lambda _, **how: {"x": f"Missing as {how['format']}"},
    )
    monkeypatch.setattr(callables, "import_module", {"annotationlib": texts}.get)

    assert callables.annotations_of(Later()) == {"x": "Missing as text"}
    assert callables.annotations_of(types.SimpleNamespace(__annotations__={"x": int})) == {"x": int}


def test_function_with_annotations_as_text_is_the_same_otherwise(program):
    main = program(
        "def make(y):\n"
        "    def fn(x: int, *, z=2): 'doc'; return x + y + z\n"
        "    fn.mark = 1\n"
        "    return fn\n"
        "fn = make(3)\n"
    )

    copy = callables.with_annotations_as_text(main.fn)

    assert copy is not main.fn
    assert (copy(1), copy.mark, copy.__qualname__, copy.__doc__) == (6, 1, "make.<locals>.fn", "doc")
    assert copy.__annotations__ == {"x": int}
    assert copy.__annotations__ is not main.fn.__annotations__


@pytest.mark.parametrize("size", [2, None])
def test_cached_function_of_the_program_arrives_with_an_empty_cache_of_its_size(program, size):
    main = program("def fn(x): return 2 * x")
    main.fn = functools.lru_cache(maxsize=size)(main.fn)
    main.fn(1)
    fn = loads(dumps_by_value(main.fn, inline))

    assert (fn(4), fn.cache_info().maxsize, fn.cache_info().currsize) == (8, size, 1)


def test_function_made_by_singledispatch_arrives_with_its_implementations(program):
    main = program(
        "import functools\n"
        "@functools.singledispatch\n"
        "def fn(x): return 'object'\n"
        "@fn.register\n"
        "def _(x: int): return 'int'\n"
    )
    fn = loads(dumps_by_value(main.fn, inline))

    assert (fn(1), fn("x"), fn.__name__) == ("int", "object", "fn")
    fn.register(str, lambda _: "str")
    assert (fn("x"), main.fn("x")) == ("str", "object")


def test_partial_and_dispatching_methods_and_cached_properties_of_a_class_arrive(program):
    main = program(
        "import functools\n"
        "class A:\n"
        "    def add(self, x, y): return x + y\n"
        "    inc = functools.partialmethod(add, y=1)\n"
        "    @functools.singledispatchmethod\n"
        "    def kind(self, x): return 'object'\n"
        "    @kind.register\n"
        "    def _(self, x: int): return 'int'\n"
        "    @functools.cached_property\n"
        "    def once(self): return object()\n"
        "def make(): return A()\n"
    )
    data = dumps_by_value(main.make, inline)
    a = loads(data)()

    assert (a.inc(1), a.kind(1), a.kind("x"), a.once is a.once) == (2, "int", "object", True)


def test_programs_own_kinds_of_properties_and_methods_arrive_with_their_attributes(program):
    main = program(
        "class Shown(property):\n"
        "    def __init__(self, fn): self.fn = fn\n"
        "    def __set_name__(self, owner, name): self.name = name; self.__doc__ = name\n"
        "    def __get__(self, obj, cls=None): return self if obj is None else (self.name, self.fn(obj))\n"
        "class Checked(property): pass\n"
        "class Loud(classmethod): pass\n"
        "class Plain(staticmethod):\n"
        "    def __new__(cls, fn, tag): return super().__new__(cls, fn)\n"
        "    def __init__(self, fn, tag): super().__init__(fn); self.tag = tag\n"
        "class A:\n"
        "    x = 3\n"
        "    @Shown\n"
        "    def shown(self): return self.x\n"
        "    def checked(self): return A.x\n"
        "    checked = Checked(checked, lambda self, x: setattr(A, 'x', x))\n"
        "    checked.unit = 'm'\n"
        "    @Loud\n"
        "    def loud(cls): return cls.__name__\n"
        "    plain = Plain(abs, 'tag')\n"
        "def make(): return A()\n"
    )
    a = loads(dumps_by_value(main.make, inline))()
    cls = type(a)
    a.checked = 4

    assert (a.shown, a.checked, a.loud(), a.plain(-1)) == (("shown", 4), 4, "A", 1)
    assert (cls.checked.unit, cls.shown.__doc__, cls.__dict__["plain"].tag) == ("m", "shown", "tag")


def test_weak_dictionaries_arrive_with_what_something_else_refers_to(program):
    main = program(
        "import weakref\n"
        "class Kind: pass\n"
        "one = Kind()\n"
        "by_name = weakref.WeakValueDictionary(one=one)\n"
        "names = weakref.WeakKeyDictionary({one: 'one'})\n"
        "kept = [one]\n"
        "def look(): return by_name['one'] is one is kept[0], names[one], len(by_name), len(names)\n"
    )
    look = loads(dumps_by_value(main.look, inline))

    assert look() == (True, "one", 1, 1)


def test_function_with_the_attributes_of_one_made_by_singledispatch_arrives(program):
    main = program(
        "import functools\n"
        "@functools.singledispatch\n"
        "def fn(x): return 'object'\n"
        "@functools.wraps(fn)\n"
        "def wrapper(x): return fn(x)\n"
    )

    assert loads(dumps_by_value(main.wrapper, inline))(1) == "object"


def test_functions_share_the_variables_that_they_captured_together(program):
    main = program(
        "def counter():\n"
        "    count = 0\n"
        "    def step():\n"
        "        nonlocal count\n"
        "        count += 1\n"
        "        return step if count > 9 else count\n"
        "    step.seen = lambda: (count, later)\n"
        "    step.last = lambda: later\n"
        "    if False: later = 0\n"
        "    return step\n"
    )
    mine = main.counter()
    mine()

    step = loads(dumps_by_value(mine, inline))

    assert (step(), step.seen.__closure__[0].cell_contents, mine.seen.__closure__[0].cell_contents) == (2, 2, 1)
    with pytest.raises(NameError):
        step.last()
    assert [step() for _ in range(8)][-1] is step


@pytest.mark.parametrize("decorated", ["def fn(x): return x, seen", "async def fn(x): return x, seen"])
def test_function_in_a_context_manager_runs_in_a_new_one_each_time(program, decorated):
    is_async = decorated.startswith("async")
    name, kind = ("asynccontextmanager", "async ") if is_async else ("contextmanager", "")
    main = program(
        "import contextlib\n"
        "seen = []\n"
        f"@contextlib.{name}\n"
        f"{kind}def around(name, *, end):\n"
        "    seen.append(name)\n"
        "    yield\n"
        "    seen.append(end)\n"
        f"@around('begin', end='end')\n{decorated}\n"
    )
    fn = loads(dumps_by_value(main.fn, inline))

    for _ in range(2):
        result, seen = asyncio.run(fn(3)) if is_async else fn(3)
    assert (result, seen, main.seen) == (3, ["begin", "end"] * 2, [])
