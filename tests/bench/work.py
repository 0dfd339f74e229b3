"""
What runs in the workers: importable by its name, so that every pool can send it.

It imports next to nothing, so that what a worker weighs is the pool's, whether it inherited this module or imports it.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any


def same(value: Any) -> Any:
    """Return the argument: a no-op whose answer can be checked."""
    return value


def increment(array: Any) -> Any:
    """Write to every element in place, so that both ends really touch all of it."""
    array += 1
    return array


def part(array: Any, number: int) -> int:
    """Read one of a hundred parts of an array."""
    size = len(array) // 100
    return int(array[number * size : (number + 1) * size].sum())


def block(number: int, size: int) -> Any:
    """Make an array of this many bytes."""
    import numpy as np

    return np.full(size // 8, number, dtype=np.int64)


def added(one: Any, other: Any) -> Any:
    """Add two arrays."""
    return one + other


def first(array: Any) -> int:
    """Return its first element."""
    return int(array[0])


def increment_number(number: int) -> int:
    """Return the next number."""
    return number + 1


def sum_of(*numbers: int) -> int:
    """Add up numbers."""
    return sum(numbers)


async def count_up(count: int) -> AsyncIterator[int]:
    """Yield that many integers from 0, without ever waiting."""
    for number in range(count):
        yield number


def sleep(seconds: float) -> float:
    """Take that long without needing a processor."""
    time.sleep(seconds)
    return seconds


def clocked_sleep(seconds: float) -> tuple[float, float]:
    """Sleep, and tell on the machine's monotonic clock when it began and when it ended."""
    begun = time.monotonic()
    time.sleep(seconds)
    return begun, time.monotonic()


def whoami(seconds: float) -> tuple[int, int]:
    """Tell process and thread, after a nap that leaves the next one to another worker."""
    time.sleep(seconds)
    from _thread import get_ident

    return os.getpid(), get_ident()


def hold(directory: str) -> None:
    """Keep the worker busy until `directory/release` exists; leave a file that says it has begun."""
    with open(f"{directory}/held-{os.getpid()}", "x"):
        pass
    while not os.path.exists(f"{directory}/release"):
        time.sleep(0.02)
