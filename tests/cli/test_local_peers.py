"""Peers that are started for a block, and end with it."""

import os
import stat
import subprocess
import sys

import pytest

from tests.tokens import token_for
from woolexec import PeerPoolExecutor, PeerStartError
from woolexec.cli import local_peers as module
from woolexec.cli.local_peers import address_of, local_peer, local_peers

PATIENCE = 20.0
TOKEN = token_for("these tests").decode()


def test_peers_run_tasks_during_the_block_and_leave_nothing_behind():
    with local_peers(2, 1) as (addresses, credentials):
        folder = os.path.dirname(addresses[0].removeprefix("unix:"))
        assert [address.removeprefix(f"unix:{folder}/") for address in addresses] == ["0", "1"]
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        with PeerPoolExecutor(peers=addresses, credentials=credentials) as pool:
            pool.wait_for_peers(2, PATIENCE)
            assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert not os.path.exists(folder)


def test_peer_ends_when_the_block_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), local_peer(f"unix:{tmp_path}/peer", 1, TOKEN) as peer:
        assert address_of(peer) == f"unix:{tmp_path}/peer"
        1 / 0  # noqa: B018  # it raises
    assert peer.returncode == 0


def test_peer_that_does_not_start_is_an_error_with_its_exit_code(tmp_path):
    with local_peer(f"unix:{tmp_path}/nowhere/peer", 1, TOKEN, "--no-such-setting") as peer:
        with pytest.raises(PeerStartError, match="a peer did not start: it ended with exit code 2"):
            address_of(peer)


def test_peers_that_have_started_end_when_another_does_not_start(monkeypatch):
    started = []

    class Popen(subprocess.Popen):
        """A program, the second of which ends at once."""

        def __init__(self, command, **options):
            if started:
                command = [sys.executable, "-c", "input(); exit(3)"]
            super().__init__(command, **options)
            started.append(self)

    monkeypatch.setattr(module.subprocess, "Popen", Popen)
    with pytest.raises(PeerStartError, match="exit code 3"), local_peers(2, 1):
        pytest.fail("a peer has not started")
    assert [peer.returncode for peer in started] == [0, 3]


def test_peer_that_ends_before_it_is_given_its_token_is_an_error_with_its_exit_code(monkeypatch, tmp_path):
    class Ended(subprocess.Popen):
        """A program that has ended when it is to read."""

        def __init__(self, _, **options):
            super().__init__([sys.executable, "-c", "exit(3)"], **options)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(module.subprocess, "Popen", Ended)
    with local_peer(f"unix:{tmp_path}/peer", 1, TOKEN) as peer, pytest.raises(PeerStartError, match="exit code 3"):
        address_of(peer)
