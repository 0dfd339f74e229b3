"""The common behaviour of batch systems, with a folder as the batch system."""

import asyncio
import os
import stat
import subprocess
import time

import pytest

from woolexec import Credentials, NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.discovery.directory import Directory
from woolexec.errors import DiscoveryError
from woolexec.launchers import Batch, Handle, State, batch
from woolexec.launchers.batch import command
from woolexec.mesh.client import peers as client_peers

PATIENCE = 30.0


def shell(script, output):
    with open(output, "wb") as log:
        return subprocess.Popen(["/bin/sh", "-c", script], stdout=log, stderr=log)


class Shell(Batch):
    """Jobs that are shells on this machine."""

    kind = "shell"

    def __init__(self, **options):
        super().__init__(**options)
        self.jobs, self.scripts, self.answers = {}, [], True
        self.leaving, self.requeued, self.drained = set(), set(), []

    async def submit(self, count, script, name, logs):
        self.scripts.append(script)
        keys = [f"{len(self.jobs) + index}" for index in range(count)]
        for key in keys:
            self.jobs[key] = shell(f"PEER_JOB={key}\n{script}", logs / key)
        return keys

    async def states(self, keys, name):
        if not self.answers:
            raise DiscoveryError("shell: no answer")
        return dict(map(self.state, keys))

    def state(self, key):
        code = self.jobs[key].poll()
        if key in self.requeued:
            return key, State(False, False, "requeued", is_waiting=True)
        return key, State(code is not None, bool(code), f"code {code}", is_leaving=key in self.leaving)

    async def drain(self, key):
        self.drained.append(key)
        self.jobs[key].terminate()

    async def cancel(self, keys):
        for key in keys:
            self.jobs[key].kill()
            self.jobs[key].wait()


def test_jobs_are_peers_and_end_with_the_executor(tmp_path):
    launcher = Shell(folder=tmp_path, max=1, workers=1, prelude="export GREETING=hello")
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.submit(os.getenv, "GREETING").result(PATIENCE) == "hello"
        (run,) = tmp_path.iterdir()
        token = run / "token"
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text().strip() not in launcher.scripts[0]
    assert [job.returncode for job in launcher.jobs.values()] != [None]
    assert list(tmp_path.iterdir()) == []


def test_jobs_that_are_refused_for_good_fail_tasks_at_once_until_that_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(client_peers, "_VERDICT", 0.0)

    class Refusing(Shell):
        refuses = True

        async def submit(self, *args):
            if not self.refuses:
                return await super().submit(*args)
            error = DiscoveryError("there is no such queue")
            error.is_final = True
            raise error

    launcher = Refusing(folder=tmp_path, max=1, workers=1)
    with PeerPoolExecutor(peers=launcher, peers_timeout=None) as pool:
        for _ in range(2):
            with pytest.raises(NoPeersError, match="there is no such queue"):
                pool.submit(abs, -1).result(PATIENCE)
        with pytest.raises(TimeoutError, match=r"no more than 0 can be.*there is no such queue"):
            pool.wait_for_peers(1)
        launcher.refuses = False
        assert pool.wait_for_peers(1) == 1
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_batch_system_that_does_not_answer_is_named_and_its_peers_go_on(tmp_path):
    launcher = Shell(folder=tmp_path, max=1, workers=1)
    launcher.answers = False
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        while not launcher.trouble:
            time.sleep(0.01)
        with pytest.raises(TimeoutError, match="shell: no answer"):
            pool.wait_for_peers(2)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_job_whose_time_is_over_drains_once_and_another_one_comes(tmp_path):
    launcher = Shell(folder=tmp_path, max=1, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        running = pool.submit(time.sleep, 4)
        while not running.running():
            time.sleep(0.01)
        launcher.leaving.add("0")
        while not launcher.drained:
            time.sleep(0.01)
        later = pool.submit(abs, -1)
        assert running.result(PATIENCE) is None
        assert later.result(PATIENCE) == 1
        assert launcher.drained == ["0"]
        assert list(launcher.jobs) == ["0", "1"]


@pytest.mark.slow
def test_job_that_is_requeued_is_replaced_by_another_one(tmp_path):
    launcher = Shell(folder=tmp_path, max=1, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        lost = pool.submit(time.sleep, PATIENCE)
        while not lost.running():
            time.sleep(0.01)
        launcher.requeued.add("0")
        launcher.jobs["0"].kill()
        launcher.jobs["0"].wait()
        with pytest.raises(WorkerLostError):
            lost.result(PATIENCE)
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        assert launcher.drained == ["0"]
        assert list(launcher.jobs) == ["0", "1"]


def test_client_looks_often_while_a_peer_may_come_soon(monkeypatch, tmp_path):
    now = 100.0
    monkeypatch.setattr(batch, "monotonic", lambda: now)
    run = batch._Run(tmp_path, Directory(tmp_path), Credentials.with_new_token())
    slow = run.peers.pause

    def pace(seconds=0.0):
        nonlocal now
        now += seconds
        run.set_pace()
        return run.peers.pause

    assert pace() == slow
    run.jobs["1"] = Handle("1", "job 1")
    run.note("1", "")
    run.note("1", "PENDING")
    assert pace() < slow
    assert pace(60) == slow
    run.note("1", "PENDING")
    assert pace() == slow
    run.note("1", "RUNNING")
    assert pace() < slow
    run.there.add("1")
    assert pace() == slow


def test_batch_system_is_asked_less_often_when_nothing_changes(monkeypatch, tmp_path):
    now = 100.0
    monkeypatch.setattr(batch, "monotonic", lambda: now)
    run = batch._Run(tmp_path, Directory(tmp_path), Credentials.with_new_token())
    run.note("1", "RUNNING")
    first = run.pause
    now += 60
    run.note("1", "RUNNING")
    later = run.pause
    now += 10_000
    assert first < later < run.pause < 10
    run.note("1", "COMPLETING")
    assert run.pause == first


def test_launcher_is_of_one_executor_at_a_time(tmp_path):
    launcher = Shell(folder=tmp_path, max=1, workers=1)
    with PeerPoolExecutor(peers=launcher) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        with PeerPoolExecutor(peers=launcher, peers_timeout=0.5) as other:  # begins after the first one has it
            assert "in use by another executor" in str(other.submit(abs, -1).exception(PATIENCE))


def test_folder_that_is_not_there_is_said(tmp_path):
    launcher = Shell(folder=tmp_path / "none")
    with PeerPoolExecutor(peers=launcher, peers_timeout=0.3) as pool:
        assert f"{tmp_path}/none" in str(pool.submit(abs, -1).exception(PATIENCE))


def run(*words, **options):
    return asyncio.run(command(*words, **options))


def test_command_gives_its_output():
    assert run("cat", stdin="a\nb") == "a\nb"


def test_large_output_of_a_command_is_whole():
    assert len(run("head", "-c", "1000000", "/dev/zero")) == 1_000_000


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("sh", "-c", "echo no luck >&2; exit 3"), "sh: no luck"),
        (("false",), "exit code 1"),
        (("no-such-command",), "cannot run no-such-command"),
    ],
)
def test_command_that_fails_says_why(words, text):
    with pytest.raises(DiscoveryError, match=text):
        run(*words)
