"""
Compressed messages: refused by both ends before anything is decompressed, whether or not their sender is trusted.

Parts of large payloads are compressed between hosts that both have a format for it, and decompressed within limits.
"""

import contextlib
import gzip
import socket
import subprocess
import sys
from concurrent.futures import wait

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.test_floods import (
    ACK,
    CHECK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    MIB,
    RST_STREAM,
    SETTINGS,
    Stranger,
    bounded,
    field,
    frame,
    request,
    serving,
)
from woolexec import PeerPoolExecutor
from woolexec.core.compressing import Compressing, Trial
from woolexec.mesh.client import channel as channel_module
from woolexec.mesh.link import arriving
from woolexec.mesh.link.compression import Packing, decompress, formats
from woolexec.mesh.server import peer as peer_module
from woolexec.mesh.server.peer import Peer
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import encode

pytestmark = pytest.mark.linux


def compressing(options, algorithm):
    """The options of somebody who compresses what is sent."""
    ours = {"grpc.compression_enabled_algorithms_bitset", "grpc.max_send_message_length"}
    return [
        *(option for option in options if option[0] not in ours),
        ("grpc.default_compression_algorithm", algorithm),
        ("grpc.max_send_message_length", -1),
    ]


ALGORITHMS = pytest.mark.parametrize("algorithm", [1, 2], ids=["deflate", "gzip"])


@ALGORITHMS
def test_client_that_compresses_is_refused(peer, monkeypatch, algorithm):
    monkeypatch.setattr(channel_module, "_OPTIONS", compressing(channel_module._OPTIONS, algorithm))
    with PeerPoolExecutor(0, peers=peer.address, credentials=CREDENTIALS) as pool:
        eventually(lambda: "is disabled" in pool._peers.explain())


@ALGORITHMS
def test_peer_that_compresses_is_refused(monkeypatch, algorithm):
    monkeypatch.setattr(peer_module, "OPTIONS", compressing(peer_module.OPTIONS, algorithm))
    with Peer(1, credentials=CREDENTIALS) as peer:
        monkeypatch.undo()
        with PeerPoolExecutor(0, peers=peer.address, credentials=CREDENTIALS) as pool:
            eventually(lambda: "is disabled" in pool._peers.explain())


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [b"gzip", b"identity", None])
def test_bomb_costs_a_peer_no_memory(encoding):
    bomb = gzip.compress(bytes(256 * MIB))
    with serving() as peer, Stranger(peer.address) as stranger, bounded(peer):
        more = () if encoding is None else ((b"grpc-encoding", encoding),)
        stranger.say(frame(HEADERS, END_HEADERS, 1, request(CHECK, *more)))
        said = b"\1" + len(bomb).to_bytes(4) + bomb
        for start in range(0, len(said), 1 << 14):
            stranger.say(frame(DATA, int(start + (1 << 14) >= len(said)), 1, said[start : start + (1 << 14)]))
        stranger.hear(HEADERS, RST_STREAM, GOAWAY)  # it has been refused, or passed on as it is to who does not read it


def test_links_still_work_beside_that(peer):
    with joined(peer) as pool:
        assert pool.submit(bytes, 3 * MIB).result(20) == bytes(3 * MIB)


CLIENT = """
import re, sys
from pathlib import Path
from tests.mesh.conftest import CREDENTIALS, eventually
from woolexec import PeerPoolExecutor

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

with PeerPoolExecutor(0, peers="unix:" + sys.argv[1] + "-nobody", credentials=CREDENTIALS) as pool:
    eventually(lambda: "not reachable" in pool._peers.explain())
before = peak()
with PeerPoolExecutor(0, peers="unix:" + sys.argv[1], credentials=CREDENTIALS) as pool:
    sys.stdin.readline()
    print(peak() - before, pool._peers.explain())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [field(b"k", b"v") * 3_000, b"\xbe" * 15_000, b"\0\x01k\x7f" + b"\xff" * 3 + b"\x01" + b"v" * 15_000],
    ids=["fields", "references", "value"],
)
def test_headers_of_a_peer_without_end_cost_a_client_no_memory(more, tmp_path):
    remembered = field(b"k", b"v" * 3_900, b"\x40")  # what the references refer to: a bomb, if it were unpacked
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "peer"))
        listener.listen()
        command = [sys.executable, "-c", CLIENT, str(tmp_path / "peer")]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as client:
            listener.settimeout(PATIENCE)
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                sock.settimeout(PATIENCE)
                sock.sendall(frame(SETTINGS) + frame(SETTINGS, ACK))
                while (part := sock.recv(1 << 16)) and b"application/grpc" not in part:
                    pass  # until its call has come
                sock.sendall(frame(HEADERS, 0, 1, field(b":status", b"200") + remembered))
                for _ in range(2_000):
                    sock.sendall(frame(CONTINUATION, 0, 1, more))
            said, _ = client.communicate("go on\n", timeout=PATIENCE)
    grown, _, reason = said.partition(" ")
    assert int(grown) < 32 * MIB
    assert reason.strip()


TEXT = b"".join(b"%d is %d\n" % (number, number * number) for number in range(200_000))[: 3 * MIB]


def size_of(data):
    return len(data)


@pytest.fixture
def compressed(monkeypatch):
    """Compressing pays on every link; the compressed parts that this process has received."""
    if not formats("auto"):
        pytest.skip("neither zstd nor lz4 is installed")
    parts = []

    def decompress_and_note(part, offered):
        data = decompress(part, offered)
        if part.compression:
            parts.append(part)
        return data

    monkeypatch.setattr(Compressing, "pays", lambda *_: True)
    monkeypatch.setattr(arriving, "decompress", decompress_and_note)
    return parts


def test_large_payloads_are_compressed_both_ways_between_hosts(apart, compressed, peer):
    with joined(peer) as pool:
        assert pool.submit(bytes.upper, TEXT).result(PATIENCE) == TEXT.upper()
    assert sum(part.size for part in compressed) >= 2 * len(TEXT)
    assert sum(len(part.data) for part in compressed) < len(TEXT)


def test_values_are_compressed_from_peer_to_peer(apart, compressed):
    with Peer(1, credentials=CREDENTIALS) as one, Peer(1, credentials=CREDENTIALS) as two, joined(one, two) as pool:
        names = [link.name for link in pool._peers.links]
        kept = pool.with_options(keep=True, at=names[0]).submit(bytes.upper, TEXT)
        wait([kept], PATIENCE)
        compressed.clear()
        assert pool.with_options(at=names[1]).submit(size_of, kept).result(PATIENCE) == len(TEXT)
        assert sum(part.size for part in compressed) >= len(TEXT)


def test_nothing_is_compressed_on_one_host(compressed, peer):
    with joined(peer) as pool:
        assert pool.submit(bytes.upper, TEXT).result(PATIENCE) == TEXT.upper()
        [link] = pool._peers.links
        [served] = peer._acceptor.served
        for outbox in (link._outbox, served.outbox):
            outbox.passage.give = lambda _: 0  # no room for descriptors: payloads travel in parts
        assert pool.submit(bytes.upper, TEXT).result(PATIENCE) == TEXT.upper()
    assert compressed == []


@pytest.mark.parametrize("ours", ["off", None])
def test_client_can_say_no(apart, compressed, peer, ours):
    with PeerPoolExecutor(0, peers=peer.address, credentials=CREDENTIALS, compression=ours) as pool:
        assert pool.submit(bytes.upper, TEXT).result(PATIENCE) == TEXT.upper()
    assert compressed == []


def test_peer_can_say_no(apart, compressed):
    with Peer(1, credentials=CREDENTIALS, compression="off") as peer, joined(peer) as pool:
        assert pool.submit(bytes.upper, TEXT).result(PATIENCE) == TEXT.upper()
    assert compressed == []


def test_format_that_there_is_not_is_an_error_at_once(peer):
    with pytest.raises(ValueError, match="compression must be"):
        PeerPoolExecutor(0, peers=peer.address, credentials=CREDENTIALS, compression="gzip")


@pytest.mark.parametrize("lie", [{"size": 5}, {"size": 1 << 31}, {"data": b"no frame"}, {"compression": 9}])
def test_client_that_lies_about_a_part_loses_its_link_and_nobody_else(apart, compressed, peer, lie):
    with joined(peer) as pool, joined(peer) as other:
        link = pool._peers.links[0]
        [part] = decode(Packing(formats("auto"), formats("auto")).part(77, TEXT[: MIB // 2], Trial()), 0)
        for name, value in lie.items():
            setattr(part, name, value)
        pool._engine._loop.tell(lambda: link.send(encode(part)))
        eventually(lambda: "compressed" in pool._peers.explain() or link not in pool._peers.links)
        assert other.submit(abs, -1).result(PATIENCE) == 1
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # over another link
