"""Jobs of a real Slurm whose nodes are separate hosts."""

import tempfile

import pytest

from tests.launchers.slurm_cluster import Cluster, missing
from tests.mesh.hosts import joined, namespaces_work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
    pytest.mark.skipif(not namespaces_work(), reason="takes root, iproute2 and network namespaces"),
    pytest.mark.timeout(180),
    pytest.mark.leaks(reason="the kernel takes its time to end namespaces"),
]

PROGRAM = """
import os, sys, time
from woolexec import PeerPoolExecutor
from woolexec.launchers import Slurm

def where(_):
    time.sleep(0.1)
    return os.stat("/proc/self/ns/net").st_ino

with PeerPoolExecutor(peers=Slurm(folder=sys.argv[1], max=2, workers=1, sbatch=["--exclusive"])) as pool:
    assert pool.wait_for_peers(2, timeout=60) == 2
    print(where(None), *pool.map(where, range(20), chunksize=1, timeout=60))
"""


def test_nodes_are_hosts_that_find_the_client_and_each_other(tmp_path):
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, joined(3) as hosts, Cluster(folder, hosts) as cluster:
        head, *nodes = hosts
        here, *there = head.run(PROGRAM, str(tmp_path), SLURM_CONF=cluster.env["SLURM_CONF"], PATH=cluster.env["PATH"])
        assert len(set(there)) == len(nodes)
        assert here not in there
        Cluster.wait_until(lambda: not cluster.jobs())
        assert list(tmp_path.iterdir()) == []
