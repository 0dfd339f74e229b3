import array
import functools
import os
import pickle
import pickletools

import numpy as np
import pytest

from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads


def test_managers_of_multiprocessing_change_nothing_for_what_the_c_pickler_carries():
    import multiprocessing.managers  # noqa: F401  # it registers reducers

    assert dumps(os.getcwd) == pickle.dumps(os.getcwd, 5)


class Registered:
    """Travels only by the reducer that is registered with multiprocessing."""

    def __reduce__(self):
        raise TypeError("ask the registered reducer")


@pytest.fixture
def foreign_reducer():
    from multiprocessing.reduction import ForkingPickler

    ForkingPickler.register(Registered, lambda _: (complex, (1, 2)))
    yield
    del ForkingPickler._extra_reducers[Registered]


@pytest.mark.usefixtures("foreign_reducer")
@pytest.mark.parametrize(
    "value", [os.getcwd, functools.partial(int, "7"), [].append, array.array("i", [1])], ids=range(4)
)
def test_reducer_of_another_class_changes_nothing_for_what_the_c_pickler_carries(value):
    assert pickletools.optimize(dumps(value)) == pickletools.optimize(pickle.dumps(value, 5))


@pytest.mark.usefixtures("foreign_reducer")
@pytest.mark.parametrize("value", [functools.partial(int, "7"), array.array("i", [1])], ids=range(2))
def test_what_travels_by_value_uses_no_reducer_that_it_does_not_need(value):
    payload = dumps([value, lambda: 1])
    assert b"multiprocessing" not in payload
    assert repr(loads(payload)[0]) == repr(value)


@pytest.mark.usefixtures("foreign_reducer")
def test_registered_reducer_is_used_by_the_c_pickler_beside_arrays():
    fixed = np.arange(3)
    fixed.flags.writeable = False
    payload = dumps([os.getcwd, Registered(), fixed])
    assert b"cloudpickle" not in payload
    got, number, array_ = loads(payload)
    assert (got, number, array_.tolist()) == (os.getcwd, 1 + 2j, [0, 1, 2])
    assert array_.flags.writeable
