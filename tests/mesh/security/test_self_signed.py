"""The certificate that a peer makes for itself."""

import os
import ssl
import subprocess
import sys
import tempfile

import pytest

from woolexec import Credentials
from woolexec.errors import CredentialsError, PeerStartError
from woolexec.mesh.security import self_signed
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.self_signed import SELF_SIGNED, SelfSigned
from woolexec.mesh.security.tls import CLIENT, PEER
from woolexec.mesh.server.peer import Peer


@pytest.fixture(params=["cryptography", "openssl"])
def made(request, monkeypatch):
    if request.param == "openssl":
        monkeypatch.setitem(sys.modules, "cryptography", None)
    return SelfSigned.make()


def test_certificate_has_one_name_which_is_no_role_and_is_valid_at_any_time(made, tmp_path):
    (certificate,) = Certificate.all_in(made.certificate)
    assert certificate.dns_names == {SELF_SIGNED.encode()}
    assert SELF_SIGNED not in {PEER, CLIENT}
    assert (bytes.fromhex(certificate.fingerprint),) == made.fingerprints()
    (tmp_path / "pem").write_bytes(made.certificate)
    about = ssl._ssl._test_decode_cert(str(tmp_path / "pem"))
    assert (about["notBefore"], about["notAfter"]) == ("Jan  1 00:00:00 2000 GMT", "Dec 31 00:00:00 9999 GMT")


def test_certificate_and_key_belong_together_and_are_new_each_time(made, tmp_path):
    (tmp_path / "pem").write_bytes(made.certificate)
    (tmp_path / "key").write_bytes(made.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "pem", tmp_path / "key")
    again = SelfSigned.make()
    assert again.key != made.key
    assert again.fingerprints() != made.fingerprints()


def test_key_is_not_shown(made):
    assert made.key.decode().splitlines()[1] not in repr(made)


def test_command_leaves_nothing_behind_and_writes_where_nobody_else_can_read(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run, modes = subprocess.run, []

    def looked(command, **more):
        modes.append(os.stat(os.path.dirname(command[-1])).st_mode & 0o777)
        return run(command, **more)

    monkeypatch.setattr(subprocess, "run", looked)
    SelfSigned.make()
    assert set(modes) == {0o700}
    assert not list(tmp_path.iterdir())


def test_peer_that_cannot_make_a_certificate_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerStartError, match=r"pip install 'woolexec\[certs\]', or listen on a Unix socket"):
        Peer(1, bind="127.0.0.1:0", credentials=Credentials.with_new_token())
    (tmp_path / "openssl").write_text("#!/bin/sh\necho 'it is broken' >&2\nexit 3\n")
    (tmp_path / "openssl").chmod(0o700)
    with pytest.raises(CredentialsError, match="could not make a certificate: it is broken"):
        SelfSigned.make()
    monkeypatch.setattr(self_signed, "_TIMEOUT", 0.0)
    with pytest.raises(CredentialsError, match="timed out"):
        SelfSigned.make()


def test_peer_on_a_unix_socket_needs_no_certificate(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Peer(1, credentials=Credentials.with_new_token()) as peer:
        assert peer.address.startswith("unix:")
