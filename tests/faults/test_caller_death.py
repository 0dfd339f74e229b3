"""Rows 18, 19 and 21: the caller is killed, forks, or is interrupted."""

import os
import signal
import textwrap

import pytest

from tests.marks import slow

from . import tasks
from .tasks import SOON

pytestmark = pytest.mark.linux

# -- row 18: SIGKILL ---------------------------------------------------------------------------------------------------

IDLE = """
import sys
from tests.faults import tasks
from woolexec import PeerPoolExecutor

pool = PeerPoolExecutor(2)
for pid in {pool.submit(tasks.meet, sys.argv[1], 2) for _ in range(2)}:
    print(pid.result(), flush=True)
print("ready", flush=True)
tasks.nap(600)
"""

BUSY = """
import sys
from tests.faults import tasks
from woolexec import PeerPoolExecutor

pool = PeerPoolExecutor(2)
futures = [pool.submit(tasks.note_and_call, sys.argv[1], getattr(tasks, sys.argv[2]), 600) for _ in range(10)]
futures[0].result()
"""


def test_idle_workers_end_with_a_caller_that_is_killed(run, tmp_path):
    caller = run(IDLE, tmp_path)
    pids = list(iter(caller.process.stdout.readline, "ready\n"))
    assert len(pids) == 2
    caller.kill()
    assert caller.end() == (-signal.SIGKILL, "", "")
    assert tasks.eventually(lambda: all(tasks.is_gone(pid.strip()) for pid in pids))


@pytest.mark.parametrize("task", ["nap", "spin", "hold_the_gil", "ignore_signals_and_nap"])
def test_busy_workers_end_with_a_caller_that_is_killed(run, journal, task):
    caller = run(BUSY, journal, task)
    assert tasks.eventually(lambda: len(tasks.notes(journal)) == 2)
    caller.kill()
    # Nobody is left who holds its stdout: no fork server, no orphan.
    assert caller.end() == (-signal.SIGKILL, "", "")
    assert tasks.eventually(lambda: all(map(tasks.is_gone, tasks.notes(journal))))


def test_children_of_workers_end_with_a_caller_that_is_killed(run, journal):
    caller = run(
        """
        import sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        PeerPoolExecutor(1).submit(tasks.nap_with_family, sys.argv[1]).result()
        """,
        journal,
    )
    assert tasks.eventually(lambda: "ready" in tasks.notes(journal))
    caller.kill()
    assert tasks.eventually(lambda: all(tasks.is_gone(pid) for pid in tasks.notes(journal)[:2]))
    assert caller.end() == (-signal.SIGKILL, "", "")


def test_worker_that_is_just_starting_ends_with_a_caller_that_is_killed(run):
    for _ in range(5):
        caller = run("""
            from woolexec import PeerPoolExecutor

            pool = PeerPoolExecutor(4)
            futures = [pool.submit(__import__("time").sleep, 600) for _ in range(4)]
            print("started", flush=True)
            futures[0].result()
            """)
        assert caller.process.stdout.readline() == "started\n"
        caller.kill()
        assert caller.end() == (-signal.SIGKILL, "", "")


# -- row 19: fork ------------------------------------------------------------------------------------------------------

FORK = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside the engine's thread is what is tested
from tests.faults import tasks
from woolexec import PeerPoolExecutor

def in_child(act):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            act()
        except BaseException as exc:
            print(type(exc).__name__, exc, flush=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

pool = PeerPoolExecutor(2)
assert pool.submit(tasks.double, 21).result(20) == 42
"""


def forked(run, source, *args):
    """Run a script that forks; return the lines it printed."""
    code, out, err = run(FORK + textwrap.dedent(source), *args).end()
    assert (code, err) == (0, "")
    return out.splitlines()


def test_submit_in_a_forked_child_raises(run):
    (line,) = forked(run, "in_child(lambda: pool.submit(tasks.double, 21))")
    assert line == "RuntimeError this PeerPoolExecutor belongs to the parent process: make another one after a fork"


@pytest.mark.slow
def test_map_in_a_forked_child_raises(run):
    (line,) = forked(run, "in_child(lambda: list(pool.map(tasks.double, [21])))")
    assert "belongs to the parent process" in line


@pytest.mark.slow
def test_submit_with_options_in_a_forked_child_raises(run):
    (line,) = forked(run, "timed = pool.with_options(timeout=5)\nin_child(lambda: timed.submit(tasks.double, 21))")
    assert "belongs to the parent process" in line


def test_result_of_the_parents_call_raises_in_a_forked_child(run):
    (line,) = forked(run, "future = pool.submit(tasks.nap, 0.5)\nassert in_child(future.result) == 0, 'hangs'\n")
    assert line.startswith("RuntimeError")
    assert "parent process" in line


@pytest.mark.slow
def test_rest_of_the_parents_map_raises_in_a_forked_child(run):
    (line,) = forked(
        run, "results = pool.map(tasks.nap, [0.5] * 2)\nassert in_child(lambda: next(results)) == 0, 'hangs'\n"
    )
    assert line.startswith("RuntimeError")
    assert "parent process" in line


def test_cancel_of_the_parents_call_in_a_forked_child_does_not_touch_it(run):
    lines = forked(
        run,
        """
        future = pool.submit(tasks.nap, 0.3)
        in_child(lambda: print(future.cancel(), future.cancel(force=True), flush=True))
        print(future.result(20))
        """,
    )
    assert lines == ["False False", "0.3"]


def test_result_that_came_before_the_fork_is_there_in_the_child(run):
    lines = forked(
        run,
        """
        future = pool.submit(tasks.double, 4)
        assert future.exception(20) is None
        in_child(lambda: print(future.result(), flush=True))
        """,
    )
    assert lines == ["8"]


@pytest.mark.parametrize(
    "act",
    [
        "pool.shutdown()",
        *slow("pool.shutdown(wait=False)", "pool.shutdown(cancel_futures=True)", "pool.terminate_workers()"),
        "pool.kill_workers()",
    ],
)
def test_end_of_the_pool_in_a_forked_child_does_not_touch_the_parents(run, act):
    lines = forked(
        run,
        f"""
        running = pool.submit(tasks.nap, 0.3)
        assert in_child(lambda: {act}) == 0, "hangs"
        print(running.result(20), pool.submit(tasks.double, 21).result(20))
        """,
    )
    assert lines[-1] == "0.3 42"


def test_forked_child_that_ends_as_any_program_does_not_touch_the_parent(run):
    # No os._exit: the child runs what runs at an interpreter's end.
    lines = forked(
        run,
        """
        running = pool.submit(tasks.nap, 0.3)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(running.result(20), pool.submit(tasks.double, 21).result(20))
        """,
    )
    assert lines == ["7", "0.3 42"]


def test_forked_child_may_make_a_pool_of_its_own(run):
    lines = forked(
        run,
        """
        def act():
            with PeerPoolExecutor(2) as own:
                print(own.submit(tasks.double, 4).result(20), flush=True)

        in_child(act)
        print(pool.submit(tasks.double, 21).result(20))
        """,
    )
    assert lines == ["8", "42"]


def test_workers_end_with_their_caller_though_a_forked_child_lives_on(run, journal):
    caller = run(
        FORK
        + """
running = pool.submit(tasks.note_and_nap, sys.argv[1], 600)
child = os.fork()
if child == 0:
    os.close(1), os.close(2)
    tasks.note(sys.argv[1] + "-child", os.getpid())
    time.sleep(600)
running.result()
""",
        journal,
    )
    assert tasks.eventually(lambda: tasks.notes(journal) and tasks.notes(journal + "-child"))
    caller.kill()
    try:
        assert tasks.eventually(lambda: tasks.is_gone(tasks.notes(journal)[0]))
        assert caller.end()[0] == -signal.SIGKILL
    finally:
        os.kill(int(tasks.notes(journal + "-child")[0]), signal.SIGKILL)


# -- row 21: Ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_is_a_keyboard_interrupt_in_the_caller_only(run, journal):
    caller = run(
        """
        import sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        pool = PeerPoolExecutor(2)
        futures = [pool.submit(tasks.note_and_nap, sys.argv[1], 600) for _ in range(4)]
        try:
            futures[0].result()
        except KeyboardInterrupt:
            print("interrupted")
            pool.kill_workers()
        """,
        journal,
    )
    assert tasks.eventually(lambda: len(tasks.notes(journal)) == 2)
    caller.interrupt()
    assert caller.end() == (0, "interrupted\n", "")


@pytest.mark.parametrize(
    "wait", ["futures[0].result()", "list(results)", *slow("concurrent.futures.wait(futures)", "pass")]
)
def test_ctrl_c_ends_a_caller_in_a_with_block_and_all_of_its_workers(run, journal, wait):
    caller = run(
        f"""
        import concurrent.futures, sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        with PeerPoolExecutor(2) as pool:
            futures = [pool.submit(tasks.note_and_nap, sys.argv[1], 600) for _ in range(4)]
            results = pool.map(tasks.double, range(10))
            {wait}
        """,
        journal,
    )
    assert tasks.eventually(lambda: len(tasks.notes(journal)) == 2)
    caller.interrupt()
    code, out, err = caller.end(limit=SOON / 5)
    assert (code, out) == (-signal.SIGINT, "")
    assert err.count("Traceback") == 1
    assert "\nKeyboardInterrupt\n" in err  # and then where the tasks were


@pytest.mark.parametrize("task", ["hold_the_gil", "ignore_signals_and_nap"])
def test_ctrl_c_ends_tasks_that_do_not_hear_it(run, journal, task):
    caller = run(
        """
        import sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        with PeerPoolExecutor(2) as pool:
            task = getattr(tasks, sys.argv[2])
            futures = [pool.submit(tasks.note_and_call, sys.argv[1], task, 600) for _ in range(10)]
            futures[0].result()
        """,
        journal,
        task,
    )
    assert tasks.eventually(lambda: len(tasks.notes(journal)) == 2)
    caller.interrupt()
    code, out, err = caller.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert "\nKeyboardInterrupt\n" in err  # and then where the tasks were
    # What had not been started then never was.
    assert len(tasks.notes(journal)) == 2


def test_ctrl_c_ends_a_caller_without_a_with_block_and_all_of_its_workers(run, journal):
    caller = run(
        """
        import sys
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        PeerPoolExecutor(2).submit(tasks.note_and_nap, sys.argv[1], 600).result()
        """,
        journal,
    )
    assert tasks.eventually(lambda: tasks.notes(journal))
    caller.interrupt()
    code, out, err = caller.end(limit=SOON / 5)
    assert (code, out) == (-signal.SIGINT, "")
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_leaves_idle_workers_fit_for_work(run, tmp_path):
    caller = run(
        """
        import sys, time
        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        with PeerPoolExecutor(2) as pool:
            before = {future.result() for future in [pool.submit(tasks.meet, sys.argv[1], 2) for _ in range(2)]}
            try:
                print("ready", flush=True)
                time.sleep(600)
            except KeyboardInterrupt:
                print(pool.submit(tasks.double, 21).result(), pool.submit(tasks.pid).result() in before)
        """,
        tmp_path,
    )
    assert caller.process.stdout.readline() == "ready\n"
    caller.interrupt()
    assert caller.end() == (0, "42 True\n", "")
