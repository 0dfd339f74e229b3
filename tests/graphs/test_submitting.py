"""`submit_graph` and `get` on workers of this machine."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from graphlib import CycleError
from operator import add, mul, neg, sub

import numpy as np
import pytest

from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, current_executor
from woolexec.graphs.grouping import MANY
from woolexec.graphs.submitting import _Submitting

pytestmark = pytest.mark.usefixtures("shared_pools")

SCALED = {"a": 2, "b": 2, "c": (neg, "a"), "d": (add, "b", "c"), "e": (sub, "d", "c")}


def inc(number):
    return number + 1


async def inc_async(number):
    return number + 1


def fails(*_):
    raise ValueError("as it should")


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    return 1


def touch(path, *_):
    with open(path, "x"):
        return 1


def worker(*_):
    return os.getpid()


def made(size):
    return np.zeros(size, np.uint8)


def length(array):
    return len(array)


class Home:
    """Says in which process it was unpickled."""

    def __init__(self):
        self.pids = [os.getpid()]

    def __setstate__(self, state):
        self.pids = [*state["pids"], os.getpid()]


def pids_of(home):
    return home.pids


class Lock:
    """A value that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()


def nested():
    return current_executor().get({"x": (inc, 1), "y": [(inc, "x"), "x"]}, ["y", "x"])


@pytest.mark.parametrize(
    ("keys", "values"),
    [("e", 2), (["d"], (0,)), ([["a"], ["b", "c"]], ((2,), (2, -2))), ([], ()), (["c", "c"], (-2, -2))],
)
def test_values_have_the_shape_of_the_keys(keys, values):
    with shared(2) as pool:
        assert pool.get(SCALED, keys) == values


def fibonacci(pool, number):
    if number < 2:
        return number
    return pool.get({"a": (fibonacci, pool, number - 1), "b": (fibonacci, pool, number - 2), "c": (add, "a", "b")}, "c")


def test_graphs_of_scaled_run_and_so_do_those_within_them():
    graph = {"a": 2, "b": 2, "c": (inc, "a"), "d": (add, "a", "b"), "e": (sub, "d", "c"), "f": add}
    with shared(2) as pool:
        assert dict(zip(graph, pool.get(graph, keys=list(graph)), strict=True)) == {**graph, "c": 3, "d": 4, "e": 1}
        assert pool.get({**graph, "b": pool.put(5)}, ["e"]) == (4,)
        assert pool.get({"a": 1, "b": (inc, (inc, "a")), "c": (add, (neg, "b"), (sum, ["a", ["b"][0]]))}, "c") == 1
        assert pool.submit(fibonacci, pool, 4).result() == 3
        assert pool.get({"n": 3, "of": (fibonacci, pool, "n")}, "of") == 2


def test_keys_are_texts_numbers_and_tuples_of_them():
    graph = {"a": (abs, -1), 1: (neg, "a"), 2.5: (neg, 1), ("x", 0, 1.5): (add, 2.5, 1), ("y", ("x", 0)): [1, "a"]}
    with shared(1) as pool:
        assert pool.get(graph, [["a", 1], 2.5, ("x", 0, 1.5), ("y", ("x", 0))]) == ((1, -1), 1, 0, [-1, 1])


def test_futures_of_all_keys():
    with shared(2) as pool:
        futures = pool.submit_graph(SCALED)
        assert {key: future.result() for key, future in futures.items()} == {"a": 2, "b": 2, "c": -2, "d": 0, "e": 2}


def test_futures_of_some_keys():
    with shared(2) as pool:
        futures = pool.submit_graph({**SCALED, "other": "d"}, ["d", ["other", "a"]])
        assert list(futures) == ["d", "other", "a"]
        assert futures["d"] is futures["other"]
        assert pool.submit_graph(SCALED, "e")["e"].result() == 2


def test_futures_can_be_awaited():
    async def main(pool):
        futures = pool.submit_graph(SCALED, ["d", "e"])
        return await asyncio.gather(*futures.values())

    with shared(2) as pool:
        assert asyncio.run(main(pool)) == [0, 2]


def test_views_and_tasks_run_graphs_too():
    with shared(2) as pool:
        assert pool.with_options(timeout=60).get(SCALED, ["d", "e"]) == (0, 2)
        assert pool.submit(nested).result() == ([3, 2], 2)


def test_coroutine_function_is_a_node():
    with shared(2) as pool:
        graph = {"a": (inc_async, 1), "b": (inc, "a"), "c": (inc_async, "b")}
        assert pool.get(graph, "c") == 4
        assert pool.submit_graph(graph, "c")["c"].result() == 4


def test_functions_of_scripts_and_lambdas_are_nodes():
    with shared(2) as pool:
        graph = {"a": (lambda: 3,), "b": (lambda a, b: a * b, "a", (lambda: 2,))}
        assert pool.get(graph, "b") == 6


def test_what_nobody_asks_for_is_not_run(tmp_path):
    with shared(2) as pool:
        pool.get({"a": 1, "b": (touch, str(tmp_path / "b"), "a"), "c": (inc, "a")}, "c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("graph", [{"a": (neg, "b"), "b": (neg, "a")}, {"a": "a"}])
def test_cycle_is_an_error_at_the_call(graph):
    with shared(1) as pool:
        with pytest.raises(CycleError):
            pool.submit_graph(graph)
        with pytest.raises(CycleError):
            pool.get(graph, "a")


def test_missing_key_is_an_error_at_the_call_and_nothing_runs(tmp_path):
    with shared(1) as pool:
        for run in (pool.submit_graph, pool.get):
            with pytest.raises(KeyError, match="'z' is requested"):
                run({"a": (touch, str(tmp_path / "a"))}, ["a", "z"])
    assert not list(tmp_path.iterdir())


def test_what_is_no_graph_is_an_error():
    with shared(1) as pool, pytest.raises(TypeError, match="a graph is a mapping"):
        pool.submit_graph([1, 2], [1])


def test_pool_that_was_shut_down_takes_no_graph():
    with PeerPoolExecutor(1) as pool:
        pass
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit_graph({"a": 1})
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.get({"a": 1}, "a")


def test_failure_ends_what_depends_on_it_and_nothing_else():
    graph = {
        "a": 1,
        "bad": (fails, "a"),
        "b": (inc, "bad"),
        "c": (add, "b", "good"),
        "good": (inc, "a"),
        "fine": (inc, "good"),
    }
    with shared(2) as pool:
        futures = pool.submit_graph(graph)
        wait(futures.values())
        assert [key for key, future in futures.items() if future.exception() is not None] == ["bad", "b", "c"]
        assert futures["fine"].result() == 3
        notes = "\n".join(futures["c"].exception().__notes__)
        assert "fails" in notes
        assert "add" in notes


def test_cancel_ends_what_depends_on_it_and_nothing_else(tmp_path):
    gate = str(tmp_path / "gate")
    graph = {"gate": (wait_for, gate), "a": (inc, "gate"), "b": (inc, "a"), "c": (neg, "gate")}
    with shared(2) as pool:
        futures = pool.submit_graph(graph)
        assert futures["a"].cancel()
        touch(gate)
        wait(futures.values())
        assert futures["b"].cancelled()
        assert futures["c"].result() == -1


def test_get_raises_what_a_node_raised_and_cancels_the_rest(tmp_path):
    gate = str(tmp_path / "gate")
    graph = {
        "bad": (fails,),
        "gate": (wait_for, gate),
        "one": (inc, 1),
        "after": (touch, str(tmp_path / "after"), "gate", "one"),
        "end": (inc, "after"),
    }
    with shared(2) as pool:
        with pytest.raises(ValueError, match="as it should"):
            pool.get(graph, ["end", "bad"])
        touch(gate)
        assert pool.get({"a": (inc, 1)}, "a") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["gate"]


def test_value_that_cannot_be_pickled_fails_its_node():
    with shared(2) as pool:
        futures = pool.submit_graph({"a": (inc, Lock()), "b": (inc, "a"), "c": (inc, 1)})
        wait(futures.values())
        assert isinstance(futures["b"].exception(), TypeError)
        assert futures["c"].result() == 2


def test_value_that_is_asked_for_need_not_be_pickled():
    lock = Lock()
    with shared(2) as pool:
        assert pool.get({"a": lock, "b": (inc, 1)}, ["a", "b"]) == (lock, 2)
        assert pool.submit_graph({"a": lock})["a"].result() is lock


def test_large_value_is_pickled_once_for_all_nodes(monkeypatch):
    put = []
    with shared(2) as pool:
        put_value = pool._submission.put
        monkeypatch.setattr(pool._submission, "put", lambda value: put.append(value) or put_value(value))
        data = made(1 << 18)
        graph = {"data": data, **dict.fromkeys(range(10), (length, "data")), "end": (sum, list(range(10)))}
        assert pool.get(graph, "end") == 10 << 18
    assert len(put) == 1
    assert put[0] is data


def test_futures_stand_for_their_values_in_a_graph():
    with shared(2) as pool, ThreadPoolExecutor(1) as threads:
        graph = {"a": pool.submit(inc, 1), "b": [threads.submit(inc, 5)], "c": (add, "a", (sum, "b")), "d": (sum, "b")}
        assert pool.get(graph, ["c", "d", "a"]) == (8, 6, 2)


def test_intermediate_value_is_not_unpickled_here():
    with PeerPoolExecutor(2) as pool:
        graph = {"home": (Home,), "one": (pids_of, "home"), "two": (pids_of, "home")}
        for pids in pool.get(graph, ["one", "two"]):
            assert os.getpid() not in pids


def test_value_that_is_needed_twice_by_a_node_is_one_object():
    with shared(2) as pool:
        assert pool.get({"a": (list, (range, 3)), "b": (same, "a", ["a"])}, "b") is True


def same(first, second):
    return first is second[0]


def test_intermediate_values_are_dropped(monkeypatch):
    futures = []
    submit = _Submitting._submit
    monkeypatch.setattr(
        _Submitting,
        "_submit",
        lambda *args, **how: (made := submit(*args, **how), futures.append(weakref.ref(made)))[0],
    )
    graph = {("a", n): (made, 1 << 18) for n in range(20)}
    graph |= {("b", n): (mul, ("a", n), 2) for n in range(20)} | {("c", n): (length, ("b", n)) for n in range(20)}
    graph["end"] = (sum, [("c", n) for n in range(20)])
    with shared(2) as pool:
        found = pool.with_options(timeout=60).submit_graph(graph, "end")  # no groups
        assert found["end"].result() == 20 << 18
        pool.submit(inc, 1).result()
        gc.collect()
    assert len(futures) == 61
    assert sum(each() is not None for each in futures) <= 1


def test_few_values_exist_at_a_time():
    """Depth first, 100 branches of 4 MB each need the room of a few of them; breadth first they need all of it."""
    size = 4 << 20
    graph = {("a", n): (stamped, n, size) for n in range(100)} | {("b", n): (used, ("a", n)) for n in range(100)}
    graph["end"] = (list, [("b", n) for n in range(100)])
    with shared(2) as pool:
        pool.get({"a": (stamped, 0, size), "b": (used, "a")}, "b")
        spans = pool.with_options(timeout=60).get(graph, "end")
    events = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    alive = most = 0
    for _, change in events:
        alive += change
        most = max(most, alive)
    assert most * size <= 15 * size


def stamped(number, size):
    return time.monotonic(), np.full(size, number, np.uint8)


def used(value):
    begun, array = value
    assert array[0] == array[-1]
    return begun, time.monotonic()


def test_small_nodes_run_together(monkeypatch):
    counts = []
    submit = _Submitting._submit
    monkeypatch.setattr(
        _Submitting, "_submit", lambda self, piece, **how: counts.append(piece.count) or submit(self, piece, **how)
    )
    graph = {("x", n + 1): (inc, ("x", n)) for n in range(1000)} | {("x", 0): 0}
    with shared(2) as pool:
        assert pool.get(graph, ("x", 1000)) == 1000
    assert len(counts) == -(-1000 // MANY)


def test_options_about_calls_are_about_nodes(monkeypatch):
    counts = []
    submit = _Submitting._submit
    monkeypatch.setattr(
        _Submitting, "_submit", lambda self, piece, **how: counts.append(piece.count) or submit(self, piece, **how)
    )
    with shared(2) as pool:
        graph = {n + 1: (inc, n) for n in range(20)} | {0: (inc, -1)}
        assert pool.with_options(retries=1).get(graph, 20) == 20
    assert counts == [1] * 21


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_graph_of_100_000_nodes():
    graph = {0: (inc, -1)} | {n: (add, n - 1, n // 2) for n in range(1, 100_000)}
    values = [0] * 100_000
    for n in range(1, 100_000):
        values[n] = (values[n - 1] + values[n // 2]) % (1 << 61)
    modular = {n: task if not n else (added, n - 1, n // 2) for n, task in graph.items()}
    with shared(2) as pool:
        assert pool.get(modular, 99_999) == values[-1]


def added(first, second):
    return (first + second) % (1 << 61)


def test_deep_chain_of_nodes_that_fail_ends_without_recursion():
    graph = {n + 1: (inc, n) for n in range(5000)} | {0: (fails,)}
    with shared(2) as pool:
        futures = pool.submit_graph(graph)
        with pytest.raises(ValueError, match="as it should"):
            futures[5000].result()


def test_cancelled_result_of_get():
    with shared(2) as pool, ThreadPoolExecutor(1) as threads:
        never = threads.submit(inc, 1)
        wait([never])
        cancelled = pool.submit(inc, never)
        wait([cancelled])
        future = pool.submit_graph({"a": (wait_for, "/nowhere"), "b": (inc, "a")}, ["a", "b"])
        future["a"].cancel(force=True)
        with pytest.raises(CancelledError):
            future["b"].result()


WITHOUT_DASK = """
import sys
from operator import add, neg
from woolexec import PeerPoolExecutor

class Sum:
    dependencies = frozenset({"a", "b"})
    def __call__(self, values):
        return sum(values.values())

def has_dask(_):
    return "dask" in sys.modules

with PeerPoolExecutor(1) as pool:
    graph = {"a": 3, "b": (neg, "a"), "c": Sum(), "d": (has_dask, "c"), "e": (add, "c", 1)}
    print(pool.get(graph, ["c", "d", "e"]), has_dask(0))
"""


@pytest.mark.slow
def test_nodes_that_are_like_those_of_dask_run_without_dask():
    ran = subprocess.run([sys.executable, "-c", WITHOUT_DASK], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout.strip(), ran.stderr) == ("(0, False, 1) False", "")
