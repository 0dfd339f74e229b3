"""Calls of unknown methods, and paths that are not valid text, do not reach the loop that accepts calls."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, free_port, joined
from tests.mesh.server.test_listener import request
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.server import grpc_server
from woolexec.mesh.server.grpc_server import make_server
from woolexec.mesh.server.peer import Peer

HEADERS, RST_STREAM, GOAWAY = 1, 3, 7
PATHS = [b"/\xff", b"/woolexec.v1.Peer/\xed\xa0\x80", b"/woolexec.v1.Peer/Li\xffnk", b"", b"/no.such/Method"]


async def probe(request, context):
    context.set_trailing_metadata((("answer", "42"),))


def asked(do):
    """What `do` returns of a channel to a server with one method, which has been started."""
    grpc = load_grpc()

    async def run():
        server = make_server(grpc, [], {"a.Service": {"Probe": grpc.stream_stream_rpc_method_handler(probe)}})
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await asyncio.wait_for(do(channel, port), PATIENCE)
        finally:
            await server.stop(0)

    return asyncio.run(run())


async def answer_of(channel, _port):
    return dict(await channel.stream_stream("/a.Service/Probe")().trailing_metadata())["answer"]


@pytest.fixture(params=["strict", "ordinary"])
def server(request, monkeypatch):
    if request.param == "ordinary":
        monkeypatch.setattr(grpc_server, "_strict_server", lambda *_: None)


def test_method_of_a_service_is_called(server):
    assert asked(answer_of) == "42"


def test_method_that_there_is_not_is_refused(server):
    grpc = load_grpc()

    async def refused(channel, _port):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a.Service/Other")(b"")
        return caught.value.code()

    assert asked(refused) is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_that_is_made_in_another_way_gets_an_ordinary_server(monkeypatch):
    monkeypatch.setattr(grpc_server, "_kind_of", lambda _: lambda: None)  # other arguments: a TypeError
    assert asked(answer_of) == "42"


def test_loop_that_is_given_no_call_ends_instead_of_asking_for_ever():
    class Base:
        _request_registered_call = None

        async def _request_call(self):
            return None

    cygrpc = SimpleNamespace(AioServer=Base, _ServicerContext=lambda *_: None)
    kind = grpc_server._kind_of.__wrapped__(SimpleNamespace(_cython=SimpleNamespace(cygrpc=cygrpc)))
    with pytest.raises(TypeError, match="returned none"):
        asyncio.run(kind()._request_call())


def test_this_grpc_is_one_that_we_know():
    async def kind():
        return grpc_server._strict_server(load_grpc(), [])

    assert asyncio.run(kind()) is not None


def answer_to(address, path):
    """The kind of the frame by which a peer ends a stranger's request."""
    kind = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    where = address.removeprefix("unix:") if kind == socket.AF_UNIX else ("127.0.0.1", int(address.rpartition(":")[2]))
    with socket.socket(kind) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(where)  # a ConnectionRefusedError if nobody listens
        sock.sendall(request(path))
        with sock.makefile("rb") as heard:
            while head := heard.read(9):
                heard.read(int.from_bytes(head[:3], "big"))
                if int.from_bytes(head[5:], "big") == 1 or head[3] == GOAWAY:
                    return head[3]
    return GOAWAY


def test_listener_is_the_same_whatever_paths_strangers_ask_for(caplog):
    health = f"127.0.0.1:{free_port()}"
    with Peer(1, bind=None, credentials=CREDENTIALS, health=health) as peer:
        for address in (peer.address, health):
            for path in PATHS:
                assert answer_to(address, path) in (HEADERS, RST_STREAM, GOAWAY)
        with joined(peer, timeout=PATIENCE) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
