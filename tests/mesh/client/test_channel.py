"""Whom a client connects to, and whom it refuses."""

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.tokens import token_for
from woolexec import Credentials, CredentialsError, NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.mesh.client import channel
from woolexec.mesh.client.channel import is_local, open_channel
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server.peer import Peer


@pytest.mark.parametrize("address", ["unix:/run/peer", "127.0.0.1:7437", "127.9.9.9:1", "[::1]:7437", "localhost:7437"])
def test_address_of_this_host_is_local(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.1:7437", "[2001:db8::1]:7437", "0.0.0.0:7437", "localhost.example:7437"])
def test_address_that_others_may_have_is_not_local(address):
    assert not is_local(address)


def test_token_alone_is_refused_for_good_towards_another_host():
    with pytest.raises(CredentialsError, match="a token alone does not protect the connection to 192") as caught:
        open_channel("192.0.2.1:7437", Credentials.with_new_token())
    assert caught.value.is_final


def test_certificate_that_cannot_be_read_is_named_before_a_connection_is_made(tmp_path):
    with pytest.raises(CredentialsError, match=f"{tmp_path}/ca.pem"):
        open_channel("192.0.2.1:7437", Credentials(None, Tls(str(tmp_path / "ca.pem"))))


@pytest.mark.parametrize("token", [token_for("others"), None])
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


def test_frozen_peer_is_given_up(tmp_path, monkeypatch):
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
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()  # else leaving the block would wait without a limit


def test_peer_that_says_that_it_has_no_workers_is_left_alone(peer):
    peer._door._welcome.workers = 0
    with (
        PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, peers_timeout=0.2) as pool,
        pytest.raises(NoPeersError, match="the peer says that it has no workers"),
    ):
        pool.submit(abs, -1).result(PATIENCE)
