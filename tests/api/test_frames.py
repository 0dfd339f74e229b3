"""Tables and arrays of data science: as arguments, as results, and put; those of libraries that are installed."""

import pickle

import pytest

from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec.wire import payload
from woolexec.wire.payload import LARGE, store

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.usefixtures("shared_pools")

ROWS = LARGE // 4


def structured():
    array = np.zeros(ROWS, dtype=[("x", "f8"), ("y", "i4")])
    array["x"] = np.arange(ROWS)
    return array


def objects():
    return np.array([*range(ROWS // 10), "text", None], dtype=object)


def pandas():
    pd = pytest.importorskip("pandas")
    kinds = pd.Categorical.from_codes(np.arange(ROWS) % 3, ["a", "b", "c"])
    return pd.DataFrame({"number": np.arange(ROWS) / 3, "kind": kinds, "text": ["some", "text"] * (ROWS // 2)})


def polars():
    pl = pytest.importorskip("polars")
    return pl.DataFrame({"number": np.arange(ROWS) / 3, "text": ["some", "text"] * (ROWS // 2)})


def arrow():
    pa = pytest.importorskip("pyarrow")
    return pa.table({"number": np.arange(ROWS) / 3, "text": ["some", "text"] * (ROWS // 2)})


def sparse():
    sp = pytest.importorskip("scipy.sparse")
    return sp.random(1000, 1000, 0.05, format="csr", random_state=1)


def torch():
    return pytest.importorskip("torch").arange(ROWS)


def are_equal(one, other):
    if hasattr(one, "equals"):
        return one.equals(other)
    if hasattr(one, "equal"):
        return one.equal(other)
    return not (one != other).sum()


def same(value):
    return value


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.parametrize("make", [structured, objects, pandas, polars, arrow, sparse, torch])
def test_table_is_equal_after_each_way(make):
    table = make()
    with shared(2) as pool:
        value = pool.put(table)
        for sent in (table, value, pool.submit(same, table)):
            assert are_equal(table, pool.submit(same, sent).result(SOON))
        assert are_equal(table, value.result())
        assert all(are_equal(table, each) for each in pool.map(same, [table, value]))


def large_buffers(value):
    """The memory of a value that its pickle refers to: where each buffer begins, and its size."""
    buffers = []
    pickle.dumps(value, protocol=5, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    return {at(buffer): buffer.nbytes for buffer in buffers if buffer.nbytes >= LARGE}


def at(view):
    return np.frombuffer(view, np.uint8).ctypes.data


def mapped(value):
    """Whether each large buffer of a value is in a mapped memory file."""
    with open("/proc/self/maps") as maps:
        files = [line.split()[0].split("-") for line in maps if "memfd:woolexec" in line]
    ranges = [range(int(start, 16), int(end, 16)) for start, end in files]
    return [any(start in each for each in ranges) for start in large_buffers(value)]


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.parametrize("make", [structured, arrow])
def test_table_is_written_from_where_it_is_and_used_where_it_was_written(make, monkeypatch):
    monkeypatch.setitem(globals(), "ROWS", 64 * ROWS)
    table, written = make(), []
    monkeypatch.setattr(payload, "store", lambda parts, **how: written.extend(parts) or store(parts, **how))
    with shared(2) as pool:
        value = pool.put(table)
        buffers = large_buffers(table)
        assert buffers
        assert {at(part): len(part) for part in written if len(part) >= LARGE} == buffers
        for sent in (table, value):
            found = pool.submit(mapped, sent).result(SOON)
            assert found == [True] * len(buffers)


@pytest.mark.slow
@pytest.mark.versions
def test_bytes_that_polars_makes_of_a_frame_are_written_from_where_they_are(monkeypatch):
    monkeypatch.setitem(globals(), "ROWS", 64 * ROWS)
    table, written = polars(), []
    state = len(table.__getstate__())
    assert state >= LARGE
    monkeypatch.setattr(payload, "store", lambda parts, **how: written.extend(parts) or store(parts, **how))
    with shared(2) as pool:
        for sent in (table, pool.put(table)):
            assert pool.submit(len, sent).result(SOON) == len(table)
    pieces = [[len(piece) for piece in part.parts] for part in written if len(part) >= LARGE]
    assert [max(each) for each in pieces] == [state, state]
    assert all(sum(each) - state < LARGE for each in pieces)
