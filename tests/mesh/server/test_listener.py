"""A peer listens on, whatever strangers send."""

import os
import socket
import struct
import time

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, free_port, joined
from woolexec.mesh.server import grpc_server, listener
from woolexec.mesh.server.peer import Peer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request(path):
    """The frames of a request for this path."""
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"))
    fields += ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    headers = b"".join(literal(*field) for field in fields)
    return PREFACE + frame(4, 0, 0) + frame(4, 1, 0) + frame(1, 5, 1, headers)


def attack(address, path=b"/\xff"):
    """Send a request as a stranger, and wait until the connection is closed or answered."""
    kind = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    where = address.removeprefix("unix:") if kind == socket.AF_UNIX else ("127.0.0.1", int(address.rpartition(":")[2]))
    with socket.socket(kind) as sock:
        sock.settimeout(0.3)
        sock.connect(where)
        sock.sendall(request(path))
        try:
            while sock.recv(4096):
                pass
        except OSError:
            pass


def accepts(address):
    try:
        attack(address, b"/no.such/Method")
    except OSError:
        return False
    return True


@pytest.fixture
def unknown_grpc(monkeypatch):
    """This grpc is another version, whose accept loop sees each method."""
    monkeypatch.setattr(grpc_server, "_strict_server", lambda *_: None)


@pytest.fixture(params=["tcp", "unix", "without a name for its task"])
def peer(request, unknown_grpc, monkeypatch):
    if request.param == "without a name for its task":
        monkeypatch.setattr(listener, "_ACCEPTING", "some other name")
    bind = None if request.param == "unix" else "127.0.0.1:0"
    with Peer(1, bind=bind, credentials=CREDENTIALS) as peer:
        yield peer


@pytest.mark.slow
def test_path_that_is_not_utf8_ends_no_link_and_others_can_still_come(peer):
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (link,) = pool._peers.links
        for _ in range(3):
            attack(peer.address)
            eventually(lambda: accepts(peer.address))
        with joined(peer, timeout=PATIENCE) as other:
            assert other.submit(abs, -1).result(PATIENCE) == 1
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert pool._peers.links == [link]


def test_unix_socket_that_is_removed_is_made_again():
    with Peer(1, credentials=CREDENTIALS) as peer:
        os.unlink(peer.address.removeprefix("unix:"))
        eventually(lambda: os.path.exists(peer.address.removeprefix("unix:")) and accepts(peer.address))
        with joined(peer, timeout=PATIENCE) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_health_port_listens_again_too(unknown_grpc, caplog):
    health = f"127.0.0.1:{free_port()}"
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS, health=health):
        attack(health)
        eventually(lambda: accepts(health))
    (record,) = [
        record for record in caplog.records if record.name == "woolexec.peer" and record.levelname == "WARNING"
    ]
    assert record.about["event"] == "listening again"
    assert record.about["address"] == health
    assert "UnicodeDecodeError" in record.about["reason"]
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_servers_that_were_replaced_leave_nothing_open(unknown_grpc):
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        attack(peer.address)
        eventually(lambda: accepts(peer.address))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            attack(peer.address)
            eventually(lambda: accepts(peer.address))
        deadline = time.monotonic() + PATIENCE
        while len(os.listdir("/proc/self/fd")) > before + 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before + 3
