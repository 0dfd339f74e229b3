"""An authority and the certificates that it issues."""

import stat
from datetime import UTC, datetime, timedelta

import pytest

from woolexec import CredentialsError
from woolexec.mesh.security.certificate_authority import Authority, show
from woolexec.mesh.security.tls import Tls


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    made = Authority.make(folder, name=folder.name)
    for role in ("peer", "client"):
        made.issue(role)
    return folder


def test_authority_and_certificates_say_what_they_are(ours):
    assert show(ours / "ca.pem")["role"] == "authority"
    assert show(ours / "peer.pem")["role"] == "peer"
    assert show(ours / "client.pem")["issuer"] == show(ours / "ca.pem")["name"]
    assert show(ours / "ca.pem")["fingerprint"] == Tls(str(ours / "ca.pem")).fingerprints[0]


def test_keys_are_for_nobody_else_and_an_authority_is_not_made_twice(ours):
    assert {stat.S_IMODE(path.stat().st_mode) for path in ours.glob("*.key")} == {0o600}
    with pytest.raises(CredentialsError, match="already"):
        Authority.make(ours, name="again")


def test_authority_that_was_made_earlier_issues_certificates_with_names(ours):
    path = Authority(ours).issue("client", name="laptop")
    assert path == ours / "client-laptop.pem"
    assert path.with_suffix(".key").exists()
    assert show(path)["name"] == "CN=laptop"
    assert show(path)["role"] == "client"


def test_certificate_is_valid_for_as_many_days_as_it_says_and_an_hour_before(tmp_path):
    shown = show(Authority.make(tmp_path, name="x").issue("peer", days=3))
    assert datetime.fromisoformat(shown["until"]) - datetime.fromisoformat(shown["from"]) == timedelta(days=3, hours=1)
    assert datetime.fromisoformat(shown["from"]) < datetime.now(UTC)


def test_certificate_that_is_issued_again_replaces_the_old_one(tmp_path):
    authority = Authority.make(tmp_path, name="x")
    before = show(authority.issue("peer"))["fingerprint"]
    key = (tmp_path / "peer.key").read_bytes()
    assert show(authority.issue("peer"))["fingerprint"] != before
    assert (tmp_path / "peer.key").read_bytes() != key
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_authority_that_does_not_exist_says_how_it_is_made(tmp_path):
    with pytest.raises(CredentialsError, match=f"{tmp_path}/ca.pem does not exist; make it with: woolexec certs init"):
        Authority(tmp_path)


def test_authority_that_cannot_be_read_is_named(tmp_path):
    Authority.make(tmp_path, name="x")
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(CredentialsError, match=f"the authority in {tmp_path} cannot be read"):
        Authority(tmp_path)


def test_file_that_is_no_certificate_is_not_shown(tmp_path):
    (tmp_path / "some.pem").write_text("no certificate")
    with pytest.raises(CredentialsError, match=r"some\.pem is not a certificate"):
        show(tmp_path / "some.pem")
    with pytest.raises(CredentialsError, match=r"other\.pem: No such file"):
        show(tmp_path / "other.pem")
