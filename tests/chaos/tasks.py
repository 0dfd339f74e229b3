"""What runs in workers: each task notes its start, before it does anything else, in a file that all workers share."""

from __future__ import annotations

import asyncio
import os
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from woolexec import Actor, current_executor

_RECORD = struct.Struct("<Q")
_journal = -1


class Boom(Exception):
    """What some tasks raise."""


def open_journal(path: str) -> None:
    """Have the tasks of this worker note their starts there; an initializer."""
    global _journal
    _journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def close_journal() -> None:
    """Close it."""
    global _journal
    os.close(_journal)
    _journal = -1


def starts_in(path: str) -> Counter[int]:
    """Return how often each call has started."""
    return Counter(number for (number,) in _RECORD.iter_unpack(Path(path).read_bytes()))


def note(number: int) -> None:
    """Note that a call has started; one write, so that records of several workers do not mix."""
    os.write(_journal, _RECORD.pack(number))


def treble(number: int) -> int:
    note(number)
    return 3 * number


def nap(number: int, seconds: float) -> int:
    note(number)
    time.sleep(seconds)
    return 3 * number


def boom(number: int) -> None:
    note(number)
    raise Boom(number)


def echo(number: int, data: bytes) -> tuple[int, bytes]:
    note(number)
    return number, data


def length(data: bytes) -> int:
    return len(data)


def leave(number: int) -> None:
    note(number)
    os._exit(7)


def give_what_does_not_pickle(number: int) -> Any:
    note(number)
    return sys._getframe()


def use_too_much_memory(number: int) -> int:
    """Ask for more memory than the limit, which is set for the time of this call alone."""
    note(number)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, limits[1]))
    try:
        return len(bytearray(8 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def leave_a_child(number: int) -> int:
    """Leave a process behind, which must end with its worker or before."""
    note(number)
    subprocess.Popen(
        ["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode = 0  # so that nobody waits for it
    return 3 * number


def square(x: int) -> int:
    return x * x


async def square_async(x: int) -> int:
    await asyncio.sleep(0.001)
    return x * x


def nested(number: int, depth: int) -> int:
    note(number)
    return 3 * number if below(depth) == depth else -1


def below(depth: int) -> int:
    """Submit tasks from tasks, so many levels deep."""
    pool = current_executor()
    futures = [pool.submit(square, x) for x in range(3)]
    assert [future.result() for future in futures] == [0, 1, 4]
    return 0 if depth == 0 else 1 + pool.submit(below, depth - 1).result()


async def nested_async(number: int) -> int:
    note(number)
    pool = current_executor()
    assert await asyncio.gather(*(pool.run(square_async, x) for x in range(3))) == [0, 1, 4]
    return 3 * number


async def nap_async(number: int, seconds: float) -> int:
    note(number)
    await asyncio.sleep(seconds)
    return 3 * number


def count(number: int, end: int) -> Iterator[int]:
    note(number)
    yield from range(end)


async def count_async(number: int, end: int) -> AsyncIterator[int]:
    note(number)
    for x in range(end):
        await asyncio.sleep(0)
        yield x


def closure(factor: int) -> Any:
    """Return a function that can only travel by value."""

    def inner(number: int) -> int:
        note(number)
        return 3 * number + 0 * factor

    return inner


def total(*numbers: int) -> int:
    return sum(numbers)


class Tally:
    """An object of an actor; `life` names its process, of which each incarnation has another one."""

    def __init__(self) -> None:
        self.life, self.calls = os.urandom(8), 0

    def count(self) -> tuple[bytes, int]:
        """Return which call of this life this is."""
        self.calls += 1
        return self.life, self.calls

    async def count_async(self) -> tuple[bytes, int]:
        await asyncio.sleep(0.001)
        return self.count()


def count_there(tally: Actor[Tally], calls: int) -> list[tuple[bytes, int]]:
    """Call an actor from a task."""
    return [future.result() for future in [tally.submit(Tally.count) for _ in range(calls)]]


def with_actor(number: int, calls: int) -> int:
    """Make an actor in a task, and call it."""
    note(number)
    with current_executor().actor(Tally) as tally:
        found = [count for _, count in count_there(tally, calls)]
    return 3 * number if found == list(range(1, calls + 1)) else -1
