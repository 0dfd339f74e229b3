"""`woolexec serve` in a separate process, as a user starts it."""

import contextlib
import json
import os
import pickle
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from tests.cli.serving import PATIENCE, certificates, run_serve, serving
from tests.marks import slow
from tests.mesh.tasks import hold_alone, nest_and_meet
from tests.tokens import token_for
from woolexec import (
    Credentials,
    NoPeersError,
    PeerPoolExecutor,
    UnsatisfiableError,
    WorkerLostError,
    cli,
)
from woolexec.cli.settings import listening
from woolexec.mesh.security.credentials import state_folder


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


def test_ready_line_says_where_it_is_and_clients_of_this_user_may_use_it(state):
    with serving() as (process, about):
        assert about["pid"] == process.pid
        assert about["workers"] == 1
        with PeerPoolExecutor(peers=about["address"]) as pool:
            assert pool.submit(os.getppid).result(PATIENCE) != os.getpid()
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600


def test_fork_server_is_there_before_the_first_client():
    with serving() as (process, _):
        eventually(lambda: children(process.pid))


def test_ready_line_for_people():
    command = [sys.executable, "-m", "woolexec", "serve", "--bind", "127.0.0.1:0", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert line.startswith("woolexec peer at 127.0.0.1:")
    assert line.endswith(f", pid {process.pid}, 2 workers\n")


def test_sigterm_lets_running_tasks_end(tmp_path):
    with serving() as (process, about), PeerPoolExecutor(peers=about["address"]) as pool:
        future = pool.submit(hold_alone, tmp_path)
        eventually((tmp_path / "held").exists)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        (tmp_path / "release").touch()
        assert future.result(PATIENCE)
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_second_signal_ends_it_at_once(tmp_path):
    with serving() as (process, about), PeerPoolExecutor(peers=about["address"]) as pool:
        future = pool.submit(hold_alone, tmp_path)
        eventually((tmp_path / "held").exists)
        process.terminate()
        time.sleep(0.3)
        process.terminate()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        with pytest.raises(WorkerLostError):
            future.result(PATIENCE)


@pytest.mark.slow
def test_draining_ends_after_its_time(tmp_path):
    with contextlib.ExitStack() as stack:
        process, about = stack.enter_context(serving("--drain-timeout", "0.2", stderr=subprocess.PIPE))
        future = stack.enter_context(PeerPoolExecutor(peers=about["address"])).submit(hold_alone, tmp_path)
        eventually((tmp_path / "held").exists)
        process.terminate()
        assert process.wait(PATIENCE) == 1
        assert "tasks still ran after 0.2 s" in process.stderr.read()
        with pytest.raises(WorkerLostError):
            future.result(PATIENCE)


@pytest.mark.slow
@pytest.mark.linux
def test_peer_that_can_start_no_worker_exits_after_a_while():
    with contextlib.ExitStack() as stack:
        process, about = stack.enter_context(serving("--give-up-after", "0.2", stderr=subprocess.PIPE))
        pool = stack.enter_context(PeerPoolExecutor(peers=about["address"]))
        pool.wait_for_peers(1, PATIENCE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (4, 4))  # all that are allowed are open
        future = pool.submit(abs, -1)
        assert process.wait(PATIENCE) == 1
        said = process.stderr.read()
        assert "not serving: no worker can be started: " in said
        assert "giving up, because no worker could be started: " in said
        assert future.cancel()


def test_peer_that_is_killed_takes_its_workers_along(tmp_path):
    with serving() as (process, about), PeerPoolExecutor(peers=about["address"]) as pool:
        future = pool.submit(hold_alone, tmp_path)
        eventually((tmp_path / "held").exists)
        [worker] = grandchildren(process.pid)
        process.kill()
        with pytest.raises(WorkerLostError, match="link"):
            future.result(PATIENCE)
        eventually(lambda: not Path(f"/proc/{worker}").exists())


def grandchildren(pid):
    """The workers below the fork server below the peer."""
    return [worker for fork_server in children(pid) for worker in children(fork_server)]


def children(pid):
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.mark.slow
def test_token_of_a_file_is_asked_for(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(token_for("this test"))
    path.chmod(0o600)
    with serving("--token-file", str(path)) as (_process, about):
        with PeerPoolExecutor(peers=about["address"]) as pool, pytest.raises(TimeoutError, match="has not proved"):
            pool.wait_for_peers(1, 2.0)
        with PeerPoolExecutor(peers=about["address"], credentials=Credentials.from_file(path)) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize("how", ["argument", "environment", "file"])
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7437", "example.org:7437"])
def test_address_that_others_reach_is_refused(how, address, monkeypatch, tmp_path, capsys):
    arguments = ["serve"]
    if how == "argument":
        arguments += ["--bind", address]
    elif how == "environment":
        monkeypatch.setenv("WOOLEXEC_BIND", address)
    else:
        (tmp_path / "peer.toml").write_text(f'bind = "{address}"')
        arguments += ["--config", str(tmp_path / "peer.toml")]
    assert cli.main(arguments) == 2
    assert "can be reached from other hosts" in capsys.readouterr().err


def test_any_address_is_served_with_a_token_that_was_named(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(token_for("this test"))
    path.chmod(0o600)
    with serving("--bind", "0.0.0.0:0", "--token-file", str(path)) as (_, about):
        port = about["address"].rpartition(":")[2]
        with PeerPoolExecutor(peers=f"127.0.0.1:{port}", credentials=Credentials.from_file(path)) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


def sockets_of(pid):
    """The TCP ports at which a process listens."""
    held = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held]


@pytest.fixture
def short_state(monkeypatch):
    """A folder whose path is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("WOOLEXEC_STATE", folder)
        yield Path(folder)


def test_peer_without_an_address_listens_on_a_socket_that_the_user_s_clients_find(short_state):
    with serving(bind=()) as (process, about):
        path = Path(about["address"].removeprefix("unix:"))
        folder = short_state / "peers" / os.uname().nodename
        assert path.parent == folder
        assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)] == [0o700, 0o700]
        assert not sockets_of(about["pid"])
        with PeerPoolExecutor(peers="local://") as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.kill()
        process.wait(PATIENCE)
    with serving(bind=()), PeerPoolExecutor(peers="local://") as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert not path.exists()  # what a peer that was killed has left


@pytest.mark.slow
@pytest.mark.usefixtures("short_state")
def test_two_peers_without_an_address_are_both_found():
    with serving(bind=()), serving(bind=()), PeerPoolExecutor(peers="local://") as pool:
        pool.wait_for_peers(2, PATIENCE)


def test_peer_whose_socket_would_have_too_long_a_path_has_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("WOOLEXEC_STATE", str(tmp_path / ("x" * 100)))
    with serving(bind=()) as (process, about):
        assert len(about["address"]) < 100
        with PeerPoolExecutor(peers="local://") as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not Path(about["address"].removeprefix("unix:")).parent.exists()


@pytest.mark.parametrize("how", ["open", "link"])
def test_peer_without_an_address_refuses_a_folder_of_sockets_that_others_can_change(how, tmp_path, capsys):
    folder = state_folder() / "peers"
    if how == "open":
        folder.mkdir(mode=0o755)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    assert cli.main(["serve"]) == 2
    assert f"{folder} must be a folder of this user that others cannot access" in capsys.readouterr().err


def test_address_to_announce_takes_an_address_to_listen_at(capsys):
    assert cli.main(["serve", "--advertise", "far.example:7437"]) == 2
    assert "--advertise needs --bind" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "short"])
def test_token_file_without_a_token_is_fatal(content, tmp_path, capsys):
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    assert cli.main(["serve", "--token-file", str(path)]) == 2
    assert "holds no token" in capsys.readouterr().err


def test_unknown_setting_is_fatal(monkeypatch, capsys):
    monkeypatch.setenv("WOOLEXEC_WORKER", "2")
    assert cli.main(["serve"]) == 2
    assert "unknown setting WOOLEXEC_WORKER" in capsys.readouterr().err


def test_address_that_is_taken_is_said_with_exit_code_1():
    with serving() as (_, about):
        command = [sys.executable, "-m", "woolexec", "serve", "--bind", about["address"], "--workers", "1"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 1
    assert "is another peer there?" in ran.stderr


def test_systemd_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        with serving(env=dict(os.environ, NOTIFY_SOCKET=str(tmp_path / "notify"))) as (process, _):
            assert sock.recv(100) == b"READY=1"
            process.terminate()
            assert sock.recv(100) == b"STOPPING=1"
            assert process.wait(PATIENCE) == 0


def test_probes_are_answered_at_a_port_of_their_own_where_nothing_else_is(tmp_path):
    import grpc

    files = certificates(tmp_path)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        health = f"127.0.0.1:{sock.getsockname()[1]}"
    tls = ["--tls-ca", files["ca.pem"], "--tls-cert", files["peer.pem"], "--tls-key", files["peer.key"]]
    with serving("--health", health, *tls), grpc.insecure_channel(health) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream("/woolexec.v1.Peer/Hello")(iter(()), timeout=PATIENCE))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_probes_of_grpc_health_are_answered(tmp_path):
    import grpc

    with (
        serving(bind=["--bind", f"unix:{tmp_path}/sockets/peer"]) as (process, about),
        grpc.insecure_channel(about["address"]) as channel,
    ):
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=PATIENCE) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with PeerPoolExecutor(peers=about["address"]) as pool:
            pool.submit(hold_alone, tmp_path)
            eventually((tmp_path / "held").exists)
            process.terminate()
            eventually(lambda: check(b"", timeout=PATIENCE) == b"\x08\x02")
            (tmp_path / "release").touch()
        assert process.wait(PATIENCE) == 0


def test_any_address_is_served_with_certificates_at_both_ends(tmp_path):
    files = certificates(tmp_path)
    tls = ["--tls-ca", files["ca.pem"], "--tls-cert", files["peer.pem"], "--tls-key", files["peer.key"]]
    given = Credentials.from_files(None, files["ca.pem"], files["client.pem"], files["client.key"])
    with serving("--bind", "0.0.0.0:0", *tls) as (_, about):
        port = about["address"].rpartition(":")[2]
        with PeerPoolExecutor(peers=f"127.0.0.1:{port}", credentials=given) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.parametrize(
    "names",
    [["cert", "key"], ["ca"], ["key"], ["cert"], ["ca", "cert"]],
    ids=" ".join,
)
def test_certificates_that_do_not_suffice_are_refused(tmp_path, capsys, names):
    files = certificates(tmp_path)
    given = {"ca": files["ca.pem"], "cert": files["peer.pem"], "key": files["peer.key"]}
    arguments = [text for name in names for text in (f"--tls-{name}", given[name])]
    assert cli.main(["serve", "--bind", "0.0.0.0:0", *arguments]) == 2
    assert capsys.readouterr().err.startswith("woolexec serve: ")


def test_tls_without_an_authority_asks_local_clients_for_the_user_s_token(tmp_path):
    files = certificates(tmp_path)
    with serving("--tls-cert", files["peer.pem"], "--tls-key", files["peer.key"]) as (_, about):
        encrypted = Credentials.from_files(None, files["ca.pem"])
        with PeerPoolExecutor(peers=about["address"], credentials=encrypted, peers_timeout=0.3) as pool:
            with pytest.raises(NoPeersError, match="token"):
                pool.submit(abs, -1).result(PATIENCE)
        both = Credentials(Credentials.of_this_user().token, encrypted.tls)
        with PeerPoolExecutor(peers=about["address"], credentials=both) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_peer_announces_itself_where_it_is_told_to_and_as_it_is_told_to(tmp_path):
    where = f"dir:{tmp_path}"
    arguments = ["--announce", where, "--advertise", "far.example", "--pool", "team", "--tag", "gpu=a100"]
    with serving(*arguments) as (process, about):
        (path,) = tmp_path.glob("*.json")
        record = json.loads(path.read_text())
        assert record["key"] == about["identity"]
        assert record["addresses"] == ["far.example:7437"]
        assert (record["pool"], record["tags"]) == ("team", ["gpu=a100"])
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not path.exists()


@pytest.mark.parametrize("url", ["nfs:/x", "host:1", "lan://a/b"])
def test_announcement_that_makes_no_sense_is_refused(url, capsys):
    assert cli.main(["serve", "--announce", url]) == 2
    assert url.partition(":")[0] in capsys.readouterr().err


def test_announcement_that_cannot_be_made_is_said_with_exit_code_1(tmp_path, capsys):
    assert cli.main(["serve", "--bind", "127.0.0.1:0", "--announce", f"dir:{tmp_path}/nowhere"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_token_comes_by_stdin_and_its_end_ends_the_peer():
    arguments = ["--lifeline", "--token-file", "-"]
    given = Credentials(token_for("this test"))
    with serving(*arguments, stdin=subprocess.PIPE, first=f"{given.token.decode()}\n") as (process, about):
        with PeerPoolExecutor(peers=about["address"], credentials=given) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
            process.stdin.close()
            assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_token_of_stdin_is_asked_for_beside_the_certificates(tmp_path):
    files = certificates(tmp_path)
    tls = ["--tls-ca", files["ca.pem"], "--tls-cert", files["peer.pem"], "--tls-key", files["peer.key"]]
    token = token_for("this test")
    given = Credentials.from_files(None, files["ca.pem"], files["client.pem"], files["client.key"])
    with serving(*tls, "--token-file", "-", stdin=subprocess.PIPE, first=f"{token.decode()}\n") as (_, about):
        for wrong in (given, Credentials(token)):
            with PeerPoolExecutor(peers=about["address"], credentials=wrong, peers_timeout=0.3) as pool:
                assert isinstance(pool.submit(abs, -1).exception(PATIENCE), NoPeersError)
        with PeerPoolExecutor(peers=about["address"], credentials=Credentials(token, given.tls)) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lifeline", [["--lifeline"], []])
def test_peer_with_a_lease_ends_when_nobody_has_come_for_long(lifeline):
    command = [sys.executable, "-m", "woolexec", "serve", "--bind=127.0.0.1:0", "--workers=1", "--lease=0.2", *lifeline]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as process:  # its stdin stays open
        assert process.wait(PATIENCE) == 0, process.stderr.read()


@pytest.mark.slow
def test_peer_with_a_lease_stays_while_a_client_is_connected_and_ends_after_it():
    with serving("--lease=5") as (process, about):
        with PeerPoolExecutor(peers=about["address"]) as pool:
            assert pool.submit(time.sleep, 6).result(PATIENCE) is None
        assert process.wait(PATIENCE) == 0


def test_what_it_offers_can_be_required_and_what_ran_is_written_down(tmp_path):
    settings = ["--resource", "gpu=1", "--tag", "zone=b", "--audit", str(tmp_path / "audit")]
    with serving(*settings) as (_, about), PeerPoolExecutor(peers=about["address"]) as pool:
        view = pool.with_options(require={"gpu": 1, "zone": "b"}, name="the task")
        assert view.submit(abs, -1).result(PATIENCE) == 1
        with pytest.raises(UnsatisfiableError, match="gpu=1, zone=b"):
            pool.with_options(require={"gpu": 2}).submit(abs, -1).result(PATIENCE)
    (line,) = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    assert (line["task"], line["outcome"]) == ("the task", "returned")


def files_in(folder, pid):
    """How many files of a folder a process has open: they have no names."""
    return sum(os.readlink(each.path).startswith(str(folder)) for each in os.scandir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("has_folder", [False, True])
def test_what_stays_beyond_its_limit_goes_to_a_folder_if_there_is_one(tmp_path, has_folder):
    settings = ["--store-limit", "150000", *(["--spill-dir", str(tmp_path)] if has_folder else [])]
    with serving(*settings) as (_, about), PeerPoolExecutor(0, peers=about["address"]) as pool:
        futures = [pool.with_options(keep=True).submit(bytes, 100_000) for _ in range(4)]
        wait(futures)
        assert [future.kept is not None for future in futures] == [True, *[has_folder] * 3]
        if has_folder:
            eventually(lambda: files_in(tmp_path, about["pid"]) == 3)
        assert [len(future.result(PATIENCE)) for future in futures] == [100_000] * 4


def test_what_is_not_allowed_is_refused():
    with serving("--allow", "builtins:abs") as (_, about), PeerPoolExecutor(peers=about["address"]) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        with pytest.raises(pickle.UnpicklingError, match="posix:getpid is not on"):
            pool.submit(os.getpid).result(PATIENCE)


def test_nested_tasks_go_to_the_peers_that_it_is_told_of(tmp_path):
    with serving() as (_, other), serving("--peers", other["address"]) as (_, about):
        with PeerPoolExecutor(peers=about["address"]) as pool:
            assert len(pool.submit(nest_and_meet, tmp_path).result(PATIENCE)) == 2


def test_address_without_a_port_takes_the_usual_one_and_a_port_that_is_none_is_refused(capsys):
    assert listening("127.0.0.1") == "127.0.0.1:7437"
    assert listening("::1") == "[::1]:7437"
    assert listening("127.0.0.1:0") == "127.0.0.1:0"
    for wrong in ("127.0.0.1:80000", "127.0.0.1:-1", "127.0.0.1:x", "unix:peer", ""):
        assert cli.main(["serve", "--insecure", f"--bind={wrong}"]) == 2
        assert "--bind" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--bind", "--health"])
def test_address_of_another_host_is_said(option):
    ran = run_serve("--insecure", "--bind=127.0.0.1:0", f"{option}=192.0.2.1:7437")
    assert ran.returncode == 1
    assert "cannot listen on 192.0.2.1:7437: 192.0.2.1 is not an address of this host" in ran.stderr


def test_log_is_one_line_of_json_for_each_event(tmp_path):
    with serving("--log-format", "json", stderr=subprocess.PIPE) as (process, about):
        with PeerPoolExecutor(peers=about["address"]) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()
        assert process.wait(PATIENCE) == 0
        lines = [json.loads(line) for line in process.stderr]
    assert [line["event"] for line in lines] == ["joined", "left", "draining"]


def test_log_leaves_out_what_is_below_its_level():
    with serving("--log-level=warning", stderr=subprocess.PIPE) as (process, about):
        with PeerPoolExecutor(peers=about["address"]) as pool:
            assert pool.submit(abs, -1).result(PATIENCE) == 1
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("gap", [0.001, *slow(0.0, 0.005, 0.02)])
def test_second_signal_right_behind_the_first_ends_it(gap):
    with serving() as (process, _):
        process.terminate()
        time.sleep(gap)
        process.terminate()
        assert process.wait(PATIENCE) in {0, 128 + signal.SIGTERM}  # 0: it had ended by then


@pytest.mark.parametrize("number", [signal.SIGTERM, *slow(signal.SIGINT)])
def test_signal_ends_a_peer_that_waits_for_its_token(number):
    command = [sys.executable, "-c", WAITING_FOR_TOKEN]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "reading\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


WAITING_FOR_TOKEN = """
import io, os, sys
from woolexec import cli

class Reading(io.FileIO):
    def readinto(self, buffer):
        os.write(1, b"reading\\n")
        return super().readinto(buffer)

sys.stdin = io.TextIOWrapper(io.BufferedReader(Reading(0)))
sys.exit(cli.main(["serve", "--bind=127.0.0.1:0", "--workers=1", "--token-file=-"]))
"""

STARTING = """
import os, signal, sys
from woolexec import cli
from woolexec.discovery.directory import Directory

async def never(self):
    os.write(1, b"announcing\\n")
    import asyncio
    await asyncio.sleep(100)

Directory.announce = lambda self, record: Waiting()

class Waiting:
    __aenter__ = never
    async def __aexit__(self, *_): pass

sys.exit(cli.main(["serve", "--bind=127.0.0.1:0", "--workers=1", "--announce=dir:/"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_signal_ends_a_peer_that_does_not_get_ready(count):
    with subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "announcing\n"
        for _ in range(count):
            process.terminate()
        # Signals that come together may be seen as one.
        assert process.wait(PATIENCE) in ({0} if count == 1 else {0, 128 + signal.SIGTERM})
