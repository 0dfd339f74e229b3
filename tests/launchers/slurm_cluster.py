"""A real Slurm on this machine: munged, slurmctld, and two slurmd with a node of eight processors each."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests import leaks

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATIENCE = 60.0

CONF = """
ClusterName=tests
SlurmctldHost={host}({addresses[0]})
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1,sched_interval=1
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=30
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeAddr={addresses[1]} Port={ports[1]} CPUs=8 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeAddr={addresses[2]} Port={ports[2]} CPUs=8 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=short Nodes=n1,n2 Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n1,n2 MaxTime=60 State=UP PriorityTier=10
"""


def missing():
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """
    The daemons.

    :param folder: for all their files; its path must be short, because a socket is there
    :param hosts: three, as tests/mesh/hosts.py makes them: of the controller, where commands are run too, and of nodes
    """

    def __init__(self, folder, hosts=()):
        self.folder = Path(folder)
        self.hosts = dict(zip(("", "n1", "n2"), hosts, strict=False))
        self.env = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": PATH}
        self.env.pop(leaks.MARK, None)  # the daemons may be started in one test and end after another one

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir()
        (self.folder / "key").write_bytes(os.urandom(128))
        (self.folder / "key").chmod(0o400)
        addresses = [host.address for host in self.hosts.values()] or ["127.0.0.1"] * 3
        names = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser(), "folder": self.folder}
        (self.folder / "slurm.conf").write_text(CONF.format(ports=free_ports(3), addresses=addresses, **names))
        (self.folder / "gres.conf").write_text("NodeName=n1 Name=gpu Count=2 File=/dev/null,/dev/zero\n")
        munge = [f"--{name}={self.folder}/{file}" for name, file in MUNGE.items()]
        self.run("munged", *munge, "--force")
        self.start_controller()
        for node in ("n1", "n2"):
            self.run("slurmd", "-N", node, at=node)
        self.wait_until(lambda: self.run("sinfo", "--noheader", "--format=%t").split() == ["idle"])

    def __exit__(self, *exc_info):
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("scancel", f"--user={getpass.getuser()}")
            self.wait_until(lambda: not self.jobs())
        for name in ("slurmd-n1", "slurmd-n2", "slurmctld", "munged"):
            self.end(name)

    def start_controller(self):
        self.run("slurmctld")

    def end(self, name):
        """End a daemon and wait until it is gone."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            return
        self.wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def run(self, *words, at=""):
        """Run a command of Slurm, and return what it printed."""
        if at in self.hosts:
            words = ("nsenter", f"--net=/run/netns/{self.hosts[at].name}", *words)  # and the same cgroups
        return subprocess.run(words, env=self.env, check=True, text=True, timeout=PATIENCE, stdout=-1).stdout

    def jobs(self):
        """Return the jobs that have not ended, and their states."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    @staticmethod
    def wait_until(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.05)


MUNGE = {
    "key-file": "key",
    "socket": "munge.socket",
    "pid-file": "munged.pid",
    "log-file": "munged.log",
    "seed-file": "munged.seed",
}
