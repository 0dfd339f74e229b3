import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from tests import leaks

pytestmark = pytest.mark.linux


def test_a_clean_moment_leaves_nothing():
    assert leaks.left_behind(leaks.Snapshot.take()) == []


def test_a_running_child_is_named():
    before = leaks.Snapshot.take()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        left = leaks.left_behind(before, settle=0)
        child.communicate(b"\n")
    assert any(f"process {child.pid} " in leak for leak in left)


def test_an_orphan_is_found_by_its_mark():
    before = leaks.Snapshot.take()
    orphan = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    read, write = os.pipe()
    subprocess.run([sys.executable, "-c", orphan], stdout=write, check=True)
    os.close(write)
    with open(read) as answer:
        pid = int(answer.readline())
    deadline = time.monotonic() + 10.0
    while not (left := leaks.left_behind(before, settle=0)) and time.monotonic() < deadline:
        time.sleep(0.01)  # right after it has been started, the kernel does not show its environment yet
    leaks.clean_up(before)
    assert any(f"process {pid} " in leak for leak in left)


def test_a_child_nobody_waited_for_is_named():
    before = leaks.Snapshot.take()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    left = leaks.left_behind(before, settle=0)
    os.waitpid(pid, 0)
    assert any(f"process {pid} (state Z" in leak for leak in left)


def test_a_thread_is_named_and_may_end_while_things_settle():
    before = leaks.Snapshot.take()
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, name="left-over")
    thread.start()
    assert leaks.left_behind(before, settle=0) == ["thread 'left-over' (not daemon)"]
    leave.set()
    assert leaks.left_behind(before) == []
    thread.join()


def test_an_open_file_is_named():
    before = leaks.Snapshot.take()
    with open(os.devnull):
        left = leaks.left_behind(before, settle=0)
    assert left == [f"open file {file_number(left)} -> /dev/null"]


def file_number(left: list[str]) -> str:
    return left[0].split()[2]


def test_a_temporary_folder_of_ours_is_named():
    before = leaks.Snapshot.take()
    with tempfile.TemporaryDirectory(prefix="woolexec-") as folder:
        assert leaks.left_behind(before, settle=0) == [f"temporary file {folder}"]


def test_a_signal_handler_is_named_and_taken_away():
    before = leaks.Snapshot.take()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert leaks.left_behind(before, settle=0) == ["handler of SIGUSR1: 1"]
    leaks.clean_up(before)
    assert leaks.left_behind(before, settle=0) == []


def test_the_resource_tracker_of_the_standard_library_is_not_a_leak():
    before = leaks.Snapshot.take()
    multiprocessing.resource_tracker.ensure_running()
    assert leaks.left_behind(before) == []


def test_a_snapshot_costs_little():
    started = time.perf_counter()
    leaks.left_behind(leaks.Snapshot.take())
    assert time.perf_counter() - started < 1.0
