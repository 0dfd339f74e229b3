"""Pools and whole caller processes for the fault tests."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from woolexec import PeerPoolExecutor
from woolexec.engine.supervisor import Supervisor

from . import tasks


@pytest.fixture
def pool():
    with PeerPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def lone():
    """A pool of one worker: calls run one after the other."""
    with PeerPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def journal(tmp_path):
    """The file in which calls record that they were started."""
    return str(tmp_path / "journal")


@pytest.fixture
def short_grace(monkeypatch):
    """Shorten the time between SIGTERM and SIGKILL, for tests that have to wait for both."""
    monkeypatch.setattr(Supervisor.dismiss, "__defaults__", (0.2,))


@pytest.fixture
def memory_group():
    """A control group whose processes may use 100 MiB together; the kernel ends one of them if they use more."""
    for root, limit in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        path = f"{root}/woolexec-test-{os.getpid()}"
        if not os.path.exists(f"{root}/cgroup.procs"):
            continue
        try:
            os.mkdir(path)
        except OSError:  # no permission to make it
            continue
        try:
            with open(f"{path}/{limit}", "r+") as file:
                file.write(str(100 << 20))
        except OSError:  # the memory controller is not enabled here
            os.rmdir(path)
            continue
        yield path
        assert tasks.eventually(lambda path=path: _removed(path))
        return
    pytest.skip("needs the right to make a control group with a limit of memory")


def _removed(path):
    try:
        os.rmdir(path)
    except OSError:  # its last process has not quite ended
        return False
    return True


class Caller:
    """A process that runs a script, in its own process group."""

    def __init__(self, source, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source), *map(str, args)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.pid = self.process.pid

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def interrupt(self):
        """Send SIGINT to the group, as a terminal does at Ctrl-C."""
        os.killpg(self.pid, signal.SIGINT)

    def end(self, limit=tasks.SOON):
        """
        Wait for the end of the process and of all that hold its stdout and stderr, such as its workers.

        Return its exit code, stdout and stderr.
        """
        out, err = self.process.communicate(timeout=limit)
        return self.process.returncode, out, err


@pytest.fixture
def run():
    """Start a `Caller`; it is killed at the end of the test if it still runs."""
    callers = []

    def start(source, *args):
        callers.append(Caller(source, *args))
        return callers[-1]

    yield start
    for caller in callers:
        if caller.process.poll() is None:
            os.killpg(caller.pid, signal.SIGKILL)
            caller.process.wait(tasks.SOON)
        caller.process.stdout.close()
        caller.process.stderr.close()


@pytest.fixture
def run_in_cgroup(tmp_path):
    """Run a script in its own cgroup with a memory limit; skip the test if none can be made."""
    made = []

    def run(limit, script):
        folder = make_cgroup(limit)
        made.append(folder)
        join = f"open({os.path.join(folder, 'cgroup.procs')!r}, 'w').write('0')\n"
        return subprocess.run(
            [sys.executable, "-c", join + textwrap.dedent(script)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    yield run
    for folder in made:
        assert tasks.eventually(lambda folder=folder: remove_cgroup(folder))


def make_cgroup(limit):
    """Make a cgroup of either version with this memory limit, within the cgroup of this process."""
    with open("/proc/self/cgroup") as lines:
        found = [line.rstrip("\n").split(":", 2) for line in lines]
    v1 = [path for _, controllers, path in found if "memory" in controllers.split(",")]
    v2 = [path for _, controllers, path in found if not controllers]
    places = [("/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes") for path in v1]
    places += [("/sys/fs/cgroup" + path, "memory.max") for path in v2]
    why = "there are no cgroups"
    for parent, name in places:
        folder = os.path.join(parent, f"woolexec-test-{os.getpid()}")
        try:
            os.mkdir(folder)
        except OSError as exc:
            why = str(exc)
            continue
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write(str(limit))
        except OSError as exc:
            why = str(exc)
            os.rmdir(folder)
            continue
        return folder
    pytest.skip(f"no cgroup with a limit of memory can be made here: {why}")


def remove_cgroup(folder):
    try:
        os.rmdir(folder)
    except OSError:  # its last process has not quite ended
        return False
    return True
