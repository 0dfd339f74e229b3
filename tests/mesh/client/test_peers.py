"""Peers that appear, leave, come back, and are not the expected ones."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.mesh import fake_ssh, tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, free_port, joined
from woolexec import NoPeersError, PeerPoolExecutor
from woolexec.discovery.ssh import Ssh
from woolexec.mesh.client import attempts, peers
from woolexec.mesh.server.peer import Peer


def test_two_peers_share_the_work():
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as two, joined(one, two) as pool:
        pids = {future.result(PATIENCE) for future in [pool.submit(tasks.pid_after, 0.02) for _ in range(20)]}
        assert pids == {*one.engine.pids, *two.engine.pids}


def test_tasks_wait_for_a_peer_that_comes_later():
    address = f"127.0.0.1:{free_port()}"
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as pool:
        future = pool.submit(abs, -3)
        assert not future.done()
        with Peer(1, bind=address, credentials=CREDENTIALS):
            assert future.result(PATIENCE) == 3


@pytest.mark.slow
def test_peer_that_comes_back_is_used_again():
    address = f"127.0.0.1:{free_port()}"
    with PeerPoolExecutor(peers=[address], credentials=CREDENTIALS) as pool:
        pids = []
        for _ in range(3):
            with Peer(1, bind=address, credentials=CREDENTIALS) as peer:
                pids.append(pool.submit(os.getpid).result(PATIENCE))
                eventually(lambda peer=peer: pids[-1] in peer.engine.pids)
        assert len(set(pids)) == 3


def test_tasks_that_wait_in_vain_raise_and_later_ones_find_the_peer():
    address = f"127.0.0.1:{free_port()}"
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS, peers_timeout=0.3) as pool:
        futures = [pool.submit(abs, -n) for n in range(3)]
        for future in futures:
            with pytest.raises(NoPeersError, match=f"waited for 0.3 s.*{address}: .*not reachable"):
                future.result(PATIENCE)
        with Peer(1, bind=address, credentials=CREDENTIALS):
            pool.wait_for_peers(1, PATIENCE)
            assert pool.submit(abs, -3).result(PATIENCE) == 3


def test_waiting_for_peers_says_why_they_are_not_there():
    address = f"127.0.0.1:{free_port()}"
    message = f"only 0 of 1 peers connected.*{address}"
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as pool, pytest.raises(TimeoutError, match=message):
        pool.wait_for_peers(1, 1.0)


def test_waiting_for_more_peers_than_there_can_be_says_so_at_once(peer):
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS) as pool:
        with pytest.raises(TimeoutError, match="of 2 peers connected, and no more than 1 can be"):
            pool.wait_for_peers(2)


def test_waiting_for_peers_without_peers_makes_no_sense():
    with PeerPoolExecutor(1) as pool, pytest.raises(ValueError, match="peers="):
        pool.wait_for_peers()


def test_shutdown_ends_the_waiting_for_peers():
    pool = PeerPoolExecutor(peers=f"127.0.0.1:{free_port()}", credentials=CREDENTIALS)
    failed = []

    def wait():
        try:
            pool.wait_for_peers()
        except TimeoutError as exc:
            failed.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    pool.shutdown()
    thread.join(PATIENCE)
    assert failed


FORKS = """
import gc, os, sys
from woolexec import Credentials, PeerPoolExecutor

gc.disable()  # so that what is left is left until the child looks
with PeerPoolExecutor(peers=sys.argv[1], credentials=Credentials(sys.argv[2].encode())) as pool:
    assert pool.submit(abs, -1).result() == 1
del pool
pid = os.fork()
if pid == 0:
    gc.collect()  # what is left of grpc must not wait for a thread that the child has not got
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_program_that_forks_after_its_links_are_gone_goes_on(peer):
    arguments = [sys.executable, "-c", FORKS, peer.address, CREDENTIALS.token.decode()]
    with subprocess.Popen(arguments, start_new_session=True) as program:
        try:
            assert program.wait(PATIENCE) == 7
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def failure_of(pool):
    with pytest.raises(NoPeersError) as caught:
        pool.submit(abs, -1).result(PATIENCE)
    return str(caught.value)


@pytest.mark.parametrize("timeout", [None, 600.0])
def test_what_cannot_become_right_fails_at_once(peer, timeout):
    peer._door._welcome.python = "3.99"
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, peers_timeout=timeout) as pool:
        assert "3.99 there" in failure_of(pool)
        with pytest.raises(TimeoutError, match="only 0 of 1 peers connected"):
            pool.wait_for_peers(1)


@pytest.mark.parametrize("waits", [PeerPoolExecutor.submit, PeerPoolExecutor.wait_for_peers])
def test_who_comes_after_a_final_refusal_finds_the_right_peer_that_is_there_now(monkeypatch, waits):
    """Not when it is the turn of that address again: until then tasks would have failed."""
    monkeypatch.setattr(peers, "_VERDICT", 0.0)
    monkeypatch.setattr(peers, "_LOOK", 0.01)
    monkeypatch.setattr(attempts, "FIRST", 1000.0)  # its turn never comes
    monkeypatch.setattr(attempts, "SLOWEST", 1000.0)
    address = f"127.0.0.1:{free_port()}"
    with Peer(1, bind=address, credentials=CREDENTIALS) as peer:
        peer._door._welcome.python = "3.99"
        pool = PeerPoolExecutor(peers=address, credentials=CREDENTIALS)
        assert "3.99 there" in failure_of(pool)
        assert "3.99 there" in failure_of(pool)  # a new try has found out the same
    with pool, Peer(1, bind=address, credentials=CREDENTIALS):
        if waits is PeerPoolExecutor.wait_for_peers:
            assert pool.wait_for_peers(1, PATIENCE) == 1
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize("python", [None, "/no/such/python"])
def test_host_without_woolexec_fails_at_once(monkeypatch, tmp_path, python):
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{fake_ssh.command()}\n")
    program.chmod(0o700)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))
    with PeerPoolExecutor(peers=Ssh("absent", python=python), peers_timeout=None) as pool:
        assert "ssh://absent: ssh ended with exit code 127" in failure_of(pool)


def test_ssh_that_is_not_there_fails_at_once(monkeypatch):
    monkeypatch.setenv("WOOLEXEC_SSH", "/no/such/ssh")
    with PeerPoolExecutor(peers="ssh://far", peers_timeout=None) as pool:
        assert "ssh://far: cannot run '/no/such/ssh' here" in failure_of(pool)


@pytest.mark.slow
def test_one_peer_that_may_come_is_waited_for_beside_one_that_cannot_become_right(peer):
    peer._door._welcome.python = "3.99"
    address = f"127.0.0.1:{free_port()}"
    addresses = [peer.address, address]
    with PeerPoolExecutor(peers=addresses, credentials=CREDENTIALS, peers_timeout=None) as pool:
        future = pool.submit(abs, -1)
        with pytest.raises(TimeoutError, match="only 0 of 1 peers connected"):
            pool.wait_for_peers(1, 0.3)
        assert not future.done()
        with Peer(1, bind=address, credentials=CREDENTIALS):
            assert future.result(PATIENCE) == 1
            with pytest.raises(TimeoutError, match="only 1 of 2 peers connected"):
                pool.wait_for_peers(2)


def test_peer_that_was_refused_for_good_is_used_when_it_has_become_right_after_all(peer):
    right, peer._door._welcome.python = peer._door._welcome.python, "3.99"
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS) as pool:
        assert "3.99 there" in failure_of(pool)
        peer._door._welcome.python = right
        eventually(lambda: pool._peers.links)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.leaks(
    "grpc closes a connection that nobody answers when its time is over, also after its channel is closed"
)
def test_failure_has_a_reason_even_while_a_handshake_is_under_way(tmp_path):
    with socket.socket() as silent, contextlib.ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for where, reason in {
            address: f"{address}: connecting for ",
            f"dir:{tmp_path}": f"no peers found at dir:{tmp_path}",
        }.items():
            pool = stack.enter_context(PeerPoolExecutor(peers=where, credentials=CREDENTIALS, peers_timeout=0.3))
            assert reason in failure_of(pool)
