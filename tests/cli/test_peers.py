"""`woolexec peers`, `woolexec doctor` and `woolexec certs`, in this process."""

import json
import os
import socket
import sys
import time

import pytest

from tests.mesh import fake_ssh
from tests.mesh.certificates import issue_at
from woolexec import Credentials, PeerPoolExecutor, cli
from woolexec.discovery.directory import Directory
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.server.peer import Peer


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))


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


def test_peers_as_json(peer, tmp_path, capsys):
    assert cli.main(["peers", f"dir:{tmp_path}/shared", "--timeout", "0.2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["identity"] == peer.identity
    assert row["usable"] is True
    assert row["workers"] == 2
    assert row["resources"] == {"memory": 64.0}


def test_no_peers_is_said_and_is_a_failure(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["peers", f"dir:{tmp_path}/empty", "--timeout", "0.1"]) == 1
    assert capsys.readouterr().out == "no peers\n"


@pytest.mark.parametrize("where", ["nfs://x", "dir:"])
def test_peers_of_a_place_that_makes_no_sense_is_wrong_use(where, capsys):
    assert cli.main(["peers", where]) == 2
    assert "woolexec peers:" in capsys.readouterr().err


def test_doctor_finds_nothing_wrong_with_a_good_peer(peer, capsys):
    assert cli.main(["doctor", peer.address]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[1:]] == [
        "name:",
        "connection:",
        "peer:",
        "link:",
        "clock:",
        "round",
    ]
    assert "FAIL" not in out
    assert "2 workers, pool team, memory=64, gpu=a100" in out


def test_doctor_says_that_nobody_listens(capsys):
    assert cli.main(["doctor", "127.0.0.1:1"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  connection: refused" in out
    assert "is `woolexec serve` running" in out


def test_doctor_says_that_a_name_does_not_exist(capsys):
    assert cli.main(["doctor", "no-such-host.invalid:1"]) == 1
    assert "is 'no-such-host.invalid' spelt correctly" in capsys.readouterr().out


def test_doctor_says_that_the_token_is_another(peer, tmp_path, capsys, monkeypatch):
    path = tmp_path / "token"
    path.write_text("x" * 40)
    path.chmod(0o600)
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(path))
    assert cli.main(["doctor", peer.address]) == 1
    out = capsys.readouterr().out
    assert "FAIL  peer: the peer has not proved that it has the token" in out
    assert "give both ends the same token" in out


def test_doctor_refuses_what_is_no_address(capsys):
    assert cli.main(["doctor", "a:b:c"]) == 2


def make_certificates(folder, capsys):
    assert cli.main(["certs", "init", "--folder", str(folder)]) == 0
    assert "ca.key secret, on this host only" in capsys.readouterr().out
    for role in ("peer", "client"):
        assert cli.main(["certs", "issue", role, "--folder", str(folder), "--days", "3"]) == 0
    return capsys.readouterr().out.splitlines()


def test_certificates_that_were_made_are_what_doctor_wants(tmp_path, capsys, monkeypatch):
    serve, export = make_certificates(tmp_path / "certs", capsys)
    words = serve.split()
    assert words[:2] == ["woolexec", "serve"]
    files = dict(zip(words[2::2], words[3::2], strict=True))
    credentials = Credentials.from_files(None, files["--tls-ca"], files["--tls-cert"], files["--tls-key"])
    with Peer(1, bind="127.0.0.1:0", credentials=credentials) as peer:
        assert cli.main(["doctor", peer.address]) == 1
        assert "the peer uses TLS" in capsys.readouterr().out
        for setting in export.split()[1:]:
            monkeypatch.setenv(*setting.split("="))
        assert cli.main(["doctor", peer.address]) == 0
        assert "ok    TLS" in capsys.readouterr().out
        assert cli.main(["peers", peer.address, "--timeout", "0.1"]) == 0


def test_doctor_says_that_the_certificate_is_another_authority_s(tmp_path, capsys, monkeypatch):
    serve, _ = make_certificates(tmp_path / "theirs", capsys)
    _, export = make_certificates(tmp_path / "ours", capsys)
    words = serve.split()
    credentials = Credentials.from_files(None, *words[3::2])
    for setting in export.split()[1:]:
        monkeypatch.setenv(*setting.split("="))
    with Peer(1, bind="127.0.0.1:0", credentials=credentials) as peer:
        assert cli.main(["doctor", peer.address]) == 1
    assert "FAIL  TLS" in capsys.readouterr().out


def test_certificate_is_shown(tmp_path, capsys):
    make_certificates(tmp_path, capsys)
    assert cli.main(["certs", "show", str(tmp_path / "peer.pem")]) == 0
    shown = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert shown["role"].strip() == "peer"
    assert len(shown["fingerprint"].strip()) == 64


@pytest.mark.parametrize(
    "arguments",
    [["init", "--folder", "."], ["issue", "peer", "--folder", "nowhere"], ["show", "nowhere.pem"], ["show", "ca.key"]],
)
def test_certs_that_cannot_be_made_are_said(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    make_certificates(".", capsys)
    assert cli.main(["certs", *arguments]) == 2
    assert "woolexec certs:" in capsys.readouterr().err


def test_certs_say_how_their_package_is_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert cli.main(["certs", "init"]) == 2
    assert "pip install 'woolexec[certs]'" in capsys.readouterr().err


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


def test_doctor_says_that_no_peer_is_found(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["doctor", f"dir:{tmp_path}/empty", "--timeout", "0.1"]) == 1
    assert "FAIL  discovery: no peer was found within 0.1 s" in capsys.readouterr().out
    assert cli.main(["doctor", f"dir:{tmp_path}/nowhere", "--timeout", "0.1"]) == 1
    assert f"FAIL  discovery: folder {tmp_path}/nowhere: No such file or directory" in capsys.readouterr().out


@pytest.fixture
def fake_ssh_program(tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_ssh.__file__} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))


@pytest.mark.usefixtures("fake_ssh_program")
def test_peers_and_doctor_start_a_peer_by_ssh_and_ask_it_while_it_is_there(capsys):
    where = f"ssh://far/1?python={sys.executable}"
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


def test_doctor_names_what_is_wrong_with_our_certificate(tmp_path, capsys, monkeypatch):
    ours, theirs = (Authority.make(tmp_path / name, name=name) for name in ("ours", "theirs"))
    ours.issue("peer")
    theirs.issue("client")
    issue_at(ours, "client", -20, name="expired")
    files = (str(tmp_path / "ours" / name) for name in ("ca.pem", "peer.pem", "peer.key"))
    monkeypatch.setenv("WOOLEXEC_TLS_CA", str(tmp_path / "ours" / "ca.pem"))
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials.from_files(None, *files)) as peer:
        for name, found in {
            "": "FAIL  TLS: the peer requires a certificate from its authority: none was shown",
            "ours/client-expired": "FAIL  our certificate: {path} expired on",
            "theirs/client": "FAIL  our certificate: {path} fails verification against",
        }.items():
            path = tmp_path / f"{name}.pem"
            if name:
                monkeypatch.setenv("WOOLEXEC_TLS_CERT", str(path))
                monkeypatch.setenv("WOOLEXEC_TLS_KEY", str(path.with_suffix(".key")))
            assert cli.main(["doctor", peer.address]) == 1
            assert found.format(path=path) in capsys.readouterr().out


def test_doctor_says_that_a_peer_is_full_or_draining(peer, tmp_path, capsys):
    with PeerPoolExecutor(peers=peer.address) as pool:
        futures = [pool.submit(hold, tmp_path, n) for n in range(50)]
        deadline = time.monotonic() + 20
        while peer._places.admission.free > 0:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert cli.main(["doctor", peer.address]) == 0
        assert "ok    link: the peer accepts the link, but has no free places" in capsys.readouterr().out
        peer.drain()
        while peer._health.serving:
            time.sleep(0.005)
        assert cli.main(["doctor", peer.address]) == 1
        assert "FAIL  link: the peer is draining" in capsys.readouterr().out
        (tmp_path / "release").touch()
        for future in futures:
            future.cancel()


def hold(room, number):
    while not (room / "release").exists():
        time.sleep(0.005)
    return number
