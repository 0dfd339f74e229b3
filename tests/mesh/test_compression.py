"""Compressed messages: refused by both ends before anything is decompressed, whether or not their sender is trusted."""

import contextlib
import gzip
import socket
import subprocess
import sys

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
from woolexec.mesh.client import channel as channel_module
from woolexec.mesh.server import peer as peer_module
from woolexec.mesh.server.peer import Peer

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
