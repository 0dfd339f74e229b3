import contextlib
import os
import socket
import urllib.request

import pytest

pytest.importorskip("prometheus_client")

from woolexec.observe.metric_table import join
from woolexec.observe.metrics_server import _HEAD, _WAITING, MetricsServer


def test_metrics_are_served_until_it_is_left():
    with MetricsServer(("127.0.0.1", 0), lambda: join(()), "1.2.3") as server:
        assert server.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert b'version="1.2.3"' in answer.read()
        port = int(server.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10)


def test_an_address_that_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        MetricsServer(taken.getsockname(), lambda: join(()), "")


def opened(server):
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    return socket.create_connection(("127.0.0.1", port), 10)


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: a\r\n" * 100])
def test_one_who_is_slow_keeps_nobody_waiting_and_the_server_ends(sent):
    with contextlib.ExitStack() as slow:
        with MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server:
            for _ in range(3):
                slow.enter_context(opened(server)).sendall(sent)
            with urllib.request.urlopen(server.url, timeout=10) as answer:
                assert answer.status == 200


def test_request_that_comes_byte_by_byte_is_answered():
    with MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server, opened(server) as sock:
        for byte in b"GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n":
            sock.sendall(bytes([byte]))
        with sock.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"200"


def test_those_who_send_no_request_make_room_for_others():
    with contextlib.ExitStack() as idle, MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server:
        before = len(os.listdir("/proc/self/fd"))
        socks = [idle.enter_context(opened(server)) for _ in range(3 * _WAITING)]
        assert socks[0].recv(1) == b""  # the oldest was closed
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert answer.status == 200
        assert len(os.listdir("/proc/self/fd")) <= before + len(socks) + _WAITING


def test_head_without_end_is_not_kept():
    with MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server, opened(server) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * _HEAD)
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 16):
                pass


def test_one_who_leaves_or_sends_no_request_changes_nothing(capfd):
    with MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        for sent in (b"", b"\0\r\n\r\n", b"GET /metrics HTTP/1.1\r\n"):
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(sent)
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert answer.status == 200
    assert capfd.readouterr() == ("", "")
