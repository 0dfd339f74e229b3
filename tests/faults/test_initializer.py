"""Row 11: the initializer raises, hangs, exits or kills; the executor reports it once, and does not retry forever."""

import logging
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest

from woolexec import InitializerError, PeerPoolExecutor, RemoteTraceback

from . import tasks
from .tasks import SOON

# The budget is 5 workers in a row; a respawn without end would pass this figure within the watchdog's time.
MANY = 20


def broken(*args, **options):
    """Return the error of the first future of a pool with this initializer."""
    with PeerPoolExecutor(1, None, *args, **options) as pool:
        error = pool.submit(tasks.double, 21).exception(SOON)
    assert isinstance(error, InitializerError), error
    return error


def test_error_of_the_initializer_breaks_the_pool_and_is_the_cause():
    error = broken(tasks.throw, (ValueError, "no license"))
    assert isinstance(error, BrokenProcessPool)
    assert "the initializer raised ValueError" in str(error)
    assert "no license" in str(error)
    assert (type(error.__cause__), error.__cause__.args) == (ValueError, ("no license",))
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)
    assert "in throw" in error.__cause__.__cause__.tb


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, tasks.OwnBaseError], ids=lambda kind: kind.__name__
)
def test_initializer_may_raise_anything(kind):
    assert type(broken(tasks.throw, (kind, "why")).__cause__) is kind


def test_initializer_may_raise_what_cannot_be_pickled():
    assert "HoldsALock: no key" in str(broken(tasks.throw_unpicklable))


def test_initializer_that_fails_to_unpickle_breaks_the_pool():
    assert "not to be loaded" in str(broken(tasks.double, (tasks.RaisesWhenLoaded(),)))


def test_every_future_of_a_pool_whose_initializer_fails_raises():
    with PeerPoolExecutor(2, None, tasks.throw, (ValueError, "no license")) as pool:
        futures = []
        with pytest.raises(InitializerError):
            for number in range(100):
                futures.append(pool.submit(tasks.double, number))
            futures[0].result(SOON)
        assert all(isinstance(future.exception(SOON), InitializerError) for future in futures)


def test_submit_and_map_raise_after_the_initializer_failed():
    with PeerPoolExecutor(2, None, tasks.throw, (ValueError, "no license")) as pool:
        pool.submit(tasks.double, 21).exception(SOON)
        with pytest.raises(InitializerError, match="no license"):
            pool.submit(tasks.double, 21)
        with pytest.raises(InitializerError, match="no license"):
            pool.map(tasks.double, [21])


def test_error_of_the_initializer_is_logged_once_with_its_traceback(caplog, tmp_path):
    with PeerPoolExecutor(3, None, tasks.meet_and_throw, (tmp_path, 3)) as pool:
        for future in [pool.submit(tasks.double, n) for n in range(3)]:
            assert isinstance(future.exception(SOON), InitializerError)
    (record,) = [record for record in caplog.records if record.levelno >= logging.CRITICAL]
    assert "the initializer raised ValueError" in record.getMessage()
    assert "in meet_and_throw" in logging.Formatter().format(record)


def test_initializer_that_fails_runs_once_per_worker(journal):
    broken(tasks.note_and_throw, (journal,))
    assert tasks.notes(journal) == ["start"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("how", "words"),
    [("SIGKILL", "was killed by SIGKILL"), ("SIGSEGV", "SIGSEGV"), (3, "code 3"), (0, "code 0")],
    ids=str,
)
def test_initializer_that_ends_its_worker_breaks_the_pool_after_a_few(journal, how, words):
    error = broken(tasks.die_noted, (journal, "start", how))
    assert words in str(error)
    assert "initializer" in str(error)
    assert 1 <= len(tasks.notes(journal)) < MANY


def test_initializer_that_ends_its_worker_now_and_then_is_overcome(journal):
    with PeerPoolExecutor(1, None, tasks.die_once, (journal,)) as pool:
        assert pool.submit(tasks.double, 21).result(SOON) == 42
    assert len(tasks.notes(journal)) == 2


def test_initializer_that_hangs_breaks_the_pool(journal):
    error = broken(tasks.note_and_nap, (journal, 600), initializer_timeout=0.2)
    assert "the initializer ran longer than 0.2 s" in str(error)
    assert len(tasks.notes(journal)) <= 1


@pytest.mark.linux
def test_initializer_that_hangs_in_c_breaks_the_pool():
    assert "ran longer than 0.2 s" in str(broken(tasks.hold_the_gil, (600,), initializer_timeout=0.2))


def test_initializer_that_ignores_sigterm_and_hangs_breaks_the_pool(journal):
    assert "ran longer than" in str(broken(tasks.ignore_and_nap, (journal,), initializer_timeout=0.5))


def time_is_up(pool):
    """Have the engine look at its only worker as it does when the time of the initializer is over."""
    supervisor = pool._engine._supervisor
    (worker,) = supervisor.workers.values()
    pool._engine._loop.tell(partial(supervisor.initializer._check, worker))


def test_initializer_that_ends_in_time_is_not_touched_by_its_timeout(tmp_path):
    with PeerPoolExecutor(1, None, tasks.double, (21,), initializer_timeout=SOON) as pool:
        future = pool.submit(tasks.hold, tmp_path)
        tasks.wait_held(tmp_path)
        time_is_up(pool)
        tasks.release(tmp_path)
        assert future.result(SOON) == "held"


def test_worker_that_waits_for_its_first_call_is_not_accused_of_its_initializer(tmp_path, journal):
    with PeerPoolExecutor(1, None, tasks.hold_and_note, (tmp_path, journal), initializer_timeout=SOON) as pool:
        first = pool.submit(tasks.double, 1)
        pid = tasks.wait_held(tmp_path)
        assert first.cancel()
        tasks.release(tmp_path)
        (worker,) = pool._engine._supervisor.workers.values()
        assert tasks.eventually(lambda: worker.page.since and tasks.is_asleep(pid))
        # Ready, and stopped before its first call reaches it.
        os.kill(pid, signal.SIGSTOP)
        second = pool.submit(tasks.double, 21)
        time_is_up(pool)
        os.kill(pid, signal.SIGCONT)
        assert second.result(SOON) == 42


def test_initializer_that_hangs_with_no_call_left_breaks_the_pool(journal):
    with PeerPoolExecutor(1, None, tasks.note_and_nap, (journal, 600), initializer_timeout=SOON) as pool:
        only = pool.submit(tasks.double, 21)
        assert tasks.eventually(lambda: tasks.notes(journal))
        assert only.cancel()
        time_is_up(pool)
        assert tasks.eventually(lambda: tasks.is_gone(tasks.notes(journal)[0]), SOON / 4)
        with pytest.raises(InitializerError, match="ran longer than"):
            pool.submit(tasks.double, 21)


def test_initializer_runs_again_in_a_worker_that_replaces_a_dead_one(journal):
    with PeerPoolExecutor(1, None, tasks.note_and_return, (journal, "ready")) as pool:
        pool.submit(tasks.die).exception(SOON)
        assert pool.submit(tasks.double, 21).result(SOON) == 42
    assert tasks.notes(journal) == ["ready", "ready"]


def test_unused_pool_does_not_run_its_initializer(journal):
    with PeerPoolExecutor(2, None, tasks.note_and_return, (journal, os.getpid())):
        pass
    assert tasks.notes(journal) == []


# -- on_worker_start ---------------------------------------------------------------------------------------------------


def test_on_worker_start_runs_in_each_worker_before_the_initializer(journal):
    options = {"initializer": tasks.note, "initargs": (journal, "initializer")}
    with PeerPoolExecutor(1, on_worker_start=partial(tasks.note, journal, "start"), **options) as pool:
        assert pool.submit(tasks.double, 21).result(SOON) == 42
    with PeerPoolExecutor(1, on_worker_start=partial(tasks.note, journal, "alone")) as pool:
        assert pool.submit(tasks.double, 21).result(SOON) == 42

    assert tasks.notes(journal) == ["start", "initializer", "alone"]


def test_on_worker_start_that_raises_breaks_the_pool_and_is_named():
    error = broken(on_worker_start=partial(tasks.throw, ValueError, "no license"))

    assert "the initializer raised ValueError" in str(error)
    assert "while on_worker_start ran" in error.__cause__.__notes__


def test_on_worker_start_that_cannot_be_called_is_an_error_at_once():
    with pytest.raises(TypeError, match="on_worker_start must be a function that takes no arguments, or None, not"):
        PeerPoolExecutor(1, on_worker_start=5)


# -- shutting a pool down whose workers are starting -------------------------------------------------------------------


@pytest.mark.parametrize("fn", [tasks.double, tasks.double_beside], ids=["plain", "coroutine"])
def test_what_a_worker_has_been_handed_counts_as_started_while_it_starts(fn):
    pool = PeerPoolExecutor(2)
    futures = [pool.submit(fn, number) for number in range(50)]

    pool.shutdown(cancel_futures=True)

    ran = [future for future in futures if not future.cancelled()]
    assert [future.result(0) for future in ran] == [2 * number for number in range(len(ran))]
    assert len(ran) >= 2
