"""Jobs of a real Slurm: `.ci/run` installs it where it can."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.launchers.slurm_cluster import Cluster, missing
from woolexec import NoPeersError, PeerPoolExecutor, WorkerLostError
from woolexec.errors import DiscoveryError
from woolexec.launchers import Slurm
from woolexec.launchers import slurm as slurm_module

PATIENCE = 60.0
PAGE = Path(__file__).parents[2] / "docs/launchers.md"

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
real = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(folder) as made:
        yield made


@pytest.fixture
def slurm(cluster, monkeypatch, tmp_path):
    """Return what makes a launcher."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    yield lambda **options: Slurm(folder=tmp_path, **{"workers": 1, "max": 2, "lease": 20.0} | options)
    assert os.listdir(tmp_path) == []
    Cluster.wait_until(lambda: not cluster.jobs())


@pytest.fixture
def full_disk(cluster):
    """Return what has the disk of a node full for a block: a file system of its own with no room left."""

    @contextlib.contextmanager
    def filled(node):
        spool = cluster.folder / f"spool-{node}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", spool], check=True)
        try:
            with contextlib.suppress(OSError), open(spool / "full", "wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            yield
        finally:
            subprocess.run(["umount", "--lazy", spool], check=True)
            cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    return filled


# -- without Slurm ----------------------------------------------------------------------------------------------------


def test_url_has_all_options():
    url = "slurm://?min=1&max=8&workers=4&partition=short&time=1:00:00&gres=gpu:2&idle_timeout=none&lease=30"
    made = Slurm.from_url(f"{url}&python=/opt/python&prelude=module+load+x&sbatch=--account=a+--exclusive&folder=/f")
    assert (made.min, made.max, made.workers, made.idle_timeout, made.lease) == (1, 8, 4, float("inf"), 30.0)
    assert (made.partition, made.time, made.gres) == ("short", "1:00:00", "gpu:2")
    assert (made.python, made.prelude, made.folder) == ("/opt/python", "module load x", "/f")
    assert made.sbatch == ("--account=a", "--exclusive")


@pytest.mark.parametrize("wrong", ["?max=many", "?partitions=a", "host", "?max=0", "?min=3&max=2", "?lease=0"])
def test_url_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError):
        Slurm.from_url(f"slurm://{wrong}")


@pytest.mark.parametrize(
    ("gres", "offered"),
    [
        ("gpu:2", ["--resource=gpu=2"]),
        ("gpu", ["--resource=gpu=1"]),
        ("gres/gpu:a100:3", ["--resource=gpu=3"]),
        ("craynetwork:1", []),
        (None, []),
    ],
)
def test_gpus_of_a_job_are_a_resource_of_its_peer(gres, offered):
    assert list(Slurm(gres=gres).serve_options()) == offered


def test_slurm_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with PeerPoolExecutor(peers=Slurm(folder=tmp_path), peers_timeout=0.5) as pool:
        assert "cannot run sbatch" in str(pool.submit(abs, -1).exception(PATIENCE))


class Commands:
    """The commands of a Slurm with several clusters, as far as is said here."""

    def __init__(self, monkeypatch, said):
        self.said, self.all = said, []
        monkeypatch.setattr(slurm_module, "command", self)

    async def __call__(self, *words, stdin="", without=()):
        self.all.append(words)
        return self.said.get(words[0], "")


def test_job_of_another_cluster_is_found_there(monkeypatch, tmp_path):
    squeue = "CLUSTER: far\n7_0|RUNNING|None|n1|N/A|\n"
    commands = Commands(monkeypatch, {"sbatch": "Welcome to 2 clusters\n\n7;far\n", "squeue": squeue})
    launcher = Slurm(sbatch=["--clusters=far,near"])
    assert asyncio.run(launcher.submit(1, "true", "run", tmp_path)) == ["7_0"]
    assert asyncio.run(launcher.states(["7_0"], "run"))["7_0"].text == "RUNNING on n1"
    asyncio.run(launcher.drain("7_0"))
    asyncio.run(launcher.cancel(["7_0", "8_0"]))
    (_, asked, _, _, cancelled, here) = commands.all
    assert "--clusters=far" in asked
    assert all("--clusters=far" in words for words in commands.all[2:5])
    assert cancelled == ("scancel", "--clusters=far", "7")
    assert here == ("scancel", "8")


def test_answer_of_sbatch_without_a_number_is_an_error(monkeypatch, tmp_path):
    Commands(monkeypatch, {"sbatch": "Welcome to 2 clusters\n"})
    with pytest.raises(DiscoveryError, match="Welcome to 2 clusters"):
        asyncio.run(Slurm().submit(1, "true", "run", tmp_path))


@pytest.mark.parametrize(
    ("said", "is_final"),
    [
        ("Batch job submission failed: Invalid partition name specified", True),
        ("Batch job submission failed: Requested node configuration is not available", True),
        ("Memory specification can not be satisfied", True),
        ("unrecognized option '--frob'", True),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", False),
        ("Batch job submission failed: Invalid authentication credential", False),
        ("Batch job submission failed: Job violates accounting/QOS policy", False),
    ],
)
def test_what_sbatch_refuses_for_good_is_told_from_what_may_pass(monkeypatch, tmp_path, said, is_final):
    async def refuse(*words, **options):
        raise DiscoveryError(f"sbatch: error: {said}")

    monkeypatch.setattr(slurm_module, "command", refuse)
    with pytest.raises(DiscoveryError) as caught:
        asyncio.run(Slurm().submit(1, "true", "run", tmp_path))
    assert caught.value.is_final is is_final


def test_job_that_waits_for_what_never_comes_is_taken_back_and_no_other_one_is_submitted(monkeypatch, tmp_path):
    squeue = "7_0|PENDING|PartitionTimeLimit||N/A|\n7_1|PENDING|Resources||N/A|\n"
    commands = Commands(monkeypatch, {"sbatch": "7\n", "squeue": squeue})
    launcher = Slurm()
    states = asyncio.run(launcher.states(["7_0", "7_1"], "run"))
    assert (states["7_0"].is_over, states["7_1"].is_over) == (True, False)
    assert [words for words in commands.all if words[0] == "scancel"] == [("scancel", "7_0")]
    with pytest.raises(DiscoveryError, match=r"never starts: PENDING \(PartitionTimeLimit\)") as caught:
        asyncio.run(launcher.submit(1, "true", "run", tmp_path))
    assert caught.value.is_final
    assert asyncio.run(launcher.submit(1, "true", "run", tmp_path)) == ["7_0"]  # for the tasks that come next


# -- with it --------------------------------------------------------------------------------------------------------


@real
@pytest.mark.slow
def test_url_is_all_it_takes(slurm, cluster, tmp_path):
    with PeerPoolExecutor(peers=f"slurm://?workers=1&folder={tmp_path}") as pool:
        assert pool.submit(os.getpid).result(PATIENCE) != os.getpid()
        assert list(cluster.jobs().values()) == ["RUNNING"]


@real
@pytest.mark.slow
@pytest.mark.skipif(not PAGE.exists(), reason="beside the wheel there are only the tests")
def test_snippet_of_the_page_runs_as_it_stands(cluster, tmp_path):
    (snippet,) = re.findall(
        r"^```python\n([^`]*peers=\"slurm:[^`]*)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    env = cluster.env | {"WOOLEXEC_STATE": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", snippet], env=env, check=True, stdout=-1, timeout=PATIENCE)
    assert int(ran.stdout) == sum(pow(number, 2) for number in range(100_000))
    Cluster.wait_until(lambda: not cluster.jobs())


@real
@pytest.mark.slow
def test_jobs_come_when_there_is_work_and_leave_when_there_is_none(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(idle_timeout=2)) as pool:
        assert len(list(pool.map(time.sleep, [0.5] * 20, chunksize=1, timeout=PATIENCE))) == 20
        assert len(cluster.jobs()) == 2
        Cluster.wait_until(lambda: not cluster.jobs())
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@real
@pytest.mark.slow
def test_gpus_are_a_resource_and_the_job_has_its_devices(slurm):
    with PeerPoolExecutor(peers=slurm(gres="gpu:1")) as pool:
        view = pool.with_options(require={"gpu": 1})
        assert view.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result(PATIENCE) == "0"


@real
@pytest.mark.slow
def test_peer_has_a_worker_for_each_cpu_of_its_job(slurm):
    with PeerPoolExecutor(peers=slurm(workers=None, max=1, sbatch=["--cpus-per-task=3"])) as pool:
        assert pool.wait_for_peers(1, timeout=PATIENCE) == 1
        assert len(set(pool.run_on_all(os.getpid))) == 3


@real
@pytest.mark.slow
def test_settings_of_the_user_do_not_hide_jobs(slurm, cluster, monkeypatch):
    for name, value in (("SQUEUE_PARTITION", "urgent"), ("SQUEUE_FORMAT", "%t"), ("SCANCEL_PARTITION", "urgent")):
        monkeypatch.setenv(name, value)
    with PeerPoolExecutor(peers=slurm(max=1)) as pool:
        assert pool.submit(time.sleep, 2.5).result(PATIENCE) is None
        for name in ("SQUEUE_PARTITION", "SQUEUE_FORMAT"):
            monkeypatch.delenv(name)
        assert len(cluster.jobs()) == 1


@real
@pytest.mark.slow
def test_functions_of_the_shell_that_users_have_are_there_in_the_prelude(slurm, monkeypatch):
    monkeypatch.setenv("BASH_FUNC_module%%", '() {  LOADED="$*"; export LOADED; }')
    with PeerPoolExecutor(peers=slurm(prelude="module load cuda")) as pool:
        assert pool.submit(os.getenv, "LOADED").result(PATIENCE) == "load cuda"


@real
@pytest.mark.slow
def test_prelude_runs_before_the_peer(slurm):
    with PeerPoolExecutor(peers=slurm(prelude="FROM_PRELUDE=yes; export FROM_PRELUDE")) as pool:
        assert pool.submit(os.getenv, "FROM_PRELUDE").result(PATIENCE) == "yes"


@real
@pytest.mark.slow
def test_job_that_fails_is_named_with_the_end_of_its_log(slurm):
    with PeerPoolExecutor(peers=slurm(python="/no/such/python"), peers_timeout=1) as pool:
        error = str(pool.submit(abs, -1).exception(PATIENCE))
    assert "FAILED" in error
    assert "/no/such/python" in error


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"partition": "nope"}, "invalid partition"),
        ({"gres": "gpu:9"}, "Requested node configuration is not available"),
        ({"workers": 64}, r"PENDING \(PartitionConfig\)"),
        ({"time": "10-0"}, r"PENDING \(PartitionTimeLimit\)"),
    ],
)
def test_job_that_can_never_start_fails_the_tasks_with_the_reason_whatever_the_timeout(slurm, cluster, options, why):
    with PeerPoolExecutor(peers=slurm(**options), peers_timeout=None) as pool:
        with pytest.raises(NoPeersError, match=why):
            pool.submit(abs, -1).result(PATIENCE)
        with pytest.raises(TimeoutError, match=why):
            pool.wait_for_peers(1)
        with pytest.raises(NoPeersError, match=why):  # it has tried again
            pool.submit(abs, -1).result(PATIENCE)
        assert cluster.jobs() == {}


@real
@pytest.mark.slow
def test_job_that_is_held_is_named_and_taken_back_at_the_end(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(sbatch=["--hold"])) as pool:
        future = pool.submit(abs, -1)
        Cluster.wait_until(lambda: "PENDING" in cluster.jobs().values())
        with pytest.raises(TimeoutError, match=r"PENDING \(JobHeldUser"):
            pool.wait_for_peers(1, timeout=3)
        assert not future.done()
        future.cancel()


@real
@pytest.mark.slow
def test_job_that_an_administrator_cancels_costs_what_it_ran_and_is_replaced(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(max=1)) as pool:
        lost = pool.submit(time.sleep, PATIENCE)
        Cluster.wait_until(lost.running)
        cluster.run("scancel", "--signal=KILL", "--full", *cluster.jobs())
        with pytest.raises(WorkerLostError):
            lost.result(PATIENCE)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@real
@pytest.mark.slow
@pytest.mark.parametrize("how", ["requeue", "requeuehold"])
def test_job_that_is_requeued_is_replaced_by_another_one(slurm, cluster, how):
    with PeerPoolExecutor(peers=slurm(max=1, sbatch=["--requeue"])) as pool:
        lost = pool.submit(time.sleep, PATIENCE)
        Cluster.wait_until(lost.running)
        (job,) = cluster.jobs()
        cluster.run("scontrol", how, job)
        with pytest.raises(WorkerLostError):
            lost.result(PATIENCE)
        assert pool.submit(abs, -1).result(PATIENCE) == 1  # Slurm itself would wait for two minutes
        assert job not in cluster.jobs()


@real
@pytest.mark.slow
def test_peer_drains_before_its_job_ends(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(max=1)) as pool:
        running = pool.submit(time.sleep, 3)
        Cluster.wait_until(running.running)
        (job,) = cluster.jobs()
        cluster.run("scancel", "--signal=TERM", "--batch", job)  # as before its time limit
        later = pool.submit(abs, -1)
        assert running.result(PATIENCE) is None
        assert later.result(PATIENCE) == 1
        assert job not in cluster.jobs()


@real
@pytest.mark.slow
def test_job_that_is_preempted_ends_its_tasks_in_the_time_of_grace_and_takes_no_others(
    slurm, cluster, tmp_path, tmp_path_factory
):
    go = tmp_path_factory.mktemp("go") / "go"

    def wait():
        while not go.exists():
            time.sleep(0.05)
        return job_of_this()

    def job_of_this():
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"

    launcher = slurm(max=1, sbatch=["--exclusive", "--nodelist=n1"])
    with PeerPoolExecutor(peers=launcher) as pool:
        running = pool.submit(wait)
        Cluster.wait_until(running.running)
        (job,) = cluster.jobs()
        urgent = ["--partition=urgent", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=true"]
        cluster.run("sbatch", *urgent)
        Cluster.wait_until(lambda: "PreemptTime=2" in cluster.run("scontrol", "show", "job", job))
        Cluster.wait_until(lambda: job in launcher._run.leaving)
        later = pool.submit(job_of_this)
        go.touch()
        assert running.result(PATIENCE) == job
        assert later.result(PATIENCE) != job


@real
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_task_that_runs_into_the_time_limit_of_its_job_is_lost_and_the_next_one_has_another_job(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(max=1)) as pool:
        lost = pool.submit(time.sleep, 1000)
        Cluster.wait_until(lost.running)
        (job,) = cluster.jobs()
        cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        later = pool.submit(abs, -1)
        with pytest.raises(WorkerLostError):
            lost.result(3 * PATIENCE)
        assert later.result(PATIENCE) == 1


@real
@pytest.mark.slow
def test_node_whose_disk_is_full_starts_no_job_and_that_is_said(slurm, cluster, full_disk):
    with PeerPoolExecutor(peers=slurm(max=1, sbatch=["--nodelist=n2"])) as pool, full_disk("n2"):
        future = pool.submit(abs, -1)
        with pytest.raises(TimeoutError, match=r"ended: CANCELLED.* on n2"):
            pool.wait_for_peers(1, timeout=5)
        future.cancel()


@real
@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="not installed: libfaketime")
@pytest.mark.parametrize("shift", ["+2h", "-2h", "+400d"])  # as one that has waited until all credentials expired
def test_hosts_whose_clocks_are_wrong_are_peers(slurm, shift):
    prelude = f"export LD_PRELOAD={FAKETIME} FAKETIME={shift} FAKETIME_DONT_FAKE_MONOTONIC=1"
    with PeerPoolExecutor(peers=slurm(max=1, prelude=prelude)) as pool:
        there = pool.submit(time.time).result(PATIENCE)
        assert abs(there - time.time()) > 7000
        assert pool.submit(abs, -1).result(PATIENCE) == 1


@real
@pytest.mark.slow
def test_those_that_never_come_do_not_keep_the_others_from_working(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(max=4, sbatch=["--exclusive"])) as pool:
        assert len(list(pool.map(time.sleep, [0.5] * 20, chunksize=1, timeout=PATIENCE))) == 20
        assert "PENDING" in cluster.jobs().values()


@real
@pytest.mark.slow
def test_controller_that_is_away_for_a_minute_costs_nothing(slurm, cluster):
    with PeerPoolExecutor(peers=slurm(max=1)) as pool:
        there = pool.submit(os.getpid).result(PATIENCE)
        cluster.end("slurmctld")
        try:
            assert pool.submit(time.sleep, 62).result(2 * PATIENCE) is None  # longer than all that is asked meanwhile
            assert pool.submit(os.getpid).result(PATIENCE) == there
        finally:
            cluster.start_controller()
        assert pool.submit(os.getpid).result(PATIENCE) == there
        assert len(cluster.jobs()) == 1


PROGRAM = """
import sys
from woolexec import PeerPoolExecutor
pool = PeerPoolExecutor(peers=f"slurm://?max=16&workers=1&lease=3&folder={sys.argv[1]}&sbatch={sys.argv[2]}")
pool.submit(abs, -1)
if not sys.argv[2]:
    pool.wait_for_peers(16)
print("ready", flush=True)
sys.stdin.read()
"""


@real
@pytest.mark.slow
@pytest.mark.parametrize("waits", [False, True])
def test_owner_that_is_killed_leaves_no_job_behind(slurm, cluster, waits):
    slurm()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, folder, "--begin=now%2B8" if waits else ""]
        with subprocess.Popen(command, stdin=-1, stdout=-1) as process:
            assert process.stdout.readline() == b"ready\n"
            Cluster.wait_until(cluster.jobs)
            process.send_signal(signal.SIGKILL)
        if waits:  # it starts after the death of its owner, finds no client, and ends
            (job,) = cluster.jobs()
            Cluster.wait_until(lambda: cluster.jobs().get(job) != "PENDING")
        Cluster.wait_until(lambda: not cluster.jobs())
        assert len(list(Path(folder).iterdir())) == 1  # its folder, with a token that nobody uses any more
