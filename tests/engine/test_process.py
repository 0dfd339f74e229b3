"""Workers as programs expect them in `ProcessPoolExecutor._processes`."""

import multiprocessing.connection
import os
import signal
import time

import pytest

from woolexec import PeerPoolExecutor

pytestmark = pytest.mark.linux
PATIENCE = 30


@pytest.fixture
def pool():
    with PeerPoolExecutor(1) as pool:
        yield pool


def start(pool):
    """Return the process of the one worker."""
    pid = pool.submit(os.getpid).result(PATIENCE)
    assert list(pool._processes) == [pid]
    return pool._processes[pid]


def test_process_that_runs_is_alive_and_has_no_exit_code(pool):
    process = start(pool)

    assert process.pid == process.ident
    assert process.daemon is False
    assert (process.is_alive(), process.exitcode) == (True, None)
    assert multiprocessing.connection.wait([process.sentinel], 0) == []
    assert "started" in repr(process)
    process.join(0.01)
    assert process.is_alive()


@pytest.mark.parametrize(("end", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_process_that_is_ended_has_the_signal_for_exit_code(pool, end, number):
    process = start(pool)
    running = pool.submit(time.sleep, 600)
    deadline = time.monotonic() + PATIENCE
    while not running.running():  # what has not begun is placed again
        assert time.monotonic() < deadline
        time.sleep(0.002)

    getattr(process, end)()

    process.join(PATIENCE)
    assert (process.is_alive(), process.exitcode) == (False, -number)
    assert multiprocessing.connection.wait([process.sentinel], PATIENCE) == [process.sentinel]
    assert running.exception(PATIENCE) is not None
    getattr(process, end)()  # nothing happens to whoever has its number now


def test_worker_that_leaves_has_exit_code_0():
    pool = PeerPoolExecutor(1)
    process = start(pool)

    pool.shutdown()

    process.join(PATIENCE)
    assert process.exitcode == 0
    assert multiprocessing.connection.wait([process.sentinel], PATIENCE) == [process.sentinel]


def test_worker_is_the_same_process_each_time_that_one_looks(pool):
    process = start(pool)

    assert pool._processes[process.pid] is process
    process.terminate()
    process.join(PATIENCE)
    assert start(pool).pid != process.pid


def test_executor_has_no_processes_after_shutdown_and_none_before_its_first_task():
    pool = PeerPoolExecutor(1)
    assert pool._processes == {}
    assert pool._executor_manager_thread is None

    start(pool)
    assert pool._executor_manager_thread.is_alive()

    pool.shutdown()
    assert pool._processes is None
    assert pool._executor_manager_thread is None
