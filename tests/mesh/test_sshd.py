"""A peer that is started through a real sshd, on loopback, with separate keys and settings."""

import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh.conftest import PATIENCE, eventually
from woolexec import PeerPoolExecutor
from woolexec.discovery.ssh import Ssh

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="takes ssh and sshd")

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {room}/host
AuthorizedKeysFile {room}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
AllowStreamLocalForwarding yes
"""


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def room(tmp_path):
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    return tmp_path


@pytest.fixture
def port(room, monkeypatch):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (room / "config").write_text(CONFIG.format(port=port, room=room))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a privileged sshd goes to be nobody
    program = room / "ssh"
    options = f"-i {room}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={room}/known"
    program.write_text(f'#!/bin/sh\nexec ssh -F none {options} "$@"\n')
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(room / "config")], stderr=subprocess.DEVNULL) as sshd:
        try:
            eventually(lambda: listens(port))
            yield port
        finally:
            sshd.terminate()


@pytest.mark.slow
def test_tasks_run_at_a_peer_behind_a_real_sshd_that_leaves_nothing_behind(port):
    peer = Ssh(f"{getpass.getuser()}@127.0.0.1", port, workers=1, python=sys.executable)
    with PeerPoolExecutor(peers=peer) as pool:
        template = pool.submit(os.getppid).result(PATIENCE)
        assert pool.submit(sum, range(10)).result(PATIENCE) == 45
        assert pool.submit(len, b"x" * (3 << 20)).result(PATIENCE) == 3 << 20
    eventually(lambda: not Path(f"/proc/{template}").exists())
