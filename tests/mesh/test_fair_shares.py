"""How much a flood of one client of a peer slows another: S23; `tests/core/test_seats.py` simulates its core."""

import os
import subprocess
import sys
import time

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec import PeerPoolExecutor
from woolexec.cli.local_peers import address_of, local_peer

FLOODS = {
    "short calls with priority": """
urgent = pool.with_options(priority=1000)
while True:
    for future in [urgent.submit(abs, -1) for _ in range(1000)]:
        future.result()
""",
    "pinned calls": """
while True:
    pool.run_on_all(time.sleep, 0.02)
""",
    "coroutines": """
futures = [pool.submit(asyncio.sleep, 3600) for _ in range(5000)]
time.sleep(3600)
""",
    "streams": """
def count():
    yield from range(10**9)
streams = [pool.stream(count, prefetch=64) for _ in range(20)]
while True:
    for stream in streams:
        next(stream)
""",
    "bytes": """
while True:
    for future in [pool.submit(len, bytes(300_000)) for _ in range(50)]:
        future.result()
""",
    "code": """
while True:
    for future in [pool.submit(eval(f"lambda: {number}")) for number in range(50)]:
        future.result()
""",
}
START = """
import asyncio, sys, time
from woolexec import Credentials, PeerPoolExecutor
pool = PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(sys.argv[2].encode()))
pool.submit(abs, -1).result()
print("it begins", flush=True)
"""
NAP, ROUNDS, EACH = 0.1, 4, 3


def naps(pool):
    """Return the seconds that a few calls take, one after the other."""
    found = []
    for _ in range(EACH):
        began = time.monotonic()
        pool.submit(time.sleep, NAP).result(PATIENCE)
        found.append(time.monotonic() - began)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_calls_beside_a_flood_take_at_most_twice_as_long(kind):
    alone, beside = [], []
    token = CREDENTIALS.token.decode()
    with local_peer("127.0.0.1:0", 2, token) as process:
        address = address_of(process)
        with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as pool:
            naps(pool)  # what a start takes is not the flood's doing
            for _ in range(ROUNDS):
                alone += naps(pool)
                command = [sys.executable, "-c", START + FLOODS[kind], address, token]
                flood = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
                try:
                    assert flood.stdout.readline() == b"it begins\n"
                    beside += naps(pool)
                finally:
                    flood.kill()
                    flood.communicate()
    # Other programs may delay some calls; a flood that has its way delays each of them.
    assert sorted(beside)[len(beside) // 4] <= 2 * sorted(alone)[len(alone) // 2], (alone, beside)
