import os
import socket
import stat

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import PeerStartError
from woolexec.mesh.server.peer import Peer
from woolexec.mesh.server.socket_dir import SocketDir


def listen(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def test_folder_that_is_not_there_is_made_for_nobody_else_and_removed(tmp_path):
    os.umask(umask := os.umask(0))
    os.umask(0)
    try:
        room = SocketDir(f"unix:{tmp_path}/own/peer")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    room.leave()
    assert not (tmp_path / "own").exists()


def test_folder_of_the_user_stays(tmp_path):
    SocketDir(f"unix:{tmp_path}/peer").leave()
    assert tmp_path.exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o1777])
def test_folder_that_others_can_enter_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(PeerStartError, match="others cannot access"):
        SocketDir(f"unix:{tmp_path}/peer")


def test_link_to_a_folder_is_refused(tmp_path):
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(PeerStartError, match="must be a folder"):
        SocketDir(f"unix:{tmp_path}/link/peer")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / "foreign").mkdir(0o700)
    os.chown(tmp_path / "foreign", 65534, 65534)
    with pytest.raises(PeerStartError, match="of this user"):
        SocketDir(f"unix:{tmp_path}/foreign/peer")


def test_socket_that_a_killed_peer_has_left_is_replaced(tmp_path):
    listen(tmp_path / "peer").close()
    with Peer(1, bind=f"unix:{tmp_path}/peer", credentials=CREDENTIALS) as peer, joined(peer) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_socket_of_a_living_peer_is_not_taken_from_it(tmp_path):
    with listen(tmp_path / "peer"), pytest.raises(PeerStartError, match="another peer"):
        SocketDir(f"unix:{tmp_path}/peer")


def test_file_in_the_way_is_not_removed(tmp_path):
    (tmp_path / "peer").write_text("mine")
    with pytest.raises(PeerStartError, match="in the way"):
        SocketDir(f"unix:{tmp_path}/peer")
    assert (tmp_path / "peer").read_text() == "mine"


def test_path_that_no_socket_can_have_is_refused(tmp_path):
    with pytest.raises(PeerStartError, match="at most"):
        SocketDir(f"unix:{tmp_path}/{'x' * 120}")
    with pytest.raises(PeerStartError, match="No such file"):
        SocketDir(f"unix:{tmp_path}/a/b/peer")
