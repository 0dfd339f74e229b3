import copyreg
import datetime as dt
import functools
import operator
import os
import pickle
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.mesh import tasks
from woolexec import WorkerLostError, current_executor
from woolexec.base_error import rebuild
from woolexec.wire.pickling import Pickled
from woolexec.wire.plain_data import _CHECKED, _SAME, find
from woolexec.wire.restricted import _IN_TASKS, AllowList

ALLOWED = ["tests.mesh.tasks:weigh", "tests.mesh.tasks:add", "tests.mesh.tasks:count"]


@pytest.mark.parametrize(
    "forged",
    [
        b"cnumpy\nndarray\n(K\x01\x85\x8c\x01OC\x08AAAAAAAAtR.",  # pointers
        b"cnumpy.core.numeric\n_frombuffer\n(C\x08AAAAAAAAcnumpy\ndtype\n(\x8c\x01Ot\x52K\x01\x85\x8c\x01CtR.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(\x8c\x05O,i4,t\x52C\x08AAAAAAAAtR.",
        b"cpathlib\nPath\nN}\x8c\x0eis_relative_tocbuiltins\ncomplex\ns\x86b.",  # state of a class
        b"ctests.mesh.tasks\nweigh\nN}\x8c\x0e__kwdefaults__Ns\x86b.",  # state of a function
        b"cwoolexec.errors\n_rebuild.__globals__\n.",
        b"cwoolexec.base_error\nrebuild.__globals__\n.",
        b"cbuiltins\ngetattr\n.",
    ],
)
def test_forged_pickle_is_refused(forged):
    with pytest.raises(pickle.UnpicklingError):
        AllowList(ALLOWED).load(forged)


def test_error_of_a_lost_worker_is_data():
    error = WorkerLostError("lost")
    error.pid = 3
    made = AllowList([]).load(pickle.dumps(error))
    assert (type(made), made.args, made.pid) == (WorkerLostError, ("lost",), 3)


@pytest.mark.parametrize("name", sorted(name for name in (*_CHECKED, *_IN_TASKS) if name.startswith("woolexec.")))
def test_names_of_ours_that_count_as_data_exist(name):
    module, _, qualname = name.partition(":")
    assert hasattr(import_module(module), qualname)


@pytest.mark.parametrize("name", sorted(name for name in _SAME if "_local" not in name))
def test_classes_that_count_as_data_exist(name):
    module, _, qualname = name.partition(":")
    assert find(module, qualname).make is getattr(import_module(module), qualname)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(10),
        np.arange(10.0).reshape(2, 5),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(["a", "bc"]),
        np.array([], dtype=complex),
        np.arange(10)[::2],
        np.arange(12).reshape(3, 4)[:, 1:3],
        np.array(["2026-01-02", "NaT"], dtype=">M8[3D]"),
        np.array([1, 2], dtype="m8[ns]"),
        np.float64(1.5),
        np.int8(-3),
    ],
)
def test_arrays_of_numbers_and_text_are_data(value):
    made = AllowList([]).load(pickle.dumps(value, 5))
    np.testing.assert_array_equal(made, value)
    assert made.dtype == value.dtype


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        frozenset({1, 2}),
        Counter("aab"),
        deque([1, [2]]),
        OrderedDict(a=1),
        Decimal("1.5"),
        Fraction(1, 3),
        dt.datetime.max.replace(tzinfo=dt.UTC),
        dt.time.max,
        Path("a/b"),
        bytearray(b"ab"),
        range(3),
        1j,
        KeyError("k"),
    ],
)
def test_plain_data_stays_what_it_is(value):
    assert repr(AllowList([]).load(pickle.dumps(value, 5))) == repr(value)


def test_nested_names_do_not_slip_through():
    load = AllowList(["os.path:join"]).load
    assert load(pickle.dumps(os.path.join)) is os.path.join if os.path.join.__module__ == "os.path" else True
    for evil in (b"cos\nsystem\n.", b"\x80\x04\x8c\x02os\x8c\x0bpath.isfile\x93.", b"cbuiltins\neval\n."):
        with pytest.raises(pickle.UnpicklingError, match="is not on"):
            load(evil)


GREET = b"\x80\x04\x8c\x10tests.mesh.tasks\x8c\x05weigh\x93"
ERROR = b"\x80\x04\x8c\x08builtins\x8c\x09Exception\x93"


@pytest.mark.parametrize(
    "forged",
    [
        GREET + b"}\x8c\x05hello\x8c\x01xsb.",  # state of a function on the list
        GREET + b"\x8c\x01a\x8c\x01bs.",  # an item of it
        GREET + b"(\x8c\x01a\x8c\x01bu.",
        GREET + b"K\x01a.",
        GREET + b"(K\x01e.",
        GREET + b"(K\x01\x90.",
        GREET + b"\x8c\x01x\x85R.",  # a call of it, which no audit log would name
        GREET + b")\x81.",
        GREET + b")}\x92.",
        b"(\x8c\x01xitests.mesh.tasks\nweigh\n.",
        b"(" + GREET[2:] + b"\x8c\x01xo.",
        ERROR + b"}\x8c\x05hello\x8c\x01xsb.",
        ERROR + b"\x8c\x01a\x8c\x01bs.",
        b"\x82\x01.",  # an extension by number
        b"\x8c\x01aQ.",  # a persistent id
        b"c__builtin__\nset\n.",  # a name of Python 2
        b"\x80\x04\x8c\x11tests.mesh.tasks:\x8c\x05weigh\x93.",
        b"\x80\x04\x8c\x00\x8c\x16tests.mesh.tasks:weigh\x93.",
        b"\x80\x04\x8c\x08builtins\x8c\x12Exception.__init__\x93.",
        b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",  # a size, not contents
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    ],
)
def test_pickle_cannot_call_or_change_what_is_on_the_list(forged):
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        AllowList(ALLOWED).load(forged)
    assert not vars(tasks.weigh)
    assert not hasattr(Exception, "hello")


def test_extension_that_the_program_has_used_is_refused(monkeypatch):
    monkeypatch.setitem(copyreg._extension_cache, 77, os.system)
    with pytest.raises(pickle.UnpicklingError, match="extension 77"):
        AllowList(ALLOWED).load(b"\x82\x4d.")


@pytest.mark.parametrize("made", [Path("a"), {"a": 1}, tasks.weigh])
def test_error_is_only_rebuilt_from_an_exception_class(made):
    """`rebuild` sets attributes: of anything else it could change an object that is there already."""
    forged = b"\x80\x04" + pickle.dumps(rebuild, 5)[2:-1] + pickle.dumps((made, (), {"path": "x"}), 5)[2:-1] + b"R."
    with pytest.raises(pickle.UnpicklingError):
        AllowList(ALLOWED).load(forged)


def test_list_is_not_a_single_text():
    with pytest.raises(TypeError, match="allow must be several names"):
        AllowList("tests.mesh.tasks:weigh")


def test_array_that_is_not_contiguous_stays_one_array():
    array = np.arange(10)[::2]
    first, again, alone = AllowList([]).load(pickle.dumps((array, array, array + 1), 5))
    assert first is again
    assert first.flags.writeable
    np.testing.assert_array_equal(alone, array + 1)


def test_only_what_is_on_the_list_is_run():
    allowed = AllowList([*ALLOWED, "builtins:len"])
    for function in (tasks.weigh, len):
        allowed.check(allowed.load(pickle.dumps(function, 5)))
    for forged in (
        pickle.dumps(bytearray),
        pickle.dumps(Path),
        pickle.dumps(SystemExit),
        pickle.dumps(current_executor),
    ):
        with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
            allowed.check(allowed.load(forged))


@pytest.mark.parametrize("function", [operator.add, os.getcwd, functools.reduce])
def test_function_of_c_is_listed_by_the_name_that_programs_import(function):
    name = {operator.add: "operator:add", os.getcwd: "os:getcwd", functools.reduce: "functools:reduce"}[function]
    pickled = pickle.dumps(function)
    allowed = AllowList([*ALLOWED, "no_such_module:function", name])
    assert function.__module__ != name.partition(":")[0]
    assert allowed.load(pickled) is function
    allowed.check(function)
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        AllowList(ALLOWED).load(pickled)
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        allowed.load(pickle.dumps(operator.sub))


def test_data_that_cannot_be_made_is_not_on_the_list_either():
    with pytest.raises(pickle.UnpicklingError, match=r"not on this peer's list .*: bytes made from list"):
        AllowList([]).load(pickle.dumps(np.zeros(3, dtype="i4,O"), 5))


def test_empty_list_allows_nothing():
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        AllowList([]).load(pickle.dumps(tasks.weigh))


class Evil:
    """Unpickles as the value of a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


CALLS = []


def record(data):
    CALLS.append(data)


def test_value_that_is_pickled_separately_is_unpickled_by_nothing_that_the_pickle_names():
    allowed = AllowList([f"{__name__}:record"])
    forged = pickle.dumps(Evil(Pickled, b"data", (), record))
    with pytest.raises(TypeError):
        allowed.load(forged)
    assert CALLS == []


TABLE = {"a": 1}


def test_what_is_no_function_is_not_reached_through_the_list():
    allowed = AllowList([f"{__name__}:TABLE"])
    module = __name__.encode()
    for forged in (b"c%b\nTABLE\n." % module, b"c%b\nTABLE\nI1\nI2\ns." % module):
        with pytest.raises(pickle.UnpicklingError, match="is no function"):
            allowed.load(forged)
    assert TABLE == {"a": 1}
