"""`woolexec peers`, `woolexec doctor` and `woolexec certs`, in this process."""

import json
import os

import pytest

from woolexec import Credentials, cli
from woolexec.mesh.discovery.directory import Directory
from woolexec.mesh.server import Peer


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
    assert "is 'no-such-host.invalid' spelt right" in capsys.readouterr().out


def test_doctor_says_that_the_token_is_another(peer, tmp_path, capsys, monkeypatch):
    path = tmp_path / "token"
    path.write_text("x" * 40)
    path.chmod(0o600)
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(path))
    assert cli.main(["doctor", peer.address]) == 1
    out = capsys.readouterr().out
    assert "FAIL  peer: it has not proved that it has the token" in out
    assert "give both ends the same token" in out


def test_doctor_refuses_what_is_no_address(capsys):
    assert cli.main(["doctor", "a:b:c"]) == 2


def make_certificates(folder, capsys):
    assert cli.main(["certs", "init", "--folder", str(folder)]) == 0
    assert "ca.key stays here" in capsys.readouterr().out
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
        assert "the peer speaks TLS" in capsys.readouterr().out
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
