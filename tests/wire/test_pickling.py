import array
import functools
import os
import pickle
import pickletools
import sys

import numpy as np
import pytest

from woolexec.wire import payload as payloads
from woolexec.wire.payload import APART, LARGE, File, Parts
from woolexec.wire.pickling import dumps, dumps_call, dumps_inline, dumps_value, loads


class Odd:
    def __reduce__(self):
        raise RuntimeError("cannot be pickled")


@pytest.mark.parametrize(
    "value", [None, 1, "text", b"bytes", [1, {"a": (2, 3)}], {1, 2}, os.getcwd, functools.partial(int, "7")]
)
def test_what_pickle_carries_comes_back(value):
    assert repr(loads(dumps(value))) == repr(value)


def test_small_payload_is_what_the_c_pickler_writes():
    assert dumps([1, 2]) == pickle.dumps([1, 2], 5)


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


def test_lambda_and_closure_travel_by_value():
    base = 40
    add = loads(dumps(lambda x: base + x))

    assert add(2) == 42


def test_nothing_refers_to_the_main_module(monkeypatch):
    class Local:
        pass

    Local.__module__, Local.__qualname__ = "__main__", "Local"
    monkeypatch.setattr(sys.modules["__main__"], "Local", Local, raising=False)

    payload = dumps(Local())
    monkeypatch.delattr(sys.modules["__main__"], "Local")

    assert type(loads(payload)).__name__ == "Local"


def test_text_that_names_the_main_module_does_no_harm():
    assert loads(dumps(["__main__", b"__main__"])) == ["__main__", b"__main__"]


@pytest.mark.parametrize("size", [0, APART - 1, APART, LARGE - 1000, LARGE + 1, 2_000_000])
def test_bytes_of_any_size_come_back(size):
    data = os.urandom(size)

    value = loads(dumps_value(data))
    args, kwargs = loads(dumps_call((data, 1), {"key": data}))

    assert type(value) is bytes
    assert value == data
    assert (args, kwargs) == ((data, 1), {"key": data})


def test_large_bytes_leave_the_pickle_uncopied():
    data = os.urandom(APART * 2)

    payload = dumps_value(data)

    assert isinstance(payload, Parts)
    assert any(part is data for part in payload.load())


@pytest.mark.parametrize("value", ["x" * LARGE, 1 << 8 * LARGE], ids=["text", "number"])
def test_large_payload_is_a_memory_file(value):
    for payload in (dumps(value), dumps_value(value), dumps_call((value,), {})):
        assert isinstance(payload, File)


def test_numbers_and_texts_are_what_the_c_pickler_writes():
    assert dumps_value("text") == pickle.dumps("text", 5)
    assert dumps_call((1, None), {}) == pickle.dumps(((1, None), {}), 5)


def test_object_that_poses_as_a_number_travels_as_what_it_is(monkeypatch):
    class Posing:
        __class__ = int
        __module__ = "__main__"
        __qualname__ = "Posing"

        def __reduce__(self):
            return Posing, ()

    monkeypatch.setattr(sys.modules["__main__"], "Posing", Posing, raising=False)
    for payload in (dumps_value(Posing()), dumps_call((Posing(),), {})):
        assert b"cloudpickle" in payload  # else it would refer to __main__, which no worker imports


def test_array_arrives_writable():
    numpy = pytest.importorskip("numpy")
    for size in (10, 10_000, 1_000_000):
        array = numpy.arange(size)
        copy = loads(dumps(array))
        copy[0] = 7
        assert array[0] == 0
        assert (copy[1:] == array[1:]).all()


def test_array_that_is_not_contiguous_comes_back():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(200_000).reshape(400, 500)[:, ::2]

    assert (loads(dumps(array)) == array).all()


def test_what_pickling_raises_is_raised():
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        dumps(Odd())
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        dumps_inline([Odd()])


def test_without_descriptors_a_large_payload_stays_in_ordinary_memory(monkeypatch):
    def fail():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(payloads, "memory_file", fail)
    numpy = pytest.importorskip("numpy")

    for value in ("x" * LARGE, numpy.arange(100_000)):
        pickled = dumps(value)
        assert not isinstance(pickled, File)
        got = loads(pickled)
        assert len(got) == len(value)
        assert got[-1] == value[-1]
        assert isinstance(value, str) or got.flags.writeable


def test_inline_pickle_is_bytes_whatever_its_size():
    assert type(dumps_inline(bytes(LARGE * 2))) is bytes


class Tagged(np.ndarray):
    """An array of a class of the program: its memory leaves the pickle all the same."""

    finalized = None

    def __array_finalize__(self, obj):
        type(self).finalized = obj


class Wide(np.ndarray):
    def __reduce__(self):
        return (Wide, ((1,),))


ARRAYS = {
    "C order": lambda: np.arange(6000.0).reshape(60, 100),
    "Fortran order": lambda: np.asfortranarray(np.arange(6000.0).reshape(60, 100)),
    "every second": lambda: np.arange(12000.0)[::2],
    "small": lambda: np.arange(3),
    "objects": lambda: np.array([[1], "a"] * 3000, dtype=object),
    "dates": lambda: np.arange(6000).astype("M8[s]"),
    "records": lambda: np.zeros(2000, dtype=[("a", int), ("b", float)]),
    "no dimension": lambda: np.array(7.0),
    "not writable": lambda: np.frombuffer(bytes(48000)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_array_of_a_class_of_the_program_arrives_as_from_pickle(monkeypatch, kind):
    monkeypatch.setattr(Tagged, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Tagged", Tagged, raising=False)
    array = ARRAYS[kind]().view(Tagged)
    Tagged.finalized = array

    payload = dumps_value(array)
    got = loads(payload)

    expected = pickle.loads(pickle.dumps(array, 4))
    assert type(got) is Tagged
    assert Tagged.finalized is None
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.flags.writeable
    assert got.flags.f_contiguous == expected.flags.f_contiguous
    assert np.array_equal(got, expected)


def test_array_of_a_class_that_pickles_itself_does(monkeypatch):
    monkeypatch.setattr(Wide, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Wide", Wide, raising=False)

    assert loads(dumps_value(np.arange(6000.0).view(Wide))).shape == (1,)
