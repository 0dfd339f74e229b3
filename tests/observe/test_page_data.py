import json

from tests.observe.synthetic import snapshot
from woolexec import PeerPoolExecutor
from woolexec.observe.page_data import page_data


def shape(data):
    """The names of the fields, and of those of rows."""
    return {
        part: set(fields) if part in {"pool", "tasks", "values"} else {name for row in fields.values() for name in row}
        for part, fields in data.items()
    }


def fails():
    raise ValueError


def test_it_has_the_figures_of_statistics():
    with PeerPoolExecutor(1) as pool:
        list(pool.map(abs, range(10)))
        assert pool.submit(fails).exception() is not None
        statistics = pool.statistics()
        data = page_data(statistics, 7.0)
    assert data["tasks"] == statistics.as_dict()["tasks"]
    assert data["values"] == statistics.as_dict()["values"]
    assert data["pool"] == {"pid": statistics.pid, "host": statistics.host, "now": statistics.time, "started": 7.0}
    assert {name: each["count"] for name, each in data["functions"].items()} == {"abs": 10, "fails": 1}
    (worker,) = data["workers"].values()
    assert (worker["pid"], worker["state"]) == (statistics.workers[0].pid, "idle")
    assert json.loads(json.dumps(data)) == data


def test_synthetic_snapshots_are_like_real_ones():
    with PeerPoolExecutor(1) as pool:
        pool.submit(abs, 1).result()
        real = shape(page_data(pool.statistics(), 7.0))
    real.pop("peers")
    made = shape(snapshot(3))
    made.pop("peers")
    assert made == real
