import functools
import os
import pickle
import sys

import pytest

from woolexec.wire import payload as payloads
from woolexec.wire import pickling, unpickling
from woolexec.wire.payload import APART, LARGE, File, Parts
from woolexec.wire.pickling import dumps, dumps_call, dumps_inline, dumps_put, dumps_value
from woolexec.wire.unpickling import loads


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


BLOB = bytes(range(256)) * 2000


def _data_of(values):
    return [bytes(value) if isinstance(value, bytearray) else value for value in values]


@pytest.mark.parametrize("first", [BLOB, bytearray(BLOB), "text" * 100_000], ids=["bytes", "bytearray", "str"])
@pytest.mark.parametrize("wrap", [list, tuple, lambda parts: dict(enumerate(parts))], ids=["list", "tuple", "dict"])
def test_large_data_in_containers_comes_back_and_is_one_object_where_it_was_one(first, wrap):
    back = loads(dumps_call((wrap([first, first, "x", BLOB]),), {}))[0][0]
    back = list(back.values()) if isinstance(back, dict) else list(back)
    assert _data_of(back) == _data_of([first, first, "x", BLOB])
    assert back[0] is back[1]


def test_pickle_that_is_written_in_pieces_has_the_bytes_of_one_that_is_not():
    value = [BLOB, {"a": 1}, BLOB[1:], [["word"] * 50 for _ in range(4000)], "text" * 100_000]
    assert bytes(dumps_value(value).load()[0]) == pickle.dumps(value, 5)


def test_large_data_that_names_the_main_module_does_no_harm():
    payload = dumps_value([b"c__main__\nGone\n" * 10_000, {"a": 1}])
    assert bytes(payload.load()[0]) == pickle.dumps([b"c__main__\nGone\n" * 10_000, {"a": 1}], 5)


def test_function_beside_large_data_travels_by_value(monkeypatch):
    def of_main():
        return 5

    of_main.__module__, of_main.__qualname__ = "__main__", "of_main"
    monkeypatch.setattr(sys.modules["__main__"], "of_main", of_main, raising=False)
    back, function = loads(dumps_value([BLOB, of_main]))
    assert back == BLOB
    assert function() == 5


def test_small_array_is_pickled_by_the_c_pickler_alone():
    np = pytest.importorskip("numpy")
    for array in (np.arange(100), np.arange(100)[::3], np.asfortranarray(np.ones((4, 5)))):
        assert dumps_value(array) == pickle.dumps(array, 5)
        assert dumps_call((array, 1), {}) == pickle.dumps(((array, 1), {}), 5)
    fixed = np.arange(100)
    fixed.flags.writeable = False
    assert loads(dumps_value(fixed)).flags.writeable
    named = np.array([functools.partial], dtype=object)
    assert loads(dumps_value(named))[0] is functools.partial


def test_array_of_a_subclass_comes_back():
    np = pytest.importorskip("numpy")
    array = np.rec.fromarrays([np.arange(20_000), np.arange(20_000) / 2], names="a,b")
    for back in (loads(dumps_value(array)), loads(dumps_value([array]))[0]):
        assert type(back) is type(array)
        assert (back == array).all()


def test_large_data_in_containers_is_inline_where_that_is_asked_for(monkeypatch):
    value = [BLOB, BLOB]
    assert loads(dumps_inline(value)) == value

    def no_memory_file(*_):
        raise OSError

    monkeypatch.setattr(payloads, "memory_file", no_memory_file)
    payload = dumps_value(value)
    assert type(payload) is bytes
    assert loads(payload) == value


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


def test_what_pickling_raises_is_raised():
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        dumps(Odd())
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        dumps_inline([Odd()])


def test_without_descriptors_a_large_payload_stays_in_ordinary_memory(monkeypatch):
    def fail(folder):
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


def test_pickle_of_very_many_small_steps_is_searched_at_once_in_the_end(monkeypatch):
    monkeypatch.setattr(pickling, "_STEPS", 10)
    marks = b"\x80\x05" + b"\x94" * 100_000
    assert pickling.is_for_all(marks)
    assert not pickling.is_for_all(marks + b"__main__")


def read_only(array):
    array.flags.writeable = False
    return array


def large(np):
    return np.arange(2_000_000)


def test_objects_made_of_one_value_share_its_read_only_buffers():
    np = pytest.importorskip("numpy")
    value = {"a": read_only(large(np)), "b": [read_only(large(np))]}
    payload = dumps_put(value)
    one, two = loads(payload, again=True), loads(payload, again=True)
    assert one["b"] is not two["b"]
    for first, second in ((one["a"], two["a"]), (one["b"][0], two["b"][0])):
        assert np.array_equal(first, large(np))
        assert np.shares_memory(first, second)
        assert not first.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            first.flags.writeable = True


class Holds:
    """A class that is pickled by value, as if it were one of ``__main__``."""

    def __init__(self, array):
        self.array = array


@pytest.mark.parametrize("kind", ["writable", "writable beside read-only", "by value"])
def test_objects_made_of_one_value_share_nothing_that_they_may_change(kind, monkeypatch):
    np = pytest.importorskip("numpy")
    if kind == "by value":
        monkeypatch.setattr(Holds, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "Holds", Holds, raising=False)
        value = Holds(read_only(large(np)))
    else:
        value = [large(np), large(np) if kind == "writable" else read_only(large(np))]
    payload = dumps_put(value)
    one, two = loads(payload, again=True), loads(payload, again=True)
    first, second = (one.array, two.array) if kind == "by value" else (one[0], two[0])
    first[:] = 0
    assert np.array_equal(second, large(np))
    assert not np.shares_memory(first, second)


def test_only_some_values_stay_mapped(monkeypatch):
    np = pytest.importorskip("numpy")
    monkeypatch.setattr(unpickling, "_MOST_KEPT", 1)
    files = [dumps_put(read_only(large(np))) for _ in range(2)]
    arrays = [[loads(file, again=True) for _ in range(2)] for file in files]
    assert [np.shares_memory(*each) for each in arrays] == [True, False]
    assert not arrays[1][0].flags.writeable

    del files[0]
    assert np.array_equal(arrays[0][0], large(np))  # it keeps the map
    third = dumps_put(read_only(large(np)))
    assert np.shares_memory(loads(third, again=True), loads(third, again=True))
