"""A peer that is started over ssh; `tests.mesh.fake_ssh` stands in for the connection, the peer is a real one."""

import asyncio
import os
import re
import shlex
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from tests.mesh import fake_ssh
from tests.mesh.conftest import PATIENCE, eventually
from woolexec import NoPeersError, PeerPoolExecutor
from woolexec.discovery import ssh
from woolexec.discovery.ssh import Ssh


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho $$ >>'{tmp_path}/pids'\n{fake_ssh.command()}\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("WOOLEXEC_SSH", str(program))
    return program


def connected(host="far", workers=1, **options):
    return PeerPoolExecutor(peers=Ssh(host, workers=workers, python=sys.executable), **options)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_tasks_run_at_a_peer_that_is_started_for_them_and_ends_with_them():
    with connected(workers=2) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        peer = pool.submit(os.getppid).result(PATIENCE)
        pids = pool.run_on_all(os.getpid)
        assert len(pids) == 2
    eventually(lambda: not is_alive(peer))


def test_what_the_connection_needs_lies_where_nobody_else_can_look():
    with connected() as pool:
        pool.wait_for_peers(1, PATIENCE)
        (record,) = [known.record for known in pool._peers._attempts.candidates]
        folder = Path(record.addresses[0].removeprefix("unix:")).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        command = Path("/proc", Path(os.environ["WOOLEXEC_SSH"]).with_name("pids").read_text().split()[0], "cmdline")
        assert record.credentials.token not in command.read_bytes()
        assert b"token" not in repr(record).encode().replace(b"token=", b"")
    assert not folder.exists()


def test_peer_ends_when_its_client_is_killed(fake):
    script = (
        "import os, sys; from woolexec import PeerPoolExecutor; from woolexec.discovery.ssh import Ssh\n"
        "pool = PeerPoolExecutor(peers=Ssh('far', workers=1, python=sys.executable))\n"
        "print(pool.submit(os.getppid).result(), flush=True); sys.stdin.read()"
    )
    import subprocess

    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as client:
        template = int(client.stdout.readline())
        client.kill()
        eventually(lambda: not is_alive(template))
    for leftover in Path(tempfile.gettempdir()).glob("woolexec-*"):  # a killed process cleans up nothing
        for path in leftover.iterdir():
            path.unlink()
        leftover.rmdir()


def test_connection_that_breaks_is_made_again(fake):
    with connected() as pool:
        first = pool.submit(os.getpid).result(PATIENCE)
        (link,) = pool._peers.links
        os.kill(int(fake.with_name("pids").read_text().split()[0]), signal.SIGKILL)
        eventually(lambda: not is_alive(first) and link not in pool._peers.links)
        assert pool.submit(os.getpid).result(PATIENCE) != first


@pytest.mark.parametrize("when", ["runs", "starts"])
def test_end_of_a_connection_is_noticed_while_a_child_of_ssh_holds_its_output(fake, monkeypatch, when):
    monkeypatch.setattr(ssh, "_OVER", 0.02)
    lines = fake.read_text().splitlines()
    holds = f"[ -e '{fake}.held' ] || {{ sleep 1000 <&- 2>&- & echo $! >'{fake}.held'; }}"
    fails = f"[ -e '{fake}.failed' ] || {{ touch '{fake}.failed'; exit 1; }}" if when == "starts" else ":"
    fake.write_text("\n".join([lines[0], holds, fails, *lines[1:]]))
    try:
        with connected() as pool:
            first = pool.submit(os.getpid).result(PATIENCE)
            if when == "runs":
                [link] = pool._peers.links
                os.kill(int(fake.with_name("pids").read_text().split()[0]), signal.SIGKILL)
                eventually(lambda: not is_alive(first) and link not in pool._peers.links)
                assert pool.submit(os.getpid).result(PATIENCE) != first
    finally:
        os.kill(int(Path(f"{fake}.held").read_text()), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "message"), [("denied", r"exit code 1: me@denied: Permission denied"), ("absent", r"no-such-woolexec")]
)
def test_reason_why_there_is_no_peer_is_told(host, message):
    with connected(host, peers_timeout=0.1) as pool:
        eventually(lambda: re.search(message, pool._peers.explain()))
        with pytest.raises(NoPeersError, match=message):
            pool.submit(abs, -1).result(PATIENCE)


@pytest.mark.slow
def test_host_that_does_not_answer_is_given_up_and_tried_again(monkeypatch):
    monkeypatch.setattr(ssh, "_STARTING", 0.05)
    with connected("silent", peers_timeout=0.1) as pool:
        eventually(lambda: "not ready within 0.05 s" in pool._peers.explain())
        with pytest.raises(NoPeersError, match=r"not ready within 0\.05 s"):
            pool.submit(abs, -1).result(PATIENCE)


def test_program_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("WOOLEXEC_SSH", "/nowhere/ssh")
    with (
        connected(peers_timeout=0.5) as pool,
        pytest.raises(NoPeersError, match="run '/nowhere/ssh' here"),
    ):
        pool.submit(abs, -1).result(PATIENCE)


def test_ssh_that_is_cancelled_while_its_pipes_are_connected_leaves_no_transport_open():
    async def cancel():
        loop = asyncio.get_running_loop()
        connect, transports = loop.connect_read_pipe, []

        async def connect_one(*arguments):
            if transports:
                raise asyncio.CancelledError
            transports.append((await connect(*arguments))[0])
            return transports[0], None

        loop.connect_read_pipe = connect_one
        with pytest.raises(asyncio.CancelledError):
            await ssh._Running(["sleep", "600"], b"", "far").__aenter__()
        return transports[0].is_closing()

    assert asyncio.run(cancel())


def test_command_asks_nobody_and_forwards_to_a_folder_that_is_new_each_time():
    made = [Ssh("me@far", 2222, workers=8, python="/opt/my python")._command("/here/peer") for _ in range(2)]
    assert made[0] != made[1]
    command = made[0]
    assert command[command.index("-p") + 1] == "2222"
    assert "BatchMode=yes" in command
    here, _, there = command[command.index("-L") + 1].partition(":")
    assert here == "/here/peer"
    assert command[-3:-1] == ["--", "me@far"]
    remote = shlex.split(command[-1])
    assert remote[:3] == ["exec", "/opt/my python", "-m"]
    assert f"--bind=unix:{there}" in remote
    assert "--workers=8" in remote
