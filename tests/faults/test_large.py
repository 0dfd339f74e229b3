"""Row 42: arguments and results larger than any limit arrive complete, and do not delay other tasks."""

import gc
import os
import threading

import numpy as np
import pytest

from tests.marks import slow
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.wire.payload import LARGE, lenders, spares

from . import large_tasks, tasks, tasks_b
from .tasks import SOON

BIG = 300 * 1000**2
HUGE = 2**31 + 4096


@pytest.fixture
def one(shared_pools):
    """A pool of one worker, which tests leave as it was."""
    with shared(1) as pool:
        return pool


def memory_files_here():
    gc.collect()
    return tasks_b.memory_files()


def test_files_that_are_used_again_never_change_what_was_returned_before(one):
    kept = [[bytearray(20_000) for _ in range(20)], np.ones(200_000)]
    sent = [[bytearray([n]) * 20_000 for _ in range(20)] for n in range(20)] + [np.full(200_000, n) for n in range(20)]

    results = [one.submit(tasks_b.echo, value).result(SOON) for value in (*kept, *sent)]

    assert len(spares) > 0  # they are used again here
    assert all(np.array_equal(result, value) for result, value in zip(results, (*kept, *sent), strict=True))


def test_last_pool_that_ends_closes_the_files_that_are_used_again():
    with PeerPoolExecutor(1) as pool:
        pool.submit(len, [bytearray(20_000) for _ in range(20)]).result(SOON)
        started = threading.Event()
        while not spares:  # the engine's thread drops the payload
            started.wait(0.001)
        ours = set(lenders)
    assert len(lenders) == len(ours) - 1
    assert lenders or not spares


def test_file_of_a_worker_that_dies_is_not_used_again(lone):
    values = [[bytes([n, index]) * 10_000 for index in range(20)] for n in range(6)]
    for number, value in enumerate(values):
        if number % 2:
            with pytest.raises(WorkerLostError):
                lone.submit(large_tasks.die_holding, value).result(SOON)
        assert lone.submit(tasks_b.echo, value).result(SOON) == value


@pytest.mark.slow
def test_argument_of_300_megabytes_arrives_whole(lone):
    assert lone.submit(tasks_b.ends, b"a" + bytes(BIG - 2) + b"z").result(3 * SOON) == (BIG, b"a", b"z")


@pytest.mark.slow
def test_result_of_300_megabytes_arrives_whole(lone):
    assert tasks_b.ends(lone.submit(tasks_b.blob, BIG).result(3 * SOON)) == (BIG, b"x", b"x")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_result_of_more_than_two_gigabytes_arrives_whole(lone):
    assert tasks_b.ends(lone.submit(tasks_b.blob, HUGE).result(240)) == (HUGE, b"x", b"x")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_argument_of_more_than_two_gigabytes_arrives_whole(lone):
    assert lone.submit(tasks_b.ends, bytes(HUGE)).result(240) == (HUGE, b"\0", b"\0")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_array_of_more_than_two_gigabytes_travels_both_ways(lone):
    array = lone.submit(tasks_b.echo, np.ones(HUGE, dtype=np.uint8)).result(240)
    assert (array.nbytes, array[0], array[-1]) == (HUGE, 1, 1)


@pytest.mark.parametrize("around", [LARGE, 2 * LARGE, 1 << 20, 1 << 22], ids=str)
def test_sizes_around_each_threshold_travel_both_ways(one, around):
    for size in range(around - 20, around + 3, 2):
        data = os.urandom(64) * (size // 64) + b"x" * (size % 64)
        assert one.submit(tasks_b.echo, data).result(SOON) == data
    array = np.arange(around, dtype=np.uint8)
    assert (one.submit(tasks_b.echo, array).result(SOON) == array).all()


@pytest.mark.linux
def test_memory_of_a_large_argument_and_result_is_freed(lone):
    lone.submit(tasks_b.echo, 1).result(SOON)
    here, there = memory_files_here(), lone.submit(tasks_b.memory_files).result(SOON)
    for _ in range(3):
        assert len(lone.submit(tasks_b.echo, bytes(20 << 20)).result(SOON)) == 20 << 20
    assert tasks.eventually(lambda: memory_files_here() == here)
    assert lone.submit(tasks_b.memory_files).result(SOON) == there


@pytest.mark.linux
def test_memory_of_a_result_that_nobody_asks_for_is_freed(lone):
    lone.submit(tasks_b.echo, 1).result(SOON)
    here = memory_files_here()
    future = lone.submit(tasks_b.blob, 20 << 20)
    assert tasks.eventually(future.done)
    del future
    assert tasks.eventually(lambda: memory_files_here() == here)


@pytest.mark.linux
def test_memory_of_a_large_argument_is_freed_when_its_worker_dies(lone):
    lone.submit(tasks_b.echo, 1).result(SOON)
    here = memory_files_here()
    future = lone.submit(tasks_b.die_with, bytes(20 << 20))
    assert future.exception(SOON) is not None
    del future
    lone.submit(tasks_b.echo, 1).result(SOON)
    assert tasks.eventually(lambda: memory_files_here() == here)


@pytest.mark.linux
def test_memory_of_a_large_argument_is_freed_when_its_task_is_cancelled(lone, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    here = memory_files_here()
    futures = [lone.submit(len, bytes(4 << 20)) for _ in range(5)]
    assert all(future.cancel() for future in futures)
    assert tasks.eventually(lambda: memory_files_here() == here)
    tasks.release(tmp_path)
    held.result(SOON)


@pytest.mark.slow
def test_small_tasks_go_on_while_a_worker_holds_a_large_argument(pool, tmp_path):
    large = pool.submit(tasks_b.hold_data, bytes(BIG), tmp_path)
    tasks.wait_held(tmp_path)
    assert list(pool.map(abs, range(1000))) == list(range(1000))
    tasks.release(tmp_path)
    assert large.result(SOON) == BIG


def test_small_tasks_go_on_while_large_results_wait_to_be_fetched(pool):
    large = [pool.submit(tasks_b.blob, 30 << 20) for _ in range(4)]
    assert list(pool.map(abs, range(1000))) == list(range(1000))
    assert [len(future.result(SOON)) for future in large] == [30 << 20] * 4


def test_many_large_arguments_and_results_at_once_all_arrive(pool):
    data = [os.urandom(300_000) for _ in range(60)]
    futures = [pool.submit(tasks_b.echo, item) for item in data]
    assert [future.result(SOON) for future in futures] == data


def test_map_of_large_items_gives_them_in_order(pool):
    data = [bytes([number]) * 500_000 for number in range(40)]
    assert list(pool.map(tasks_b.echo, data)) == data


def test_map_of_small_items_may_give_large_results(pool):
    assert [len(item) for item in pool.map(tasks_b.blob, [300_000] * 100)] == [300_000] * 100


def test_function_with_large_data_runs(lone):
    data = os.urandom(5 << 20)
    assert lone.submit(lambda i: data[i], 77).result(SOON) == data[77]


def test_initializer_with_large_data_runs():
    data = os.urandom(5 << 20)
    with PeerPoolExecutor(1, initializer=tasks_b.keep, initargs=(data,)) as lone:
        assert lone.submit(tasks_b.kept).result(SOON) == data


def test_nested_task_may_take_and_give_large_data(lone):
    assert lone.submit(tasks_b.nested, tasks_b.echo, bytes(3 << 20)).result(SOON) == bytes(3 << 20)


def test_exception_with_large_data_arrives(one):
    error = one.submit(tasks_b.throw, ValueError, bytes(5 << 20)).exception(SOON)
    assert type(error) is ValueError
    assert len(error.args[0]) == 5 << 20


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000], ids=str)
def test_array_arrives_writable_and_private(one, size):
    array = np.ones(size, dtype=np.int64)
    assert one.submit(tasks_b.overwrite, array).result(SOON) == (size, 7 * size, True)
    assert array.sum() == size


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000], ids=str)
def test_array_comes_home_writable(one, size):
    array = one.submit(tasks_b.echo, np.ones(size, dtype=np.int64)).result(SOON)
    array += 1
    assert array.sum() == 2 * size


def test_array_that_came_home_outlives_the_executor():
    with PeerPoolExecutor(1) as lone:
        array = lone.submit(tasks_b.echo, np.arange(1_000_000)).result(SOON)
    array += 1
    assert (array == np.arange(1, 1_000_001)).all()


def test_two_tasks_do_not_see_each_others_changes_of_one_array(pool):
    array = np.ones(1_000_000, dtype=np.int64)
    futures = [pool.submit(tasks_b.overwrite, array) for _ in range(6)]
    assert [future.result(SOON) for future in futures] == [(1_000_000, 7_000_000, True)] * 6


def test_items_of_one_map_that_are_the_same_array_are_whole(lone):
    array = np.ones(200_000, dtype=np.int64)
    assert [int(got.sum()) for got in lone.map(tasks_b.echo, [array] * 5)] == [200_000] * 5


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1_000_000).reshape(1000, 1000).T,
        np.asfortranarray(np.arange(600_000).reshape(600, 1000)),
        np.arange(2_000_000)[::2],
        np.zeros((0, 5)),
        np.array(["a", None, {}], dtype=object),
        np.ones(200_000, dtype=[("x", "f8"), ("y", "i4")]),
        np.ones(300_000, dtype=">i4"),
    ],
    ids=["transposed", "fortran", "strided", "empty", "objects", "records", "big-endian"],
)
def test_array_of_any_layout_travels_both_ways(one, array):
    got = one.submit(tasks_b.echo, array).result(SOON)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert (got == array).all()


def read_only(size):
    array = np.ones(size)
    array.flags.writeable = False
    return array


KINDS = {
    "flag": read_only,
    "frombuffer": lambda size: np.frombuffer(bytes(8 * size)),
    "broadcast": lambda size: np.broadcast_to(1.0, (size,)),
    "reversed": lambda size: read_only(size)[::-1],
    "fortran": lambda size: read_only(size).reshape(-1, 2).T,
    "dates": lambda size: np.frombuffer(bytes(8 * size), "M8[s]"),
    "records": lambda size: np.frombuffer(bytes(8 * size), [("a", "<i4"), ("b", ">i4")]),
    "masked": lambda size: np.ma.masked_array(read_only(size)),
    "objects": lambda size: np.broadcast_to(np.array([None, "a"], dtype=object), (size, 2)),
}


@pytest.mark.parametrize("size", [*slow(10), 3000, *slow(100_000)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_read_only_array_arrives_and_comes_home_writable(one, kind, size):
    array = KINDS[kind](size)
    was_writable, got = one.submit(tasks_b.writable_and_back, [array, "beside it"]).result(SOON)
    assert was_writable
    assert type(got) is type(array)
    assert got.dtype == array.dtype
    assert (got == array).all()
    assert got.flags.writeable
    got[...] = array[-1]


def test_array_on_bytes_shares_its_memory_with_nothing(one):
    data = bytes(8000)
    array, other = np.frombuffer(data), np.frombuffer(data)
    first, second, back = one.submit(tasks_b.echo, [array, other, data]).result(SOON)
    first += 1
    assert not second.any()
    assert back == data == bytes(8000)
    assert not array.any()


def test_array_that_a_function_of_main_holds_arrives_writable(lone):
    array = read_only(3000)
    assert lone.submit(lambda: tasks_b.is_writable(array)).result(SOON)


def test_items_and_results_of_maps_and_streams_are_writable(lone):
    arrays = [read_only(size) for size in (10, 3000, 100_000)]
    assert [got.flags.writeable for got in lone.map(tasks_b.echo, arrays)] == [True] * 3
    with lone.stream(tasks_b.each_of, arrays) as stream:
        assert [got.flags.writeable for got in stream] == [True] * 3


def test_large_bytearray_arrives_mutable_and_large_bytes_as_bytes(one):
    for data in (bytearray(2 << 20), bytes(2 << 20)):
        got = one.submit(tasks_b.echo, data).result(SOON)
        assert type(got) is type(data)
        assert got == data


def test_memoryview_arrives_as_a_copy(one):
    assert one.submit(tasks_b.ends, memoryview(b"a" + bytes(5 << 20))).result(SOON) == ((5 << 20) + 1, b"a", b"\0")
