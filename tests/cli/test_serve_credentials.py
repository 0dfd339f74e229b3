import contextlib
import os
import socket
import subprocess

import pytest

from tests.cli.serving import PATIENCE, run_serve, serving
from tests.mesh.certificates import issue_at
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.security.certificate_authority import Authority


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("ours", "theirs")]
    for folder in folders:
        made = Authority.make(folder, name=folder.name)
        for role in ("peer", "client"):
            made.issue(role)
            issue_at(made, role, -20, name="expired")
            issue_at(made, role, 20, name="early")
            made.issue(role, name="soon", days=10)
    return folders


def with_tls(ours, certificate):
    return ["--tls-ca", ours / "ca.pem", "--tls-cert", certificate, "--tls-key", certificate.with_suffix(".key")]


def test_certificate_that_no_client_would_accept_is_refused(authorities):
    ours, theirs = authorities
    for certificate, reason in {
        ours / "client.pem": "is not the certificate of a peer",
        ours / "peer-expired.pem": "expired on",
        ours / "peer-early.pem": "is not valid before",
        theirs / "peer.pem": f"fails verification against {ours}/ca.pem",
    }.items():
        ran = run_serve("--bind=127.0.0.1:0", *with_tls(ours, certificate))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert f"woolexec serve: {certificate} {reason}" in ran.stderr


def test_certificate_that_expires_soon_is_told_of(authorities):
    ours, _ = authorities
    with serving(*with_tls(ours, ours / "peer-soon.pem"), stderr=subprocess.PIPE) as (process, _):
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert f"warning certificate {ours}/peer-soon.pem expires in 9 days" in process.stderr.read()


def test_variables_of_a_clients_certificate_are_not_taken_for_the_peers(authorities):
    ours, _ = authorities
    files = {"CA": ours / "ca.pem", "CERT": ours / "client.pem", "KEY": ours / "client.key"}
    env = os.environ | {f"WOOLEXEC_TLS_{name}": str(path) for name, path in files.items()}
    ran = run_serve("--bind=0.0.0.0:0", env=env)
    assert ran.returncode == 2
    assert "WOOLEXEC_TLS_CERT is the variable of clients; a peer's is WOOLEXEC_SERVE_TLS_CERT" in ran.stderr
    with serving(env=env) as (process, about), PeerPoolExecutor(peers=about["address"]) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()


def test_peers_certificate_comes_from_variables_of_its_own(authorities):
    ours, _ = authorities
    files = {"CA": ours / "ca.pem", "CERT": ours / "peer.pem", "KEY": ours / "peer.key"}
    env = os.environ | {f"WOOLEXEC_SERVE_TLS_{name}": str(path) for name, path in files.items()}
    given = Credentials.from_files(None, *(str(ours / name) for name in ("ca.pem", "client.pem", "client.key")))
    with serving(env=env) as (process, about), PeerPoolExecutor(peers=about["address"], credentials=given) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()


def test_strangers_bring_no_lines_of_grpc_and_a_signal_during_a_handshake_ends_it(authorities):
    ours, _ = authorities
    with serving(*with_tls(ours, ours / "peer.pem"), stderr=subprocess.PIPE) as (process, about):
        host, _, port = about["address"].rpartition(":")
        with socket.create_connection((host, int(port))) as rude, socket.create_connection((host, int(port))):
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
            rude.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                while rude.recv(100):
                    pass
            process.terminate()  # the other has said nothing yet
            assert process.wait(PATIENCE) == 0
        assert [line.split()[1:] for line in process.stderr] == [["info", "draining,", "with", "0", "clients"]]
