"""A quick check whether a peer may be at an address."""

import asyncio
import contextlib
import socket
import threading

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, free_port
from woolexec import Credentials
from woolexec.mesh.client.probe import Prober
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server.peer import Peer


def ask(address, credentials=CREDENTIALS):
    async def main():
        async with asyncio.timeout(PATIENCE):
            return await Prober().why_not(address, credentials)

    return asyncio.run(main())


def with_tls(folder, name="client"):
    made = Authority.make(folder, name=folder.name)
    made.issue("peer")
    made.issue("client")
    return {role: Credentials(tls=Tls(*(str(folder / each) for each in ("ca.pem", f"{role}.pem", f"{role}.key"))))
            for role in ("peer", "client")}  # fmt: skip


def test_something_listens_there(peer, tmp_path):
    assert ask(peer.address) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        assert ask(f"unix:{tmp_path}/socket") is None
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert ask(f"localhost:{listener.getsockname()[1]}") is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "unix:{folder}/nobody",
        "nowhere.invalid:1",
        "h:70000",
        "h:x",
        "h",
        "",
        "unix:",
        "[fe80::1%25lo]:1",
        "\0:1",
        "unix:" + "x" * 200,
    ],
)
def test_nothing_listens_there(tmp_path, address):
    assert "not reachable" in ask(address.format(port=free_port(), folder=tmp_path))


def test_certificate_must_be_from_our_authority(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    given, foreign = with_tls(ours), with_tls(theirs)
    with Peer(1, bind="127.0.0.1:0", credentials=given["peer"]) as peer:
        assert ask(peer.address, given["client"]) is None
        assert "certificate" in ask(peer.address, foreign["client"])


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01" * 30_000], ids=range(3))
def test_listener_that_does_not_speak_tls_is_no_peer(tmp_path, answer):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert "not reachable" in ask(address, with_tls(tmp_path)["client"])
        thread.join(PATIENCE)
