"""Row 54: thousands of payloads that each need a descriptor, when few are left."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.large_tasks import nested
from tests.marks import slow
from woolexec import PeerPoolExecutor
from woolexec.wire.descriptors import Descriptors
from woolexec.wire.payload import LARGE

from .tasks import SOON

ROOT = Path(__file__).parents[2]
PATIENCE = 100

PROGRAM = """
import asyncio, os, sys
from functools import partial
from woolexec import PeerPoolExecutor, current_executor
from woolexec.wire.payload import LARGE

SIZE = LARGE + 1000

def made(n):
    return bytes([n % 251]) * SIZE

def check(n, data):
    assert type(data) is bytes and len(data) == SIZE and data[0] == data[-1] == n % 251, n
    return 1

def echo(data):
    return data

def writable(n, data):
    data[0] = n % 251
    return data

async def echo_later(data):
    return data

def give(count):
    for n in range(count):
        yield made(n)

def nested(count):
    pool = current_executor()
    futures = [pool.submit(echo, made(n)) for n in range(count)]
    return sum(check(n, future.result()) for n, future in enumerate(futures))

def by_submit(pool, count):
    futures = [pool.submit(echo, made(n)) for n in range(count)]
    assert sum(check(n, future.result(60)) for n, future in enumerate(futures)) == count

def by_kept_results(pool, count):
    futures = [pool.submit(made, n) for n in range(count)]
    results = [future.result(60) for future in futures]
    assert sum(map(check, range(count), results)) == count

def by_map(pool, count):
    assert sum(map(check, range(count), pool.map(echo, map(made, range(count)), chunksize=1))) == count
    assert sum(map(check, range(count), pool.map(echo, map(made, range(count))))) == count

def by_arrays(pool, count):
    import numpy
    arrays = [numpy.zeros(SIZE, "u1")] * count
    results = list(pool.map(writable, range(count), arrays, chunksize=1))
    for n, array in enumerate(results):
        array += 1
    assert [int(array[0]) for array in results] == [n % 251 + 1 for n in range(count)]
    assert sum(int(array[1]) for array in results) == count
    large = [numpy.full(1 << 18, n) for n in range(count // 4)]
    results = list(pool.map(echo, large, chunksize=1))  # each would be mapped
    assert [int(array[-1]) for array in results] == list(range(count // 4))

def by_map_async(pool, count):
    async def main():
        n = 0
        async for data in pool.map_async(echo_later, map(made, range(count))):
            n += check(n, data)
        assert n == count
    asyncio.run(main())

def by_streams(pool, count):
    with pool.stream(give, count) as one, pool.stream(give, count, prefetch=count) as other:
        assert sum(map(check, range(count), one)) == sum(map(check, range(count), other)) == count

def by_nested(pool, count):
    assert pool.submit(nested, count).result(60) == count

def first_of(data):
    return data[0]

def by_values(pool, count):
    kept = pool.with_options(keep=True)
    values = [(pool.put if n % 2 else partial(kept.submit, bytes))(bytes([n % 251]) * 100_000) for n in range(count)]
    for n in range(0, count, 97):
        assert pool.submit(first_of, values[n]).result(60) == n % 251
    assert [n for n in range(1, count, 2) if values[n].result(60)[-1] != n % 251] == []
    assert [n for n in range(0, count, 2) if values[n].result(60)[-1] != n % 251] == []

def run(pool, ways, count):
    for way in ways.split():
        globals()[way](pool, count)
        print(way, flush=True)
"""

LOCAL = """
with PeerPoolExecutor(2) as pool:
    run(pool, sys.argv[1], int(sys.argv[2]))
    pool.submit(abs, -1).result(60)
"""

LINKED = """
from woolexec.cli.local_peers import local_peers
with local_peers(1, 2) as (addresses, credentials):
    with PeerPoolExecutor(0, peers=addresses, credentials=credentials) as pool:
        run(pool, sys.argv[1], int(sys.argv[2]))
"""

WAYS = "by_submit by_kept_results by_map by_arrays by_map_async by_streams by_nested"


def passes(program, limit, ways, count):
    """Run a program that has so many descriptors, and whose children have no more; it says what went well."""

    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, ways, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        preexec_fn=limited,  # this process has no threads that could hold a lock
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.split() == ways.split(), done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("limit", [64, *slow(128, 256)])
def test_all_payloads_arrive_where_there_are_few_descriptors(limit):
    passes(LOCAL, limit, WAYS, limit + 50)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
def test_all_payloads_arrive_under_the_usual_limit():
    passes(LOCAL, 1024, "by_submit by_kept_results by_map", 1200)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("limit", [128, *slow(256)])
def test_all_payloads_arrive_through_a_peer_where_there_are_few_descriptors(limit):
    passes(LINKED, limit, "by_submit by_kept_results by_map by_streams by_nested", limit + 20)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("program", [LOCAL, LINKED], ids=["here", "at a peer"])
def test_many_values_are_alive_at_once_under_the_usual_limit(program):
    passes(program, 1024, "by_values", 10_000)


@pytest.mark.parametrize("way", ["argument", "result", "item", "value sent"])
def test_large_payload_of_a_nested_task_that_no_descriptor_is_left_for_costs_that_task_alone(way, monkeypatch):
    def take(descriptors):
        os.close(received(descriptors))
        raise OSError(errno.EMFILE, "no descriptor was left")

    with PeerPoolExecutor(2) as pool:
        assert pool.submit(nested, way).result(SOON) == 2 * LARGE
        received = Descriptors.take
        monkeypatch.setattr(Descriptors, "take", take)  # here, not in the workers

        with pytest.raises(OSError, match="no descriptor was left"):
            pool.submit(nested, way).result(SOON)

        monkeypatch.undo()
        assert pool.submit(nested, way).result(SOON) == 2 * LARGE


TAKEN = """
import threading
with PeerPoolExecutor(2) as pool:
    for way in sys.argv[1].split():  # which imports what it needs
        globals()[way](pool, 3)
    taken = []
    while True:
        try:
            taken.append(os.dup(2))
        except OSError:
            break
    run(pool, sys.argv[1], int(sys.argv[2]))
    for fd in taken:
        os.close(fd)
"""


FIRST = """
import time
from woolexec import progress

def told():
    progress(1, 2)
    return 1

def die():
    os.kill(os.getpid(), 9)

def take_all():
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            return

way = sys.argv[1]
with PeerPoolExecutor(1) as pool:
    heard, taken = [], []
    task = {"timeout": partial(time.sleep, 60), "progress": told, "death": die}[way]
    options = {"timeout": {"timeout": 0.2}, "progress": {"on_progress": heard.append}, "death": {"retries": 0}}[way]
    view = pool.with_options(**options)
    assert [pool.submit(abs, -1).result(60) for _ in range(10)] == [1] * 10
    future = view.submit(task)  # what that imports here, the program sees
    take_all()
    raised = type(future.exception(60)).__name__
    assert raised == {"timeout": "TimeoutError", "progress": "NoneType", "death": "WorkerLostError"}[way], raised
    while taken:
        os.close(taken.pop())
    assert pool.submit(abs, -1).result(60) == 1
    print(way, flush=True)
"""


@pytest.mark.parametrize("way", ["timeout", "death", *slow("progress")])
def test_what_happens_for_the_first_time_while_no_descriptor_is_left_costs_no_pool(way):
    passes(FIRST, 64, way, 1)


@pytest.mark.timeout(PATIENCE + 20)
def test_all_payloads_arrive_where_the_program_has_taken_all_descriptors():
    passes(TAKEN, 128, "by_submit by_kept_results by_map by_streams by_nested", 60)
