"""`woolexec certs`, in this process."""

import sys

import pytest

from woolexec import Credentials, cli
from woolexec.mesh.server.peer import Peer


def make_certificates(folder, capsys):
    assert cli.main(["certs", "init", "--folder", str(folder)]) == 0
    assert "ca.key secret, on this host only" in capsys.readouterr().out
    for role in ("peer", "client"):
        assert cli.main(["certs", "issue", role, "--folder", str(folder), "--days", "3"]) == 0
    return capsys.readouterr().out.splitlines()


def test_certificates_that_were_made_are_what_doctor_wants(tmp_path, capsys, monkeypatch):
    serve, export = make_certificates(tmp_path / "certs", capsys)
    words = serve.split()
    assert words[:4] == ["woolexec", "serve", "--bind", "0.0.0.0"]
    files = dict(zip(words[2::2], words[3::2], strict=True))
    credentials = Credentials.from_files(
        None, files["--tls-ca"], files["--tls-cert"], files["--tls-key"], files["--tls-revoked"]
    )
    with Peer(1, bind="127.0.0.1:0", credentials=credentials) as peer:
        assert cli.main(["doctor", peer.address]) == 1
        assert "the peer uses TLS" in capsys.readouterr().out
        for setting in export.split()[1:]:
            monkeypatch.setenv(*setting.split("="))
        assert cli.main(["doctor", peer.address]) == 0
        assert "ok    TLS" in capsys.readouterr().out
        assert cli.main(["peers", peer.address, "--timeout", "0.1"]) == 0


def test_certificate_that_is_revoked_is_refused(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "certs"
    _, export = make_certificates(folder, capsys)
    for setting in export.split()[1:]:
        monkeypatch.setenv(*setting.split("="))
    assert cli.main(["certs", "show", str(folder / "peer.pem")]) == 0
    shown = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    own = Credentials.from_files(None, *(str(folder / name) for name in ("ca.pem", "peer.pem", "peer.key")))
    with Peer(1, bind="127.0.0.1:0", credentials=own) as peer:
        assert cli.main(["peers", peer.address]) == 0
        assert cli.main(["certs", "revoke", shown["serial"].strip(), "--folder", str(folder)]) == 0
        assert "--tls-revoked" in capsys.readouterr().out
        assert cli.main(["peers", peer.address]) == 1
        assert "has been revoked" in capsys.readouterr().out
        assert cli.main(["doctor", peer.address]) == 1
        assert "has been revoked" in capsys.readouterr().out


@pytest.mark.parametrize("which", ["nowhere.pem", "ca.key", "other/peer.pem"])
def test_what_is_no_certificate_of_the_authority_is_not_revoked(tmp_path, monkeypatch, capsys, which):
    monkeypatch.chdir(tmp_path)
    make_certificates(".", capsys)
    make_certificates("other", capsys)
    before = (tmp_path / "revoked.txt").read_text()
    assert cli.main(["certs", "revoke", which, "--folder", "."]) == 2
    assert "woolexec certs:" in capsys.readouterr().err
    assert (tmp_path / "revoked.txt").read_text() == before


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


def test_token_is_printed_or_written_for_its_owner_only(tmp_path, capsys):
    assert cli.main(["certs", "token"]) == 0
    Credentials(capsys.readouterr().out.strip().encode())
    path = tmp_path / "token"
    assert cli.main(["certs", "token", "--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert Credentials.from_file(path).token.decode() not in said
    assert f"--token-file {path}" in said
    assert cli.main(["certs", "token", "--file", str(path)]) == 2
    assert "File exists" in capsys.readouterr().err
