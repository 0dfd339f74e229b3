import functools
import threading

import pytest

from woolexec.wire.by_value import Verdicts, dumps_by_value, substitute
from woolexec.wire.stand_ins import StandIn
from woolexec.wire.unpickling import loads


class Odd:
    """Cannot be pickled; counts how often that was tried."""

    def __init__(self):
        self.tries = 0

    def __reduce__(self):
        self.tries += 1
        raise LookupError("odd")


def inline(_):
    return True


def test_value_is_tried_once_for_all_that_name_it(program):
    odd = Odd()
    verdicts = Verdicts()
    program("")
    found = [verdicts.find(owner, "ODD", odd) for owner in ("one", "other")]

    assert found[0] is found[1]
    assert isinstance(found[0], StandIn)
    assert odd.tries == 1


def test_value_that_can_be_pickled_replaces_itself(program):
    program("")
    value = [1]

    assert substitute("fn", "value", value) is value


def test_error_of_an_argument_is_raised_with_a_note_and_without_the_buffers_of_the_attempt(program):
    program("")
    buffers = ["left over"]
    with pytest.raises(LookupError, match="odd") as raised:
        dumps_by_value([[1], Odd()], inline, buffers, ("first", "second"))

    assert buffers == []
    assert any("second" in note for note in raised.value.__notes__)


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


def test_lock_that_a_function_names_is_made_anew_and_one_that_is_an_argument_is_an_error(program):
    main = program("def fn(): return LOCK", LOCK=threading.Lock())
    lock = loads(dumps_by_value(main.fn, inline))()

    assert type(lock) is type(main.LOCK)
    assert lock is not main.LOCK
    with pytest.raises(TypeError):
        dumps_by_value([main.LOCK], inline)
