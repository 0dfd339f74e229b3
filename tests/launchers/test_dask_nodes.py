"""Peers on a real Dask cluster: its scheduler, its workers and the program are processes on this machine."""

import importlib.util
import os
import select
import signal
import subprocess
import sys

import pytest

from tests import leaks

PATIENCE = 200.0  # on a busy machine it takes half a minute to import distributed
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="not installed: distributed"),
]

PROGRAM = """
import os, signal, sys, time
from distributed import Client
from woolexec import PeerPoolExecutor, launchers

client = Client(scheduler_file=sys.argv[1])
client.wait_for_workers(2, timeout=150)
"""

SHARES = """
def pids(_):
    time.sleep(0.3)
    return os.getpid()

with PeerPoolExecutor(peers=launchers.dask(client)) as pool:
    assert pool.wait_for_peers(1, timeout=150) == 1
    view = pool.with_options(require={"gpu": 2})
    pid = view.submit(os.getpid).result(150)
    busy = list(pool.map(pids, range(12), chunksize=1, timeout=150))
    assert len(set(busy)) == 4, busy
    assert client.submit(abs, -2).result(150) == 2
assert not os.path.exists(f"/proc/{pid}")
"""

OWNER_LOST = """
def has_peer():
    from woolexec.launchers import dask_nodes
    return bool(dask_nodes._children)

with PeerPoolExecutor(peers=launchers.dask(client, workers=1)) as pool:
    pid = pool.submit(os.getpid).result(150)
    (owner,) = [address for address, has in client.run(has_peer).items() if has]
    os.kill(client.run(os.getpid, workers=[owner])[owner], signal.SIGKILL)
    assert pool.with_options(retries=3).submit(time.sleep, 3).result(150) is None
    assert pool.submit(os.getpid).result(150) != pid
"""

SCHEDULER_SILENT = """
with PeerPoolExecutor(peers=launchers.dask(client, workers=1)) as pool:
    pid = pool.submit(os.getpid).result(150)
    running = pool.submit(time.sleep, 9)
    os.kill(int(sys.argv[2]), signal.SIGSTOP)
    time.sleep(8)
    os.kill(int(sys.argv[2]), signal.SIGCONT)
    assert running.result(150) is None
    assert pool.submit(os.getpid).result(150) == pid
"""

SCHEDULER_LOST = """
peers = launchers.dask(client)
os.kill(int(sys.argv[2]), signal.SIGKILL)
with PeerPoolExecutor(peers=peers, peers_timeout=0.5) as pool:
    error = str(pool.submit(abs, -1).exception(150))
    assert "dask at tcp://127.0.0.1" in error, error
os._exit(0)  # the client of the program would wait for its scheduler
"""

KILLED = """
pool = PeerPoolExecutor(peers=launchers.dask(client, workers=1))
print(pool.submit(os.getpid).result(150), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cluster(tmp_path):
    """Return the arguments of a program: where a scheduler is, and its pid; two workers of two threads are there."""
    env = {name: value for name, value in os.environ.items() if name != leaks.MARK}
    file = tmp_path / "scheduler.json"
    commands = [["dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"]]
    commands += [["dask_worker", "--nthreads=2", "--no-nanny", "--no-dashboard", "--resources=GPU=1"]] * 2
    processes = []
    with open(tmp_path / "log", "wb") as log:
        for module, *options in commands:
            words = [sys.executable, "-m", f"distributed.cli.{module}", f"--scheduler-file={file}", *options]
            processes.append(subprocess.Popen(words, env=env, cwd=tmp_path, stdout=log, stderr=log))
    yield [str(file), str(processes[0].pid)]
    for process in processes:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize(
    "body",
    [SHARES, OWNER_LOST, SCHEDULER_SILENT, SCHEDULER_LOST],
    ids=["shares", "owner lost", "scheduler silent", "scheduler lost"],
)
def test_peers_are_on_a_cluster_of_dask(cluster, body):
    program = [sys.executable, "-c", PROGRAM + body, *cluster]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_program_that_is_killed_leaves_no_peer_behind(cluster):
    with subprocess.Popen([sys.executable, "-c", PROGRAM + KILLED, *cluster], stdin=-1, stdout=-1) as process:
        pid = int(process.stdout.readline())
        worker = os.pidfd_open(pid)
        process.send_signal(signal.SIGKILL)
    try:
        assert select.select([worker], [], [], PATIENCE)[0]
    finally:
        os.close(worker)
