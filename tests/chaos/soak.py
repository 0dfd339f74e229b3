"""
Very many tasks or values, on local workers or through a peer; the resources of each process must not grow with them.

``python -m tests.chaos.soak local --tasks 1000000``
``python -m tests.chaos.soak values values-peer --tasks 100000``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from tests.chaos import tasks
from tests.chaos.__main__ import scratch
from tests.chaos.leftovers import Before, Sizes
from tests.chaos.peers import Peer
from tests.chaos.processes import workers
from woolexec import PeerPoolExecutor

OUTSTANDING = 4_000
"""Number of tasks that have not ended, above which the oldest is waited for."""

VALUES = 100
"""Number of values that are there at once."""

LEAST = 128 << 10
"""Bytes of the smallest value: workers map those that are as large."""

PATIENCE = 120.0
"""Seconds for one task."""

WORKERS = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the tasks, print what grew, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument(
        "places",
        nargs="*",
        default=["local", "peer"],
        help="local, peer (default: both); values, values-peer: each value is put or kept, used and fetched",
    )
    parser.add_argument(
        "--tasks", type=int, default=1_000_000, help="number of tasks, or of values (default: a million)"
    )
    options = parser.parse_args(arguments)
    faults = []
    for place in options.places:
        where, run = KINDS[place]
        print(f"== {options.tasks:,} of {place}", flush=True)
        with scratch() as folder:
            before = Before()
            with where(folder) as (pool, pids):
                faults += run(pool, pids, options.tasks)
            faults += before.left()
    print("\n".join(faults) or "nothing grew, nothing is left")
    return int(bool(faults))


def soak(pool: PeerPoolExecutor, pids: Callable[[], dict[str, int]], count: int) -> list[str]:
    """Run tasks of several kinds; name what is wrong with their outcomes, and processes that have grown."""
    sizes, line, faults = Sizes(pids), deque[tuple[int, Future[Any]]](), []
    began = time.monotonic()
    for number in range(count + OUTSTANDING):
        if number < count:
            line.append((number, _submitted(pool, number)))
        if line and (number >= count or len(line) >= OUTSTANDING):
            done, future = line.popleft()
            if not _is_right(done, future):
                faults.append(f"task {done} ended with {future!r}")
        sizes.look()
    print(f"{count / (time.monotonic() - began):,.0f} tasks a second\n{sizes}", flush=True)
    return [*faults[:10], *sizes.faults()]


def soak_values(pool: PeerPoolExecutor, pids: Callable[[], dict[str, int]], count: int) -> list[str]:
    """Put and keep values, use and fetch each, and drop it; name wrong ones, and processes that have grown."""
    sizes, line, faults = Sizes(pids), deque[tuple[int, Any, Future[Any]]](), []
    kept = pool.with_options(keep=True)
    began = time.monotonic()
    for number in range(count + VALUES):
        if number < count:
            size = LEAST + number % 3 * LEAST
            value = pool.put(bytes(size)) if number % 2 else kept.submit(bytes, size)
            line.append((number, value, pool.submit(len, value)))
        if line and (number >= count or len(line) >= VALUES):
            done, value, used = line.popleft()
            size = LEAST + done % 3 * LEAST
            if used.result(PATIENCE) != size or len(value.result(PATIENCE)) != size:
                faults.append(f"value {done} was another one")
            del value, used
        sizes.look()
    print(f"{count / (time.monotonic() - began):,.0f} values a second\n{sizes}", flush=True)
    return [*faults[:10], *sizes.faults()]


def _submitted(pool: PeerPoolExecutor, number: int) -> Future[Any]:
    kind = number % 20
    if kind < 14:
        return pool.submit(abs, -number)
    if kind < 16:
        return pool.submit(tasks.square_async, number)
    if kind == 16:
        return pool.submit(divmod, number, 0)
    if kind == 17:
        return pool.submit(len, bytes(number % 60_000))
    if kind == 18:
        return pool.submit(bytes, number % 60_000)
    return pool.submit(lambda x: x + 1, number)


def _is_right(number: int, future: Future[Any]) -> bool:
    kind = number % 20
    exc = future.exception(PATIENCE)
    if kind == 16 or exc is not None:
        return kind == 16 and isinstance(exc, ZeroDivisionError)
    value = future.result()
    if kind < 14:
        return bool(value == number)
    if kind < 16:
        return bool(value == number * number)
    if kind == 19:
        return bool(value == number + 1)
    return (value if kind == 17 else len(value)) == number % 60_000


@contextlib.contextmanager
def _local(folder: Any) -> Iterator[tuple[PeerPoolExecutor, Callable[[], dict[str, int]]]]:
    with PeerPoolExecutor(WORKERS) as pool:
        yield pool, lambda: {"client": os.getpid(), **_named("worker", workers(os.getpid()))}


@contextlib.contextmanager
def _peer(folder: Any) -> Iterator[tuple[PeerPoolExecutor, Callable[[], dict[str, int]]]]:
    peer = Peer(folder / "peer.log", arguments=["--workers", str(WORKERS)])
    try:
        peer.wait_ready()
        with PeerPoolExecutor(peers=f"{peer.host}:{peer.port}") as pool:
            yield pool, lambda: {"client": os.getpid(), "peer": peer.pid, **_named("worker", workers(peer.pid))}
    finally:
        peer.close()


def _named(name: str, pids: list[int]) -> dict[str, int]:
    return {f"{name} {pid}": pid for pid in pids}


KINDS = {
    "local": (_local, soak),
    "peer": (_peer, soak),
    "values": (_local, soak_values),
    "values-peer": (_peer, soak_values),
}


if __name__ == "__main__":
    sys.exit(main())
