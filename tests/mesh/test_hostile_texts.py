"""Text that other processes put into handshakes, records and refusals: where it is shown, and how."""

import asyncio
import json
import logging

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import NoPeersError, PeerPoolExecutor, PeerRefusedError, cli
from woolexec.discovery.base import Discovery, Joined, Record
from woolexec.mesh.client.doctor import look
from woolexec.mesh.security import handshake
from woolexec.mesh.server.audit_log import Audit
from woolexec.mesh.server.peer import Peer

HOSTILE = 'node7\n2026-01-01 error forged {"client": "ada"}\r\x1b[2J\x1b]0;title\x07\x9b\u2028\u202e\u200b'


def is_safe(text):
    return all(line.isprintable() for line in text.split("\n")) and "\n2026" not in text


@pytest.fixture
def hostile(monkeypatch):
    """Both ends say hostile things of themselves."""
    introduce = handshake.introduce

    def lie(greeting):
        introduce(greeting)
        greeting.host = HOSTILE
        greeting.woolexec = HOSTILE + "x" * 2000

    monkeypatch.setattr(handshake, "introduce", lie)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_bytes(CREDENTIALS.token)
    path.chmod(0o600)
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(path))


def shown(caplog):
    return [record.getMessage() for record in caplog.records] + [
        str(value) for record in caplog.records for value in getattr(record, "about", {}).values()
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
def test_names_of_hosts_are_encoded_in_the_logs_of_both_ends(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    audit = Audit(str(tmp_path / "audit"))
    with Peer(1, credentials=CREDENTIALS, audit=audit, tags=[f"zone={HOSTILE}"]) as peer, joined(peer) as pool:
        (link,) = pool._peers.links
        assert is_safe(link.name)
        assert pool.with_options(name=HOSTILE).submit(tasks.weigh, b"12").result(PATIENCE) == 2
    audit.close()
    assert any("node7" in text for text in shown(caplog))
    assert all(text.isprintable() for text in shown(caplog))
    (line,) = (tmp_path / "audit").read_text(encoding="ascii").splitlines()
    assert line.isprintable()
    assert json.loads(line)["client"] == CREDENTIALS.proof
    assert json.loads(line)["claims"].startswith("node7\\n2026")


@pytest.mark.usefixtures("hostile", "environment")
@pytest.mark.parametrize("command", [["peers"], ["peers", "--json"], ["doctor"]])
def test_commands_encode_what_peers_say(command, capsys):
    with Peer(1, credentials=CREDENTIALS, tags=[f"zone={HOSTILE}"], pool=HOSTILE) as peer:
        assert cli.main([*command, peer.address]) == 0
    out = capsys.readouterr().out
    assert is_safe(out)
    assert "node7" in out or command == ["doctor"]


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", [["peers"], ["doctor"]])
def test_refusal_of_a_peer_is_encoded_everywhere(command, capsys, caplog, monkeypatch):
    def refuse(*_):
        raise PeerRefusedError(HOSTILE)

    monkeypatch.setattr(handshake.Door, "greet", refuse)
    with Peer(1, credentials=CREDENTIALS) as peer:
        assert cli.main([*command, peer.address]) == 1
        assert is_safe(capsys.readouterr().out)
        with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, peers_timeout=0.3) as pool:
            with pytest.raises(NoPeersError) as caught:
                pool.submit(abs, -1).result(PATIENCE)
    assert str(caught.value).isprintable()
    assert "node7" in caplog.text
    assert all(text.isprintable() for text in shown(caplog))


class Found(Discovery):
    """Strangers have written its record."""

    count = 1

    async def watch(self):
        yield Joined(Record(HOSTILE, (f"127.0.0.1:1{HOSTILE}",), pool=HOSTILE, tags=(f"zone={HOSTILE}",)))
        await asyncio.Event().wait()


def test_records_of_discoveries_are_encoded_in_logs_and_errors(caplog):
    with PeerPoolExecutor(peers=Found(), credentials=CREDENTIALS, peers_timeout=0.3) as pool:
        with pytest.raises(NoPeersError) as caught:
            pool.submit(abs, -1).result(PATIENCE)
    assert str(caught.value).isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert any("node7" in record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", ["peers", "doctor"])
def test_commands_encode_records(command, capsys, monkeypatch):
    monkeypatch.setattr("woolexec.discovery.urls.discoveries", lambda where: [Found()])
    assert cli.main([command, "lan://"]) == 1
    out = capsys.readouterr().out
    assert "node7" in out
    assert is_safe(out)


@pytest.mark.usefixtures("hostile")
def test_texts_in_a_greeting_are_cut():
    with Peer(1, credentials=CREDENTIALS) as peer:
        welcome = asyncio.run(look(peer.address, CREDENTIALS))
    assert welcome.host.startswith("node7")
    assert len(welcome.woolexec) < 1000
