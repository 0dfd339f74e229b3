"""Peers of this user on this host, which need no address."""

import os
import socket
import stat
import tempfile

import pytest

from tests.mesh.conftest import PATIENCE
from woolexec import Credentials, CredentialsError, PeerPoolExecutor
from woolexec.discovery.local import Local
from woolexec.discovery.urls import discovery
from woolexec.mesh.security import credentials
from woolexec.mesh.server.peer import Peer


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def socket_at(address):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address.removeprefix("unix:"))
    return sock


@pytest.mark.parametrize(("url", "pool"), [("local://", ""), ("local://team", "team")])
def test_url_names_the_pool(url, pool):
    local = discovery(url)
    assert isinstance(local, Local)
    assert (str(local), local.pool) == (url, pool)


@pytest.mark.parametrize("url", ["local://team/x", "local://?pool=team"])
def test_url_that_names_more_is_refused(url):
    with pytest.raises(ValueError, match="local:"):
        discovery(url)


def test_peer_is_found_by_clients_of_its_user_alone(state):
    local = Local()
    with Peer(1, credentials=Credentials.of_this_user(), pool="team", announce=[local]):
        for url in ("local://", "local://team"):
            with PeerPoolExecutor(peers=url) as pool:
                assert pool.submit(abs, -1).result(PATIENCE) == 1
        (host,) = (state / "peers").iterdir()
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in (state, host, host.parent)} == {0o700}


def test_each_host_has_a_folder_of_its_own(monkeypatch, state):
    names = iter(["one", "two"])
    monkeypatch.setattr("woolexec.discovery.local.host_name", lambda: next(names))
    assert [Local().path for _ in range(2)] == [f"{state}/peers/one", f"{state}/peers/two"]


def test_sockets_of_peers_that_were_killed_are_removed_and_nothing_else(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # its path is short enough for sockets
        monkeypatch.setenv("WOOLEXEC_STATE", folder)
        check_sockets(Local())


def check_sockets(local):
    dead, living, busy = (local.new_address() for _ in range(3))
    socket_at(dead).close()
    open(f"{local.path}/note", "x").close()
    with socket_at(living) as listening, socket_at(busy) as full, socket.socket(socket.AF_UNIX) as waiting:
        listening.listen()
        full.listen(0)
        waiting.connect(busy.removeprefix("unix:"))
        local.new_address()
        left = {f"unix:{local.path}/{name}" for name in os.listdir(local.path)}
    assert left == {living, busy, f"unix:{local.path}/note"}


@pytest.mark.parametrize("which", ["", "peers", "peers/host"])
@pytest.mark.parametrize("how", ["open", "link", "file"])
def test_folder_that_others_can_change_is_refused(monkeypatch, state, tmp_path, which, how):
    monkeypatch.setattr("woolexec.discovery.local.host_name", lambda: "host")
    folder = state / which
    if which:
        credentials.state_folder(*which.split("/")[:-1])
    if how == "open":
        folder.mkdir(mode=0o755)
    elif how == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.touch(mode=0o600)
    with pytest.raises(CredentialsError, match=f"{folder}"):
        Local()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_folder_of_another_user_is_refused():
    os.chown(Local().path, 65534, 65534)
    with pytest.raises(CredentialsError, match="must be a folder of this user"):
        Local()
