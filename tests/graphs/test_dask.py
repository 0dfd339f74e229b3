"""
Graphs and collections of dask on a pool, and programs of users.

`dask.utils_test.GetFunctionTestMixin` is what dask ships for schedulers of others; further cases are those of dask's
own tests of its schedulers, ``dask/tests/test_threaded.py`` and ``dask/tests/test_multiprocessing.py``, which apply to
any ``get``.
"""

import importlib.util
import operator
import random
import threading
from functools import partial
from graphlib import CycleError

import numpy as np
import pytest

from tests.faults.tasks import SOON
from tests.shared_pools import shared
from woolexec.graphs.composed import Composed
from woolexec.graphs.nodes import Data, NodeReader, Ref

dask = pytest.importorskip("dask", reason="dask is not installed: pip install 'woolexec[dask]'")
pytest.importorskip("dask._task_spec", reason="this dask has no nodes")

from dask import delayed  # noqa: E402  # it may be missing
from dask._task_spec import Alias, DataNode, Dict, List, Set, Task, TaskRef, Tuple, convert_legacy_graph  # noqa: E402
from dask.utils_test import GetFunctionTestMixin, add, inc  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_pools")


def get(*args, **kwargs):
    with shared(2) as pool:
        return pool.get(*args, **kwargs)


@pytest.fixture
def scheduler():
    """The pool runs what dask computes."""
    with shared(2) as pool, dask.config.set(scheduler=pool.get):
        yield pool


class TestGet(GetFunctionTestMixin):
    get = staticmethod(get)


# -- nodes ------------------------------------------------------------------------------------------------------------

VALUES = {"a": 1, ("b", 0): 2, "c": [3]}


class Own(Task):
    """A task with a call of its own."""

    __slots__ = ()

    def __call__(self, values=()):
        return "own", super().__call__(values)


def keyword(first, *, second=0, third=0):
    return first, second, third


@pytest.mark.parametrize(
    "node",
    [
        Task("x", inc, 1),
        Task("x", add, TaskRef("a"), TaskRef(("b", 0))),
        Task("x", add, Alias("a"), 5),
        Task("x", keyword, TaskRef("a"), third=TaskRef("c"), second="a"),
        Task("x", partial(add, 3), TaskRef("a")),
        Task("x", sum, List(TaskRef("a"), 2, Task(None, inc, TaskRef("a")))),
        Task("x", dict, Dict({"k": TaskRef("a"), "l": List(1, TaskRef("c"))})),
        Task("x", len, Tuple(TaskRef("a"), Set(TaskRef("a"), 1))),
        Task("x", keyword, DataNode(None, "a"), second=["a"], third=("b", 0)),
        List(TaskRef("a"), Tuple(TaskRef("c"))),
        Own("x", add, TaskRef("a"), 1),
        Task.fuse(Task("y", inc, TaskRef("a")), Task("z", inc, TaskRef("y"))),
    ],
    ids=repr,
)
def test_node_has_the_value_that_dask_gives_it(node):
    read = NodeReader(VALUES).read(node)
    assert set(read.refs) == node.dependencies
    arguments = [VALUES[leaf.key] if isinstance(leaf, Ref) else leaf for leaf in read.leaves]
    assert Composed(read.code)(*arguments) == node({key: VALUES[key] for key in node.dependencies})


def test_data_of_dask_is_a_value():
    read = NodeReader(VALUES).read(DataNode("x", ("b", 0)))
    assert isinstance(read, Data)
    assert read.value == ("b", 0)


def test_old_and_new_nodes_may_be_in_one_graph():
    graph = {"a": 1, "b": Task("b", inc, TaskRef("a")), "c": (add, "a", "b"), "d": Alias("d", "c"), "e": (inc, "d")}
    assert get(graph, ["e", "d"]) == (4, 3)


def random_graph(seed):
    dice, graph = random.Random(seed), {}
    for number in range(60):
        known = list(graph)
        arguments = [
            dice.choice([dice.choice(known), dice.randrange(100, 200), (inc, dice.choice(known))]) if known else 100
            for _ in range(dice.randrange(1, 4))
        ]
        graph[dice.choice([f"k{number}", ("k", number), number])] = dice.choice(
            [(sum, arguments), (max, 0.25, *arguments), (operator.neg, arguments[0]), (inc, (sum, arguments))]
        )
    return graph


@pytest.mark.parametrize("seed", range(20))
def test_graphs_have_the_values_that_dask_computes(seed):
    graph = random_graph(seed)
    keys = list(graph)
    expected = dask.get(graph, keys)
    assert get(graph, keys) == expected
    assert get(convert_legacy_graph(graph), keys) == expected
    with shared(2) as pool:
        futures = pool.submit_graph(graph, keys[::3])
        assert [future.result(SOON) for future in futures.values()] == list(expected[::3])


# -- cases of dask's tests of its own schedulers ----------------------------------------------------------------------


def bad(*_):
    raise ValueError("12345")


class NotUnpicklable:
    def __getstate__(self):
        return ()

    def __setstate__(self, state):
        raise ValueError("cannot be unpickled")


class NoIndex:
    def __getitem__(self, key):
        raise RuntimeError("Oh no!")


def test_get_without_computation():
    assert get({"x": 1}, "x") == 1


def test_exceptions_rise_to_top():
    with pytest.raises(ValueError, match="12345"):
        get({"x": 1, "y": (bad, "x")}, "y")


def test_lambdas_as_functions_and_results():
    assert get({"x": 2, "y": (lambda x: x + 1, "x")}, "y") == 3
    assert get({"x": (lambda: lambda x: x + 1,)}, "x")(2) == 3


def test_unpicklable_arguments_generate_errors():
    for graph in ({"x": (bool, NotUnpicklable())}, {"x": (bool, "a"), "a": NotUnpicklable()}):
        with pytest.raises(ValueError, match="cannot be unpickled"):
            get(graph, "x")


def test_many_nodes_of_lambdas():
    graph = {("x", i): (lambda i=i: i,) for i in range(10)}
    graph["x"] = (sum, list(graph))
    assert get(graph, "x") == 45


def test_intermediate_values_can_be_asked_for():
    assert get({"x": 1, "y": (inc, "x"), "z": (add, 10, "y")}, ["y", "z"]) == (2, 12)


def test_object_without_an_index_goes_through():
    node = delayed(lambda x: x)(NoIndex())
    (result,) = get(node.dask, node.__dask_keys__())
    assert isinstance(result, NoIndex)


def test_graph_runs_in_other_threads():
    results = []
    threads = [threading.Thread(target=lambda: results.append(get({"x": (inc, 1)}, "x"))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2] * 10


def test_cycles_are_errors():
    with pytest.raises(CycleError):
        get({"x": Task("x", inc, TaskRef("y")), "y": Task("y", inc, TaskRef("x"))}, "x")


def test_missing_dependency_is_named():
    with pytest.raises(KeyError, match="node 'x' of the graph needs 'gone'"):
        get({"x": Task("x", inc, TaskRef("gone"))}, "x")


# -- programs ---------------------------------------------------------------------------------------------------------


def test_delayed(scheduler):
    parts = [delayed(lambda x: x + 1)(n) for n in range(20)]
    assert delayed(sum)(parts).compute() == 210
    assert dask.compute(*parts) == tuple(range(1, 21))
    with pytest.raises(ZeroDivisionError):
        delayed(lambda: 1 / 0)().compute()


def test_bag(scheduler):
    bag = pytest.importorskip("dask.bag").range(1000, npartitions=10)
    assert bag.map(lambda x: x * 2).filter(lambda x: x % 3 == 0).sum().compute() == 333666
    assert dict(bag.map(lambda x: x % 3).frequencies().compute()) == {0: 334, 1: 333, 2: 333}
    assert bag.groupby(lambda x: x % 2).map(lambda item: (item[0], len(item[1]))).compute() == [(0, 500), (1, 500)]


def test_array(scheduler):
    da = pytest.importorskip("dask.array")
    here = np.arange(40_000.0).reshape(200, 200)
    there = da.from_array(here, chunks=(50, 100))
    assert np.allclose((there + there.T).mean(axis=0).compute(), (here + here.T).mean(axis=0))
    assert np.allclose(((there - there.mean()) ** 2).sum().compute(), ((here - here.mean()) ** 2).sum())
    assert np.array_equal(there.rechunk((7, 200))[3:50:2, ::3].compute(), here[3:50:2, ::3])
    assert np.allclose(da.dot(there, there).compute(), here @ here)
    assert np.allclose(there.map_overlap(lambda x: x * 2, depth=1).compute(), here * 2)


def test_dataframe(scheduler):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    here = pd.DataFrame({"a": np.arange(1000) % 7, "b": np.arange(1000.0)})
    there = dd.from_pandas(here, npartitions=8)
    pd.testing.assert_series_equal(there.groupby("a").b.sum().compute(), here.groupby("a").b.sum())
    assert len(there.merge(there, on="b").compute()) == 1000
    assert there.shuffle("a").b.sum().compute() == here.b.sum()


def test_xarray(scheduler):
    xr, da = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    array = xr.DataArray(da.ones((400, 400), chunks=100), dims=("x", "y"))
    assert array.mean("x").sum().compute().item() == 400


def test_collection_gives_futures_of_its_keys():
    da = pytest.importorskip("dask.array")
    with shared(2) as pool:
        futures = pool.submit_graph(da.ones((4, 4), chunks=2))
        assert all(np.array_equal(future.result(SOON), np.ones((2, 2))) for future in futures.values())
        assert len(futures) == 4


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_dask_schedules_by_itself_on_the_pool(how):
    parts = delayed(sum)([delayed(inc)(n) for n in range(20)])
    with shared(2) as pool:
        assert parts.compute(scheduler=how, pool=pool) == 210
        assert parts.compute(scheduler=pool) == 210
        # Its scheduler of threads returns the exception with its traceback, which only tblib lets pickle.
        raised = ZeroDivisionError if how == "processes" or importlib.util.find_spec("tblib") else TypeError
        with pytest.raises(raised):
            delayed(lambda: 1 / 0)().compute(scheduler=how, pool=pool)
