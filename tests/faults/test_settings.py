"""Row 44: settings that a program makes before its workers start apply in its tasks."""

import stat

import pytest

from tests import settings_program

pytestmark = pytest.mark.linux

TOP = (
    settings_program.TOP
    + """
look_at_settings = look

def look():
    return look_at_settings() | {
        "nice": os.nice(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }

from woolexec import PeerPoolExecutor
"""
)


def is_of_a_warning(line):
    """A line that the program's filters let through; from Python 3.13 on its source is shown for `-c` as well."""
    return "other" in line or line.strip() == "warnings.warn(*args)"


def test_settings_of_the_program_hold_in_its_tasks(run):
    caller = run(
        TOP
        + """
with PeerPoolExecutor(1) as pool:
    here, there = look(), pool.submit(look).result()
    print({name: (here[name], there.get(name)) for name in here if here[name] != there.get(name)})
    print(pool.submit(look_beside).result() == here)
    with pool.stream(look_in_a_stream) as items:
        print(list(items) == [here])
    print(type(pool.submit(Weight).result()) is Weight)
"""
    )
    code, out, err = caller.end()
    assert (code, out.splitlines(), [line for line in err.splitlines() if not is_of_a_warning(line)]) == (
        0,
        ["{}", "True", "True", "True"],
        [],
    )


def test_attributes_of_the_process_hold_in_workers_that_start_later(run):
    caller = run(
        """
import os, resource
from woolexec import PeerPoolExecutor

def look():
    return os.nice(0), sorted(os.sched_getaffinity(0)), resource.getrlimit(resource.RLIMIT_CORE)[0]

def change():
    os.nice(1)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, list(cpus)[:1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

with PeerPoolExecutor(1, max_tasks_per_child=1) as pool:
    change()
    print(pool.submit(look).result() == look())
    os.nice(1)
    print(pool.submit(look).result() == look())
"""
    )
    assert caller.end() == (0, "True\nTrue\n", "")


def test_workers_have_names_numbers_and_a_parent_as_those_of_multiprocessing(run):
    caller = run(
        """
import multiprocessing, os
from woolexec import PeerPoolExecutor

def look():
    here, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    return here._identity, here.name.rpartition("-")[2], parent.pid, parent.name, parent.is_alive()

with PeerPoolExecutor(1) as pool:
    print(pool.submit(look).result() == ((1,), "1", os.getpid(), "MainProcess", True))
"""
    )
    assert caller.end() == (0, "True\n", "")


def test_executor_that_nobody_has_used_belongs_to_every_forked_child(run):
    caller = run(
        """
import os
from woolexec import PeerPoolExecutor

pool = PeerPoolExecutor(1)
before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        os.write(1, b"%d\\n" % pool.submit(pow, 2, 5).result(20))
        pool.shutdown()
        os._exit(0)
    children.append(child)
for child in children:
    os.write(1, b"%d\\n" % os.waitpid(child, 0)[1])
os.write(1, b"%d %d\\n" % (len(os.listdir("/proc/self/task")), pool.submit(pow, 2, 5).result(20)))
pool.shutdown()
"""
    )
    code, out, err = caller.end()
    assert (code, sorted(out.splitlines()), err) == (0, ["0", "0", "1 32", "32", "32"], "")


def test_executor_that_nobody_has_used_starts_nothing_when_it_is_shut_down(run):
    caller = run(
        """
import os
from woolexec import PeerPoolExecutor

descriptors = os.listdir("/proc/self/fd")
pool = PeerPoolExecutor(1)
print(os.listdir("/proc/self/fd") == descriptors, len(os.listdir("/proc/self/task")))
pool.shutdown()
print(len(os.listdir("/proc/self/task")))
try: pool.submit(abs, 1)
except RuntimeError as exc: print(exc)
"""
    )
    assert caller.end() == (0, "True 1\n1\ncannot schedule new futures after shutdown\n", "")


SAYS = """
import multiprocessing, os, sys, threading
from woolexec import PeerPoolExecutor
from woolexec.engine import forks

real, sys.executable = sys.executable, sys.argv[1]
multiprocessing.set_executable(real if sys.argv[2] else sys.argv[1])
assert forks._START_PATIENCE
forks._START_PATIENCE = 0.5
with PeerPoolExecutor(1) as pool:
    try:
        print(pool.submit(pow, 2, 5).result(20))
    except Exception as exc:
        print(type(exc).__name__, "multiprocessing.set_executable(path)" in str(exc))
"""


@pytest.fixture
def stays(tmp_path):
    """A program that ignores what it is told, and stays."""
    path = tmp_path / "stays.sh"
    path.write_text("#!/bin/sh\nexec sleep 30\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.slow
def test_program_that_is_no_python_is_given_up(run, stays):
    code, out, err = run(SAYS, stays, "").end()
    assert (code, out) == (0, "WorkerStartError True\n")
    assert stays in err


def test_multiprocessing_says_which_python_workers_are_started_with(run, stays):
    for program in (stays, "/bin/true", "/nowhere/app"):
        assert run(SAYS, program, "real").end() == (0, "32\n", "")
