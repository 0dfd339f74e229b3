"""
Relays between a client and a peer: forwarding bytes works, and a relay that terminates TLS learns nothing.

The client asks for a host name with two addresses, of which the relay has one and the peer the other, on the same port.
"""

import asyncio
import contextlib
import ssl
import threading

import grpc
import grpc.aio
import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from tests.tokens import token_for
from woolexec import Credentials, NoPeersError, PeerPoolExecutor
from woolexec.mesh.client import attempts
from woolexec.mesh.link.outbox import HELLO, OPTIONS
from woolexec.mesh.security.self_signed import SELF_SIGNED, SelfSigned
from woolexec.mesh.server.peer import Peer

SECRET = b"what only the peer may see"
HERE = "127.0.0.2"
"""An address of this host that the relay has; the peer has 127.0.0.1."""


@contextlib.contextmanager
def running(main):
    """Run an async context manager in a thread of its own; yield what it yields."""
    ready, over, given = threading.Event(), threading.Event(), []

    async def run():
        async with main() as value:
            given.append(value)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield given[0]
    finally:
        over.set()
        thread.join(PATIENCE)


@contextlib.asynccontextmanager
async def forwarder(address, seen):
    """Pass bytes on, as `ssh -L`, NAT and services of Kubernetes do."""
    host, _, port = address.rpartition(":")
    tasks = set()

    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                seen.extend(data)
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def accept(*ours):
        theirs = await asyncio.open_connection(host, int(port))
        tasks.update(map(asyncio.ensure_future, (copy(ours[0], theirs[1]), copy(theirs[0], ours[1]))))

    server = await asyncio.start_server(accept, HERE, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports close in the loop


class Relay(grpc.GenericRpcHandler):
    """Ends the channel, and passes on the metadata and the messages of each call."""

    def __init__(self, upstream, seen):
        self._upstream, self._seen = upstream, seen

    def service(self, details):
        async def handle(_, context):
            await self._pass_on(details.method, context)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _pass_on(self, method, context):
        ours = [item for item in context.invocation_metadata() if item[0].startswith("woolexec")]
        self._seen += [method, *ours]
        call = self._upstream.stream_stream(method)(metadata=ours)
        if method == HELLO:
            context.set_trailing_metadata([item for item in await call.trailing_metadata() if "woolexec" in item[0]])
            return
        answer = [item for item in await call.initial_metadata() if "woolexec" in item[0]]
        self._seen += answer
        if not answer:
            await context.abort(await call.code(), await call.details())
        await context.send_initial_metadata(answer)
        while (data := await context.read()) is not grpc.aio.EOF:
            self._seen.append(data)
            await call.write(data)


@contextlib.asynccontextmanager
async def relay(address, seen, port, *, shows=True, speaks=True):
    """
    Relay calls.

    :param shows: whether the relay uses TLS, with a certificate of its own; it has no other
    :param speaks: whether the peer does
    """
    upstream = grpc.aio.insecure_channel(address, options=OPTIONS)
    if speaks:
        host, _, number = address.rpartition(":")
        only = await asyncio.to_thread(ssl.get_server_certificate, (host, int(number)))
        upstream = grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(only.encode()),
            options=[*OPTIONS, ("grpc.ssl_target_name_override", SELF_SIGNED)],
        )
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Relay(upstream, seen),))
    where = f"{HERE}:{port}"
    server.add_secure_port(where, SelfSigned.make().server()) if shows else server.add_insecure_port(where)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
        await upstream.close()


@pytest.fixture
def peer():
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS) as peer:
        yield peer


@pytest.fixture
def two_addresses(monkeypatch):
    """Host names have the relay's address first, then the peer's."""

    async def both(address):
        port = address.rpartition(":")[2]
        return [f"{HERE}:{port}", f"127.0.0.1:{port}"] if address.startswith("host:") else [address]

    monkeypatch.setattr(attempts, "resolve", both)


def test_forwarder_of_bytes_is_no_hindrance_and_sees_nothing(peer):
    seen = bytearray()
    with running(lambda: forwarder(peer.address, seen)) as port:
        with PeerPoolExecutor(peers=f"{HERE}:{port}", credentials=CREDENTIALS) as pool:
            assert pool.submit(len, SECRET).result(PATIENCE) == len(SECRET)
    assert len(seen) > 1000
    assert SECRET not in seen


def test_forwarder_in_front_of_certificates_of_an_authority_with_a_token_is_no_hindrance(tmp_path):
    from woolexec.mesh.security.certificate_authority import Authority

    authority = Authority.make(tmp_path, name="theirs")
    for role in ("peer", "client"):
        authority.issue(role)
    ours, theirs = (
        Credentials.from_files(None, *(str(tmp_path / name) for name in ("ca.pem", f"{role}.pem", f"{role}.key")))
        for role in ("client", "peer")
    )
    both = [Credentials(CREDENTIALS.token, each.tls) for each in (ours, theirs)]
    with Peer(1, bind="127.0.0.1:0", credentials=both[1]) as peer:
        with running(lambda: forwarder(peer.address, bytearray())) as port:
            with PeerPoolExecutor(peers=f"{HERE}:{port}", credentials=both[0]) as pool:
                assert pool.submit(len, SECRET).result(PATIENCE) == len(SECRET)


@pytest.mark.usefixtures("two_addresses")
@pytest.mark.parametrize("shows", [True, False], ids=["TLS", "plain"])
def test_relay_that_ends_the_channel_sees_no_task_and_the_peer_is_found_behind_it(peer, shows):
    port, seen = int(peer.address.rpartition(":")[2]), []
    with running(lambda: relay(peer.address, seen, port, shows=shows)):
        with PeerPoolExecutor(peers=f"host:{port}", credentials=CREDENTIALS) as pool:
            assert pool.submit(len, SECRET).result(PATIENCE) == len(SECRET)
    assert (HELLO in seen) == shows  # the client has tried it
    assert not [each for each in seen if isinstance(each, bytes)]  # no message passed


def test_relay_alone_is_refused_and_no_client_enters_the_peer(peer):
    seen = []
    with running(lambda: relay(peer.address, seen, int(peer.address.rpartition(":")[2]))) as port:
        with PeerPoolExecutor(peers=f"{HERE}:{port}", credentials=CREDENTIALS, peers_timeout=0.5) as pool:
            with pytest.raises(NoPeersError, match="something between the two ends TLS"):
                pool.submit(len, SECRET).result(PATIENCE)
    assert not peer.clients
    assert not [each for each in seen if isinstance(each, bytes)]


def test_peer_of_others_gets_no_task():
    own = Credentials(token_for("others"))
    with Peer(1, bind=f"{HERE}:0", credentials=own) as rogue:
        with PeerPoolExecutor(peers=rogue.address, credentials=CREDENTIALS, peers_timeout=0.5) as pool:
            with pytest.raises(NoPeersError, match="has not proved that it has the token"):
                pool.submit(len, SECRET).result(PATIENCE)
        eventually(lambda: not rogue.clients)
        assert not rogue.engine.pids
