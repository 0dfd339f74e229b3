"""Row 33 and I10: very many tasks and futures; memory depends on outstanding tasks, not on finished ones."""

import gc
import random
import resource
import sys
import threading
import tracemalloc

import pytest

from woolexec import PeerPoolExecutor
from woolexec.core.call import Call

from . import tasks, tasks_b
from .tasks import SOON

SLACK = 3_000
"""Blocks of memory that may differ between two looks: caches, the allocator's own."""


def blocks():
    gc.collect()
    return sys.getallocatedblocks()


def calls_alive():
    gc.collect()
    return sum(type(thing) is Call for thing in gc.get_objects())


def run_windows(executor, count, width=500):
    """Run tiny tasks, so many at a time."""
    for start in range(0, count, width):
        futures = [executor.submit(abs, -i) for i in range(start, start + width)]
        assert [future.result(SOON) for future in futures] == list(range(start, start + width))


@pytest.mark.slow
def test_memory_of_the_caller_does_not_grow_with_the_tasks_that_are_done(pool):
    run_windows(pool, 5_000)
    before = blocks()
    run_windows(pool, 20_000)
    assert blocks() - before < SLACK


@pytest.mark.slow
def test_memory_of_a_worker_does_not_grow_with_the_tasks_that_are_done(lone):
    run_windows(lone, 5_000)
    before = lone.submit(tasks_b.allocated).result(SOON)
    run_windows(lone, 20_000)
    assert lone.submit(tasks_b.allocated).result(SOON) - before < SLACK


@pytest.mark.slow
def test_memory_does_not_grow_with_the_items_of_an_endless_map(pool):
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    results = pool.map(abs, endless(), buffersize=100)
    for _ in range(5_000):
        next(results)
    before = blocks()
    for expected in range(5_000, 50_000):
        assert next(results) == expected
    assert blocks() - before < SLACK
    results.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_functions_that_were_sent(lone):
    def send(count):
        for number in range(count):
            assert lone.submit(lambda x, number=number: x + number, 1).result(SOON) == 1 + number

    send(1_500)
    before = blocks(), lone.submit(tasks_b.allocated).result(SOON)
    send(1_500)
    assert blocks() - before[0] < SLACK
    assert lone.submit(tasks_b.allocated).result(SOON) - before[1] < 10 * SLACK


@pytest.mark.slow
def test_memory_does_not_grow_with_tasks_that_have_a_timeout_and_are_done(pool):
    timed = pool.with_options(timeout=3600)
    run_windows(timed, 2_000)
    run_windows(timed, 4_000)
    assert tasks.eventually(lambda: calls_alive() < 2_000)


def test_memory_does_not_grow_with_tasks_that_were_cancelled_behind_one_that_runs(lone, tmp_path):
    held, waiting = lone.submit(tasks.hold, tmp_path), lone.submit(abs, -1)
    tasks.wait_held(tmp_path)
    for _ in range(20):
        assert all(future.cancel() for future in [lone.submit(abs, -2) for _ in range(500)])
    alive = calls_alive()
    tasks.release(tmp_path)
    assert (held.result(SOON), waiting.result(SOON)) == ("held", 1)
    assert alive < 2_000


@pytest.mark.slow
def test_memory_does_not_grow_with_tasks_that_fail(pool):
    def fail(count):
        for _ in range(count // 100):
            futures = [pool.submit(tasks_b.throw, ValueError) for _ in range(100)]
            assert {type(future.exception(SOON)) for future in futures} == {ValueError}

    fail(500)
    before = blocks()
    fail(2_000)
    assert blocks() - before < SLACK


@pytest.mark.slow
def test_memory_does_not_grow_with_workers_that_die(lone):
    def lose(count):
        for _ in range(count):
            assert lone.submit(tasks.die).exception(SOON) is not None

    lose(3)
    before = blocks()
    lose(15)
    assert blocks() - before < SLACK


def test_workers_that_died_keep_no_buffers_while_their_initializers_could_still_take_time():
    with PeerPoolExecutor(1, initializer=abs, initargs=(1,), initializer_timeout=600) as pool:
        assert pool.submit(tasks.die).exception(SOON) is not None
        tracemalloc.start()
        try:
            for _ in range(5):
                assert pool.submit(tasks.die).exception(SOON) is not None
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert grown < 3 * 2**18  # one worker at most has a buffer of 256 KiB


@pytest.mark.slow
def test_ten_thousand_futures_may_be_outstanding_and_all_end(pool):
    futures = [pool.submit(abs, -i) for i in range(10_000)]
    assert [future.result(SOON) for future in futures] == list(range(10_000))


@pytest.mark.slow
def test_ten_thousand_futures_cancelled_while_they_finish_each_end_once(pool):
    ends = []
    futures = [pool.submit(abs, -i) for i in range(10_000)]
    for future in futures:
        future.add_done_callback(ends.append)
    order = futures.copy()
    random.Random(1).shuffle(order)
    told = {future: future.cancel() for future in order}
    for i, future in enumerate(futures):
        if told[future]:
            assert future.cancelled()
        else:
            assert future.result(SOON) == i
    assert tasks.eventually(lambda: len(ends) == len(futures))
    assert len(set(map(id, ends))) == len(futures)


def test_cancelled_tasks_behind_one_that_runs_are_never_started(lone, journal, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    futures = [lone.submit(tasks.note, journal, i) for i in range(5_000)]
    assert all(future.cancel() for future in futures)
    tasks.release(tmp_path)
    assert held.result(SOON) == "held"
    assert lone.submit(abs, -1).result(SOON) == 1
    assert tasks.notes(journal) == []


def test_cancels_from_several_threads_at_once_agree(pool):
    futures = [pool.submit(abs, -i) for i in range(5_000)]
    told = []
    threads = [threading.Thread(target=lambda: told.append([future.cancel() for future in futures])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, future in enumerate(futures):
        assert future.cancelled() or future.result(SOON) == i
    assert [future.cancelled() for future in futures] == [any(answers) for answers in zip(*told, strict=True)]


def test_submits_from_many_threads_at_once_all_end(pool):
    results = []

    def submit(number):
        futures = [pool.submit(abs, -number) for _ in range(500)]
        results.extend(future.result(SOON) for future in futures)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(list(range(8)) * 500)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_tasks_leave_no_memory_behind(pool):
    run_windows(pool, 50_000, 5_000)
    before, peak = blocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_windows(pool, 1_000_000, 5_000)
    assert blocks() - before < SLACK
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 20_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_futures_cancelled_while_they_finish_each_end_once():
    with PeerPoolExecutor(2) as pool:
        futures = [pool.submit(abs, -i) for i in range(100_000)]
        told = [future.cancel() for future in reversed(futures)][::-1]
        for i, future in enumerate(futures):
            assert future.cancelled() if told[i] else future.result(60) == i
