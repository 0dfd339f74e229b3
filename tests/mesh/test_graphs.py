"""Graphs on peers: values stay where they were made, and are freed when they have been used."""

import contextlib
from operator import add

import numpy as np
import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_keep import values_at
from woolexec.mesh.client.link import Link
from woolexec.mesh.server.peer import Peer

SIZE = 1 << 17  # numbers: 1 MiB


@pytest.fixture
def two():
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as other, joined(one, other) as pool:
        pool.peers = one, other
        yield pool


class Counted:
    """A stream of grpc whose bytes are counted, in both directions."""

    def __init__(self, stream, traffic):
        self._stream, self._traffic = stream, traffic

    async def read(self):
        data = await self._stream.read()
        with contextlib.suppress(TypeError):  # the end has no length
            self._traffic.append(len(data))
        return data

    async def write(self, data):
        self._traffic.append(len(data))
        await self._stream.write(data)

    def __getattr__(self, name):
        return getattr(self._stream, name)


@pytest.fixture
def traffic(monkeypatch):
    """How many bytes each message had that went through links to peers."""
    traffic, run = [], Link.run
    monkeypatch.setattr(Link, "run", lambda self, stream, *rest: run(self, Counted(stream, traffic), *rest))
    return traffic


def noise(number):
    """An array of 1 MiB that compression makes no smaller, and whose first item is the number."""
    array = np.random.default_rng(number).integers(0, 1 << 62, SIZE)
    array[0] = number
    return array


def first(array):
    return int(array[0])


def inc(number):
    return number + 1


def tree(leaves):
    """A tree of sums over arrays of 1 MiB."""
    graph = {(0, n): (noise, n) for n in range(leaves)}
    level = 0
    while leaves > 1:
        leaves //= 2
        graph |= {(level + 1, n): (add, (level, 2 * n), (level, 2 * n + 1)) for n in range(leaves)}
        level += 1
    return graph | {"end": (first, (level, 0)), "array": (level, 0)}


def test_graph_runs_at_peers(two):
    graph = {"a": 1, "b": (inc, "a"), "c": [(inc, "b"), "b"], "d": (sum, "c")}
    assert two.get(graph, ["d", ["a"]]) == (5, (1,))
    futures = two.submit_graph(graph)
    assert {key: future.result() for key, future in futures.items()} == {"a": 1, "b": 2, "c": [3, 2], "d": 5}


def test_values_stay_at_the_peers_and_are_freed_there(apart, traffic, two):
    graph = tree(32)
    assert two.get(graph, "end") == sum(range(32))
    assert sum(traffic) < 1 << 20
    eventually(lambda: not any(sum(values_at(peer)) for peer in two.peers))


def test_value_that_is_asked_for_comes_here(apart, traffic, two):
    array = two.get(tree(8), "array")
    assert array[0] == sum(range(8))
    assert SIZE * 8 <= sum(traffic) < 2 * SIZE * 8


@pytest.fixture(params=["dask.array", "xarray"])
def library(request):
    """Imported here: modules that were tried in vain on the way keep the frames below, and what is in them."""
    pytest.importorskip("dask._task_spec", reason="no dask, or one without nodes: pip install 'woolexec[dask]'")
    return pytest.importorskip(request.param)


@pytest.mark.slow
@pytest.mark.versions
def test_reduction_takes_less_traffic_than_ten_times_its_result(library, apart, traffic, two):
    import dask
    import dask.array as da

    array = da.random.default_rng(1).random((64, SIZE), chunks=(4, SIZE))  # 64 MiB in 16 chunks
    reduced = (array * 2 - 1).mean(axis=0)
    if library.__name__ == "xarray":
        reduced = (library.DataArray(array, dims=("x", "y")) * 2 - 1).mean("x")
    with dask.config.set(scheduler=two.get):
        result = reduced.compute()
    assert result.shape == (SIZE,)
    assert abs(float(result.mean())) < 0.1
    assert sum(traffic) < 10 * result.nbytes


def test_graph_goes_on_when_a_peer_is_lost():
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as other, joined(one, other) as pool:
        futures = pool.with_options(idempotent=True).submit_graph(tree(16), ["end"])
        other.close()
        assert futures["end"].result(PATIENCE) == sum(range(16))
