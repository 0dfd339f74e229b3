"""A frozen program, or an imitation: an executable that always runs the program, with any arguments."""

import os
import subprocess
import sys

import pytest

from woolexec.worker import frozen

PROGRAM = """\
#!{python}
import sys
sys.frozen, sys.executable = True, __file__  # as PyInstaller sets them
sys.path[:] = {path!r}
import woolexec
{first}
from woolexec import PeerPoolExecutor


def square(number):
    return number * number


with PeerPoolExecutor(2) as pool:
    print(sum(pool.map(square, range(100))), pool.submit(getattr, sys, "executable").result() == __file__)
"""


def run(folder, first):
    program = folder / "program"
    program.write_text(PROGRAM.format(python=sys.executable, path=sys.path, first=first))
    program.chmod(0o700)
    return subprocess.run(
        [program, "an argument"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_workers_are_started_from_the_executable(tmp_path):
    ran = run(tmp_path, "woolexec.freeze_support()")
    assert ran.stdout == "328350 True\n", ran.stderr


def test_program_that_does_not_call_it_is_told_so_and_does_not_start_itself(tmp_path):
    ran = run(tmp_path, f"open({str(tmp_path / 'starts')!r}, 'a').write('.')")
    assert "WorkerStartError" in ran.stderr
    assert "a frozen program must call woolexec.freeze_support() first" in ran.stderr
    assert (tmp_path / "starts").read_text() == "."


def test_in_other_programs_it_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", frozen.FORK_SERVER])
    frozen.freeze_support()
    assert not frozen.is_ready


def test_fork_server_whose_caller_is_gone_ends(monkeypatch):
    monkeypatch.setattr(os, "write", lambda *_: exec("raise BrokenPipeError"))
    monkeypatch.setattr(os, "_exit", lambda code: exec("raise SystemExit"))
    monkeypatch.setattr("gc.disable", lambda: None)
    with pytest.raises(SystemExit):
        frozen._serve()
