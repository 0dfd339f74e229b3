"""Programs under a real MPI: mpich's, from the package index."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from woolexec import PeerPoolExecutor, mpi
from woolexec.mesh.server import child

PATIENCE = 60.0
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")

real = [
    pytest.mark.slow,
    pytest.mark.skipif(
        MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="mpiexec or mpi4py is not installed"
    ),
]

PROGRAM = """
import os, sys
from woolexec import PeerPoolExecutor

def where(number):
    return number, os.getpid(), [name for name in os.environ if name.startswith("PMI")]

with PeerPoolExecutor(peers="mpi://") as pool:
    assert pool.wait_for_peers(2) == 2
    found = [future.result() for future in pool.run_on_all(where, 7).values()]
assert len({pid for _, pid, _ in found}) == 2
assert all(number == 7 and names == [] for number, _, names in found)
print(*sys.argv[1:])
"""


def under_mpi(program, *arguments, ranks=3, check=True):
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-m", "woolexec.mpi", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=check)


def with_marks(function):
    for mark in real:
        function = mark(function)
    return function


@with_marks
def test_rank_0_runs_the_program_and_the_others_are_its_peers(tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    assert under_mpi(tmp_path / "main.py", "one", "two").stdout == "one two\n"


@with_marks
def test_program_that_fails_ends_all_ranks(tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('no luck')")
    ran = under_mpi(tmp_path / "main.py", check=False)
    assert ran.returncode != 0
    assert "no luck" in ran.stderr


@with_marks
def test_one_rank_alone_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "main.py").write_text(PROGRAM)
    ran = under_mpi(tmp_path / "main.py", ranks=1, check=False)
    assert "there are no other ranks" in ran.stderr


def test_ranks_are_asked_for_outside_of_mpi():
    with pytest.raises(ValueError, match="mpiexec -n N"):
        PeerPoolExecutor(peers="mpi://")
    with pytest.raises(ValueError, match="nothing may follow"):
        mpi.Ranks.from_url("mpi://host")


class Comm:
    """The communicator of rank 1, where rank 0 has ended already."""

    def __init__(self):
        self.gathered = []

    def Get_rank(self):
        return 1

    def bcast(self, _):
        return b"token"

    def gather(self, found):
        self.gathered.append(found)

    def irecv(self, source):
        return SimpleNamespace(test=lambda: (True, None))


def test_peer_that_does_not_end_with_its_rank_is_killed(monkeypatch, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\necho \'{"address": "127.0.0.1:7437"}\'\nexec sleep 1000\n')
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(child, "_ENDING", 0.1)
    comm = Comm()
    assert mpi._serve(comm, 1) == 0
    assert comm.gathered == [("127.0.0.1:7437",)]


def test_mpi4py_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert mpi.main([os.devnull]) == 2
    assert "woolexec[mpi]" in capsys.readouterr().err
