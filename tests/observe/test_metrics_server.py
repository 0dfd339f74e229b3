import socket
import urllib.request

import pytest

pytest.importorskip("prometheus_client")

from woolexec.observe.metric_table import join
from woolexec.observe.metrics_server import MetricsServer


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


def test_one_who_leaves_or_sends_no_request_changes_nothing(capfd):
    with MetricsServer(("127.0.0.1", 0), lambda: join(()), "") as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        for sent in (b"", b"\0\r\n\r\n", b"GET /metrics HTTP/1.1\r\n"):
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(sent)
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            assert answer.status == 200
    assert capfd.readouterr() == ("", "")
