"""Anything that a run leaves in its namespaces is reported, even if no check looked for it."""

import subprocess
import sys

import pytest

from tests.chaos import isolation

WHY = isolation.prefix()[1]

pytestmark = pytest.mark.skipif(bool(WHY), reason=f"takes namespaces: {WHY}")

LEAVING = {
    "a daemon": "import os, time; os.fork() or (os.setsid(), os.fork() or time.sleep(60))",
    "a file": "open('/tmp/left', 'w')",
    "a file in shared memory": "open('/dev/shm/left', 'w')",
    "nothing": "pass",
}


@pytest.mark.parametrize("kind", LEAVING)
def test_what_is_left_is_named(kind):
    script = f"""
import os, sys
from tests.chaos import isolation
isolation.SETTLE = 0.2
run = os.spawnv
os.spawnv = lambda mode, program, arguments: run(mode, program, [program, "-c", {LEAVING[kind]!r}])
sys.exit(isolation.main([]))
"""
    command = [*isolation.prefix()[0], sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = "left behind" in ran.stdout
    assert (found, ran.returncode) == ((kind != "nothing"), int(kind != "nothing")), ran.stdout + ran.stderr
