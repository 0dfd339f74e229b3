"""Rows 37, 38, 40 and 48: replaced workers, tasks that kill them all, shutdown during faults, the caller's end."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from tests.marks import slow
from woolexec import PeerPoolExecutor, WorkerLostError

from . import tasks, tasks_b
from .tasks import SOON

# -- row 37: max_tasks_per_child --------------------------------------------------------------------------------------


def test_worker_of_two_tasks_is_replaced_until_all_are_done():
    with PeerPoolExecutor(1, max_tasks_per_child=2) as lone:
        pids = Counter(future.result(SOON) for future in [lone.submit(tasks.pid) for _ in range(10)])
    assert set(pids.values()) == {2}


def test_worker_of_one_task_runs_one_item_of_a_map():
    with PeerPoolExecutor(2, max_tasks_per_child=1) as pool:
        assert len(set(pool.map(tasks_b.pid_for, range(6), chunksize=1))) == 6


def test_replaced_workers_run_the_initializer(journal):
    with PeerPoolExecutor(1, max_tasks_per_child=2, initializer=tasks.note, initargs=(journal, "init")) as lone:
        assert list(lone.map(abs, range(6), chunksize=1)) == list(range(6))
    assert tasks.notes(journal) == ["init"] * 3


def test_failing_and_dying_tasks_count_as_well():
    with PeerPoolExecutor(1, max_tasks_per_child=2) as lone:
        kinds = [
            type(lone.submit(fn, *args).exception(SOON))
            for fn, *args in [(tasks_b.throw, ValueError), (tasks.die,), (abs, 1)] * 3
        ]
    assert kinds == [ValueError, WorkerLostError, type(None)] * 3


# -- row 38: a task that kills every worker it meets ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "starts"),
    [({"retries": 5}, 6), ({"idempotent": True}, 4), ({}, 1)],
    ids=["retries", "idempotent", "plain"],
)
def test_task_that_kills_every_worker_is_started_as_often_as_its_options_say(pool, journal, options, starts):
    error = pool.with_options(**options).submit(tasks.die_noted, journal, "start").exception(SOON)
    assert isinstance(error, WorkerLostError)
    assert tasks.notes(journal) == ["start"] * starts
    assert error.attempts == starts


def test_error_of_a_task_that_kills_every_worker_says_how_often_it_was_tried(pool):
    error = pool.with_options(retries=5, name="poison").submit(tasks.die).exception(SOON)
    assert "poison" in str(error)
    assert "attempt 6" in str(error)


def test_pool_lives_on_beside_and_after_a_task_that_kills_every_worker(pool):
    poison = pool.with_options(retries=5).submit(tasks.die)
    beside = [pool.submit(abs, -i) for i in range(200)]
    assert [future.result(SOON) for future in beside] == list(range(200))
    assert isinstance(poison.exception(SOON), WorkerLostError)
    assert list(pool.map(abs, range(200))) == list(range(200))


@pytest.mark.slow
def test_many_tasks_that_kill_their_workers_leave_the_pool_whole(pool):
    futures = [pool.submit(tasks.die) if i % 4 == 0 else pool.submit(abs, -i) for i in range(40)]
    for i, future in enumerate(futures):
        error = future.exception(SOON)
        assert isinstance(error, WorkerLostError) if i % 4 == 0 else error is None


# -- row 40: shutdown amid faults -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_shutdown_while_workers_die_delivers_every_outcome():
    executor = PeerPoolExecutor(2)
    futures = [executor.submit(tasks.die) if i % 3 == 0 else executor.submit(abs, -i) for i in range(30)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [type(future.exception()) for future in futures] == [
        WorkerLostError if i % 3 == 0 else type(None) for i in range(30)
    ]


def test_shutdown_while_a_task_that_kills_its_workers_is_tried_again_waits_for_its_last_attempt(journal):
    executor = PeerPoolExecutor(1)
    future = executor.with_options(retries=3).submit(tasks.die_noted, journal, "start")
    executor.shutdown()
    assert isinstance(future.exception(0), WorkerLostError)
    assert tasks.notes(journal) == ["start"] * 4


@pytest.mark.slow
def test_shutdown_while_a_task_ignores_its_timeout(journal):
    executor = PeerPoolExecutor(1)
    future = executor.with_options(timeout=0.2).submit(tasks.ignore_and_nap, journal)
    executor.shutdown()
    assert isinstance(future.exception(0), TimeoutError)


def test_shutdown_while_an_initializer_hangs():
    executor = PeerPoolExecutor(1, initializer=tasks_b.sleep_for_ever, initializer_timeout=0.3)
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert isinstance(future.exception(0), BrokenProcessPool)


def test_shutdown_while_an_initializer_raises():
    executor = PeerPoolExecutor(2, initializer=tasks_b.refuse_to_start)
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert isinstance(future.exception(0), BrokenProcessPool)


def test_shutdown_while_a_call_is_cancelled_by_force(tmp_path):
    executor = PeerPoolExecutor(1)
    future = executor.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    assert future.cancel(force=True)
    executor.shutdown()
    assert future.cancelled()


def test_shutdown_that_cancels_what_waits_keeps_what_runs(tmp_path):
    executor = PeerPoolExecutor(1)
    held = executor.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    waiting = [executor.submit(abs, -1) for _ in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    tasks.release(tmp_path)
    executor.shutdown()
    assert held.result(0) == "held"
    assert all(future.cancelled() for future in waiting)


def test_shutdown_that_cancels_while_workers_die_ends_every_future():
    executor = PeerPoolExecutor(2)
    futures = [executor.submit(tasks.die) if i % 5 == 0 else executor.submit(tasks.nap, 0.001) for i in range(100)]
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)


def test_shutdown_ends_a_map_that_was_cancelled():
    executor = PeerPoolExecutor(1)
    results = executor.map(tasks.nap, [0.01] * 100, chunksize=1)
    next(results)
    executor.shutdown(cancel_futures=True)
    with pytest.raises(CancelledError):
        list(results)


def test_results_of_a_map_can_be_read_after_shutdown():
    executor = PeerPoolExecutor(2)
    results = executor.map(abs, range(1000))
    executor.shutdown()
    assert list(results) == list(range(1000))


def test_two_threads_may_shut_the_executor_down_at_once(tmp_path):
    executor = PeerPoolExecutor(1)
    future = executor.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    seen = []
    threads = [threading.Thread(target=lambda: (executor.shutdown(), seen.append(future.done()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    tasks.release(tmp_path)
    for thread in threads:
        thread.join()
    assert seen == [True] * 4


def test_shutdown_twice_and_with_other_arguments_is_fine(lone):
    lone.submit(abs, -1)
    lone.shutdown(wait=False)
    lone.shutdown(cancel_futures=True)
    lone.shutdown()


def test_shutdown_of_an_executor_that_ran_nothing_starts_nothing():
    executor = PeerPoolExecutor(4)
    executor.shutdown()
    assert executor._engine.pids == []


def test_every_use_after_shutdown_is_refused(lone):
    lone.shutdown()
    for use in (
        lambda: lone.submit(abs, -1),
        lambda: lone.map(abs, [1]),
        lambda: lone.with_options(retries=1).submit(abs, -1),
    ):
        with pytest.raises(RuntimeError, match="after shutdown"):
            use()


@pytest.mark.slow
def test_thread_that_submits_while_another_shuts_down_gets_an_outcome_or_a_refusal():
    for _ in range(20):
        executor = PeerPoolExecutor(1)
        executor.submit(abs, -1).result(SOON)
        futures = []

        def submit(executor=executor, futures=futures):
            try:
                while True:
                    futures.append(executor.submit(abs, -1))
            except RuntimeError:
                pass

        thread = threading.Thread(target=submit)
        thread.start()
        while not futures:
            pass
        executor.shutdown()
        thread.join()
        assert all(isinstance(future.exception(SOON), RuntimeError | None) for future in futures)


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_workers_that_are_ended_fail_what_runs_and_cancel_what_waits(tmp_path, end):
    executor = PeerPoolExecutor(1)
    held, waiting = executor.submit(tasks.hold, tmp_path), executor.submit(abs, -1)
    pid = tasks.wait_held(tmp_path)
    getattr(executor, end)()
    assert isinstance(held.exception(SOON), BrokenProcessPool)
    executor.shutdown()
    assert waiting.cancelled()
    assert tasks.is_gone(pid)


def test_workers_may_be_ended_while_another_thread_shuts_down(tmp_path):
    executor = PeerPoolExecutor(1)
    future = executor.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    thread = threading.Thread(target=executor.shutdown)
    thread.start()
    executor.kill_workers()
    thread.join()
    assert isinstance(future.exception(0), BrokenProcessPool)


def test_executor_that_is_dropped_with_work_pending_does_it_and_ends(tmp_path):
    executor = PeerPoolExecutor(1)
    futures = [executor.submit(tasks.hold, tmp_path), executor.submit(tasks.pid)]
    tasks.wait_held(tmp_path)
    del executor
    tasks.release(tmp_path)
    pid = futures[1].result(SOON)
    assert tasks.eventually(lambda: tasks.is_gone(pid))


# -- row 48: the caller's end -----------------------------------------------------------------------------------------

START = """
    import os, signal, sys, threading
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) may have let it be ignored
    from tests.faults import tasks, tasks_b
    from woolexec import PeerPoolExecutor
    pool = PeerPoolExecutor(2)
    folder, state = sys.argv[1:]
    template = pool.submit(os.getppid).result()
    held = [pool.submit(tasks.hold, folder, name) for name in ("one", "other")]
    workers = [tasks.wait_held(folder, name) for name in ("one", "other")]
    if state == "idle":
        tasks.release(folder)
        for future in held: future.result()
    print(*workers, template, flush=True)
"""
ENDS = {
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP)", -signal.SIGHUP),
    "_exit": ("os._exit(3)", 3),
    "abort": ("os.abort()", -signal.SIGABRT),
}
POLITE_ENDS = {
    "exception": ("raise ValueError('unhandled')", 1),
    "sys.exit": ("sys.exit(5)", 5),
    "end of the script": ("pass", 0),
    "SystemExit in SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(6)); os.kill(os.getpid(), signal.SIGTERM)",
        6,
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("state", [*slow("idle"), "busy"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_a_caller_that_ends_abruptly(run, tmp_path, end, state):
    source, code = ENDS[end]
    caller = run(f"{START}\n    {source}", tmp_path, state)
    exitcode, out, _ = caller.end()
    assert exitcode == code
    pids = list(map(int, out.split()))
    assert len(pids) == 3
    assert tasks.eventually(lambda: all(map(tasks.is_gone, pids)))


@pytest.mark.matrix
@pytest.mark.parametrize("state", [*slow("idle"), "busy"])
@pytest.mark.parametrize("end", POLITE_ENDS)
def test_caller_that_ends_politely_finishes_its_tasks_and_leaves_nothing(run, tmp_path, end, state):
    source, code = POLITE_ENDS[end]
    caller = run(f"{START}\n    {source}", tmp_path, state)
    workers = caller.process.stdout.readline()
    tasks.release(tmp_path)
    exitcode, _, err = caller.end()
    assert exitcode == code, err
    assert tasks.eventually(lambda: all(map(tasks.is_gone, map(int, workers.split()))))
    assert err.count("Traceback") == err.count("unhandled\n") == (end == "exception")


def test_children_of_tasks_end_with_a_caller_that_is_killed(run, tmp_path):
    script = """
        import os, signal, sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor
        pool = PeerPoolExecutor(1)
        pool.submit(tasks.nap_with_family, sys.argv[1])
        tasks.eventually(lambda: "ready" in tasks.notes(sys.argv[1]))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(script, tmp_path / "family").end()[0] == -signal.SIGKILL
    family = [int(pid) for pid in tasks.notes(tmp_path / "family") if pid != "ready"]
    assert len(family) == 2
    assert tasks.eventually(lambda: all(map(tasks.is_gone, family)))


def test_template_that_is_killed_costs_no_more_than_what_ran(lone, tmp_path):
    template = lone.submit(os.getppid).result(SOON)
    future = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    waiting = lone.submit(abs, -2)
    os.kill(template, signal.SIGKILL)
    assert isinstance(future.exception(SOON), WorkerLostError)
    assert waiting.result(SOON) == 2
