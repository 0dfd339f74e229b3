"""A peer keeps listening, whatever unauthenticated clients send."""

import asyncio
import os
import socket
import struct
import time
from types import SimpleNamespace

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


def events(caplog, event):
    """What a peer has logged of events of this kind."""
    said = [record.about for record in caplog.records if record.name == "woolexec.peer"]
    return [about for about in said if about["event"] == event]


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


@pytest.fixture(params=["known", "without a name for its task"])
def peer(request, unknown_grpc, monkeypatch):
    if request.param == "without a name for its task":
        monkeypatch.setattr(listener, "_ACCEPTING", "some other name")
    with Peer(1, credentials=CREDENTIALS) as peer:  # at a Unix socket, where strangers need no TLS
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


class OtherGrpc:
    """A server of a grpc in which a server of our own kind ends at once."""

    def __init__(self, made, is_ordinary):
        made.put_nowait("ordinary" if is_ordinary else "strict")
        self._may_last = is_ordinary

    def add_insecure_port(self, _address):
        return 1

    async def _server_main_loop(self):
        if not self._may_last:
            raise TypeError("other arguments")
        await asyncio.get_running_loop().create_future()

    async def start(self):
        self._accepting = asyncio.create_task(self._server_main_loop())

    async def stop(self, _grace):
        self._accepting.cancel()
        await asyncio.wait({self._accepting})


def test_server_that_ends_in_a_grpc_that_we_do_not_know_is_followed_by_an_ordinary_one():
    """One of ours would end in the same way, again and again."""

    async def run():
        made = asyncio.Queue()
        log = SimpleNamespace(listening_again=lambda *said: said)
        each = listener.Listener("127.0.0.1:1", lambda _, is_ordinary: OtherGrpc(made, is_ordinary), {}, None, log)
        await each.start()
        watching = asyncio.create_task(each.watch())
        assert [await made.get(), await made.get()] == ["strict", "ordinary"]
        await asyncio.sleep(0)  # it is started
        each._accepting.cancel()
        assert await made.get() == "ordinary"  # also when that has ended
        watching.cancel()
        await each.stop(0)

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_health_port_listens_again_too(unknown_grpc, caplog):
    health = f"127.0.0.1:{free_port()}"
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS, health=health):
        attack(health)
        eventually(lambda: accepts(health))
    (about,) = events(caplog, "listening again")
    assert about["address"] == health
    assert "UnicodeDecodeError" in about["reason"]
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_servers_that_were_replaced_leave_nothing_open(unknown_grpc, caplog):
    health = f"127.0.0.1:{free_port()}"
    with Peer(1, credentials=CREDENTIALS, health=health):
        attack(health)
        eventually(lambda: accepts(health))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            attack(health)
            eventually(lambda: accepts(health))
        assert len(events(caplog, "listening again")) == 4
        deadline = time.monotonic() + PATIENCE
        while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before
