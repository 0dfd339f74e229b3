"""Clients without the token of a peer: they are refused before anything is read, and no other client is affected."""

import contextlib
import random
import socket
import ssl

import grpc
import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec.mesh.client.channel import any_certificate
from woolexec.mesh.link.outbox import HELLO, LINK
from woolexec.mesh.security.handshake import HELLO_KEY, Caller
from woolexec.mesh.security.self_signed import SELF_SIGNED
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def peer():
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        yield peer


@pytest.fixture
def channel(peer):
    made = grpc.ssl_channel_credentials(peer._shown.certificate)
    with grpc.secure_channel(peer.address, made, [("grpc.ssl_target_name_override", SELF_SIGNED)]) as channel:
        yield channel


def refused(call):
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value.code()


def speak(peer, data, *, tls):
    """Send bytes, and return what comes until the other end closes."""
    host, _, port = peer.address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as raw:
        sock = any_certificate().wrap_socket(raw) if tls else raw
        with sock:
            sock.sendall(data)
            if not tls:
                sock.shutdown(socket.SHUT_WR)
            heard = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # how it closes does not matter
                while part := sock.recv(4096):
                    heard += part
            return heard


@pytest.mark.matrix
@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\nUpgrade: h2c\r\n\r\n",
        (
            b"POST /woolexec.v1.Peer/Link HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        ),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        random.Random(0).randbytes(4096),
    ],
    ids=["get", "foreign host", "json post", "tls", "noise"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["as it is", "within TLS"])
def test_what_is_no_http2_is_closed_and_nothing_runs(peer, request_, tls):
    assert b"200" not in speak(peer, request_, tls=tls)
    assert not peer.engine.pids
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize("value", [None, b"", b"\xff" * 100, random.Random(0).randbytes(4000)], ids=range(4))
@pytest.mark.parametrize("method", [HELLO, LINK])
def test_greeting_that_is_none_is_refused(channel, method, value):
    metadata = () if value is None else ((HELLO_KEY, value),)
    code = refused(channel.stream_stream(method)(iter(()), metadata=metadata, timeout=PATIENCE))
    assert code in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED}


def test_link_without_a_welcome_is_refused_and_its_messages_are_not_read(channel, peer):
    hello = Caller(CREDENTIALS.token).hello
    messages = iter([b"\xff" * (1 << 20)] * 64)
    call = channel.stream_stream(LINK)(messages, metadata=((HELLO_KEY, hello),), timeout=PATIENCE)
    assert refused(call) is grpc.StatusCode.UNAUTHENTICATED
    assert peer.clients == 0


def test_too_much_metadata_is_refused(channel):
    metadata = tuple((f"key-{number}", "x" * 100) for number in range(10_000))
    code = refused(channel.stream_stream(HELLO)(iter(()), metadata=metadata, timeout=PATIENCE))
    assert code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}


@pytest.mark.slow
def test_flood_of_greetings_does_not_stop_others(channel, peer):
    hello = Caller(CREDENTIALS.token).hello
    calls = [
        channel.stream_stream(HELLO)(iter(()), metadata=((HELLO_KEY, hello),), timeout=PATIENCE) for _ in range(300)
    ]
    with joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
    for call in calls:
        call.cancel()


def test_other_services_are_not_there(channel):
    for method in ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/woolexec.v1.Peer/Statistics"):
        assert refused(channel.stream_stream(method)(iter(()), timeout=PATIENCE)) is grpc.StatusCode.UNIMPLEMENTED
