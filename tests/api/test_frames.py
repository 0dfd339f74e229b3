"""Tables and arrays of data science: as arguments, as results, and put; those of libraries that are installed."""

import pytest

from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec.wire.payload import LARGE

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
