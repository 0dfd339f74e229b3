import pickle

import pytest

from woolexec.wire.plain_results import untrusted
from woolexec.wire.unpickling import loads

pa = pytest.importorskip("pyarrow")


def made(value, *, apart):
    buffers = [] if apart else None
    body = pickle.dumps(value, 5, buffer_callback=None if buffers is None else buffers.append)
    return untrusted(body).load(body, buffers=buffers)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        pa.array([1, 2, None]),
        pa.array(["a", "bc", None]),
        pa.array(["a"], pa.large_string()),
        pa.array([[1], [2, 3], None]),
        pa.array([{"a": 1, "b": "x"}, None]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([1], pa.timestamp("us", "UTC")),
        pa.array([1], pa.decimal128(5, 2)),
        pa.array([True, None]),
        pa.array([b"ab"], pa.binary(2)),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.nulls(3),
        pa.array(range(10))[3:7],
        pa.array(["a", "b", "c"])[1:],
        pa.chunked_array([[1], [2]]),
        pa.table({"a": [1, 2], "b": ["x", "y"]}),
        pa.record_batch({"a": [1]}),
        pa.schema([("a", pa.int64())], metadata={"k": "v"}),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "columns") or hasattr(value, "names") else None,
)
def test_arrow_data_is_plain(value, apart):
    assert made(value, apart=apart).equals(value)


class Forged:
    def __init__(self, *data):
        self.data = data

    def __reduce__(self):
        return pa.lib._restore_array, (self.data,)


BUFFER = pa.py_buffer(bytes(8))
STRUCT = pa.struct([("a", pa.int64())])


@pytest.mark.parametrize(
    "forged",
    [
        Forged(pa.int64(), 1000, 0, 0, [None, BUFFER], [], None),  # longer than its buffer
        Forged(pa.int64(), 1, 0, 1 << 40, [None, BUFFER], [], None),
        Forged(pa.int64(), 1, 0, -5, [None, BUFFER], [], None),
        Forged(pa.int64(), 1, 0, (1 << 63) - 1, [None, BUFFER], [], None),
        Forged(pa.int64(), 1, -2, 0, [None, BUFFER], [], None),
        Forged(pa.int64(), 1, 2, 0, [None, BUFFER], [], None),
        Forged(pa.int64(), 1.0, 0, 0, [None, BUFFER], [], None),
        Forged(STRUCT, 1, 0, 0, [None], [(pa.int64(), 1, 0, -1, [None, BUFFER], [], None)], None),
        Forged(STRUCT, 5, 0, 0, [None], [(pa.int64(), 1, 0, 0, [None, BUFFER], [], None)], None),
        Forged(pa.int64(), -1, 0, 0, [None, BUFFER], [], None),
        Forged(pa.int64(), 1, 0, 0, [None, None], [], None),
        Forged(pa.string(), 1, 0, 0, [None, pa.py_buffer(b"\0\0\0\0\xff\xff\xff\x7f"), BUFFER], [], None),
        Forged(pa.string(), 1, 0, 0, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")], [], None),
        Forged(pa.int64(), 1, 0, 0, [], [], None),
        Forged(pa.list_(pa.int64()), 1, 0, 0, [None, BUFFER], [], None),
        Forged(
            pa.dictionary(pa.int32(), pa.int64()),
            *(1, 0, 0, [None, pa.py_buffer(b"\xff\xff\xff\x7f")], []),
            (pa.int64(), 1, 0, 0, [None, BUFFER], [], None),
        ),
        Forged(1, 2, 3),
    ],
)
def test_forged_array_is_refused_before_it_is_read(forged):
    with pytest.raises(pickle.UnpicklingError):
        loads(untrusted(pickle.dumps(forged, 5)))
