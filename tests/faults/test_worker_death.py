"""Rows 1, 2, 3, 10, 13 and 17: a worker dies, in every way and at every moment."""

import os
import pickle
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from woolexec import WorkerLostError

from . import tasks
from .tasks import SOON

ENDINGS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "SIGSEGV": -signal.SIGSEGV,
    "SIGABRT": -signal.SIGABRT,
    7: 7,
    0: 0,
}


def lost(future):
    """Return the error of a future whose worker died."""
    error = future.exception(SOON)
    assert isinstance(error, WorkerLostError), error
    return error


# -- while running: what the caller is told ----------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize(("how", "exitcode"), ENDINGS.items(), ids=str)
def test_lost_call_tells_how_its_worker_ended(pool, how, exitcode):
    assert lost(pool.submit(tasks.die, how)).exitcode == exitcode


@pytest.mark.parametrize(
    ("how", "words"),
    [("SIGKILL", "was killed by SIGKILL"), ("SIGSEGV", "was killed by SIGSEGV"), (7, "exited with code 7")],
)
def test_text_of_a_lost_call_tells_how_its_worker_ended(pool, how, words):
    assert words in str(lost(pool.submit(tasks.die, how)))


def test_lost_call_tells_process_and_host(pool, tmp_path):
    future = pool.submit(tasks.die_when_released, tmp_path)
    pid = tasks.wait_held(tmp_path)
    tasks.release(tmp_path)
    error = lost(future)
    assert (error.pid, error.host) == (pid, os.uname().nodename)
    assert f"worker {pid} on {os.uname().nodename}" in str(error)


def test_lost_call_tells_the_name_of_its_task(pool):
    error = lost(pool.submit(tasks.die))
    assert error.task == "die"
    assert "while running die," in str(error)


def test_lost_call_tells_the_name_that_its_options_give(pool):
    error = lost(pool.with_options(name="monthly report").submit(tasks.die))
    assert error.task == "monthly report"
    assert "while running monthly report," in str(error)


def test_lost_call_tells_for_how_long_it_had_run(pool, tmp_path):
    future = pool.submit(tasks.die_when_released, tmp_path)
    tasks.wait_held(tmp_path)
    assert not tasks.eventually(future.done, 0.1)
    tasks.release(tmp_path)
    error = lost(future)
    assert 0.1 <= error.seconds < SOON
    assert re.search(r"after \d+\.\d{3} s", str(error))


def test_lost_call_holds_the_report_of_faulthandler(pool):
    text = str(lost(pool.submit(tasks.die, "SIGSEGV")))
    assert "Fatal Python error: Segmentation fault" in text
    assert re.search(r'File ".*tasks\.py", line \d+ in die', text)


def test_lost_call_holds_the_last_log_records_of_its_worker(pool, caplog):
    text = str(lost(pool.submit(tasks.log_and_die, ["no flour", "no yeast"])))
    assert text.index("WARNING shop: no flour") < text.index("WARNING shop: no yeast")


def test_lost_call_tells_that_it_was_started_once(pool):
    assert lost(pool.submit(tasks.die)).attempts == 1


def test_call_that_is_lost_at_every_attempt_tells_how_many_there_were(pool, journal):
    error = lost(pool.with_options(retries=2).submit(tasks.die_noted, journal, "start"))
    assert error.attempts == len(tasks.notes(journal)) == 3
    assert "(attempt 3)" in str(error)


def test_lost_call_is_caught_as_a_broken_process_pool(pool):
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.die).result(SOON)


def test_error_of_a_lost_call_travels_with_all_that_it_tells(pool):
    error = lost(pool.submit(tasks.die))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)


# -- while running: what the others feel -------------------------------------------------------------------------------


def test_lost_call_is_not_started_again_by_itself(pool, journal):
    lost(pool.submit(tasks.die_noted, journal, "start"))
    assert pool.submit(tasks.double, 21).result(SOON) == 42
    assert tasks.notes(journal) == ["start"]


def test_lost_call_is_started_again_if_it_has_retries(pool, journal):
    assert pool.with_options(retries=1).submit(tasks.die_once, journal).result(SOON) == 2


def test_lost_call_is_started_again_if_it_is_idempotent(pool, journal):
    assert pool.with_options(idempotent=True).submit(tasks.die_once, journal).result(SOON) == 2


def test_call_on_another_worker_goes_on_when_a_worker_dies(pool, tmp_path):
    other = pool.submit(tasks.hold, tmp_path)
    pid = tasks.wait_held(tmp_path)
    lost(pool.submit(tasks.die))
    assert not tasks.is_gone(pid)
    tasks.release(tmp_path)
    assert other.result(SOON) == "held"


def test_worker_that_died_is_replaced(pool, tmp_path):
    lost(pool.submit(tasks.die))
    lost(pool.submit(tasks.die))
    found = [pool.submit(tasks.meet, tmp_path, 2) for _ in range(2)]
    assert len({future.result(SOON) for future in found}) == 2


@pytest.mark.slow
def test_many_calls_that_die_cost_nobody_else_anything(pool, journal):
    dying, living = [], []
    for number in range(20):
        dying.append(pool.submit(tasks.die, "SIGKILL"))
        living += [pool.submit(tasks.note_and_return, journal, number * 10 + n) for n in range(10)]
    assert [future.result(SOON) for future in living] == list(range(200))
    assert all(lost(future) for future in dying)
    assert sorted(map(int, tasks.notes(journal))) == list(range(200))


def test_map_yields_what_came_before_the_item_that_killed_its_worker(pool):
    results = pool.map(tasks.die_at, [0, 1, 2, 3], [2] * 4, chunksize=1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(WorkerLostError):
        next(results)


# -- with a call that waits for it, and no other worker ----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"name": "f"}, {"retries": 1}], ids=str)
def test_call_for_every_worker_ends_when_one_of_them_dies_busy(lone, tmp_path, options):
    busy = lone.submit(tasks.hold, tmp_path)
    pid = tasks.wait_held(tmp_path)
    with ThreadPoolExecutor(1) as thread:
        everywhere = thread.submit(lone.with_options(**options).run_on_all, os.getpid)
        assert tasks.eventually(lambda: any(worker.pinned for worker in lone._engine.scheduler.workers.values()))
        os.kill(pid, signal.SIGKILL)
        (future,) = everywhere.result(SOON).values()
    if "retries" in options:
        assert future.result() != pid
    else:
        assert isinstance(future.exception(), WorkerLostError)
    lost(busy)
    assert lone.submit(abs, -1).result(SOON) == 1


# -- while idle, and with calls that wait behind -----------------------------------------------------------------------


@pytest.mark.slow
def test_worker_that_dies_idle_costs_no_call(lone):
    for number in range(30):
        os.kill(lone.submit(tasks.pid).result(SOON), signal.SIGKILL)
        assert lone.submit(tasks.double, number).result(SOON) == 2 * number


@pytest.mark.slow
def test_calls_sent_to_a_worker_that_dies_at_that_moment_are_each_started_once(lone, journal):
    for number in range(30):
        os.kill(lone.submit(tasks.pid).result(SOON), signal.SIGKILL)
        sent = [lone.submit(tasks.note_and_return, journal, 10 * number + n) for n in range(3)]
        assert [future.result(SOON) for future in sent] == [10 * number + n for n in range(3)]
    assert len(tasks.notes(journal)) == len(set(tasks.notes(journal))) == 90


@pytest.mark.slow
def test_all_workers_may_die_idle(pool, tmp_path):
    found = [pool.submit(tasks.meet, tmp_path, 2) for _ in range(2)]
    for future in found:
        os.kill(future.result(SOON), signal.SIGKILL)
    assert list(pool.map(tasks.double, range(100))) == [2 * n for n in range(100)]


@pytest.mark.parametrize("how", ["SIGKILL", 1], ids=str)
def test_calls_behind_the_one_that_died_are_each_started_once(lone, journal, how):
    # Known to be short, so that many are sent ahead.
    for _ in range(5):
        lone.submit(tasks.die_or_note, os.devnull, "warm").result(SOON)
    for number in range(5):
        dying = lone.submit(tasks.die_or_note, journal, f"dying-{number}", how)
        behind = [lone.submit(tasks.die_or_note, journal, f"{number}-{n}") for n in range(20)]
        lost(dying)
        assert [future.result(SOON) for future in behind] == [f"{number}-{n}" for n in range(20)]
    started = tasks.notes(journal)
    assert len(started) == len(set(started)) == 105


def test_template_that_dies_costs_what_runs_and_no_more(pool, tmp_path):
    # The process from which workers are forked: an implementation's own, and as mortal as any.
    running = pool.submit(tasks.hold, tmp_path)
    pid = tasks.wait_held(tmp_path)
    template = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(template, signal.SIGKILL)
    lost(running)
    assert tasks.eventually(lambda: tasks.is_gone(pid))
    assert pool.submit(tasks.double, 21).result(SOON) == 42


# -- while writing, and after ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.linux
def test_worker_that_dies_while_it_writes_a_result_of_1_gib_costs_that_call(pool):
    error = lost(pool.submit(tasks.die_while_writing, 1 << 30))
    assert error.exitcode == -signal.SIGKILL
    assert pool.submit(tasks.double, 21).result(SOON) == 42


@pytest.mark.parametrize("how", ["SIGSEGV", 1], ids=str)
def test_result_is_kept_when_dropping_it_kills_the_worker(pool, how):
    assert pool.submit(tasks.make_dying, how).result(SOON).how == how
    assert pool.submit(tasks.double, 21).result(SOON) == 42


def test_results_are_kept_when_dropping_them_kills_the_worker(lone):
    assert [thing.how for thing in lone.map(tasks.make_dying, ["SIGKILL"] * 4, chunksize=2)] == ["SIGKILL"] * 4


# -- with offspring ----------------------------------------------------------------------------------------------------


@pytest.mark.linux
@pytest.mark.parametrize("how", ["SIGKILL", 0], ids=str)
def test_children_and_grandchildren_end_with_their_worker(pool, journal, how):
    lost(pool.submit(tasks.die_with_family, journal, how))
    family = tasks.notes(journal)
    assert len(family) == 2
    assert tasks.eventually(lambda: all(map(tasks.is_gone, family)))


@pytest.mark.linux
def test_children_and_grandchildren_end_with_a_call_that_is_cancelled_by_force(pool, journal):
    future = pool.submit(tasks.nap_with_family, journal)
    assert tasks.eventually(lambda: "ready" in tasks.notes(journal))
    assert future.cancel(force=True)
    assert tasks.eventually(lambda: all(tasks.is_gone(pid) for pid in tasks.notes(journal)[:2]))


@pytest.mark.linux
def test_forked_child_that_holds_the_workers_socket_does_not_hide_its_death(pool, journal):
    lost(pool.submit(tasks.fork_and_die, journal))
    assert tasks.eventually(lambda: tasks.is_gone(tasks.notes(journal)[0]))


@pytest.mark.linux
def test_child_that_left_the_process_group_does_not_hide_its_workers_death(pool, journal):
    try:
        lost(pool.submit(tasks.fork_and_die, journal, session=True))
    finally:
        os.kill(int(tasks.notes(journal)[0]), signal.SIGKILL)


# -- out of memory -----------------------------------------------------------------------------------------------------


@pytest.mark.linux
def test_allocation_beyond_the_limit_of_the_address_space_is_a_memory_error(pool):
    with pytest.raises(MemoryError):
        pool.submit(tasks.allocate_under_limit, 1 << 34).result(SOON)
    assert pool.submit(tasks.double, 21).result(SOON) == 42


@pytest.mark.linux
def test_worker_that_the_kernel_ends_for_lack_of_memory_is_said_to_be(run, memory_group):
    caller = run(
        """
        import os, sys
        with open(sys.argv[1] + "/cgroup.procs", "w") as group:
            group.write(str(os.getpid()))

        from tests.faults import tasks
        from woolexec import PeerPoolExecutor

        with PeerPoolExecutor(2) as pool:
            print(pool.submit(tasks.die).exception(20))
            print(pool.submit(tasks.fill, 1 << 30).exception(20))
            print(pool.submit(tasks.double, 21).result(20))
        """,
        memory_group,
    )
    code, out, err = caller.end()
    assert (code, err) == (0, "")
    killed, starved, after = out.splitlines()
    assert "was killed by SIGKILL" in killed
    assert "out-of-memory" not in killed
    assert "was killed by SIGKILL" in starved
    assert "out-of-memory" in starved
    assert after == "42"
