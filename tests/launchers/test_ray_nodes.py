"""Peers on a real Ray: two nodes on this machine, in a separate program."""

import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile

import pytest

from tests import leaks

PATIENCE = 240.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="not installed: ray"),
]

CLUSTER = """
import os, time
import ray
from ray.cluster_utils import Cluster
from woolexec import PeerPoolExecutor, launchers

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
cluster.wait_for_nodes()
try:
    %s
finally:
    ray.shutdown()
    cluster.shutdown()
print("done")
"""

SHARES = """
    with PeerPoolExecutor(peers=launchers.ray()) as pool:
        assert pool.wait_for_peers(2, timeout=150) == 2
        view = pool.with_options(require={"gpu": 1})
        pid, visible = view.submit(lambda: (os.getpid(), os.getenv("CUDA_VISIBLE_DEVICES"))).result(150)
        assert visible == "0", visible
        busy = list(pool.map(lambda _: (time.sleep(0.3), os.getpid())[1], range(9), chunksize=1, timeout=150))
        assert len(set(busy)) == 3, busy
        assert ray.available_resources().get("CPU", 0) == 0
    while os.path.exists(f"/proc/{pid}") or ray.available_resources().get("CPU", 0) < 3:
        time.sleep(0.1)
"""

NODE_LOST = """
    with PeerPoolExecutor(peers=launchers.ray(workers=1)) as pool:
        assert pool.wait_for_peers(2, timeout=150) == 2
        cluster.remove_node(second)
        view = pool.with_options(retries=3)
        assert sum(view.map(abs, range(100), chunksize=1, timeout=150)) == 4950
        while pool.wait_for_peers(1, timeout=150) and len(pool.run_on_all(os.getpid)) > 1:
            time.sleep(0.1)
        cluster.add_node(num_cpus=1)
        assert pool.wait_for_peers(2, timeout=150) == 2
"""


def run(body, tmp_path):
    env = {name: value for name, value in os.environ.items() if name != leaks.MARK}
    env |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    program = CLUSTER % body.strip("\n").lstrip()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # a short path: there are sockets in it
        env |= {"RAY_TMPDIR": folder}
        command = [sys.executable, "-c", program]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.stdout.endswith("done\n"), ran.stderr[-3000:]


def test_each_node_has_a_peer_with_its_share_which_ray_has_back_in_the_end(tmp_path):
    run(SHARES, tmp_path)


def test_node_that_is_lost_takes_its_peer_with_it_and_one_that_comes_has_one(tmp_path):
    run(NODE_LOST, tmp_path)


def test_ray_that_is_not_connected_is_said():
    program = "from woolexec import PeerPoolExecutor, launchers\n"
    program += "print(PeerPoolExecutor(peers=launchers.ray(), peers_timeout=0.3).submit(abs, -1).exception(30))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "call ray.init() first" in ran.stdout
