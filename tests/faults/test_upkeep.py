"""Management of workers: memory limits, idle timeouts, finalizers, environment."""

import os
import signal
import sys

import numpy as np
import pytest

from woolexec import PeerPoolExecutor, WorkerLostError, WorkerMemoryError

from . import tasks, upkeep
from .tasks import SOON, eventually

MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


# -- memory ------------------------------------------------------------------------------------------------------------


def test_worker_that_has_grown_is_replaced_after_its_call():
    with PeerPoolExecutor(1, max_memory_per_child="150 MiB") as pool:
        small = [pool.submit(upkeep.keep, MIB).result(SOON) for _ in range(3)]
        assert len(set(small)) == 1
        assert pool.submit(upkeep.keep, 200 * MIB).result(SOON) == small[0]
        assert eventually(lambda: pool.submit(tasks.pid).result(SOON) != small[0])


@pytest.mark.slow
def test_nothing_is_lost_and_no_order_broken_while_workers_are_replaced(journal):
    with PeerPoolExecutor(2, max_memory_per_child="60 MiB") as pool:
        kept = [pool.submit(upkeep.keep, 4 * MIB) for _ in range(60)]
        noted = [pool.submit(tasks.note_and_return, journal, number) for number in range(300)]
        mapped = list(pool.map(abs, range(2000)))
        assert [future.result(SOON) for future in noted] == list(range(300))
        assert mapped == list(range(2000))
        assert len({future.result(SOON) for future in kept}) > 2
    assert sorted(map(int, tasks.notes(journal))) == list(range(300))


def test_worker_that_grows_without_end_is_ended_during_its_call():
    with PeerPoolExecutor(1, memory_limit="200 MiB") as pool:
        growing = pool.submit(upkeep.grow_for_ever, 8 * MIB)
        behind = pool.submit(abs, -1)
        error = growing.exception(SOON)
        assert isinstance(error, WorkerMemoryError)
        assert isinstance(error, WorkerLostError)
        assert "more than memory_limit=200 MiB" in str(error)
        assert (error.task, error.exitcode, error.attempts) == ("grow_for_ever", -signal.SIGKILL, 1)
        assert behind.result(SOON) == 1


@pytest.mark.slow
def test_call_that_grows_is_retried_as_one_whose_worker_is_lost():
    with PeerPoolExecutor(1, memory_limit="150 MiB") as pool:
        error = pool.with_options(retries=1).submit(upkeep.grow_for_ever, 8 * MIB).exception(SOON)
        assert isinstance(error, WorkerMemoryError)
        assert error.attempts == 2


@pytest.mark.slow
def test_memory_that_workers_share_counts_once():
    array = np.ones(400 * MIB // 8)
    with PeerPoolExecutor(2, memory_limit="350 MiB") as pool:
        value = pool.put(array)
        del array
        tries = [pool.submit(upkeep.read, value) for _ in range(4)]
        assert all(future.result(SOON)[0] > 0 for future in tries)


@pytest.mark.slow
def test_actor_that_grows_is_lost_with_the_figures():
    with PeerPoolExecutor(1, memory_limit="150 MiB") as pool:
        actor = pool.actor(upkeep.Hoard)
        error = actor.submit(upkeep.Hoard.grow_for_ever).exception(SOON)
        assert type(error).__name__ == "ActorLostError"
        assert "more than memory_limit=150 MiB" in str(error)


@pytest.mark.slow
def test_largest_worker_is_ended_before_the_kernel_ends_one_in_a_full_cgroup(run_in_cgroup):
    ran = run_in_cgroup(
        400 * MIB,
        """
        from tests.faults import upkeep
        from woolexec import PeerPoolExecutor, WorkerMemoryError

        with PeerPoolExecutor(2, memory_limit="10 GiB") as pool:
            small, growing = pool.submit(upkeep.nap, 3.0), pool.submit(upkeep.grow_for_ever, 1 << 20, 0.01)
            error = growing.exception(60)
            assert isinstance(error, WorkerMemoryError), error
            assert "and the cgroup" in str(error), error
            small.result(60)
        """,
    )
    assert ran.returncode == 0, ran.stderr


# -- idle workers ------------------------------------------------------------------------------------------------------


def both(pool, folder):
    """Return the ids of two workers that ran at the same time."""
    folder.mkdir()
    return {each.result(SOON) for each in [pool.submit(tasks.meet, folder, 2) for _ in range(2)]}


def test_idle_workers_leave_and_come_back(tmp_path):
    with PeerPoolExecutor(2, idle_timeout=0.05, min_workers=1) as pool:
        assert len(both(pool, tmp_path / "first")) == 2
        assert eventually(lambda: len(pool._processes) == 1)
        assert len(both(pool, tmp_path / "then")) == 2


@pytest.mark.slow
def test_all_idle_workers_may_leave_and_a_running_one_stays(tmp_path):
    with PeerPoolExecutor(2, idle_timeout=0.1) as pool:
        held = pool.submit(tasks.hold, tmp_path)
        pool.submit(abs, -1).result(SOON)
        assert eventually(lambda: len(pool._processes) == 1)
        tasks.release(tmp_path)
        held.result(SOON)
        assert eventually(lambda: not pool._processes)
        assert pool.submit(abs, -1).result(SOON) == 1


# -- finalizers --------------------------------------------------------------------------------------------------------


def test_finalizer_runs_at_shutdown_in_each_worker(journal, tmp_path):
    with PeerPoolExecutor(2, finalizer=upkeep.Leaver(journal)) as pool:
        pids = both(pool, tmp_path / "both")
    assert {*map(int, tasks.notes(journal))} == pids


@pytest.mark.parametrize("options", [{"max_tasks_per_child": 1}, {"idle_timeout": 0.05}, {"max_memory_per_child": 1}])
def test_finalizer_runs_when_a_worker_leaves_well(journal, options):
    with PeerPoolExecutor(1, finalizer=upkeep.Leaver(journal), **options) as pool:
        pid = pool.submit(tasks.pid).result(SOON)
        assert eventually(lambda: tasks.notes(journal) == [str(pid)])


@pytest.mark.slow
def test_calls_run_while_a_worker_that_is_replaced_is_in_its_finalizer(journal):
    with PeerPoolExecutor(1, max_tasks_per_child=1, finalizer=upkeep.Leaver(journal, seconds=1.0)) as pool:
        pool.submit(tasks.pid).result(SOON)
        pool.submit(tasks.pid).result(SOON)
        assert tasks.notes(journal) == []


@pytest.mark.slow
def test_finalizer_does_not_run_in_a_worker_that_is_killed(journal):
    with PeerPoolExecutor(1, finalizer=upkeep.Leaver(journal)) as pool:
        assert isinstance(pool.submit(tasks.die).exception(SOON), WorkerLostError)
        pool.submit(tasks.nap, 0).result(SOON)
        pool.kill_workers()
    assert tasks.notes(journal) == []


@pytest.mark.slow
def test_finalizer_that_does_not_end_is_ended_with_its_worker(journal, monkeypatch):
    monkeypatch.setattr("woolexec.engine.supervisor.FINALIZING", 0.1)
    monkeypatch.setattr("woolexec.engine.supervisor.GRACE", 0.1)
    with PeerPoolExecutor(1, finalizer=upkeep.Leaver(journal, seconds=2 * SOON)) as pool:
        pool.submit(tasks.pid).result(SOON)
    assert tasks.notes(journal) == []


@pytest.mark.slow
def test_finalizer_that_raises_is_logged(caplog):
    with PeerPoolExecutor(1, finalizer=upkeep.raise_at_the_end) as pool:
        pool.submit(tasks.pid).result(SOON)
    assert "the finalizer failed" in caplog.text


# -- environment -------------------------------------------------------------------------------------------------------


def test_environment_of_workers_is_there_before_anything_is_imported():
    with PeerPoolExecutor(1, environment={"UPKEEP_COLOUR": "red", "OMP_NUM_THREADS": "7"}) as pool:
        assert pool.submit(upkeep.variable_at_import).result(SOON) == "red"
        assert pool.submit(upkeep.variables, "OMP_NUM_THREADS").result(SOON) == ["7"]
    assert "UPKEEP_COLOUR" not in os.environ
