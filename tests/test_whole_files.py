"""A test that kills its process, in a run of several processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FILES = {
    "test_a.py": "def test_first(): pass\ndef test_second(): pass\n",
    "test_b.py": "def test_first(): pass\ndef test_second(): pass\n",
    "test_killed.py": """import os, signal
def test_before(): pass
def test_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_after(): pass
""",
    "test_hanging.py": """import time
def test_before(): pass
def test_hangs():
    while True:
        try: time.sleep(60)
        except BaseException: pass
""",
    "test_one.py": "def test_only(): pass\n",
    "test_parent.py": """import os, pathlib, signal
def test_of_a_child_that_lives_on():
    child = os.fork()
    if not child:
        signal.pause()
    pathlib.Path("child").write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)
""",
    "test_z.py": "def test_first(): pass\ndef test_last(): pass\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_each_such_test_fails_once_and_the_others_are_run(tmp_path, processes):
    (tmp_path / "conftest.py").write_text("import tests.conftest\ntests.conftest.GRACE = 0.5\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: .\n  matrix: .\n  linux: .\n  leaks: .\n")
    for name, source in FILES.items():
        (tmp_path / name).write_text(source)
    command = f"-m pytest -p tests.conftest -p no:cacheprovider --timeout=1 -n {processes} --dist loadfile"
    command += " --no-loadscope-reorder"
    # To a file: the child that lives on would keep a pipe open.
    with (tmp_path / "output").open("w") as output:
        ran = subprocess.run(
            [sys.executable, *command.split(), str(tmp_path)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=50,
            check=False,
        )
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    said = (tmp_path / "output").read_text()
    assert ran.returncode == 1, said
    assert "3 failed, 10 passed" in said
    assert sorted(re.findall(r"^FAILED (\S+)", said, re.MULTILINE)) == [
        "test_hanging.py::test_hangs",
        "test_killed.py::test_killed",
        "test_parent.py::test_of_a_child_that_lives_on",
    ]
