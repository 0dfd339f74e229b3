"""The functions that the tests of large values run in workers; without pytest and grpc, which take long to import."""

import os
import time

import numpy as np

from woolexec import current_executor

LONG = 1 << 18  # 2 MiB: several parts


def ones(number=LONG):
    return np.ones(number)


def total(*arrays):
    return float(sum(map(np.sum, arrays)))


async def total_async(array):
    return float(array.sum())


def slow_ones(path):
    path.touch()
    while path.exists():
        time.sleep(0.005)
    return ones()


def text():
    return "x" * LONG


def length(made):
    return len(made)


def where(array):
    return os.getpid()


def nested():
    futures = [current_executor().with_options(keep=True).submit(ones, 1 << 16) for _ in range(3)]
    return sum(total(future.result()) for future in futures)


def items(number):
    for _ in range(number):
        yield ones(1 << 14)


def note_and_make(path, *arrays):
    with path.open("a") as file:
        file.write("x")
    return ones() + sum(arrays)


def fail_the_second_time(path):
    if path.exists():
        raise LookupError("again")
    path.touch()
    return ones()


async def where_async():
    return os.getpid()


def boom():
    raise LookupError("boom")


def change(array):
    array[0] = 7
    return float(array[0])


def total_later(array, path):
    while not path.exists():
        time.sleep(0.005)
    return total(array)


def pass_on(array):
    pool = current_executor()
    value = pool.put(array)
    return sum(future.result() for future in [pool.submit(total, value) for _ in range(3)])


def pass_on_many(number):
    pool = current_executor()
    value = pool.put(np.ones(LONG))
    return sum(future.result() for future in [pool.submit(total, value) for _ in range(number)])


class Totals:
    """An actor that sums arrays."""

    def __init__(self, array=None):
        self.seen = [] if array is None else [total(array)]

    def add(self, array):
        self.seen.append(float(array) if isinstance(array, int) else total(array))
        return self.seen[-1]

    async def add_later(self, array):
        return self.add(array)

    def add_each(self, array):
        yield self.add(array)

    def all(self):
        return self.seen
