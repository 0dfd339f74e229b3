"""Sockets that are passed to tasks, in programs that do not import `multiprocessing`, which has their reducer."""

import subprocess
import sys

import pytest

SOCKETS = """
import os, socket, sys
from functools import partial
from woolexec import PeerPoolExecutor

def send(to, number):
    to.sendall(b"%d" % number)
    with open(f"here-{number}", "w"):
        pass
    while not os.path.exists(f"here-{1 - number}"):
        pass
    return os.getpid()

def keep(to):
    send.to = to

def send_kept(number):
    return send(send.to, number)

def make():
    here, there = socket.socketpair()
    here.sendall(b"made")
    return there

def is_open(_):
    return lonely.fileno() >= 0

def two(pool, fn):
    assert len(set(pool.map(fn, range(2), chunksize=1))) == 2
    os.unlink("here-0"), os.unlink("here-1")
    assert sorted(reader.recv(2, socket.MSG_WAITALL)) == [48, 49]

def main():
    global reader
    reader, writer = socket.socketpair()
    assert not any(name.startswith("multiprocessing.r") for name in sys.modules)
    if sys.argv[1] == "argument":
        with PeerPoolExecutor(1) as pool:
            pool.submit(socket.socket.sendall, writer, b"argument").result()
            assert pool.submit(make).result().recv(4) == b"made"
            writer.close()
            assert reader.recv(8) == b"argument" and reader.recv(1) == b""  # no process has it any more
    elif sys.argv[1] == "function":
        with PeerPoolExecutor(2) as pool:
            two(pool, partial(send, writer))
            two(pool, lambda number: send(writer, number))
    elif sys.argv[1] == "initializer":
        with PeerPoolExecutor(2, initializer=keep, initargs=(writer,)) as pool:
            two(pool, send_kept)

lonely = socket.socket()
main()
with PeerPoolExecutor(1) as pool:
    print(repr(pool.submit(is_open, 1).exception()))
"""


@pytest.mark.parametrize("way", ["argument", "function", "initializer"])
def test_socket_in_a_program_that_does_not_use_multiprocessing(way, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SOCKETS, way], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "PicklingError(\"'lonely' of is_open is not in this process, because this socket.socket" in ran.stdout
    assert (ran.returncode, ran.stderr) == (0, "")
