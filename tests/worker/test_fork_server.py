"""The fork server process, with the test in the engine's place."""

import os
import platform
import resource
import select
import signal
import socket
import sys
import time

import pytest

from tests.engine.test_worker_process import Pair, make_call, make_function
from woolexec import PeerPoolExecutor
from woolexec.engine import fork_server as engine_fork_server
from woolexec.engine.fork_server import THREAD_VARIABLES, ForkServer
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads
from woolexec.worker import fork_server as worker_fork_server
from woolexec.worker.records import EXITED, FORKED

pytestmark = pytest.mark.linux
PATIENCE = 30


@pytest.fixture
def fork_server():
    fork_server = ForkServer(threads=3)
    yield fork_server
    fork_server.close()


class Running(Pair):
    """A worker process, and what the fork server says of it."""

    def __init__(self, fork_server):
        super().__init__()
        self.fork_server = fork_server
        fork_server.spawn(1, [self.sock.fileno(), self.descriptors.fileno, self.page_fd])
        self.sock.close()
        [(operation, number, self.pid)] = reports(fork_server)
        assert (operation, number) == (FORKED, 1)

    def run(self, fn, *args):
        self.send(make_call(make_function_of(fn), dumps((args, {}))))
        self.worker.flush()
        returns, frames = [], []
        deadline = time.monotonic() + PATIENCE
        while not returns and not frames:
            select.select([self.worker.sock], [], [], 1)
            frames = self.worker.receive(returns)
            assert time.monotonic() < deadline
        return loads(returns[0][2] if returns else frames[0].payload)


def make_function_of(fn):
    function = make_function()
    function.payload = dumps(fn)
    return function


def reports(fork_server):
    found = []
    while not found:  # that its interpreter answers is no report
        assert select.select([fork_server.socket], [], [], PATIENCE)[0]
        found = list(fork_server.reports())
    return found


@pytest.fixture
def running(fork_server):
    running = Running(fork_server)
    yield running
    running.close()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_worker_runs_calls(running):
    assert running.run(os.getpid) == running.pid
    assert running.worker.page.started == 1


def test_worker_is_the_childs_child_and_leads_a_group_of_its_own(fork_server, running):
    assert running.run(os.getppid) == fork_server.pid
    assert running.run(os.getpgrp) == running.pid


@pytest.mark.parametrize("name", THREAD_VARIABLES)
def test_thread_pools_are_given_their_share(running, name, monkeypatch):
    if name in os.environ:
        pytest.skip("the user has set it")

    assert running.run(os.getenv, name) == "3"


def test_worker_told_to_stop_leaves_with_code_0(fork_server, running):
    running.worker.send_stop()
    running.worker.flush()

    assert reports(fork_server) == [(EXITED, 1, 0)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_signal_that_ended_a_worker_is_reported(fork_server, running, number):
    fork_server.kill(1, number)

    assert reports(fork_server) == [(EXITED, 1, -number)]
    assert not is_alive(running.pid)


def test_signal_to_a_worker_that_has_ended_is_no_error(fork_server, running):
    fork_server.kill(1, signal.SIGKILL)
    reports(fork_server)

    fork_server.kill(1, signal.SIGKILL)
    fork_server.kill(99, signal.SIGKILL)


def test_children_of_a_worker_end_with_it(fork_server, running):
    child = running.run(start_sleeper)
    assert is_alive(child)

    fork_server.kill(1, signal.SIGKILL)

    reports(fork_server)
    wait_until(lambda: not is_alive(child))


def start_sleeper():
    import subprocess

    return subprocess.Popen(["sleep", "1000"]).pid


def test_when_the_engine_closes_all_workers_end():
    fork_server = ForkServer(threads=1)
    running = Running(fork_server)

    fork_server.close()

    wait_until(lambda: not is_alive(running.pid))
    running.close()


def test_fork_server_ends_without_a_word_when_the_engine_has_gone_and_not_read_its_first_one(monkeypatch):
    monkeypatch.setattr(os, "_exit", sys.exit)
    ours, theirs = socket.socketpair()
    with ours:
        ours.send(b"ready")
        theirs.close()
        with pytest.raises(SystemExit) as ended:
            worker_fork_server._configure(ours)
    assert ended.value.code == 0


def test_workers_are_given_time_when_the_engine_has_gone_and_not_read_what_it_was_told():
    ours, theirs = socket.socketpair()
    with ours:
        ours.send(b"report")
        theirs.close()
        assert not worker_fork_server._obey(ours, {}, -1, ())


def test_end_of_a_killed_template_is_heard_and_its_workers_end_when_it_is_closed():
    fork_server = ForkServer(threads=1)
    running = Running(fork_server)

    os.kill(fork_server.pid, signal.SIGKILL)

    with pytest.raises(EOFError):
        for _ in range(100):
            reports(fork_server)
    fork_server.close()
    wait_until(lambda: not is_alive(running.pid))
    running.close()


def test_worker_inherits_no_descriptor_of_the_caller(running, tmp_path):
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        targets = running.run(open_targets)

    assert str(tmp_path / "open") not in targets
    assert len(targets) < 12, targets


def test_worker_starts_without_modules_that_take_long(running):
    loaded = set(running.run(eval, "list(__import__('sys').modules)"))

    assert not loaded & {"asyncio", "cloudpickle", "enum", "inspect", "logging", "pickle", "re", "selectors", "typing"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_worker_keeps_the_memory_of_one_payload_for_the_next(running):
    running.run(faults_of_payloads)  # the heap grows once

    assert running.run(faults_of_payloads) < 50


def faults_of_payloads():
    """Count the fresh pages that 50 times as many payloads as travel at once take, 16 pages each."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        several = [b"x" * size for size in [65_536] * 16]
        del several
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def open_targets():
    targets = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return targets


def test_third_worker_finds_modules_of_the_standard_library_that_the_caller_uses():
    import asyncio  # noqa: F401

    with PeerPoolExecutor(3) as pool:
        nap = "__import__('time').sleep(0.5) or 'asyncio' in __import__('sys').modules"
        futures = [pool.submit(eval, nap) for _ in range(3)]
        assert sorted(future.result(PATIENCE) for future in futures) == [False, False, True]


def test_file_of_the_user_does_not_stand_in_for_a_module_of_the_standard_library(monkeypatch, tmp_path):
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.setattr(worker_fork_server, "_unloaded", ["colorsys", "no_such_module"])
    path = sys.path[:]
    worker_fork_server._load_next()
    worker_fork_server._load_next()
    assert sys.modules["colorsys"].__file__.startswith(os.path.dirname(os.__file__))
    assert sys.path == path


def test_fork_server_does_not_wait_until_its_reports_are_read(monkeypatch):
    monkeypatch.setattr(worker_fork_server, "_unsent", bytearray())
    near, far = socket.socketpair()
    records = [worker_fork_server.RECORD.pack(EXITED, number, 0) for number in range(2000)]
    with near, far:
        for record in records:
            worker_fork_server._report(near, record)
        assert worker_fork_server._unsent

        found = b""
        while len(found) < len(records) * len(records[0]):
            found += far.recv(1 << 16)
            worker_fork_server._report(near)
        assert found == b"".join(records)
        assert not worker_fork_server._unsent


@pytest.mark.slow
def test_more_workers_are_started_and_ended_at_once_than_the_sockets_hold_records(monkeypatch):
    def small_pair():
        ends = socket.socketpair()
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the system takes the smallest that it has
        return ends

    monkeypatch.setattr(engine_fork_server, "socketpair", small_pair)
    with PeerPoolExecutor(24) as pool:
        found = pool.run_on_all(os.getpid)
        assert sorted(future.result(PATIENCE) for future in found.values()) == sorted(found)
        assert len(found) == 24
