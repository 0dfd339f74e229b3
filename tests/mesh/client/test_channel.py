"""Which peers a client connects to, and which it refuses."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.tokens import token_for
from woolexec import Credentials, CredentialsError, NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.errors import PeerRefusedError
from woolexec.mesh.client import channel
from woolexec.mesh.client.channel import is_local, open_channel, resolve, said_in
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server.peer import Peer


@pytest.mark.parametrize("address", ["unix:/run/peer", "127.0.0.1:7437", "127.9.9.9:1", "[::1]:7437", "localhost:7437"])
def test_address_of_this_host_is_local(address):
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.1:7437", "[2001:db8::1]:7437", "0.0.0.0:7437", "localhost.example:7437"])
def test_address_that_others_may_have_is_not_local(address):
    assert not is_local(address)


def test_what_a_server_writes_into_an_error_is_cut_and_can_be_printed():
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, None, None, details="\x1b[2J" + "x" * 5000)
    assert said_in(error) == f"INTERNAL: \\x1b[2J{'x' * 996}... (5004 characters)"
    assert said_in(grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, None, None)) == "UNKNOWN: "


def opening(address, credentials, **more):
    """Open a channel; return it."""

    async def main():
        async with asyncio.timeout(PATIENCE), open_channel(address, credentials, **more) as opened:
            return opened

    return asyncio.run(main())


def test_certificate_that_cannot_be_read_is_named_before_a_connection_is_made(tmp_path):
    with pytest.raises(CredentialsError, match=f"{tmp_path}/ca.pem"):
        opening("192.0.2.1:7437", Credentials(None, Tls(str(tmp_path / "ca.pem"))))


def test_port_with_a_token_shows_a_certificate_that_each_peer_makes_for_itself():
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS)) for _ in range(2)]
        opened = [opening(peer.address, CREDENTIALS) for peer in peers]
    assert {len(each.fingerprint) for each in opened} == {32}
    assert [(each.fingerprint,) for each in opened] == [peer._shown.fingerprints() for peer in peers]
    assert opened[0].fingerprint != opened[1].fingerprint


def test_peer_that_another_one_stands_in_for_after_its_certificate_was_fetched_is_not_reached(monkeypatch):
    fetch = channel._fetch
    with contextlib.ExitStack() as stack:
        right, wrong = (stack.enter_context(Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS)) for _ in range(2))
        monkeypatch.setattr(channel, "_fetch", lambda _, *rest: fetch(right.address, *rest))
        pool = stack.enter_context(PeerPoolExecutor(peers=wrong.address, credentials=CREDENTIALS, peers_timeout=0.5))
        with pytest.raises(NoPeersError, match="not reachable"):
            pool.submit(abs, -1).result(PATIENCE)


def test_client_with_a_token_alone_is_told_that_a_certificate_is_from_an_authority(tmp_path):
    authority = Authority.make(tmp_path, name="theirs")
    authority.issue("peer")
    tls = Tls(None, str(tmp_path / "peer.pem"), str(tmp_path / "peer.key"))
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials(CREDENTIALS.token, tls)) as peer:
        with pytest.raises(PeerRefusedError, match="from an authority: set WOOLEXEC_TLS_CA"):
            opening(peer.address, CREDENTIALS)


def test_certificate_that_is_none_is_refused(monkeypatch):
    async def fetched(*_):
        return [b"\x30\x03xyz"]

    monkeypatch.setattr(channel, "_fetch", fetched)
    with pytest.raises(PeerRefusedError, match="its certificate cannot be read"):
        opening("127.0.0.1:1", CREDENTIALS)


def test_client_with_a_token_sends_nothing_to_a_port_without_tls():
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials()) as plain:
        with pytest.raises(PeerRefusedError, match="the server there does not use TLS"):
            opening(plain.address, CREDENTIALS)


def test_client_without_a_token_does_not_reach_a_port_with_tls():
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        with (
            PeerPoolExecutor(peers=peer.address, credentials=Credentials(), peers_timeout=0.5) as pool,
            pytest.raises(NoPeersError, match=peer.address),
        ):
            pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.parametrize("address", ["127.0.0.1:7437", "[::1]:7437", "[fe80::1%1]:7437", "unix:/run/peer", "no host:1"])
def test_address_that_is_no_name_is_tried_as_it_is(address):
    assert asyncio.run(resolve(address)) == [address]


def test_all_addresses_of_a_name_are_tried(monkeypatch):
    found = [(None, None, None, None, ("::1", 1, 0, 0)), *[(None, None, None, None, ("127.0.0.1", 1))] * 2]

    async def main():
        async def getaddrinfo(*_, **__):
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return await resolve("somewhere:7437")

    assert asyncio.run(main()) == ["[::1]:7437", "127.0.0.1:7437"]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_unix_socket_at_which_another_user_listens_is_refused(tmp_path):
    code = (
        "import os, socket, sys\nos.setgid(65534); os.setuid(65534)\n"
        "sock = socket.socket(fileno=int(sys.argv[1])); sock.listen(); print(flush=True); sys.stdin.read()"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/peer")
        command = [sys.executable, "-c", code, str(sock.fileno())]
        with subprocess.Popen(command, stdin=-1, stdout=-1, pass_fds=[sock.fileno()]) as other:
            other.stdout.readline()
            with pytest.raises(PeerRefusedError, match=r"another user \(uid 65534\) listens there"):
                opening(f"unix:{tmp_path}/peer", CREDENTIALS)
            other.stdin.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
@pytest.mark.parametrize("what", ["folder", "socket"])
def test_unix_socket_that_belongs_to_another_user_is_refused(tmp_path, what):
    with Peer(1, bind=f"unix:{tmp_path}/peer", credentials=CREDENTIALS) as peer:
        os.chown(tmp_path if what == "folder" else tmp_path / "peer", 65534, 65534)
        with pytest.raises(PeerRefusedError, match=f"must be a {what} of this user"):
            opening(peer.address, CREDENTIALS)
        os.chown(tmp_path, 0, 0)


def test_unix_socket_in_a_folder_that_others_can_change_is_refused(tmp_path):
    with Peer(1, bind=f"unix:{tmp_path}/peer", credentials=CREDENTIALS) as peer:
        for mode in (0o777, 0o770, 0o720, 0o702):
            tmp_path.chmod(mode)
            with pytest.raises(PeerRefusedError, match="must be a folder of this user that no other user can replace"):
                opening(peer.address, CREDENTIALS)
        tmp_path.chmod(0o700)
        opening(peer.address, CREDENTIALS)


def test_unix_socket_behind_a_link_is_refused(tmp_path):
    with Peer(1, bind=f"unix:{tmp_path}/peer", credentials=CREDENTIALS):
        (tmp_path / "link").symlink_to("peer")
        with pytest.raises(PeerRefusedError, match="must be a socket of this user"):
            opening(f"unix:{tmp_path}/link", CREDENTIALS)


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


@pytest.mark.slow
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
                os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # else it may still pass on an outcome
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


@pytest.mark.parametrize(("workers", "said"), [(0, "no"), (1 << 31, "2147483648")])
def test_peer_that_says_that_it_has_a_number_of_workers_that_none_has_is_left_alone(peer, workers, said):
    peer._door._welcome.workers = workers
    with (
        PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, peers_timeout=2.0) as pool,
        pytest.raises(NoPeersError, match=f"the peer reports {said} workers"),
    ):
        pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.parametrize("address", ["a..b:1", f"{'x' * 70}.example:1", "a\0b:1", "unix:\0x", "unix:/tmp/a\0b"])
def test_address_with_a_name_that_nobody_has_is_refused_like_any_that_cannot_be_reached(address):
    assert asyncio.run(resolve(address)) == [address]
    with pytest.raises(PeerRefusedError, match="not reachable"):
        opening(address, CREDENTIALS)


@pytest.mark.parametrize("port", ["65536", "99999", "9" * 30, "9" * 5000, "-1", "x", ""])
def test_port_that_there_is_not_is_said_like_any_address_that_is_none(port):
    for host in ("127.0.0.1", "localhost", "[::1]"):
        address = f"{host}:{port}"
        assert asyncio.run(resolve(address)) == [address]
        with pytest.raises(PeerRefusedError, match="is not an address"):
            opening(address, CREDENTIALS)
