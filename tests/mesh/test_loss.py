"""Packets get lost between a client and its peers, and between the peers."""

import contextlib
import itertools

import pytest

from tests.mesh import lossy
from tests.mesh.hosts import joined, namespaces_work
from tests.mesh.test_hosts import client, everywhere, files, tls  # noqa: F401  # fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (namespaces_work() and lossy.works()), reason="takes root, namespaces and TUN devices"),
    pytest.mark.timeout(240),  # each packet that gets lost twice costs TCP a longer pause
    pytest.mark.leaks(reason="the kernel takes its time to end namespaces"),
]

PROGRAM = """
import asyncio, json, os, sys
from concurrent.futures import wait
from woolexec import PeerPoolExecutor

async def double(number):
    await asyncio.sleep(0.001)
    return 2 * number

def count(limit):
    yield from range(limit)

class Log:
    def __init__(self):
        self.numbers = []

    def add(self, number, payload=b""):
        self.numbers.append(number)
        return sum(payload)

    def all(self):
        return self.numbers

def both(one, other):
    return len(one), one[-8:], len(other), other[-8:]

with PeerPoolExecutor(0, peers=json.loads(sys.argv[1])) as pool:
    pool.wait_for_peers(2, 120)
    names = [link.name for link in pool._engine.scheduler.links]
    with pool.actor(Log) as log:
        added = [log.submit(Log.add, n, b"1" * 200_000 if n % 20 == 0 else b"1") for n in range(100)]
        calls = [pool.submit(pow, 2, n) for n in range(300)]
        coroutines = [pool.submit(double, n) for n in range(100)]
        shared = pool.put(os.urandom(600_000))
        kept = [pool.with_options(keep=True, at=name).submit(os.urandom, 300_000) for name in names]
        wait(kept)
        assert len({each.value.home for each in kept}) == 2
        crossed = [pool.with_options(at=name).submit(both, *kept) for name in names]
        lengths = [pool.with_options(at=name).submit(len, shared) for name in names]
        for limit in (1, 50, 150):
            with pool.stream(count, limit) as numbers:
                assert list(numbers) == list(range(limit))
        assert list(pool.map(abs, range(-2000, 0))) == list(range(2000, 0, -1))
        assert [call.result() for call in calls] == [2**n for n in range(300)]
        assert [call.result() for call in coroutines] == list(range(0, 200, 2))
        assert [call.result() for call in lengths] == [600_000] * 2
        assert [call.result() for call in added] == [49 * (200_000 if n % 20 == 0 else 1) for n in range(100)]
        assert log.submit(Log.all).result() == list(range(100))
        values = [each.result() for each in kept]
        assert [call.result() for call in crossed] == [both(*values)] * 2
print("right")
"""


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_nothing_is_lost_or_changed_where_packets_get_lost(tls, client, loss):  # noqa: F811
    with joined(3) as hosts, contextlib.ExitStack() as stack:
        one, two, three = hosts
        ways = [stack.enter_context(lossy.Way(*pair, loss)) for pair in itertools.combinations(hosts, 2)]
        for host in (one, two):
            stack.enter_context(host.serving("--bind", "0.0.0.0:7437", *tls))
        assert three.run(PROGRAM, everywhere(one.address, two.address), patience=200, **client) == ["right"]
        assert all(way.lost for way in ways)
