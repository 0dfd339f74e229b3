"""Row 20: the interpreter ends without shutdown; an executor is dropped with work pending."""

import gc
import os
import weakref

import pytest

from woolexec import PeerPoolExecutor

from . import tasks
from .tasks import SOON

SCRIPT = """
import atexit, os, sys, threading, time
from tests.faults import tasks
from woolexec import PeerPoolExecutor

pool = PeerPoolExecutor(2)
"""


def finished(run, source, *args):
    """Run a script to its end, and that of all its workers."""
    return run(SCRIPT + source, *args).end()


# -- the interpreter ends ----------------------------------------------------------------------------------------------


def test_exit_waits_for_what_was_submitted(run, journal):
    source = "for n in range(20): pool.submit(tasks.note_and_nap, sys.argv[1], 0.01)"
    assert finished(run, source, journal) == (0, "", "")
    assert len(tasks.notes(journal)) == 20


def test_exit_waits_for_what_was_mapped(run, journal):
    source = "pool.map(tasks.note_and_return, [sys.argv[1]] * 20, range(20))"
    for kept in ("results = ", ""):
        finished(run, kept + source, journal)
    assert sorted(map(int, tasks.notes(journal))) == sorted([*range(20)] * 2)


@pytest.mark.parametrize("fn", ["noting", "noting_async"])
def test_exit_closes_streams_that_are_open(run, journal, fn):
    source = "from tests.aio import stream_tasks\n"
    source += f"stream = pool.stream(stream_tasks.{fn}, sys.argv[1], 1000, prefetch=2).__enter__()\n"
    source += "print(next(stream))"
    assert finished(run, source, journal) == (0, "0\n", "")
    assert tasks.notes(journal)[-1] == "finally"


def test_exit_runs_the_callbacks_of_what_was_submitted(run):
    source = "pool.submit(tasks.nap, 0.1).add_done_callback(lambda future: print(future.result()))"
    assert finished(run, source) == (0, "0.1\n", "")


def test_exit_does_not_wait_for_what_was_cancelled(run, journal):
    source = "held = [pool.submit(tasks.nap, 0.2) for n in range(2)]\n"
    source += "futures = [pool.submit(tasks.note_and_return, sys.argv[1], n) for n in range(50)]\n"
    source += "print(sum(future.cancel() for future in futures))\n"
    code, out, err = finished(run, source, journal)
    assert (code, err) == (0, "")
    assert int(out) + len(tasks.notes(journal)) == 50


def test_exit_goes_on_when_a_worker_dies_meanwhile(run, journal):
    source = "pool.submit(tasks.die)\nfor n in range(10): pool.submit(tasks.note_and_nap, sys.argv[1], 0.01)"
    assert finished(run, source, journal) == (0, "", "")
    assert len(tasks.notes(journal)) == 10


def test_exit_goes_on_when_the_initializer_fails(run):
    source = "own = PeerPoolExecutor(2, None, tasks.note_and_throw, ('/dev/null',))\nown.submit(tasks.double, 1)"
    code, out, err = finished(run, source)
    assert (code, out) == (0, "")
    assert "no license" in err


def test_exit_goes_on_when_a_call_is_over_its_time(run):
    source = "pool.with_options(timeout=0.1).submit(tasks.nap, 600)"
    assert finished(run, source) == (0, "", "")


@pytest.mark.slow
def test_exit_kills_a_worker_that_will_not_go(run):
    # Its atexit hook hangs: nothing is lost by it.
    source = "from woolexec.engine.supervisor import Supervisor\nSupervisor.dismiss.__defaults__ = (0.2,)\n"
    source += "pool.submit(tasks.hang_at_exit).result()"
    assert finished(run, source) == (0, "", "")


def test_many_pools_end_with_the_interpreter(run):
    source = "pools = [PeerPoolExecutor(1) for _ in range(5)]\nfor own in pools: own.submit(tasks.say, 'done')"
    assert finished(run, source) == (0, "done\n" * 5, "")


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os._exit(4)", 4), ("os.kill(os.getpid(), 15)", -15)])
def test_script_keeps_its_exit_code_and_leaves_no_process(run, end, code):
    source = "assert pool.submit(tasks.double, 21).result() == 42\n" + end
    assert finished(run, source) == (code, "", "")


@pytest.mark.parametrize(("end", "code"), [("os._exit(4)", 4), ("os.kill(os.getpid(), 15)", -15)])
def test_script_that_ends_at_once_takes_its_busy_workers_along(run, journal, end, code):
    source = "futures = [pool.submit(tasks.note_and_nap, sys.argv[1], 600) for _ in range(4)]\n"
    source += "tasks.eventually(lambda: len(tasks.notes(sys.argv[1])) == 2)\n" + end
    assert finished(run, source, journal) == (code, "", "")


def test_submit_while_the_interpreter_ends_raises(run):
    source = """
def late():
    try:
        pool.submit(tasks.double, 21)
    except RuntimeError as exc:
        print(exc)

atexit.register(late)
assert pool.submit(tasks.double, 21).result() == 42
"""
    code, out, err = finished(run, source)
    assert (code, err) == (0, "")
    assert out.startswith("cannot schedule new futures after")


def test_exception_that_ends_the_script_comes_with_one_traceback(run):
    code, out, err = finished(run, "pool.submit(tasks.throw, ValueError, 'text').result()")
    assert (code, out) == (1, "")
    assert "The above exception was the direct cause of the following exception" in err
    assert err.rstrip().endswith("ValueError: text")


# -- an executor is dropped --------------------------------------------------------------------------------------------


def test_dropped_executor_finishes_what_was_submitted():
    pool = PeerPoolExecutor(2)
    futures = [pool.submit(tasks.nap, 0.01) for _ in range(20)]
    pids = [pool.submit(tasks.pid)]
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert [future.result(SOON) for future in futures] == [0.01] * 20
    assert tasks.eventually(lambda: all(tasks.is_gone(pid.result()) for pid in pids))


def test_dropped_executor_ends_at_once_without_the_garbage_collector():
    gc.disable()
    try:
        pool = PeerPoolExecutor(1)
        pid = pool.submit(tasks.pid).result(SOON)
        del pool
        assert tasks.eventually(lambda: tasks.is_gone(pid), SOON / 5)
    finally:
        gc.enable()


def test_dropped_executor_whose_worker_dies_finishes_the_rest():
    pool = PeerPoolExecutor(1)
    lost = pool.submit(tasks.die)
    futures = [pool.submit(tasks.double, n) for n in range(20)]
    del pool
    gc.collect()
    assert [future.result(SOON) for future in futures] == [2 * n for n in range(20)]
    assert lost.exception(SOON) is not None


def test_executor_dropped_by_its_own_callback_ends():
    kept = [PeerPoolExecutor(1)]
    future = kept[0].submit(tasks.pid)
    future.add_done_callback(lambda _: kept.clear())
    pid = future.result(SOON)
    assert tasks.eventually(lambda: not kept and tasks.is_gone(pid), SOON / 5)


def test_executor_that_is_part_of_a_cycle_ends_when_it_is_collected():
    class Owner:
        pass

    owner = Owner()
    owner.me, owner.pool = owner, PeerPoolExecutor(1)
    pid = owner.pool.submit(tasks.pid).result(SOON)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    assert tasks.eventually(lambda: tasks.is_gone(pid))


def test_dropped_executors_leave_nothing_open():
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else 0
    for _ in range(5):
        assert PeerPoolExecutor(1).submit(tasks.double, 21).result(SOON) == 42
    gc.collect()
    assert tasks.eventually(lambda: not os.path.isdir("/proc") or len(os.listdir("/proc/self/fd")) <= before)
