"""Engines in a forked child, and at interpreter exit."""

import subprocess
import sys

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE
from woolexec.engine import lifetimes

PROGRAM = """
import pathlib, sys, time
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.server.peer import Peer

def work(path):
    time.sleep(0.2)
    pathlib.Path(path).touch()

credentials = Credentials(sys.argv[1].encode())
peer = Peer(1, bind="127.0.0.1:0", credentials=credentials)
pool = PeerPoolExecutor(peers=[peer.address], credentials=credentials)
pool.submit(abs, -1).result(20)
for path in sys.argv[3:]:
    pool.submit(work, path)
time.sleep(float(sys.argv[2]))  # until they are at the peer, or not
"""


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0, 0.1])
def test_calls_at_a_peer_of_the_same_process_are_finished_at_its_end(tmp_path, pause):
    paths = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-c", PROGRAM, CREDENTIALS.token.decode(), str(pause), *paths]
    assert subprocess.run(command, timeout=2 * PATIENCE, check=False).returncode == 0
    assert all(path.exists() for path in paths)


class Engine:
    """Notes what it is told."""

    has_begun = True
    forked = False

    def __init__(self, name, told, *, serves_others=False):
        self.serves_others = serves_others
        self._name, self._told = name, told

    def forget(self):
        self._told.append(("forget", self._name))

    def interrupt(self):
        self._told.append(("interrupt", self._name))

    def shutdown(self, *, wait, cancel):
        assert not wait
        self._told.append(("cancel" if cancel else "shutdown", self._name))

    def join(self):
        self._told.append(("join", self._name))


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(lifetimes, "running", set())
    return []


def test_engines_that_serve_others_end_after_those(told):
    lifetimes.running |= {Engine("peer", told, serves_others=True), Engine("pool", told)}
    lifetimes._finish_all()
    assert told == [("shutdown", "pool"), ("join", "pool"), ("shutdown", "peer"), ("join", "peer")]


def test_program_that_was_interrupted_cancels_what_waits(told, monkeypatch):
    monkeypatch.setattr(sys, "last_type", KeyboardInterrupt, raising=False)
    monkeypatch.delattr(sys, "ps1", raising=False)
    lifetimes.running.add(Engine("pool", told))
    lifetimes._finish_all()
    assert told == [("interrupt", "pool"), ("cancel", "pool"), ("join", "pool")]


def test_copies_in_a_forked_child_are_left_alone_at_its_end(told):
    engine = Engine("pool", told)
    engine.forked = True
    lifetimes.running.add(engine)
    lifetimes._finish_all()
    assert told == []


def test_forked_child_closes_what_has_been_used(told):
    unused = Engine("unused", told)
    unused.has_begun = False
    lifetimes.running |= {unused, Engine("used", told)}
    lifetimes._forget_all()
    assert told == [("forget", "used")]
