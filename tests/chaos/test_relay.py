import contextlib
import socket
import threading

import pytest

from tests.chaos.relay import Relay

PATIENCE = 20.0


@pytest.fixture
def echoing():
    """Serve at a port, where each connection gets back what it sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=echo, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=serve)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join()


def echo(connection):
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            connection.sendall(data)


@pytest.fixture
def relay(echoing):
    with Relay(echoing) as relay:
        yield relay


def connect(relay):
    return socket.create_connection(("127.0.0.1", relay.port), PATIENCE)


def receive(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(1 << 16)
        assert part, "the connection ended"
        data += part
    return data


def test_bytes_pass_in_both_directions(relay):
    data = bytes(range(256)) * 1000
    with connect(relay) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert receive(sock, len(data)) == data
        sender.join()
    assert relay.passed >= 2 * len(data) - (1 << 16)


def test_nothing_passes_a_silent_way_until_it_is_mended(relay):
    with connect(relay) as sock:
        sock.sendall(b"a")
        assert receive(sock, 1) == b"a"
        relay.silence()
        sock.sendall(b"b")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        relay.mend()
        sock.settimeout(PATIENCE)
        assert receive(sock, 1) == b"b"


def test_connections_are_reset_by_a_cut_and_new_ones_until_it_is_mended(relay):
    with connect(relay) as sock:
        sock.sendall(b"a")
        assert receive(sock, 1) == b"a"
        relay.cut()
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
    with connect(relay) as sock, contextlib.suppress(ConnectionError):
        assert sock.recv(1) == b""
    relay.mend()
    with connect(relay) as sock:
        sock.sendall(b"c")
        assert receive(sock, 1) == b"c"


def test_connection_ends_when_nothing_listens_behind_the_relay(echoing):
    with Relay(echoing) as relay:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            relay.target = unused.getsockname()[1]
            with connect(relay) as sock, contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
