import pickle
import sys

import numpy as np
import pytest

from woolexec.wire.pickling import dumps, dumps_value
from woolexec.wire.unpickling import loads


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
