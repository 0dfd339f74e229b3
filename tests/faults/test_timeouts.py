"""Rows 4, 12 and 14: a call runs too long, ignores cancellation, or holds the GIL; other calls are not affected."""

import os
import signal
import threading
import time

import pytest

from woolexec.engine import cancellation

from . import tasks
from .tasks import SOON

# -- the call itself ---------------------------------------------------------------------------------------------------


def test_call_that_runs_longer_than_its_timeout_raises_timeout_error(pool):
    with pytest.raises(TimeoutError, match=r"nap ran longer than its timeout of 0\.05 s"):
        pool.with_options(timeout=0.05).submit(tasks.nap, 600).result(SOON)


def test_call_that_ends_in_time_is_not_touched_by_its_timeout(lone):
    timed = lone.with_options(timeout=0.05)
    pid = lone.submit(tasks.pid).result(SOON)
    assert timed.submit(tasks.nap, 0).result(SOON) == 0
    assert lone.submit(tasks.nap, 0.1).result(SOON) == 0.1
    assert lone.submit(tasks.pid).result(SOON) == pid


def test_timeout_counts_from_the_start_of_the_call(lone, tmp_path):
    first = lone.submit(tasks.hold, tmp_path)
    waiting = lone.with_options(timeout=0.1).submit(tasks.double, 21)
    tasks.wait_held(tmp_path)
    assert not tasks.eventually(waiting.done, 0.2)
    tasks.release(tmp_path)
    assert (first.result(SOON), waiting.result(SOON)) == ("held", 42)


def test_call_that_a_stopped_worker_does_not_start_runs_on_another_one(lone, monkeypatch):
    monkeypatch.setattr(cancellation, "_STUCK", 0.2)
    pid = lone.submit(os.getpid).result(SOON)
    os.kill(pid, signal.SIGSTOP)
    calls = [lone.with_options(timeout=0.1).submit(os.getpid) for _ in range(3)]
    assert pid not in {call.result(SOON) for call in calls}


def test_timeout_counts_anew_for_each_attempt(pool, journal):
    timed = pool.with_options(timeout=0.5, retries=2, retry_on=TimeoutError)
    with pytest.raises(TimeoutError):
        timed.submit(tasks.note_and_nap, journal, 600).result(SOON)
    assert len(tasks.notes(journal)) == 3


def test_worker_of_a_call_that_ran_too_long_ends_and_is_replaced(lone, journal):
    with pytest.raises(TimeoutError):
        lone.with_options(timeout=1.0).submit(tasks.note_and_nap, journal, 600).result(SOON)
    assert lone.submit(tasks.double, 21).result(SOON) == 42
    assert tasks.eventually(lambda: tasks.is_gone(tasks.notes(journal)[0]))


def test_call_that_ignores_sigterm_is_killed_after_the_grace(short_grace, pool, journal):
    # Timed out when it surely ignores it: the note says so.
    future = pool.submit(tasks.ignore_and_nap, journal)
    assert tasks.eventually(lambda: tasks.notes(journal))
    assert future.cancel(force=True)
    assert tasks.eventually(lambda: tasks.is_gone(tasks.notes(journal)[0]))


@pytest.mark.slow
def test_caller_does_not_wait_for_the_grace(pool, journal):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        pool.with_options(timeout=0.1).submit(tasks.ignore_and_nap, journal).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42
    # Nor does shutdown wait for more than it: the `with` of the fixture ends.
    assert time.monotonic() - start < SOON / 2


@pytest.mark.linux
def test_call_in_a_c_loop_is_ended_by_its_timeout(pool):
    with pytest.raises(TimeoutError):
        pool.with_options(timeout=0.05).submit(pow, 3, 10**9).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


# -- the next call on that worker --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_timeout_never_hits_the_next_call(lone, journal):
    # The race: a call ends at the very moment in which its time is over.
    timed = lone.with_options(timeout=0.004)
    ended, late = 0, 0
    for number in range(60):
        racing = timed.submit(tasks.spin, 0.0036 + number % 10 * 0.0001)
        behind = [lone.submit(tasks.note_and_return, journal, 3 * number + n) for n in range(3)]
        assert [future.result(SOON) for future in behind] == [3 * number + n for n in range(3)]
        if racing.exception(SOON) is None:
            ended += 1
        else:
            assert isinstance(racing.exception(), TimeoutError)
            late += 1
    assert len(tasks.notes(journal)) == len(set(tasks.notes(journal))) == 180
    assert ended
    assert late


def test_cancel_by_force_never_hits_the_next_call(lone, journal):
    cancelled = 0
    for number in range(60):
        racing = lone.submit(tasks.spin, number % 10 * 0.0002)
        behind = [lone.submit(tasks.note_and_return, journal, 3 * number + n) for n in range(3)]
        tasks.spin(0.001)
        cancelled += racing.cancel(force=True)
        assert [future.result(SOON) for future in behind] == [3 * number + n for n in range(3)]
        assert racing.cancelled() or racing.exception(SOON) is None
    assert len(tasks.notes(journal)) == len(set(tasks.notes(journal))) == 180
    assert cancelled


def test_cancel_by_force_of_calls_of_one_function_hits_only_those(lone, journal):
    # All are sent ahead to the same worker.
    for _ in range(5):
        lone.submit(tasks.note_and_return, os.devnull, 0).result(SOON)
    for number in range(30):
        futures = [lone.submit(tasks.note_and_return, journal, 100 * number + n) for n in range(20)]
        for future in futures[::3]:
            future.cancel(force=True)
        for n, future in enumerate(futures):
            assert future.cancelled() or future.result(SOON) == 100 * number + n
            assert n % 3 == 0 or not future.cancelled()
    assert len(tasks.notes(journal)) == len(set(tasks.notes(journal)))


def test_call_that_answers_sigterm_gently_does_not_draw_the_next_one_in(short_grace, lone, journal):
    short(lone)
    ending = lone.with_options(timeout=0.1).submit(tasks.stop_or_note, journal, "ending", 600)
    behind = [lone.submit(tasks.stop_or_note, journal, f"behind-{n}", 0) for n in range(3)]
    with pytest.raises(TimeoutError):
        ending.result(SOON)
    assert [future.result(SOON) for future in behind] == ["behind-0", "behind-1", "behind-2"]
    assert sorted(tasks.notes(journal)) == ["behind-0", "behind-1", "behind-2", "ending"]


def test_cancelled_call_behind_does_not_draw_the_next_one_in(short_grace, lone, journal):
    # Its recall is still unanswered when the running call has to end.
    short(lone)
    ending = lone.with_options(timeout=0.1).submit(tasks.stop_or_note, journal, "ending", 600)
    next_one = lone.submit(tasks.stop_or_note, journal, "next", 0)
    last = lone.submit(tasks.stop_or_note, journal, "last", 0)
    assert tasks.eventually(lambda: tasks.notes(journal))
    assert last.cancel()
    with pytest.raises(TimeoutError):
        ending.result(SOON)
    assert next_one.result(SOON) == "next"


def test_call_sent_directly_is_not_overtaken(lone, journal):
    # Its thread loses the processor between using the permit and writing.
    lone.submit(tasks.note_and_return, os.devnull, 0).result(SOON)
    (worker,) = lone._engine._supervisor.workers.values()
    assert tasks.eventually(lambda: tasks.has_unused_permit(worker))
    queued = []

    class Slow:
        def __init__(self, sock):
            self.sock = sock

        def __getattr__(self, name):
            return getattr(self.sock, name)

        def sendmsg(self, parts, *rest):
            parts = list(parts)
            if threading.current_thread() is threading.main_thread() and not queued:
                queued.append(lone.with_options(name="queued").submit(tasks.note_and_return, journal, "queued"))
                tasks.eventually(lambda: tasks.notes(journal), 0.2)
            return self.sock.sendmsg(parts, *rest)

    worker.sock = Slow(worker.sock)
    assert lone.submit(tasks.note_and_return, journal, "direct").result(SOON) == "direct"
    assert queued[0].result(SOON) == "queued"
    assert tasks.notes(journal) == ["direct", "queued"]


def short(pool):
    """Let the pool learn that `stop_or_note` is short, so that it sends many ahead."""
    for _ in range(5):
        pool.submit(tasks.stop_or_note, os.devnull, "warm", 0).result(SOON)


# -- calls that waited for tasks of their own --------------------------------------------------------------------------


def test_timeout_holds_for_a_call_that_waited_for_a_task_of_its_own(lone):
    with pytest.raises(TimeoutError):
        lone.with_options(timeout=0.3).submit(tasks.submit_and_nap, 600).result(SOON)


def test_timeout_of_a_call_that_waited_for_a_task_of_its_own_counts_from_its_own_start(lone, tmp_path):
    lone.submit(tasks.submit_and_nap, 0).result(SOON)  # so that no import counts
    timed = lone.with_options(timeout=1.2)
    for _ in range(3):
        timed.submit(tasks.submit_and_nap, 0).result(SOON)
    first = lone.submit(tasks.nap, 1)
    second = timed.submit(tasks.submit_and_nap, 0.4)
    assert (first.result(SOON), second.result(SOON)) == (1, 0.4)


def test_cancel_by_force_ends_a_call_that_waited_for_a_task_of_its_own(lone, journal):
    future = lone.submit(tasks.submit_and_nap, 600, journal)
    assert tasks.eventually(lambda: tasks.notes(journal))
    assert future.cancel(force=True)
    assert lone.submit(tasks.double, 21).result(SOON) == 42


# -- the GIL -----------------------------------------------------------------------------------------------------------


@pytest.mark.linux
def test_call_that_holds_the_gil_holds_nobody_else_up(pool):
    holding = pool.submit(tasks.hold_the_gil, 600)
    behind = [pool.submit(tasks.double, n) for n in range(200)]
    assert [future.result(SOON) for future in behind] == [2 * n for n in range(200)]
    assert list(pool.map(tasks.double, range(100))) == [2 * n for n in range(100)]
    assert holding.cancel(force=True)


@pytest.mark.linux
def test_calls_sent_ahead_to_a_worker_that_holds_the_gil_run_elsewhere(pool):
    # Known to be short, so that many are sent ahead to the worker that will hold it.
    for _ in range(10):
        pool.submit(tasks.hold_the_gil, 0).result(SOON)
    holding = pool.submit(tasks.hold_the_gil, 600)
    behind = [pool.submit(tasks.hold_the_gil, 0) for _ in range(200)]
    assert {future.result(SOON) for future in behind} == {0}
    assert holding.cancel(force=True)


@pytest.mark.linux
def test_call_that_holds_the_gil_is_ended_by_its_timeout(pool):
    with pytest.raises(TimeoutError):
        pool.with_options(timeout=0.05).submit(tasks.hold_the_gil, 600).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


@pytest.mark.linux
def test_call_that_holds_the_gil_is_cancelled_by_force(pool):
    future = pool.submit(tasks.hold_the_gil, 600)
    assert tasks.eventually(future.running)
    assert future.cancel(force=True)
    assert pool.submit(tasks.double, 21).result(SOON) == 42
