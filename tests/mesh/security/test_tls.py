"""Certificates at both ends: which clients are accepted, and what can change while a peer runs."""

import asyncio
import os
from concurrent.futures import CancelledError
from contextlib import ExitStack

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually
from tests.tokens import token_for
from woolexec import Credentials, CredentialsError, NoPeersError, PeerPoolExecutor, PeerRefusedError
from woolexec.cli.top_sources import PeerThere
from woolexec.discovery.base import Discovery, Joined, Record
from woolexec.mesh.security import tls
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.security.tls import CLIENT, PEER, Tls
from woolexec.mesh.server.peer import Peer

TOKEN = CREDENTIALS.token


def authority_in(folder):
    made = Authority.make(folder, name=folder.name)
    for role in ("peer", "client"):
        made.issue(role)
    return made


def credentials(folder, role, *, ca=True, token=None):
    files = str(folder / "ca.pem") if ca else None, str(folder / f"{role}.pem"), str(folder / f"{role}.key")
    return Credentials(token, Tls(*files))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    authority_in(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    authority_in(folder)
    return folder


def serve(given, **more):
    return Peer(1, bind="127.0.0.1:0", credentials=given, **more)


def answer(peer, given, timeout=PATIENCE):
    with PeerPoolExecutor(peers=peer.address, credentials=given, peers_timeout=timeout) as pool:
        return pool.submit(abs, -1).result(PATIENCE)


def refusal(peer, given):
    with pytest.raises(NoPeersError) as caught:
        answer(peer, given, 0.3)
    assert not peer.engine.pids  # no task has come that far
    return str(caught.value)


def test_client_and_peer_of_one_authority_work_together(ours):
    with serve(credentials(ours, "peer")) as peer:
        assert answer(peer, credentials(ours, "client")) == 1


def test_peer_may_be_a_client_of_peers(ours):
    with serve(credentials(ours, "peer")) as peer:
        assert answer(peer, credentials(ours, "peer")) == 1


def test_tls_works_over_a_unix_socket(ours):
    with Peer(1, credentials=credentials(ours, "peer")) as peer:
        assert answer(peer, credentials(ours, "client")) == 1


def test_client_without_a_certificate_is_refused(ours):
    with serve(credentials(ours, "peer")) as peer:
        refusal(peer, Credentials(tls=Tls(str(ours / "ca.pem"))))


def test_client_without_tls_is_refused(ours):
    with serve(credentials(ours, "peer", token=TOKEN)) as peer:
        refusal(peer, CREDENTIALS)


def test_client_of_another_authority_is_refused(ours, theirs):
    given = Credentials(tls=Tls(str(ours / "ca.pem"), str(theirs / "client.pem"), str(theirs / "client.key")))
    with serve(credentials(ours, "peer")) as peer:
        refusal(peer, given)


def test_peer_of_another_authority_is_refused_by_the_client(ours, theirs):
    with serve(credentials(theirs, "peer")) as peer:
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(peer, credentials(ours, "client"))


def test_client_cannot_pose_as_a_peer(ours):
    with serve(credentials(ours, "client")) as peer:
        refusal(peer, credentials(ours, "client"))


@pytest.mark.parametrize("role", ["peer", "client"])
def test_certificate_that_has_expired_is_refused(ours, tmp_path, role, monkeypatch):
    from datetime import timedelta

    from woolexec.mesh.security import certificate_authority

    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).write_bytes((ours / name).read_bytes())
    monkeypatch.setattr(certificate_authority, "_EARLIER", timedelta(days=3))
    Authority(tmp_path).issue(role, days=-1)
    expired = credentials(tmp_path, role)
    peers, clients = (expired if role == each else credentials(ours, each) for each in ("peer", "client"))
    with serve(peers) as peer:
        refusal(peer, clients)


def test_certificate_of_the_authority_without_a_role_is_refused(ours):
    Authority(ours).issue("somebody", name="odd")
    with serve(credentials(ours, "peer")) as peer:
        text = "is not that of peer.woolexec or client.woolexec or operator.woolexec"
        assert text in refusal(peer, credentials(ours, "somebody-odd"))


def wait_for(path):
    path.with_suffix(".here").touch()
    eventually(path.exists)


def test_operators_see_and_end_all_tasks_and_clients_those_of_their_certificate(ours, tmp_path):
    for role, name in (("operator", None), ("client", "other"), ("peer", "second")):
        Authority(ours).issue(role, name=name)
    path = tmp_path / "go"
    roles = {"operator": True, "client": True, "client-other": False, "peer-second": None}
    with serve(credentials(ours, "peer")) as peer, ExitStack() as stack:
        pool = stack.enter_context(PeerPoolExecutor(peers=peer.address, credentials=credentials(ours, "client")))
        other = stack.enter_context(PeerPoolExecutor(peers=peer.address, credentials=credentials(ours, "client-other")))
        assert other.submit(abs, -1).result(PATIENCE) == 1
        future = pool.submit(wait_for, path)
        eventually(path.with_suffix(".here").exists)
        asking = {
            role: stack.enter_context(PeerThere(peer.address, credentials(ours, role), PATIENCE)) for role in roles
        }
        eventually(lambda: asking["operator"].stacks())
        (task,) = asking["operator"].stacks()
        for role, sees in roles.items():
            there = asking[role]
            assert [each.function for each in there.stacks()] == (["wait_for"] if sees else [])
            if sees is None:
                with pytest.raises(PeerRefusedError, match="only operators may see other clients"):
                    there.clients()
                assert not there.cancel(task)
                continue
            seen = {each.name for client in there.clients() for each in client.statistics.functions}
            running = [worker.task for client in there.clients() for worker in client.statistics.workers if worker.task]
            assert seen == ({"abs"} if role != "client" else set())
            assert running == (["wait_for"] if sees else [])
        assert not asking["client-other"].cancel(task)
        assert not future.done()
        assert asking["client"].cancel(task)
        with pytest.raises(CancelledError):
            future.result(PATIENCE)


def test_operator_is_no_peer(ours):
    Authority(ours).issue("operator")
    with pytest.raises(CredentialsError, match="is not the certificate of a peer"):
        credentials(ours, "operator").tls.check_own(PEER)
    assert credentials(ours, "operator").tls.check_own(CLIENT) > 0


def test_tls_with_a_token_asks_clients_for_no_certificate(ours):
    client = Credentials(TOKEN, Tls(str(ours / "ca.pem")))
    with serve(credentials(ours, "peer", ca=False, token=TOKEN)) as peer:
        assert answer(peer, client) == 1
        wrong = Credentials(token_for("others"), client.tls)
        assert "has not proved that it has the token" in refusal_later(peer, wrong)


def refusal_later(peer, given):
    with pytest.raises(NoPeersError) as caught:
        answer(peer, given, 0.3)
    return str(caught.value)


def test_new_files_are_used_without_a_restart_at_both_ends(tmp_path):
    certificate_authority = authority_in(tmp_path)
    own, given = credentials(tmp_path, "peer"), credentials(tmp_path, "client")
    with serve(own) as peer, PeerPoolExecutor(peers=peer.address, credentials=given) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        (link,) = pool._peers.links
        for name in ("ca.pem", "ca.key"):
            (tmp_path / name).rename(tmp_path / f"old-{name}")
        certificate_authority = Authority.make(tmp_path, name="the next one")
        for role in ("client", "peer"):
            certificate_authority.issue(role)
        eventually(lambda: pool._peers.links and link not in pool._peers.links)
        assert pool.submit(abs, -3).result(PATIENCE) == 3


@pytest.mark.leaks(reason="grpc asks for the files in threads of its own, which Python lists as dummies since logging")
def test_proofs_of_a_token_cover_the_new_certificate_and_for_a_while_the_old_one(tmp_path, monkeypatch):
    authority = authority_in(tmp_path)
    own, given = (credentials(tmp_path, role, token=TOKEN) for role in ("peer", "client"))
    with serve(own) as peer:
        assert answer(peer, given) == 1
        (old,) = peer._shown.fingerprints()
        authority.issue("peer")
        assert answer(peer, given) == 1
        assert peer._shown.fingerprints()[0] == old
        assert len(peer._shown.fingerprints()) == 2
        later = tls.monotonic() + tls._REPLACED + 1
        monkeypatch.setattr(tls, "monotonic", lambda: later)
        assert old not in peer._shown.fingerprints()
        assert answer(peer, given) == 1


@pytest.mark.leaks(reason="grpc asks for the files in threads of its own, which Python lists as dummies since logging")
def test_files_that_cannot_be_used_leave_the_old_ones_in_use(tmp_path, caplog):
    authority_in(tmp_path)
    given = credentials(tmp_path, "client")
    own = credentials(tmp_path, "peer")
    with serve(own) as peer:
        (tmp_path / "peer.pem").write_text("half of a certif")
        assert answer(peer, given) == 1
    assert "cannot be used" in caplog.text


def test_record_of_a_foreign_authority_is_passed_over(ours, theirs):
    with serve(credentials(ours, "peer")) as peer:

        class Found(Discovery):
            async def watch(self):
                foreign = Tls(str(theirs / "ca.pem")).fingerprints[0]
                yield Joined(Record("rogue", (peer.address,), fingerprint=foreign))

                await asyncio.Event().wait()

        with PeerPoolExecutor(peers=Found(), credentials=credentials(ours, "client"), peers_timeout=0.3) as pool:
            with pytest.raises(NoPeersError, match="another authority"):
                pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "peer.key").chmod(0o644), "chmod 600"),
        (lambda folder: (folder / "peer.key").unlink(), "No such file"),
        (lambda folder: (folder / "peer.pem").write_text(""), "peer.pem"),
        (lambda folder: (folder / "ca.pem").write_text("-----BEGIN"), "ca.pem"),
        (lambda folder: os.replace(folder / "client.key", folder / "peer.key"), "is not the key of"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, spoil, message):
    authority_in(tmp_path)
    spoil(tmp_path)
    files = (str(tmp_path / name) for name in ("ca.pem", "peer.pem", "peer.key"))
    with pytest.raises(CredentialsError, match=message):
        Credentials.from_files(None, *files)


def test_certificate_takes_its_key(ours):
    with pytest.raises(CredentialsError, match="must be given together"):
        Credentials.from_files(None, str(ours / "ca.pem"), str(ours / "peer.pem"))


def test_environment_names_the_files(ours):
    names = {"WOOLEXEC_TLS_CA": "ca.pem", "WOOLEXEC_TLS_CERT": "client.pem", "WOOLEXEC_TLS_KEY": "client.key"}
    given = Credentials.from_environment({name: str(ours / file) for name, file in names.items()})
    assert given.are_mutual
    assert given.token is None
    with serve(credentials(ours, "peer")) as peer:
        assert answer(peer, given) == 1


@pytest.mark.parametrize("name", ["TOKEN_FILE", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_REVOKED"])
def test_empty_variable_is_no_reason_to_do_with_less(name):
    with pytest.raises(CredentialsError, match=f"WOOLEXEC_{name} is empty"):
        Credentials.from_environment({f"WOOLEXEC_{name}": ""})
