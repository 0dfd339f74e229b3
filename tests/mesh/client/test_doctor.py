"""Each step of `woolexec doctor` reports its finding, and what to do if it fails."""

import asyncio

import pytest

from tests.mesh.certificates import issue_at
from tests.mesh.tasks import eventually, hold_number
from tests.tokens import token_for
from woolexec import Credentials, PeerPoolExecutor, cli
from woolexec.mesh.client import channel
from woolexec.mesh.client.doctor import examine
from woolexec.mesh.security.certificate_authority import Authority
from woolexec.mesh.server.peer import Peer


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))


@pytest.fixture
def peer():
    with Peer(
        2,
        bind="127.0.0.1:0",
        credentials=Credentials.of_this_user(),
        pool="team",
        tags=["gpu=a100"],
        resources={"memory": 64},
    ) as peer:
        yield peer


def test_doctor_finds_nothing_wrong_with_a_good_peer(peer, capsys):
    assert cli.main(["doctor", peer.address]) == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()[1:]] == [
        "name:",
        "connection:",
        "TLS:",
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


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_doctor_says_that_a_name_does_not_exist(capsys, host):
    assert cli.main(["doctor", f"{host}:1"]) == 1
    assert f"is {host!r} spelt correctly" in capsys.readouterr().out


def test_doctor_says_that_the_token_is_another(peer, tmp_path, capsys, monkeypatch):
    path = tmp_path / "token"
    path.write_bytes(token_for("others"))
    path.chmod(0o600)
    monkeypatch.setenv("WOOLEXEC_TOKEN_FILE", str(path))
    assert cli.main(["doctor", peer.address]) == 1
    out = capsys.readouterr().out
    assert "FAIL  peer: the client has not proved that it has the token" in out
    assert "give both ends the same token" in out


def test_doctor_says_that_a_port_has_no_tls(tmp_path, capsys, monkeypatch):
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials()) as peer:
        assert cli.main(["doctor", peer.address]) == 1
        out = capsys.readouterr().out
        assert "FAIL  TLS: the server there does not use TLS" in out
        assert "One that was started with --insecure" in out
        Authority.make(tmp_path / "ours", name="ours")
        monkeypatch.setenv("WOOLEXEC_TLS_CA", str(tmp_path / "ours" / "ca.pem"))
        assert cli.main(["doctor", peer.address]) == 1
        out = capsys.readouterr().out
        assert "FAIL  TLS: " in out
        assert "One that was started with --insecure" in out


def test_doctor_says_that_a_port_has_tls(peer):
    async def main():
        return [step async for step in examine(peer.address, Credentials())]

    *_, last = asyncio.run(main())
    assert (last.works, last.found) == (False, "the peer uses TLS, but no certificates are given")


def test_doctor_tries_each_address_of_a_host(peer, capsys, monkeypatch):
    right = peer.address

    async def both(_):
        return ["127.0.0.1:1", right]

    monkeypatch.setattr(channel, "resolve", both)
    assert cli.main(["doctor", right]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_doctor_says_that_the_certificate_is_another_authority_s(tmp_path, capsys, monkeypatch):
    for name, role in (("theirs", "peer"), ("ours", "client")):
        Authority.make(tmp_path / name, name=name).issue(role)
    for name, file in {"CA": "ca.pem", "CERT": "client.pem", "KEY": "client.key"}.items():
        monkeypatch.setenv(f"WOOLEXEC_TLS_{name}", str(tmp_path / "ours" / file))
    files = (str(tmp_path / "theirs" / name) for name in ("ca.pem", "peer.pem", "peer.key"))
    with Peer(1, bind="127.0.0.1:0", credentials=Credentials.from_files(None, *files)) as peer:
        assert cli.main(["doctor", peer.address]) == 1
    assert "FAIL  TLS" in capsys.readouterr().out


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


@pytest.mark.slow
def test_doctor_says_that_a_peer_is_full_or_draining(peer, tmp_path, capsys):
    with PeerPoolExecutor(peers=peer.address) as pool:
        futures = [pool.submit(hold_number, tmp_path, n) for n in range(50)]
        eventually(lambda: peer._acceptor.places.admission.free == 0)
        eventually(lambda: sum(future.running() for future in futures) >= 2)  # else they would be given back
        assert cli.main(["doctor", peer.address]) == 0
        assert "ok    link: the peer accepts the link, but has no free places" in capsys.readouterr().out
        peer.drain()
        eventually(lambda: not peer._health.serving)
        assert cli.main(["doctor", peer.address]) == 1
        assert "FAIL  link: the peer is draining" in capsys.readouterr().out
        (tmp_path / "release").touch()
        for future in futures:
            future.cancel()


def test_peer_that_can_start_no_worker_is_named_with_the_reason(peer, capsys):
    peer.engine.tell(lambda: peer._say_trouble("no memory"))
    eventually(lambda: not peer._health.serving)
    assert cli.main(["peers", peer.address]) == 1
    assert "cannot be used: " in (said := capsys.readouterr().out)
    assert "the peer cannot run tasks now: no memory" in said
