"""A peer fetches a value from another one, with a link of its own."""

import asyncio
import os
import socket

import pytest

from tests.mesh.conftest import CREDENTIALS
from tests.tokens import token_for
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.link import fd_passing
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import Tls
from woolexec.mesh.server import fetching, kept_values
from woolexec.mesh.server.fetching import Fetching, NotFetchedError
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Pull
from woolexec.wire.values import Value

DATA = os.urandom(3 << 20)


@pytest.fixture
def key(monkeypatch):
    """The key of a value that stays in this process."""
    value = Value(DATA)
    kept_values._by_key[b"key"] = value
    yield b"key"
    del value


def fetch(peer, credentials=CREDENTIALS, **changes):
    asked = {"value": 7, "key": b"key", "address": peer.address, "identity": peer.identity, **changes}
    return asyncio.run(Fetching(credentials).fetch(Pull(**asked)))


@pytest.mark.parametrize("bind", [None, "127.0.0.1:0", "localhost:0"])
@pytest.mark.parametrize("is_apart", [False, True])
def test_value_is_fetched_whole(monkeypatch, key, bind, is_apart):
    if is_apart:
        monkeypatch.setattr(fd_passing, "boot_id", str)
    with Peer(1, credentials=CREDENTIALS, **({} if bind is None else {"bind": bind})) as peer:
        payload = fetch(peer)
        data = payload if isinstance(payload, bytes) else bytes(payload.load()[0])
        assert data == DATA


def test_peers_know_each_other_by_their_own_certificates(tmp_path, key):
    authority = Authority.make(tmp_path, name="ours")
    for role in ("peer", "client"):
        authority.issue(role)
    ours, theirs = (
        Credentials(tls=Tls(*(str(tmp_path / name) for name in ("ca.pem", f"{role}.pem", f"{role}.key"))))
        for role in ("peer", "client")
    )
    with Peer(1, bind="127.0.0.1:0", credentials=ours) as peer:
        assert len(fetch(peer, ours)) == len(DATA)
        with PeerPoolExecutor(peers=peer.address, credentials=theirs) as pool:
            assert pool.submit(abs, -1).result(20) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key": b"other"}, "does not have the value"),
        ({"key": b""}, "does not have the value"),
        ({"identity": "other"}, "another peer is there"),
        ({"address": "127.0.0.1:1"}, "not reachable"),
        ({"address": "nonsense"}, "not"),
        ({"address": "unix:/nowhere/at/all"}, "not reachable"),
    ],
)
def test_what_cannot_be_fetched_says_why(peer, key, changes, why):
    with pytest.raises(NotFetchedError, match=why):
        fetch(peer, **changes)


def test_peer_with_another_token_is_not_asked(peer, key):
    with pytest.raises(NotFetchedError):
        fetch(peer, Credentials(token=token_for("others")))


def test_peer_that_does_not_answer_is_given_up(monkeypatch, key):
    monkeypatch.setattr(fetching, "_GREETING", 0.2)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        pull = Pull(value=7, key=b"key", address=f"127.0.0.1:{silent.getsockname()[1]}", identity="x")
        with pytest.raises(NotFetchedError, match="no answer"):
            asyncio.run(Fetching(CREDENTIALS).fetch(pull))


def test_value_that_was_dropped_is_not_there(peer):
    kept_values._by_key[b"key"] = Value(DATA)  # nobody else has it
    with pytest.raises(NotFetchedError, match="does not have the value"):
        fetch(peer)
