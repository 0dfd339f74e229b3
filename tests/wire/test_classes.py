import enum
import sys
import threading
import types
import uuid

import pytest

from woolexec.wire import classes
from woolexec.wire.classes import find, find_at_home, keep, make_class, make_enum, reduce_enum, reduce_member

SOON = 20


def new_id():
    return uuid.uuid4().hex


def made(name="A", bases=(), kind=type, tracker=None, **names):
    return make_class(kind, name, bases, {"__module__": __name__, **names}, tracker or new_id(), None)


def test_class_is_created_once_per_tracker_id():
    tracker = new_id()
    cls = made(tracker=tracker, x=1)

    assert (cls.__name__, cls.x, find(tracker)) == ("A", 1, cls)
    assert made("B", tracker=tracker) is cls
    assert made() is not cls


def test_threads_that_receive_one_class_at_the_same_time_get_one():
    tracker, start, seen = new_id(), threading.Barrier(8), []

    def receive():
        start.wait(SOON)
        seen.append(made(tracker=tracker))

    threads = [threading.Thread(target=receive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_hook_of_a_base_that_was_received_is_not_run_again_and_stays():
    calls = []

    class Base:
        def __init_subclass__(cls, **_):
            calls.append(cls.__name__)

    keep(new_id(), Base)
    made("Received", (Base,))
    assert calls == []

    class Own(Base):
        pass

    assert calls == ["Own"]


def test_hook_of_a_base_that_can_be_imported_is_run():
    calls = []

    class Base:
        def __init_subclass__(cls):
            calls.append(cls.__name__)

    made("Received", (Base,))
    assert calls == ["Received"]


def test_class_whose_base_wants_arguments_is_created_without_its_hook():
    class Base:
        def __init_subclass__(cls, *, needed):
            raise AssertionError(needed)

    cls = made("Received", (Base,), x=1)

    assert (cls.x, cls.__mro__[1]) == (1, Base)


def test_metaclass_that_was_received_is_the_type_of_the_class_but_is_not_called():
    class Meta(type):
        def __new__(cls, *args, needed):
            raise AssertionError(args, needed)

    keep(new_id(), Meta)
    cls = made("Received", kind=Meta)

    assert (type(cls), cls.__name__) == (Meta, "Received")


def test_generic_base_is_kept_as_it_was_written():
    cls = made("Received", (list[int],))

    assert (cls.__bases__, cls.__orig_bases__) == ((list,), (list[int],))


def test_error_of_an_ordinary_class_is_raised():
    with pytest.raises(TypeError):
        made("Received", (bool,))


def test_class_at_home_is_found_by_its_id_and_else_by_its_name(monkeypatch):
    module = types.ModuleType("at_home")
    module.A = made()
    monkeypatch.setitem(sys.modules, "at_home", module)
    tracker = new_id()
    old = made(tracker=tracker)

    assert find_at_home("at_home", "A", tracker) is old
    assert find_at_home("at_home", "A", new_id()) is module.A
    with pytest.raises(AttributeError):
        find_at_home("at_home", "B", new_id())


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    CRIMSON = RED

    def shade(self):
        return f"dark {self.name.lower()}"


class Planet(enum.Enum):
    EARTH = (5.97, 6.37)
    MARS = (0.64, 3.39)

    def __init__(self, mass, radius):
        self.density = mass / radius**3


class Level(enum.IntEnum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Access(enum.Flag, boundary=enum.STRICT):
    READ = enum.auto()
    WRITE = enum.auto()


class Text(str, enum.Enum):  # noqa: UP042  # its values are not its texts
    A = b"a", "ascii"


def copy_of(cls):
    """Create an enumeration as a process does that has never seen it."""
    make, (*args, _), state, *_, set_state = reduce_enum(cls)
    assert make is make_enum
    return set_state(make(*args, new_id()), state)


@pytest.mark.parametrize("cls", [Color, Planet, Level, Access, Text])
def test_enumeration_is_recreated_with_its_members(cls):
    made = copy_of(cls)

    assert made is not cls
    assert made.__members__.keys() == cls.__members__.keys()
    for name, member in cls.__members__.items():
        other = made.__members__[name]
        assert (type(other), other.name, other.value) == (made, member.name, member.value)
        assert made(member.value) is other
        assert {**vars(other), "__objclass__": 0} == {**vars(member), "__objclass__": 0}


def test_methods_aliases_and_boundary_of_an_enumeration_are_recreated():
    color, access = copy_of(Color), copy_of(Access)

    assert (color.CRIMSON is color.RED, color.GREEN.shade()) == (True, "dark green")
    assert (access.READ | access.WRITE).value == 3
    with pytest.raises(ValueError):
        access(4)


def test_init_of_an_enumeration_is_not_run_again():
    calls = []

    class Counted(enum.Enum):
        A = 1

        def __init__(self, value):
            calls.append(value)

    assert copy_of(Counted).A.value == 1
    assert calls == [1]


def test_value_that_a_task_has_set_on_a_member_is_kept_when_the_class_arrives_again():
    make, (*args, _), state, *_, set_state = reduce_enum(Planet)
    made = set_state(make(*args, new_id()), state)
    made.EARTH.density = "set by a task"
    set_state(made, state)

    assert made.EARTH.density == "set by a task"


def test_member_is_reduced_to_its_name_and_a_combination_is_not():
    assert reduce_member(Color.CRIMSON) == (classes.find_member, (Color, "RED"))
    assert reduce_member(Access.READ | Access.WRITE) is None
    assert classes.find_member(Color, "RED") is Color.RED
