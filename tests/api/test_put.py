"""`put`: a value that many tasks share."""

import asyncio
import concurrent.futures
import contextlib
import copyreg
import gc
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from tests.faults.tasks import SOON, eventually
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, current_executor, errors
from woolexec.wire.payload import LARGE

pytestmark = pytest.mark.usefixtures("shared_pools")

LONG = LARGE // 8 + 1000
MAPPED = 1 << 18  # 2 MiB: tasks map it


class Opaque:
    """Of this module, whose name workers can import; counts where it is unpickled."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return _unpickled, (os.getpid(), self.data)


def _unpickled(pid, data):
    return pid != os.getpid(), data


def total(*arrays):
    return sum(float(array.sum()) for array in arrays)


def change(array):
    array[0] = 7
    return float(array[0])


def flags(array):
    return array.flags.writeable


def same(first, second):
    return first is second


def files():
    """Memory files that a worker has open or mapped."""
    return sum("memfd:woolexec" in line for line in open("/proc/self/maps")) + sum(
        "memfd:woolexec" in os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    )


def distinct_files():
    """The number of these files, each counted once however often it is open or mapped."""
    with open("/proc/self/maps") as maps:
        found = {int(line.split()[4]) for line in maps if "memfd:woolexec" in line}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "memfd:woolexec" in os.readlink(f"/proc/self/fd/{fd}"):
                found.add(os.stat(int(fd)).st_ino)
    return len(found)


@pytest.mark.parametrize("size", [3, 4096, LONG, 1 << 18])
def test_put_value_is_an_argument_of_many_tasks(size):
    array = np.arange(size, dtype=float)
    with shared(2) as pool:
        value = pool.put(array)
        assert value.done()
        assert {pool.submit(total, value).result(SOON) for _ in range(20)} == {array.sum()}
        assert pool.submit(total, value, value).result(SOON) == 2 * array.sum()
        assert list(pool.map(total, [value, array])) == [array.sum()] * 2
        assert next(iter(pool.run_on_all(total, value).values())).result() == array.sum()
        assert (value.result() == array).all()


@pytest.mark.parametrize("size", [3, LONG])
def test_each_task_has_a_copy_of_its_own_that_it_may_change(size):
    with shared(2) as pool:
        value = pool.put(np.zeros(size))
        assert {pool.submit(change, value).result(SOON) for _ in range(10)} == {7.0}
        assert pool.submit(total, value).result(SOON) == 0
        assert value.result()[0] == 0


def test_changes_here_after_it_was_put_reach_no_task():
    with shared(2) as pool:
        array = np.zeros(LONG)
        value = pool.put(array)
        array[0] = 5
        value.result()[0] = 6
        assert pool.submit(total, value).result(SOON) == 0


def test_read_only_arrays_stay_read_only():
    array = np.zeros(LONG)
    array.flags.writeable = False
    with shared(2) as pool:
        assert not pool.submit(flags, pool.put(array)).result(SOON)
        assert not pool.put(array).result().flags.writeable
        assert pool.submit(flags, array).result(SOON)  # as an argument


def where(arrays):
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return [array.ctypes.data for array in arrays], maps.count("memfd:woolexec")


def test_tasks_share_the_memory_of_read_only_arrays():
    first, second = np.zeros(2_000_000), np.ones(2_000_000)
    with shared(1) as pool:
        _, maps = pool.submit(where, []).result(SOON)
        first.flags.writeable = second.flags.writeable = False
        value = pool.put([first, second])
        places, now = pool.submit(where, value).result(SOON)
        assert now == maps + 1
        for _ in range(3):
            assert pool.submit(where, value).result(SOON) == (places, now)

        del value
        assert eventually(lambda: pool.submit(where, []).result(SOON) == ([], maps))


@pytest.mark.parametrize("value", [b"x" * LARGE, "x" * LARGE, {"a": [b"y" * LARGE] * 2}, None, 5, [1, "two"]], ids=type)
def test_any_value_can_be_put(value):
    with shared(2) as pool:
        future = pool.put(value)
        assert pool.submit(pickle.dumps, future).result(SOON) == pickle.dumps(value)
        assert future.result() == value


def test_value_occurs_anywhere_and_is_one_object_in_a_task():
    with shared(2) as pool:
        value, scale = pool.put(np.ones(LONG)), pool.put(3)
        assert pool.submit(same, value, value).result(SOON)
        assert pool.submit(sum, [scale, scale]).result(SOON) == 6
        assert pool.submit(total, *[value] * 3).result(SOON) == 3 * LONG
        assert list(pool.map(lambda n: n * len(value), range(3))) == [0, LONG, 2 * LONG]  # in a closure
        with pool.stream(iter_twice, value) as stream:
            assert [len(item) for item in stream] == [LONG] * 2


def iter_twice(array):
    yield array
    yield array


async def total_async(array):
    return float(array.sum())


def test_coroutines_take_values():
    async def main(pool):
        value = pool.put(np.ones(LONG))
        assert await pool.run(total_async, value) == LONG
        assert [each async for each in pool.map_async(total_async, [value] * 5)] == [LONG] * 5
        assert (await value).sum() == LONG

    with shared(2) as pool:
        asyncio.run(main(pool))


def test_value_is_pickled_once_and_unpickled_in_workers_only():
    with shared(2) as pool:
        value = pool.put(Opaque(bytes(LARGE)))
        assert [pool.submit(tuple, value).result(SOON)[0] for _ in range(4)] == [True] * 4


def test_value_of_a_script_is_put():
    namespace = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x\ndef x_of(point): return len(point.x)", namespace)
    with shared(2) as pool:
        value = pool.put(namespace["Point"](bytes(LARGE)))
        assert [pool.submit(namespace["x_of"], value).result(SOON) for _ in range(2)] == [LARGE] * 2


def test_worker_has_one_file_of_a_value_and_none_when_it_is_collected():
    with PeerPoolExecutor(1) as pool:
        before = pool.submit(files).result(SOON)
        value = pool.put(np.ones(1 << 18))
        for _ in range(10):
            pool.submit(total, value).result(SOON)
        assert pool.submit(files).result(SOON) == before + 1
        del value
        gc.collect()
        assert eventually(lambda: pool.submit(files).result(SOON) == before)


def test_value_outlives_its_future_while_a_task_needs_it(tmp_path):
    def wait_for(path):
        return eventually(path.exists)

    with PeerPoolExecutor(1) as pool:
        first = pool.submit(wait_for, tmp_path / "go")
        waits = pool.submit(total, pool.put(np.ones(LONG)))
        gc.collect()
        (tmp_path / "go").touch()
        assert first.result(SOON)
        assert waits.result(SOON) == LONG


def test_value_reaches_the_worker_that_takes_a_dead_ones_place():
    with PeerPoolExecutor(1) as pool:
        value = pool.put(np.ones(LONG))
        assert pool.submit(total, value).result(SOON) == LONG
        with pytest.raises(errors.WorkerLostError):
            pool.submit(os._exit, 3).result(SOON)
        assert pool.with_options(retries=2).submit(total, value).result(SOON) == LONG


def test_more_values_than_a_worker_keeps():
    with PeerPoolExecutor(1) as pool:
        values = [pool.put(np.full(LONG, number)) for number in range(150)]
        for _ in range(2):
            assert [pool.submit(total, value).result(SOON) for value in values] == [n * LONG for n in range(150)]
        assert pool.submit(total, *values).result(SOON) == sum(range(150)) * LONG


def test_values_are_used_by_other_pools():
    with PeerPoolExecutor(1) as pool, PeerPoolExecutor(1) as other:
        value = pool.put(np.ones(LONG))
        assert other.submit(total, value).result(SOON) == pool.submit(total, value).result(SOON) == LONG
    with shared(1) as third:
        assert third.submit(total, value).result(SOON) == LONG  # the value is the program's, not the pool's


def nested():
    pool = current_executor()
    value = pool.put(np.ones(LONG))
    return sum(future.result() for future in [pool.submit(total, value) for _ in range(3)])


def test_tasks_put_values_for_their_own_tasks():
    with shared(2) as pool:
        assert pool.submit(nested).result(SOON) == 3 * LONG


def file_of(array):
    """The number of the file in which this process has the memory of an array."""
    at = array.__array_interface__["data"][0]
    assert array.nbytes >= 1 << 20  # smaller ones are read
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, _, stop = line.split()[0].partition("-")
            if int(start, 16) <= at < int(stop, 16):
                return line.split()[4]
    return None


def files_of_nested(kind):
    pool = current_executor()
    value = pool.put(np.ones(MAPPED)) if kind == "put" else pool.submit(np.ones, MAPPED)
    return {future.result() for future in [pool.submit(file_of, value) for _ in range(10)]}


@pytest.mark.parametrize("kind", ["put", "result"])
def test_tasks_of_a_task_map_one_copy_of_its_value(kind):
    with shared(2) as pool:
        (file,) = pool.submit(files_of_nested, kind).result(SOON)
        assert file not in {None, "0"}


def put_and_forget(number):
    pool = current_executor()
    for _ in range(number):
        value = pool.put(np.ones(LONG))
        assert pool.submit(total, value).result() == LONG


async def put_and_forget_async(number):
    pool = current_executor()
    for _ in range(number):
        value = pool.put(np.ones(LONG))
        assert await pool.submit(total, value) == LONG


@pytest.mark.parametrize("task", [put_and_forget, put_and_forget_async])
def test_value_of_a_task_is_freed_everywhere_when_it_is_collected(task):
    gc.disable()  # here nothing waits for a collection of garbage
    try:
        with PeerPoolExecutor(1) as pool:
            pool.submit(task, 20).result(SOON)
            pool.run_on_all(gc.collect)
            assert eventually(lambda: not pool._engine._supervisor.nested._values)
            assert eventually(lambda: len(pool._engine._dispatcher.values) == 0)
    finally:
        gc.enable()


def put_for_later():
    kept_here.append(current_executor().put(np.ones(LONG)))


def use_what_was_put():
    return current_executor().submit(total, kept_here[0]).result()


kept_here = []


def test_value_of_a_task_outlives_it_if_somebody_keeps_it():
    with PeerPoolExecutor(1) as pool:
        pool.submit(put_for_later).result(SOON)
        assert [pool.submit(use_what_was_put).result(SOON) for _ in range(3)] == [LONG] * 3


def use_in_threads():
    pool = current_executor()
    value = pool.put(np.ones(LONG))
    with ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda _: pool.submit(total, value), range(50)))
    return [future.result() for future in futures]


def test_value_of_a_task_is_there_for_tasks_of_all_its_threads():
    with shared(2) as pool:
        assert pool.submit(use_in_threads).result(SOON) == [LONG] * 50


def test_what_cannot_be_put_is_an_error_at_once():
    with PeerPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match="cannot pickle") as caught:
            pool.put({"lock": threading.Lock()})
        assert "lock" in "".join(caught.value.__notes__)
        with pytest.raises(TypeError, match="a future stands for its value in the arguments of a task only"):
            pool.put([pool.submit(abs, -1)])
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.put(1)


def test_limit_of_the_store_and_the_folder_beyond_it(tmp_path):
    with PeerPoolExecutor(1, store_limit=3_000_000) as pool:
        kept = pool.put(bytes(2_000_000))
        with pytest.raises(errors.StoreFullError, match="store_limit"):
            pool.put(bytes(2_000_000))
        assert pool.submit(len, kept).result(SOON) == 2_000_000
        del kept
        gc.collect()
        assert pool.submit(len, pool.put(bytes(2_500_000))).result(SOON) == 2_500_000
    with PeerPoolExecutor(1, store_limit=0, spill_dir=tmp_path) as pool:
        values = [pool.put(np.full(LONG, number)) for number in range(5)]
        assert [pool.submit(total, value).result(SOON) for value in values] == [n * LONG for n in range(5)]
        assert {pool.submit(change, values[1]).result(SOON), pool.submit(total, values[1]).result(SOON)} == {7.0, LONG}


def test_value_that_makes_room_is_freed_in_workers_too_and_comes_back_unasked(tmp_path):
    size = 8 * LONG
    with PeerPoolExecutor(1, store_limit=size + 1000, spill_dir=tmp_path) as pool:
        first = pool.put(np.full(LONG, 1.0))
        assert pool.submit(total, first).result(SOON) == LONG
        before = pool.submit(files).result(SOON)
        second = pool.put(np.full(LONG, 2.0))
        assert os.readlink(f"/proc/self/fd/{first.value.payload.fd}").startswith(str(tmp_path))
        assert pool.submit(files).result(SOON) == before - 1
        assert pool.submit(total, first).result(SOON) == LONG
        assert pool.submit(total, second).result(SOON) == 2 * LONG
        assert (first.result() == 1).all()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"store_limit": -1}, ValueError),
        ({"store_limit": "1G"}, TypeError),
        ({"spill_dir": 5}, TypeError),
        ({"spill_dir": b"/tmp"}, TypeError),
        ({"spill_dir": "/no/such/folder"}, ValueError),
    ],
)
def test_wrong_limits_are_errors(wrong, error):
    with pytest.raises(error, match=r"store_limit|spill_dir"):
        PeerPoolExecutor(1, **wrong)


def test_large_result_is_shared_by_the_tasks_that_take_it():
    with PeerPoolExecutor(1) as pool:
        before = pool.submit(distinct_files).result(SOON)
        made = pool.submit(np.ones, 1 << 18)
        assert {pool.submit(total, made).result(SOON) for _ in range(5)} == {float(1 << 18)}
        assert pool.submit(distinct_files).result(SOON) == before + 1
        assert made.result().sum() == 1 << 18


# -- keep on this machine ---------------------------------------------------------------------------------------------


def opaque():
    return Opaque(np.ones(MAPPED))


def file_of_opaque(opened):
    return file_of(opened[1])


def test_kept_outcome_of_a_worker_here_is_mapped_by_tasks_and_unpickled_when_it_is_asked_for(monkeypatch):
    unpickled = []
    monkeypatch.setattr(sys.modules[__name__], "_unpickled", lambda pid, data: unpickled.append(pid) or (True, data))
    with shared(2) as pool:
        kept = pool.with_options(keep=True)
        made = kept.submit(opaque)
        (file,) = {future.result(SOON) for future in [kept.submit(file_of_opaque, made) for _ in range(10)]}
        assert file not in {None, "0"}
        assert made.done()
        assert not unpickled
        assert made.result(SOON)[1].sum() == MAPPED
        assert len(unpickled) == 1


def test_death_of_the_worker_that_made_a_kept_outcome_here_loses_nothing():
    with PeerPoolExecutor(1) as pool:
        made = pool.with_options(keep=True).submit(np.ones, MAPPED)
        wait([made], SOON)
        with pytest.raises(errors.WorkerLostError):
            pool.submit(os._exit, 1).result(SOON)
        assert pool.submit(total, made).result(SOON) == MAPPED
        assert made.result(SOON).sum() == MAPPED


# -- what put does not do ---------------------------------------------------------------------------------------------


class Unhashable:
    def __hash__(self):
        raise LookupError("hashed")

    def __eq__(self, other):
        raise LookupError("compared")


def test_put_makes_a_new_value_each_time_and_neither_hashes_nor_compares():
    with shared(1) as pool:
        one, two = Unhashable(), np.ones(LONG)
        futures = [pool.put(each) for each in (one, one, two, two)]
        assert len({future.value.number for future in futures}) == 4
        assert not pool.submit(same, *futures[2:]).result(SOON)


def test_pickling_of_futures_elsewhere_is_as_without_this_package():
    future = concurrent.futures.Future()
    with shared(1) as pool:
        assert pool.submit(total, pool.put(np.ones(LONG))).result(SOON) == LONG
    assert not {cls for cls in copyreg.dispatch_table if issubclass(cls, concurrent.futures.Future)}
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(future)
