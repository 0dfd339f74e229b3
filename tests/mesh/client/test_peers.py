"""Peers that come, go, come back, and are not what they should be."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.mesh import fake_ssh, tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import Credentials, NoPeersError, PeerPoolExecutor, PeerStartError, WorkerLostError
from woolexec.discovery.ssh import Ssh
from woolexec.mesh.server.peer import Peer


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_peer_listens_on_tcp(tmp_path):
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert peer.address.startswith("127.0.0.1:")
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_second_peer_at_the_same_port_is_refused():
    here = "127.0.0.1:0"
    with Peer(1, bind=here, credentials=CREDENTIALS) as peer, pytest.raises(PeerStartError, match="another peer"):
        Peer(1, bind=peer.address, credentials=CREDENTIALS)


def test_two_peers_share_the_work():
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as two, joined(one, two) as pool:
        pids = {future.result(PATIENCE) for future in [pool.submit(pid_after, 0.02) for _ in range(20)]}
        assert pids == {*one.engine.pids, *two.engine.pids}


def test_several_clients_share_a_peer(peer):
    with joined(peer) as one, joined(peer) as two:
        eventually(lambda: peer.clients == 2)
        futures = [(pool.submit(divmod, n, 7), n) for n in range(500) for pool in (one, two)]
        assert all(future.result(PATIENCE) == divmod(n, 7) for future, n in futures)
    eventually(lambda: peer.clients == 0)


def test_tasks_wait_for_a_peer_that_comes_later():
    address = f"127.0.0.1:{free_port()}"
    with PeerPoolExecutor(peers=address, credentials=CREDENTIALS) as pool:
        future = pool.submit(abs, -3)
        assert not future.done()
        with Peer(1, bind=address, credentials=CREDENTIALS):
            assert future.result(PATIENCE) == 3


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


@pytest.mark.parametrize("token", [b"another token than theirs", None])
def test_client_without_the_token_is_refused(peer, token):
    with (
        PeerPoolExecutor(peers=peer.address, credentials=Credentials(token), peers_timeout=0.5) as pool,
        pytest.raises(NoPeersError, match="has not proved that it has the token"),
    ):
        pool.submit(abs, -1).result(PATIENCE)
    assert not peer.engine.pids


def test_impostor_without_the_token_receives_nothing(tmp_path):
    with Peer(1, credentials=Credentials()) as impostor:
        with PeerPoolExecutor(peers=impostor.address, credentials=CREDENTIALS, peers_timeout=0.5) as pool:
            future = pool.submit(Path.touch, tmp_path / "ran")
            with pytest.raises(NoPeersError, match="has not proved that it has the token"):
                future.result(PATIENCE)
        assert not impostor.clients
    assert not (tmp_path / "ran").exists()


def test_something_else_at_the_address_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def speak():
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock:
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        address = "{}:{}".format(*server.getsockname())
        with (
            PeerPoolExecutor(peers=address, credentials=CREDENTIALS, peers_timeout=0.5) as pool,
            pytest.raises(NoPeersError, match=address),
        ):
            pool.submit(abs, -1).result(PATIENCE)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_draining_peer_ends_when_its_tasks_are_done_and_the_rest_goes_elsewhere(tmp_path):
    with contextlib.ExitStack() as stack:
        leaving, staying = [stack.enter_context(Peer(1, credentials=CREDENTIALS)) for _ in range(2)]
        pool = stack.enter_context(joined(leaving, staying))
        held = [pool.submit(tasks.hold, tmp_path, str(n)) for n in range(2)]
        eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        waiting = [pool.submit(divmod, n, 7) for n in range(50)]
        leaving.drain()
        assert not leaving.ended
        (tmp_path / "release").touch()
        assert len({future.result(PATIENCE) for future in held}) == 2
        assert [future.result(PATIENCE) for future in waiting] == [divmod(n, 7) for n in range(50)]
        eventually(lambda: leaving.ended)
        assert pool.submit(os.getpid).result(PATIENCE) in staying.engine.pids


@pytest.mark.slow
def test_rolling_drain_under_load_fails_no_task():
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    peers = [Peer(1, bind=address, credentials=CREDENTIALS) for address in addresses]
    try:
        with joined(*addresses, timeout=PATIENCE) as pool:
            futures = [pool.submit(pid_after, 0.002) for _ in range(600)]
            for number, address in enumerate(addresses):
                eventually(lambda number=number: sum(future.done() for future in futures) > 150 * (number + 1))
                peers[number].drain()
                eventually(lambda number=number: peers[number].ended)
                peers[number].close()
                peers[number] = Peer(1, bind=address, credentials=CREDENTIALS)
            for future in futures:
                future.result(PATIENCE)
    finally:
        for peer in peers:
            peer.close()


def test_client_that_is_killed_leaves_nothing_running(peer, tmp_path):
    code = (
        "import sys; from woolexec import Credentials, PeerPoolExecutor; from tests.mesh import tasks\n"
        f"pool = PeerPoolExecutor(peers={peer.address!r}, credentials=Credentials({CREDENTIALS.token!r}))\n"
        f"futures = [pool.submit(tasks.hold, {str(tmp_path)!r}, str(n)) for n in range(2)]\n"
        "futures[0].result()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        busy = set(peer.engine.pids)
        process.kill()
    eventually(lambda: not busy & set(peer.engine.pids))
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_frozen_peer_is_given_up(tmp_path, monkeypatch):
    from woolexec.mesh.client import channel

    quick = {"grpc.keepalive_time_ms": 500, "grpc.keepalive_timeout_ms": 2000, "grpc.http2.ping_timeout_ms": 2000}
    monkeypatch.setattr(channel, "_OPTIONS", [(name, quick.get(name, value)) for name, value in channel._OPTIONS])
    code = (
        "import sys; from woolexec import Credentials; from woolexec.mesh.server.peer import Peer\n"
        f"with Peer(1, bind='127.0.0.1:0', credentials=Credentials({CREDENTIALS.token!r})) as peer:\n"
        "    print(peer.address, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            with joined(process.stdout.readline().strip(), local=1) as pool:
                held = pool.submit(tasks.hold, tmp_path, "held")
                other = pool.submit(tasks.hold, tmp_path, "other")
                eventually(lambda: len(list(tmp_path.iterdir())) == 2)
                process.send_signal(signal.SIGSTOP)
                (tmp_path / "release").touch()
                outcomes = [future.exception(PATIENCE) for future in (held, other)]
                assert sorted(map(type, outcomes), key=str) == [type(None), WorkerLostError]
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            process.wait(PATIENCE)


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
    for address, reason in {peer.address: "3.99 there", "192.0.2.1:7437": "a token alone does not protect"}.items():
        with PeerPoolExecutor(peers=address, credentials=CREDENTIALS, peers_timeout=timeout) as pool:
            assert reason in failure_of(pool)
            with pytest.raises(TimeoutError, match="only 0 of 1 peers connected"):
                pool.wait_for_peers(1)


@pytest.mark.parametrize("python", [None, "/no/such/python"])
def test_host_without_woolexec_fails_at_once(monkeypatch, tmp_path, python):
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_ssh.__file__} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))
    with PeerPoolExecutor(peers=Ssh("absent", python=python), peers_timeout=None) as pool:
        assert "ssh://absent: ssh ended with exit code 127" in failure_of(pool)


def test_ssh_that_is_not_there_fails_at_once(monkeypatch):
    monkeypatch.setenv("WOOLEXEC_SSH", "/no/such/ssh")
    with PeerPoolExecutor(peers="ssh://far", peers_timeout=None) as pool:
        assert "ssh://far: cannot run '/no/such/ssh' here" in failure_of(pool)


def test_one_peer_that_may_come_is_waited_for_beside_one_that_cannot_become_right():
    address = f"127.0.0.1:{free_port()}"
    addresses = ["192.0.2.1:7437", address]
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


def test_peer_that_says_that_it_has_no_workers_is_left_alone(peer):
    peer._door._welcome.workers = 0
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, peers_timeout=0.2) as pool:
        assert "the peer says that it has no workers" in failure_of(pool)
