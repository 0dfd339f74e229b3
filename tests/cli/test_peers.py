"""`woolexec peers` and how `woolexec doctor` finds the peers to check, in this process."""

import json
import os
import socket
import sys
from urllib.parse import quote

import pytest

from tests.mesh import fake_ssh
from woolexec import Credentials, cli
from woolexec.discovery.directory import Directory
from woolexec.mesh.server.peer import Peer


@pytest.fixture
def peer(tmp_path):
    (tmp_path / "shared").mkdir()
    with Peer(
        2,
        bind="127.0.0.1:0",
        credentials=Credentials.of_this_user(),
        pool="team",
        tags=["gpu=a100"],
        resources={"memory": 64},
        announce=[Directory(tmp_path / "shared")],
    ) as peer:
        yield peer


def test_peers_lists_what_is_found_and_what_cannot_be_used(peer, tmp_path, capsys):
    where = [f"dir:{tmp_path}/shared", f"unix:{tmp_path}/nobody"]
    assert cli.main(["peers", *where, "--timeout", "0.2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["ADDRESS", "HOST", "WORKERS", "POOL", "OFFERS"]
    lines = {line.split()[0]: line for line in out[1:]}
    assert lines[peer.address].split()[1:] == [os.uname().nodename, "2", "team", "memory=64", "gpu=a100"]
    assert "cannot be used" in lines[where[1]]


def test_peer_that_has_failed_lately_is_named(peer, capsys):
    peer._log.serving("no process can be forked")
    peer._log.serving("")
    assert cli.main(["peers", peer.address, "--timeout", "0.2"]) == 0
    assert "(failures lately: 1; see its log)" in capsys.readouterr().out


def test_peers_as_json(peer, tmp_path, capsys):
    assert cli.main(["peers", f"dir:{tmp_path}/shared", "--timeout", "0.2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["identity"] == peer.identity
    assert row["usable"] is True
    assert row["workers"] == 2
    assert row["resources"] == {"memory": 64.0}
    assert row["failures"] == 0


def test_no_peers_is_said_and_is_a_failure(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["peers", f"dir:{tmp_path}/empty", "--timeout", "0.1"]) == 1
    assert capsys.readouterr().out == "no peers\n"


@pytest.mark.parametrize("where", ["nfs://x", "dir:"])
def test_peers_of_a_place_that_makes_no_sense_is_wrong_use(where, capsys):
    assert cli.main(["peers", where]) == 2
    assert "woolexec peers:" in capsys.readouterr().err


def test_doctor_refuses_what_is_no_address(capsys):
    assert cli.main(["doctor", "a:b:c"]) == 2


def test_doctor_finds_peers_as_a_client_does(peer, tmp_path, monkeypatch, capsys):
    # The peer listens on 127.0.0.1 only; on many machines localhost is ::1 as well.
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: resolve("127.0.0.1", *rest, **named))
    port = peer.address.rpartition(":")[2]
    for where in (f"dir:{tmp_path}/shared", f"dns://localhost:{port}"):
        assert cli.main(["doctor", where, "--timeout", "0.3"]) == 0
        out = capsys.readouterr().out
        assert f"peer at 127.0.0.1:{port}" in out
        assert "FAIL" not in out


def test_brief_doctor_says_only_what_fails(peer, capsys):
    assert cli.main(["doctor", "--brief", peer.address]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["doctor", "--brief", "127.0.0.1:1"]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert "ok  " not in out


def test_doctor_says_that_no_peer_is_found(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["doctor", f"dir:{tmp_path}/empty", "--timeout", "0.1"]) == 1
    assert "FAIL  discovery: no peer was found within 0.1 s" in capsys.readouterr().out
    assert cli.main(["doctor", f"dir:{tmp_path}/nowhere", "--timeout", "0.1"]) == 1
    assert f"FAIL  discovery: folder {tmp_path}/nowhere: No such file or directory" in capsys.readouterr().out


@pytest.fixture
def fake_ssh_program(tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{fake_ssh.command()}\n")
    program.chmod(0o700)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))


@pytest.mark.usefixtures("fake_ssh_program")
def test_peers_and_doctor_start_a_peer_by_ssh_and_ask_it_while_it_is_there(capsys):
    where = f"ssh://far/1?python={quote(sys.executable)}"
    assert cli.main(["peers", where, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["usable"], row["workers"]) == (True, 1)
    assert cli.main(["doctor", where]) == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.usefixtures("fake_ssh_program")
def test_peers_and_doctor_say_why_ssh_starts_none(capsys):
    assert cli.main(["peers", "ssh://absent"]) == 1
    assert "ssh://absent: ssh ended with exit code 127" in capsys.readouterr().err
    assert cli.main(["doctor", "ssh://absent"]) == 1
    assert "FAIL  discovery: ssh://absent: ssh ended with exit code 127" in capsys.readouterr().out


FOREIGN = {"addresses": ["127.0.0.1:9"], "pool": "", "tags": [], "fingerprint": ""}


@pytest.mark.slow
def test_records_that_were_not_signed_are_counted_and_their_peers_are_not_asked(peer, tmp_path, capsys):
    for n in range(300):
        (tmp_path / "shared" / f"{n}.json").write_text(json.dumps(FOREIGN | {"key": str(n)}))
    where = f"dir:{tmp_path}/shared"
    assert cli.main(["peers", where, "--timeout", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["identity"] for row in json.loads(out)] == [peer.identity]
    assert "300 records" in err
    assert "not signed" in err
    assert cli.main(["doctor", where, "--timeout", "1"]) == 0
    assert "note  discovery: 300 records" in capsys.readouterr().out


def test_very_many_addresses_at_which_nobody_answers_are_counted_and_few_are_listed(peer, capsys):
    addresses = [f"127.0.{n // 256}.{n % 256}:9" for n in range(1, 301)]
    assert cli.main(["peers", *addresses, peer.address, "--timeout", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["usable"] for row in json.loads(out)].count(True) == 1
    assert len(json.loads(out)) == 21
    assert "280 more records" in err
