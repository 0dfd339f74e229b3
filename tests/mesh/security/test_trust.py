"""Which certificates are accepted: by exact role, authority and revocation, when a link opens and while it is open."""

import logging
import os

import pytest
from cryptography import x509

from tests.mesh.certificates import authorities, issue_with
from tests.mesh.conftest import PATIENCE, eventually
from woolexec import Credentials, CredentialsError, NoPeersError, PeerPoolExecutor, PeerRefusedError
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.certificate_authority import Authority, revoke
from woolexec.mesh.security.tls import CLIENT, PEER, Tls
from woolexec.mesh.security.trust import Trust
from woolexec.mesh.server.peer import Peer

KINDS = {
    "e-mail address": lambda role: [x509.RFC822Name(role)],
    "URI": lambda role: [x509.UniformResourceIdentifier(role)],
    "other DNS name and URI": lambda role: [x509.DNSName("node7.example"), x509.UniformResourceIdentifier(role)],
    "NUL": lambda role: [x509.DNSName(f"{role}\0.evil.example")],
    "wildcard": lambda role: [x509.DNSName("*.woolexec")],
    "suffix": lambda role: [x509.DNSName(f"{role}.evil.example")],
    "prefix": lambda role: [x509.DNSName(f"evil.{role}")],
    "other case": lambda role: [x509.DNSName(role.upper())],
    "trailing dot": lambda role: [x509.DNSName(f"{role}.")],
    "registered id": lambda role: [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))],
    "common name and other": lambda role: [x509.DNSName("node7.example")],
    "common name": lambda role: [],
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    made = Authority.make(folder, name="ours")
    made.issue("peer")
    made.issue("client")
    for kind, names in KINDS.items():
        for role in (PEER, CLIENT):
            common_name = role if kind.startswith("common name") else None
            issue_with(made, folder, f"{kind} {role}", names(role), common_name=common_name)
    return folder


def credentials(folder, name, *, revoked=None):
    files = [str(folder / each) for each in ("ca.pem", f"{name}.pem", f"{name}.key")]
    return Credentials(tls=Tls(*files, revoked=revoked and str(revoked)))


def serve(given):
    return Peer(1, bind="127.0.0.1:0", credentials=given)


def refusal(peer, given):
    with PeerPoolExecutor(peers=peer.address, credentials=given, peers_timeout=PATIENCE) as pool:
        with pytest.raises(NoPeersError) as caught:
            pool.submit(abs, -1).result(PATIENCE)
    assert not peer.engine.pids  # no task has come that far
    return str(caught.value)


def read(path):
    (certificate,) = Certificate.all_in(path.read_bytes())
    return certificate


@pytest.mark.parametrize("kind", KINDS)
def test_role_is_an_exact_dns_name_and_nothing_else(ours, kind):
    trust = Trust(Tls(str(ours / "ca.pem")))
    for role in (PEER, CLIENT):
        with pytest.raises(PeerRefusedError, match="is not that of"):
            trust.accept(read(ours / f"{kind} {role}.pem"), (role,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["e-mail address", "other DNS name and URI", "common name"])
def test_peers_and_clients_without_a_role_are_refused(ours, kind):
    with serve(credentials(ours, "peer")) as peer:
        assert "is not that of peer.woolexec or client.woolexec" in refusal(peer, credentials(ours, f"{kind} {CLIENT}"))
    with serve(credentials(ours, f"{kind} {PEER}")) as peer:
        assert "is not that of peer.woolexec: it has the DNS names" in refusal(peer, credentials(ours, "client"))


def test_revoked_certificates_are_refused_at_both_ends(tmp_path):
    made = Authority.make(tmp_path, name="ours")
    for role in ("peer", "client"):
        made.issue(role)
        made.issue(role, name="stolen")
        revoke(tmp_path, str(tmp_path / f"{role}-stolen.pem"))
    revoked = tmp_path / "revoked.txt"
    with serve(credentials(tmp_path, "peer", revoked=revoked)) as peer:
        assert "has been revoked" in refusal(peer, credentials(tmp_path, "client-stolen"))
    with serve(credentials(tmp_path, "peer-stolen")) as peer:
        assert "has been revoked" in refusal(peer, credentials(tmp_path, "client", revoked=revoked))


def between(folder, role, *, revoked=None):
    """The credentials of one whose certificate is from an authority that ours has issued."""
    files = [str(folder / each) for each in ("root/ca.pem", f"between/{role}.pem", f"between/{role}.key")]
    return Credentials(tls=Tls(*files, revoked=revoked and str(revoked)))


@pytest.mark.parametrize("end", ["peer", "client"])
@pytest.mark.parametrize("name", ["between", "root"])
def test_certificates_of_a_revoked_authority_are_refused(tmp_path, end, name):
    _, made = authorities(tmp_path)
    for role in ("peer", "client"):
        path = made.issue(role)
        path.write_bytes(path.read_bytes() + (tmp_path / "between" / "ca.pem").read_bytes())
    revoked = tmp_path / "revoked.txt"
    revoked.write_text(f"{read(tmp_path / name / 'ca.pem').serial:x}\n")
    lists = {end: revoked}
    with serve(between(tmp_path, "peer", revoked=lists.get("peer"))) as peer:
        refused = refusal(peer, between(tmp_path, "client", revoked=lists.get("client")))
        if end == "client":  # others do not know of it
            with PeerPoolExecutor(peers=peer.address, credentials=between(tmp_path, "client")) as pool:
                assert pool.submit(abs, -1).result(PATIENCE) == 1
    assert "an authority of certificate" in refused
    assert "has been revoked" in refused


def test_revoked_authority_that_is_one_of_ours_is_none(tmp_path):
    made = authorities(tmp_path)[1]
    made.issue("client")
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join((tmp_path / name / "ca.pem").read_bytes() for name in ("root", "between")))
    revoked = tmp_path / "revoked.txt"
    revoked.write_text(f"{read(tmp_path / 'between' / 'ca.pem').serial:x}\n")
    client = read(tmp_path / "between" / "client.pem")
    assert Trust(Tls(str(both))).accept(client, (CLIENT,))
    with pytest.raises(PeerRefusedError, match=r"an authority of certificate 'client' .* has been revoked"):
        Trust(Tls(str(both), revoked=str(revoked))).accept(client, (CLIENT,))


def test_list_of_which_only_half_was_copied_takes_nothing_back(tmp_path, ours):
    revoked = tmp_path / "revoked.txt"
    serial = read(ours / "peer.pem").serial
    revoked.write_text(f"1a2b\n{serial:x}\n")
    trust = Trust(Tls(str(ours / "ca.pem"), revoked=str(revoked)))
    for half in ("1a2b\n", f"1a2b\n{serial:x}"[:-3]):
        revoked.write_text(half)
        assert trust.refresh()
        with pytest.raises(PeerRefusedError, match="has been revoked"):
            trust.accept(read(ours / "peer.pem"), (PEER,))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["peer", "client"])
def test_link_ends_when_a_certificate_is_revoked(tmp_path, end, caplog):
    caplog.set_level(logging.WARNING)
    made = Authority.make(tmp_path, name="ours")
    made.issue("peer")
    made.issue("client")
    own, given = (credentials(tmp_path, role, revoked=tmp_path / "revoked.txt") for role in ("peer", "client"))
    if end == "peer":  # the client must find out by itself
        own = credentials(tmp_path, "peer")
    else:
        given = credentials(tmp_path, "client")
    with serve(own) as peer, PeerPoolExecutor(peers=peer.address, credentials=given, peers_timeout=PATIENCE) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        revoke(tmp_path, str(tmp_path / f"{end}.pem"))
        eventually(lambda: not pool._peers.links and not peer.clients)
        with pytest.raises(NoPeersError, match="has been revoked"):
            pool.submit(abs, -1).result(PATIENCE)
    assert "has been revoked" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("end", ["peer", "client"])
def test_link_ends_when_its_authority_is_withdrawn_and_others_go_on(tmp_path, end):
    folders = {}
    for name in ("kept", "withdrawn"):
        folders[name] = tmp_path / name
        made = Authority.make(folders[name], name=name)
        made.issue("peer")
        made.issue("client")
    both = tmp_path / "ca.pem"
    pem = [(folder / "ca.pem").read_text() for folder in folders.values()]
    both.write_text("".join(pem))
    watching, other = (end, "client" if end == "peer" else "peer")

    def of(role, name):
        authorities = both if role == watching else folders["kept"] / "ca.pem"
        files = [str(authorities), *(str(folders[name] / f"{role}{suffix}") for suffix in (".pem", ".key"))]
        return Credentials(tls=Tls(*files))

    watched = {name: of(other, name) for name in folders}
    ends = {name: {watching: of(watching, "kept"), other: watched[name]} for name in folders}
    with serve(ends["kept"]["peer"]) as kept, serve(ends["withdrawn"]["peer"]) as withdrawn:
        pools = [
            PeerPoolExecutor(peers=peer.address, credentials=ends[name]["client"], peers_timeout=PATIENCE)
            for peer, name in ((kept, "kept"), (withdrawn, "withdrawn"))
        ]
        with pools[0], pools[1]:
            for pool in pools:
                assert pool.submit(abs, -1).result(PATIENCE) == 1
            ((link,), _) = (pool._peers.links for pool in pools)
            new = tmp_path / "new.pem"
            new.write_text(pem[0])
            new.replace(both)
            eventually(lambda: not pools[1]._peers.links)
            assert pools[0]._peers.links == [link]
            assert pools[0].submit(abs, -2).result(PATIENCE) == 2
            eventually(lambda: "connecting" not in pools[1]._peers.explain())
            assert not pools[1]._peers.links


def test_authority_that_is_renewed_with_its_key_stays_the_same(ours):
    trust = Trust(Tls(str(ours / "ca.pem")))
    accepted = trust.accept(read(ours / "peer.pem"), (PEER,))
    (key,) = accepted.keys
    assert key == (read(ours / "ca.pem").subject, read(ours / "ca.pem").key)


def test_certificate_of_an_authority_between_counts_for_all_of_ours(ours, tmp_path):
    other = Authority.make(tmp_path, name="between")
    other.issue("peer")
    accepted = Trust(Tls(str(ours / "ca.pem"))).accept(read(tmp_path / "peer.pem"), (PEER,))  # TLS has verified it
    assert len(accepted.keys) == 1


@pytest.mark.parametrize("text", ["", " \n", "not hex", "12 34"])
def test_list_that_cannot_be_used_keeps_the_old_one(tmp_path, ours, caplog, text):
    revoked = tmp_path / "revoked.txt"
    serial = read(ours / "peer.pem").serial
    revoked.write_text(f"# ours\n{serial:x}\n")
    trust = Trust(Tls(str(ours / "ca.pem"), revoked=str(revoked)))
    revoked.write_text(text)
    with pytest.raises(PeerRefusedError, match="has been revoked"):
        trust.accept(read(ours / "peer.pem"), (PEER,))
    os.unlink(revoked)
    with pytest.raises(PeerRefusedError, match="has been revoked"):
        trust.accept(read(ours / "peer.pem"), (PEER,))
    assert "keeping the old authorities and revocations" in caplog.text


def test_list_that_is_missing_at_the_start_is_an_error(tmp_path, ours):
    tls = Tls(str(ours / "ca.pem"), revoked=str(tmp_path / "none"))
    for use in (tls.check, lambda: Trust(tls)):
        with pytest.raises(CredentialsError, match="No such file"):
            use()


@pytest.mark.parametrize("name", ["ca.pem", "client.pem", "client.key"])
def test_file_that_became_a_pipe_keeps_no_connection_waiting(tmp_path, name):
    Authority.make(tmp_path, name="ours").issue("client")
    tls = Tls(*(str(tmp_path / each) for each in ("ca.pem", "client.pem", "client.key")))
    trust = Trust(tls)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name, 0o600)
    with pytest.raises(CredentialsError, match=f"{name}: it is not a regular file"):
        tls.context("host")
    assert not trust.refresh()  # what was read before is kept
