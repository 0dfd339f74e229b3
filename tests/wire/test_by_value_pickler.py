import threading

import pytest

from woolexec.wire.by_value import dumps_by_value
from woolexec.wire.by_value_pickler import named_in
from woolexec.wire.unpickling import loads


def inline(_):
    return True


def copy_of(value):
    return loads(dumps_by_value(value, inline))


def test_slots_of_a_class_arrive(program):
    main = program("class A:\n    __slots__ = ('x',)\ndef fn():\n    a = A(); a.x = 1; return a\n")
    made = copy_of(main.fn)()

    assert (made.x, type(made).__slots__, hasattr(made, "__dict__")) == (1, ("x",), False)


def test_class_inside_another_has_its_qualified_name(program):
    main = program("class A:\n    class B: pass\n")

    assert copy_of(main.A.B()).__class__.__qualname__ == "A.B"


def test_global_that_only_the_body_of_a_class_names_arrives(program):
    main = program("def fn():\n    class A:\n        x = K\n    return A.x\n", K=5)

    assert copy_of(main.fn)() == 5


def test_names_in_code_are_those_of_inner_functions_and_classes_as_well(program):
    main = program(
        "def fn(x):\n"
        "    class A:\n"
        "        y = ONE\n"
        "        def method(self): return TWO\n"
        "    return lambda: THREE + x\n"
    )

    assert {"ONE", "TWO", "THREE"} <= set(named_in(main.fn.__code__))
    assert "x" not in named_in(main.fn.__code__)


def test_functions_that_name_one_lock_have_one_there(program):
    main = program("def one(): return LOCK\ndef other(): return LOCK\n", LOCK=threading.Lock())
    one, other = copy_of([main.one, main.other])

    assert one() is other()
    assert one() is not main.LOCK


def test_condition_of_a_lock_is_one_of_the_new_lock(program):
    lock = threading.RLock()
    main = program("def fn(): return LOCK, READY\n", LOCK=lock, READY=threading.Condition(lock))
    made, ready = copy_of(main.fn)()

    assert ready._lock is made


def test_lock_in_an_object_of_the_program_that_a_function_names_is_made_anew(program):
    main = program(
        "import threading\n"
        "class Table:\n"
        "    def __init__(self): self.lock, self.rows = threading.Lock(), [1]\n"
        "TABLE = Table()\n"
        "def fn(): return TABLE\n"
    )
    table = copy_of(main.fn)()

    assert table.rows == [1]
    assert type(table.lock) is type(main.TABLE.lock)
    assert table.lock is not main.TABLE.lock


def test_lock_that_a_function_names_is_made_anew_and_one_that_is_an_argument_is_an_error(program):
    main = program("def fn(): return LOCK", LOCK=threading.Lock())
    lock = loads(dumps_by_value(main.fn, inline))()

    assert type(lock) is type(main.LOCK)
    assert lock is not main.LOCK
    with pytest.raises(TypeError):
        dumps_by_value([main.LOCK], inline)


def test_compiled_format_of_struct_arrives(program):
    main = program("import struct\nHEADER = struct.Struct('<IH')\ndef fn(data): return HEADER.unpack(data)")

    assert copy_of(main.fn)(main.HEADER.pack(1, 2)) == (1, 2)
    assert copy_of([main.HEADER])[0].format == "<IH"
