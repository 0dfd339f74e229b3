import subprocess
import sys
from subprocess import PIPE, Popen

import pytest

from woolexec import Credentials, PeerPoolExecutor
from woolexec.errors import PeerStartError
from woolexec.mesh.server.child import ChildPeer

PATIENCE = 30.0


def test_child_is_a_peer_until_it_is_ended(monkeypatch):
    monkeypatch.setenv("MPI_RANK", "1")
    credentials = Credentials.with_new_token()
    child = ChildPeer(credentials.token, 1, resources={"gpu": 2}, without=["MPI_"])
    with PeerPoolExecutor(peers=child.addresses()[0], credentials=credentials) as pool:
        view = pool.with_options(require={"gpu": 2})
        assert view.submit(lambda: __import__("os").environ.get("MPI_RANK")).result(PATIENCE) is None
        assert not child.has_ended
    child.end()
    assert child.has_ended


def test_child_that_has_ended_before_it_read_its_token_is_an_error(monkeypatch):
    def ended(*args, **kwargs):
        process = Popen([sys.executable, "-c", ""], stdin=PIPE, stdout=PIPE)
        process.wait()
        return process

    monkeypatch.setattr(subprocess, "Popen", ended)
    child = ChildPeer(Credentials.with_new_token().token, 1)
    with pytest.raises(PeerStartError, match="exit code"):
        child.addresses()
    child.end()


def test_child_that_does_not_serve_is_an_error():
    child = ChildPeer(b"no token", 1)
    with pytest.raises(PeerStartError, match="exit code"):
        child.addresses()
    child.end()
