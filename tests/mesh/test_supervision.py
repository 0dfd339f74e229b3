"""Peers that cannot start workers, for a while or for good."""

import os
import signal

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec.engine import forks
from woolexec.mesh.server.peer import Peer


def fork_server(peer):
    return peer.engine.forks._server.pid


@pytest.mark.linux
def test_two_clients_of_a_peer_whose_fork_server_is_stopped_lose_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(forks, "_LOOK", 0.05)
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        running = one.submit(tasks.hold, tmp_path, "held")
        eventually((tmp_path / "held").exists)
        pid = other.submit(os.getpid).result(PATIENCE)
        os.kill(fork_server(peer), signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        futures = [pool.submit(abs, -n) for n in range(20) for pool in (one, other)]
        assert [future.result(PATIENCE) for future in futures] == [n for n in range(20) for _ in range(2)]
        (tmp_path / "release").touch()
        assert running.result(PATIENCE)
