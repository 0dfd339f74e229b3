"""
Row 43: a signal handler of the caller uses the executor while the main thread is inside it.

A handler runs between two bytecodes of the main thread.  `at_line` puts one there, at each line in turn that the main
thread passes in the executor's and the standard library's code, so every place is tried; the rest are real signals.
A line of a loop counts the first few times that it is passed: the first task looks at hundreds of modules in one.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from woolexec import PeerPoolExecutor

from . import tasks, tasks_b
from .tasks import SOON

ROOT = Path(__file__).parents[2]
WATCHED = (f"{os.sep}woolexec{os.sep}", f"concurrent{os.sep}futures", "threading.py")
# Reads hundreds of settings, a line each, before anything of the pool's is touched.
NOT_WATCHED = f"{os.sep}engine{os.sep}settings.py"
FEW = 3


def at_line(number, handler, work, watched=WATCHED):
    """
    Do some work in this thread, with the handler run at the so manieth line that it passes, of a loop a `FEW` times.

    Return what the work gave or raised, and whether the line was reached.
    """
    lines, times = itertools.count(), Counter()
    reached = False

    def trace(frame, event, arg):
        nonlocal reached
        if event == "call":
            name = frame.f_code.co_filename
            return trace if any(part in name for part in watched) and not name.endswith(NOT_WATCHED) else None
        if event == "line":
            times[line := (frame.f_code, frame.f_lineno)] += 1
            if times[line] <= FEW and next(lines) == number:
                reached = True
                sys.settrace(None)
                handler()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        value = work()
    except (CancelledError, RuntimeError, TimeoutError) as exc:
        value = exc
    finally:
        sys.settrace(before)
    return value, reached


def every_line(handler, work):
    """Do the work again and again, with the handler at the next line each time; yield what it gave."""
    for number in itertools.count():
        value, reached = at_line(number, handler, work)
        yield value
        if not reached:
            assert number > 5, "nothing was watched"
            return


def test_handler_may_submit_while_submit_runs(pool):
    inner = []
    outer = list(every_line(lambda: inner.append(pool.submit(abs, -1)), lambda: pool.submit(abs, -2)))
    assert {future.result(SOON) for future in outer} == {2}
    assert {future.result(SOON) for future in inner} == {1}


def test_handler_may_wait_for_a_task_while_submit_runs(pool):
    inner = []
    outer = list(every_line(lambda: inner.append(pool.submit(abs, -1).result(SOON)), lambda: pool.submit(abs, -2)))
    assert {future.result(SOON) for future in outer} == {2}
    assert set(inner) == {1}


def test_handler_may_submit_while_the_main_thread_waits(pool):
    inner = []
    values = list(
        every_line(lambda: inner.append(pool.submit(abs, -1)), lambda: pool.submit(tasks.nap, 0.001).result(SOON))
    )
    assert set(values) == {0.001}
    assert {future.result(SOON) for future in inner} == {1}


def test_handler_may_wait_for_the_future_that_the_main_thread_waits_for(pool):
    inner, current = [], []

    def work():
        current[:] = [pool.submit(tasks.nap, 0.001)]
        return current[0].result(SOON)

    values = list(every_line(lambda: inner.extend(future.result(SOON) for future in current), work))
    assert set(values) == set(inner) == {0.001}


def test_handler_may_cancel_the_future_that_the_main_thread_waits_for(pool):
    current, told = [], []

    def work():
        current[:] = [pool.submit(tasks.nap, 0.001)]
        return current[0].result(SOON)

    values = list(every_line(lambda: told.append([future.cancel() for future in current]), work))
    for value, cancelled in zip(values[:-1], told, strict=True):  # the last one had no more lines
        assert isinstance(value, CancelledError) if cancelled == [True] else value == 0.001


def test_handler_may_cancel_while_cancel_runs(lone, tmp_path):
    held = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    current = []

    def work():
        current[:] = [lone.submit(abs, -1)]
        return current[0].cancel()

    assert set(every_line(lambda: [future.cancel() for future in current], work)) == {True}
    tasks.release(tmp_path)
    assert held.result(SOON) == "held"


def test_handler_may_add_a_callback_while_one_is_added(pool):
    seen = []

    def work():
        future = pool.submit(tasks.nap, 0.001)
        current[:] = [future]
        future.add_done_callback(seen.append)
        return future.result(SOON)

    current = []
    ran = sum(1 for _ in every_line(lambda: [future.add_done_callback(seen.append) for future in current], work))
    assert tasks.eventually(lambda: len(seen) >= ran)


def test_handler_may_submit_while_a_map_is_read(pool):
    inner = []
    values = list(
        every_line(lambda: inner.append(pool.submit(abs, -1)), lambda: list(pool.map(abs, [-1, -2], chunksize=1)))
    )
    assert all(value == [1, 2] for value in values)
    assert {future.result(SOON) for future in inner} == {1}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_handler_may_shut_down_while_submit_runs():
    """In a program that has imported little: the first task of each pool looks at all modules that there are."""
    program = f"from {__name__} import shut_down_while_submit_runs; shut_down_while_submit_runs()"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=110, check=True)


def shut_down_while_submit_runs():
    for number in itertools.count():  # a pool of its own each
        executor = PeerPoolExecutor(1)
        value, reached = at_line(
            number, executor.shutdown, lambda executor=executor: executor.submit(abs, -2), WATCHED[:1]
        )
        # Accepted tasks end; the others were refused.
        assert isinstance(value, RuntimeError) or isinstance(value.exception(SOON), RuntimeError | None)
        executor.shutdown()
        if not reached:
            assert number > 5
            return


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.timeout(120)
def test_handler_may_shut_down_while_shutdown_runs():
    for number in itertools.count():
        executor = PeerPoolExecutor(1)
        future = executor.submit(tasks.nap, 0.01)
        _, reached = at_line(number, executor.shutdown, executor.shutdown, WATCHED[:1])
        assert future.result(0) == 0.01
        if not reached:
            assert number > 5
            return


@pytest.fixture
def on_alarm():
    """Set a function to be called at a real signal, every so many seconds."""
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.getitimer(signal.ITIMER_REAL)

    def start(handler, every):
        signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, every, every)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def test_handler_that_submits_at_every_millisecond_loses_no_task(pool, on_alarm):
    inner, numbers = [], itertools.count()
    on_alarm(lambda: inner.append(pool.submit(tasks_b.echo, next(numbers))), 0.001)  # which may interrupt itself
    outer = []
    while len(inner) < 200:
        outer += [pool.submit(abs, -i) for i in range(20)]
        outer[-1].result(SOON)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert [future.result(SOON) for future in outer] == list(range(20)) * (len(outer) // 20)
    assert sorted(future.result(SOON) for future in inner) == list(range(len(inner)))


def test_signal_wakes_a_main_thread_that_waits(lone, tmp_path, on_alarm):
    future = lone.submit(tasks.hold, tmp_path)
    on_alarm(lambda: tasks.release(tmp_path), 0.2)
    assert future.result(SOON) == "held"


def test_handler_may_raise_out_of_a_wait(lone, tmp_path, on_alarm):
    class Alarmed(Exception):
        pass

    future = lone.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    on_alarm(lambda: tasks_b.throw(Alarmed), 0.1)
    with pytest.raises(Alarmed):
        future.result(SOON)
    signal.setitimer(signal.ITIMER_REAL, 0)
    tasks.release(tmp_path)
    assert future.result(SOON) == "held"


def test_handler_may_raise_out_of_a_shutdown_which_can_be_done_again(tmp_path, on_alarm):
    class Alarmed(Exception):
        pass

    executor = PeerPoolExecutor(1)
    future = executor.submit(tasks.hold, tmp_path)
    tasks.wait_held(tmp_path)
    on_alarm(lambda: tasks_b.throw(Alarmed), 0.1)
    with pytest.raises(Alarmed):
        executor.shutdown()
    signal.setitimer(signal.ITIMER_REAL, 0)
    tasks.release(tmp_path)
    executor.shutdown()
    assert future.result(0) == "held"


def test_task_may_use_signals_of_its_own(lone):
    assert lone.submit(tasks_b.alarm_inside, 0.05).result(SOON) == "rang"
    assert lone.submit(abs, -1).result(SOON) == 1


def test_other_threads_submit_while_the_main_thread_handles_signals(pool, on_alarm):
    results = []
    on_alarm(lambda: results.append(pool.submit(abs, -3)), 0.002)
    threads = [
        threading.Thread(target=lambda: results.extend(pool.submit(abs, -3) for _ in range(300))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(results) >= 900
    assert {future.result(SOON) for future in results} == {3}


IN_AN_IMPORT = """
import os, signal, sys, threading
from woolexec import PeerPoolExecutor

class Interrupts:
    def find_spec(name, path=None, target=None):
        if name in left:
            left.remove(name)
            os.kill(os.getpid(), signal.SIGUSR1)

by_value = lambda number: number + 1
left = ["woolexec.wire.by_value", "cloudpickle", "woolexec.wire.main_module", "woolexec.wire.number_lists"]
sys.meta_path.insert(0, Interrupts)
inner = []
with PeerPoolExecutor(1) as pool:
    pool.submit(abs, -1).result()
    signal.signal(signal.SIGUSR1, lambda *_: inner.append((pool.submit(by_value, 1).result(), *pool.map(abs, [-2]))))
    print(pool.submit(by_value, 2).result(), list(pool.map(by_value, [3])))
print(set(inner), left)  # two signals that come close together are one
"""


def test_handler_may_submit_and_map_while_the_first_use_of_either_imports_what_it_needs():
    done = subprocess.run(
        [sys.executable, "-c", IN_AN_IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=SOON, check=False
    )
    assert done.stdout.splitlines() == ["3 [4]", "{(2, 2)} []"], done.stderr
