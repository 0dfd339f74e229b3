import datetime as dt
import os
import pickle
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from importlib import import_module

import numpy as np
import pytest

from woolexec import WorkerLostError
from woolexec.wire.restricted import _DATA, loader

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
        loader(ALLOWED)(forged)


def test_error_of_a_lost_worker_is_data():
    error = WorkerLostError("lost")
    error.pid = 3
    made = loader([])(pickle.dumps(error))
    assert (type(made), made.args, made.pid) == (WorkerLostError, ("lost",), 3)


@pytest.mark.parametrize("name", sorted(name for name in _DATA if name.startswith("woolexec.")))
def test_names_of_ours_that_count_as_data_exist(name):
    module, _, qualname = name.partition(":")
    assert hasattr(import_module(module), qualname)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(10),
        np.arange(10.0).reshape(2, 5),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(["a", "bc"]),
        np.array([], dtype=complex),
        np.float64(1.5),
        np.int8(-3),
    ],
)
def test_arrays_of_numbers_and_text_are_data(value):
    made = loader([])(pickle.dumps(value, 5))
    np.testing.assert_array_equal(made, value)
    assert made.dtype == value.dtype


@pytest.mark.parametrize(
    "value",
    [{1, 2}, Counter("aab"), deque([1, [2]]), OrderedDict(a=1), Decimal("1.5"), dt.time.max, KeyError("k")],
)
def test_plain_data_stays_what_it_is(value):
    assert repr(loader([])(pickle.dumps(value, 5))) == repr(value)


def test_nested_names_do_not_slip_through():
    load = loader(["os.path:join"])
    assert load(pickle.dumps(os.path.join)) is os.path.join if os.path.join.__module__ == "os.path" else True
    for evil in (b"cos\nsystem\n.", b"\x80\x04\x8c\x02os\x8c\x0bpath.isfile\x93.", b"cbuiltins\neval\n."):
        with pytest.raises(pickle.UnpicklingError, match="is not on"):
            load(evil)
