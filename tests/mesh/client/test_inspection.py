import asyncio
from types import SimpleNamespace

import pytest

from tests.mesh.conftest import CREDENTIALS
from tests.tokens import token_for
from woolexec import Credentials, PeerRefusedError
from woolexec.errors import ProtocolError
from woolexec.mesh.client import inspection
from woolexec.mesh.client.inspection import ask
from woolexec.mesh.server.peer import Peer


def test_peer_without_tasks_answers_that_nothing_runs():
    with Peer(1, credentials=CREDENTIALS) as peer:
        assert asyncio.run(ask(peer.address, CREDENTIALS, 1.0)) == ((), 0)


def test_peer_tells_nothing_to_those_without_its_token():
    with Peer(1, credentials=CREDENTIALS) as peer, pytest.raises(PeerRefusedError, match="has not proved"):
        asyncio.run(ask(peer.address, Credentials(token_for("others")), 1.0))


@pytest.mark.parametrize("kind", [ProtocolError, ValueError])
def test_answer_that_makes_no_sense_is_a_refusal(kind, monkeypatch):
    def batch(_):
        raise kind("pieces are missing")

    monkeypatch.setattr(inspection, "Arriving", lambda: SimpleNamespace(batch=batch))
    with (
        Peer(1, credentials=CREDENTIALS) as peer,
        pytest.raises(PeerRefusedError, match="is not valid: pieces are missing"),
    ):
        asyncio.run(ask(peer.address, CREDENTIALS, 1.0))


def test_address_where_nobody_is_is_named(tmp_path):
    with pytest.raises(PeerRefusedError, match="not reachable"):
        asyncio.run(ask(f"unix:{tmp_path}/nobody", CREDENTIALS, 1.0))
