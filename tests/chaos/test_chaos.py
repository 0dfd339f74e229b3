"""Each kind of run, for half a minute and with a fixed seed; `make chaos` runs them for longer."""

import subprocess
import sys

import pytest

from tests.chaos.__main__ import WORLDS

SECONDS, SEED = 30, 1
LIMIT = 500
"""Seconds for a run, and for all calls to end after it."""


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 20)
@pytest.mark.parametrize("world", WORLDS)
def test_every_promise_holds_in_half_a_minute_of_chaos(world):
    command = [sys.executable, "-m", "tests.chaos", world, "--seconds", str(SECONDS), "--seed", str(SEED)]
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
