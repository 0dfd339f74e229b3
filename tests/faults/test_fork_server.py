"""The fork server is stopped: it does not answer, but has not ended."""

import os
import signal

import pytest

from woolexec import PeerPoolExecutor
from woolexec.engine import forks

from . import tasks
from .tasks import SOON

pytestmark = pytest.mark.linux


@pytest.fixture
def quick(monkeypatch):
    """A fork server that owes an answer is looked at more often."""
    monkeypatch.setattr(forks, "_LOOK", 0.05)


def fork_server(pool):
    return pool._engine._rounds.forks._server.pid


def stop(pool):
    """Stop its fork server."""
    pid = fork_server(pool)
    os.kill(pid, signal.SIGSTOP)
    assert tasks.eventually(lambda: tasks.is_stopped(pid))
    return pid


def test_fork_server_that_is_stopped_costs_nothing(quick, tmp_path):
    with PeerPoolExecutor(2) as pool:
        running = pool.submit(tasks.hold, tmp_path)
        pid = tasks.wait_held(tmp_path)
        stop(pool)
        assert [pool.submit(tasks.double, n).result(SOON) for n in range(10)] == [2 * n for n in range(10)]
        other = next(each for each in pool._engine.pids if each != pid)
        stop(pool)
        os.kill(other, signal.SIGKILL)
        assert [pool.submit(tasks.double, n).result(SOON) for n in range(10)] == [2 * n for n in range(10)]
        tasks.release(tmp_path)
        assert running.result(SOON) == "held"


def test_call_ends_by_its_timeout_while_the_fork_server_is_stopped(quick, short_grace, tmp_path):
    with PeerPoolExecutor(1) as pool:
        running = pool.with_options(timeout=0.2).submit(tasks.hold, tmp_path)
        waiting = [pool.with_options(timeout=SOON).submit(tasks.double, n) for n in range(3)]
        tasks.wait_held(tmp_path)
        stop(pool)
        assert isinstance(running.exception(SOON), TimeoutError)
        assert [each.result(SOON) for each in waiting] == [0, 2, 4]


def test_fork_server_that_remains_stopped_is_replaced(quick, monkeypatch):
    signals = []

    def kill(pid, number):
        signals.append(number)
        if number != signal.SIGCONT:  # as if it were stopped again at once
            os.kill(pid, number)

    monkeypatch.setattr(forks, "kill", kill)
    with PeerPoolExecutor(2) as pool:
        assert pool.submit(tasks.double, 1).result(SOON) == 2
        first = stop(pool)
        for pid in pool._engine.pids:
            os.kill(pid, signal.SIGKILL)
        assert [pool.submit(tasks.double, n).result(SOON) for n in range(10)] == [2 * n for n in range(10)]
        assert fork_server(pool) != first
    assert signals == [signal.SIGCONT, signal.SIGKILL]


def test_child_of_a_worker_ends_that_the_fork_server_had_no_time_to_reap():
    with PeerPoolExecutor(1) as pool:
        child = pool.submit(tasks.leave_child).result(SOON)
        assert not tasks.is_gone(child)
        [worker] = pool._engine.pids
        server = stop(pool)
        os.kill(worker, signal.SIGKILL)
        assert tasks.eventually(lambda: tasks.is_gone(worker))
        os.kill(server, signal.SIGKILL)
        assert pool.submit(tasks.double, 1).result(SOON) == 2
        assert tasks.eventually(lambda: tasks.is_gone(child))


def test_pool_ends_while_its_fork_server_is_stopped():
    with PeerPoolExecutor(2) as pool:
        assert pool.submit(tasks.double, 1).result(SOON) == 2
        stop(pool)
