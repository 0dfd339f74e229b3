import asyncio
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.mesh.conftest import CREDENTIALS, free_port
from tests.tokens import token_for
from woolexec import Credentials, cli
from woolexec.mesh.client import between
from woolexec.mesh.client.between import UsablePeer, barriers
from woolexec.mesh.client.doctor import look
from woolexec.mesh.server import fetching
from woolexec.mesh.server.peer import Peer
from woolexec.wire.wire_pb2 import Welcome


@pytest.fixture
def two():
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS)) for _ in range(2)]
        yield [known(peer.address) for peer in peers]


def known(address):
    return UsablePeer(address, asyncio.run(look(address, CREDENTIALS)), CREDENTIALS)


def told(*peers):
    return [(peer.address, other.address, reason) for peer, other, reason in asyncio.run(barriers(peers))]


def test_peers_that_reach_each_other_are_no_trouble(two):
    assert told(*two) == []
    assert told(*two, two[0]) == []  # found in two ways
    assert told(two[0]) == []


def test_peer_that_cannot_be_reached_is_named_with_the_reason(two):
    one, other = two
    away = replace(other, address=f"127.0.0.1:{free_port()}")
    found = told(one, away)
    assert [pair for *pair, _ in found] == [[one.address, away.address], [away.address, one.address]]
    assert "not reachable: Connect call failed" in found[0][2] or "refused" in found[0][2]


def test_nobody_but_the_peer_that_was_named_is_taken_for_it(two):
    one, other = two
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials(token_for("others"))) as stranger:
        for address, reason in ((one.address, "another peer is there"), (stranger.address, "token")):
            found = told(one, replace(other, address=address))
            assert reason in found[0][2]


def test_peer_that_runs_listed_functions_alone_is_not_asked(two):
    with Peer(1, bind="127.0.0.1:0", credentials=CREDENTIALS, allow=["builtins:abs"]) as listed:
        found = told(two[0], known(listed.address))
    assert [reason for *_, reason in found] == [f"{listed.address} runs only listed functions"] * 2


def test_address_of_this_host_is_not_tried_by_others(two):
    one, other = two
    far = Welcome()
    far.CopyFrom(one.welcome)
    far.host = "elsewhere"
    found = told(replace(one, welcome=far), other)
    assert {reason.split(" is ")[1] for *_, reason in found} == {"an address of this host, and they are on others"}


def test_peers_that_are_asked_are_few_and_must_answer(two, monkeypatch):
    async def never(self, pull):
        await asyncio.Event().wait()

    monkeypatch.setattr(between, "PATIENCE", 0.1)
    monkeypatch.setattr(fetching.Fetching, "fetch", never)
    assert [reason for *_, reason in told(*two)] == ["no answer in 0.1 s"] * 2
    monkeypatch.setattr(between, "MOST", 1)
    assert told(*two) == []


def test_doctor_says_what_holds_between_peers(two, monkeypatch, tmp_path, capsys):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_bytes(CREDENTIALS.token)
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(path))
    addresses = [peer.address for peer in two]
    assert cli.main(["doctor", *addresses]) == 0
    assert "values from peer to peer\n  ok    each reaches the others\n" in capsys.readouterr().out
    assert cli.main(["doctor", addresses[0]]) == 0
    assert "from peer to peer" not in capsys.readouterr().out
    cannot = fetching.NotFetchedError("no road")

    async def refuse(self, pull):
        raise cannot

    monkeypatch.setattr(fetching.Fetching, "fetch", refuse)
    assert cli.main(["doctor", *addresses]) == 0
    said = capsys.readouterr().out
    assert f"  note  {addresses[0]} cannot reach {addresses[1]}: no road\n" in said
    assert "go through your program, which is slower" in said
