"""
Invariants I1-I8 on the history of one stormy run with real workers.

Tasks succeed, fail, kill their worker, sleep over their timeout, are tried again and are cancelled, all chosen by a
seed.  Each start is noted by the task itself, in a file, before it does anything else; each end by the caller.
"""

import random
import threading
from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import pytest

from tests import leaks
from tests.marks import slow
from woolexec import PeerPoolExecutor, WorkerLostError
from woolexec.core.window import DEPTH

from . import tasks, tasks_b
from .tasks import SOON

TASKS = 400
RETRIES = 2
KINDS = {
    "value": 60,
    "nap": 10,
    "error": 10,
    "die": 4,
    "late": 1,
    "large": 5,
    "unpicklable": 4,
    "tried": 4,
    "doomed": 2,
}
SEEDS = [1, *slow(2)]


@dataclass
class History:
    """What was asked for, and what happened."""

    kinds: list[str]
    starts: Counter[int] = field(default_factory=Counter)
    outcomes: dict[int, object] = field(default_factory=dict)
    ends: Counter[int] = field(default_factory=Counter)
    cancelled: set[int] = field(default_factory=set)
    forced: set[int] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    outstanding: int = 0


def storm(seed, journal):
    dice = random.Random(seed)
    history = History(dice.choices(list(KINDS), list(KINDS.values()), k=TASKS))
    before = leaks.Snapshot.take()
    executor = PeerPoolExecutor(3)
    late, tried = executor.with_options(timeout=0.1), executor.with_options(retries=RETRIES, retry_on=ValueError)
    views = {"late": late, "tried": tried, "doomed": tried}
    done = threading.Semaphore(0)

    def end(future):
        history.ends[future.number] += 1
        done.release()

    futures = []
    for number, kind in enumerate(history.kinds):
        future = views.get(kind, executor).submit(tasks_b.storm_task, journal, number, kind)
        future.number = number
        future.add_done_callback(end)
        futures.append(future)
        history.outstanding = max(history.outstanding, executor._engine.counts["outstanding"])
        if dice.random() < 0.15:
            victim = dice.choice(futures)
            if victim.cancel():
                history.cancelled.add(victim.number)
        if dice.random() < 0.02:
            victim = dice.choice(futures)
            if not victim.cancelled() and victim.cancel(force=True):
                history.forced.add(victim.number)
    for future in futures:
        try:
            history.outcomes[future.number] = future.result(SOON)
        except (Exception, CancelledError) as exc:
            history.outcomes[future.number] = exc
    for _ in futures:
        assert done.acquire(timeout=SOON), "a callback was not run"
    executor.shutdown()
    history.starts.update(map(int, tasks.notes(journal)))
    del executor, late, tried, views, future, futures
    history.left = leaks.left_behind(before)
    return history


@pytest.fixture(scope="module", params=SEEDS)
def history(request, tmp_path_factory):
    return storm(request.param, str(tmp_path_factory.mktemp("storm") / "journal"))


def numbers(history, *kinds):
    return [number for number, kind in enumerate(history.kinds) if kind in kinds]


# -- I1: every accepted future ends exactly once ----------------------------------------------------------------------


def test_every_future_ends_exactly_once(history):
    assert history.ends == Counter(range(TASKS))


def test_every_future_ends_as_its_task_did(history):
    expected = {
        "value": tuple,
        "nap": tuple,
        "large": tuple,
        "error": KeyError,
        "die": WorkerLostError,
        "late": TimeoutError,
        "unpicklable": TypeError,
        "tried": tuple,
        "doomed": ValueError,
    }
    odd = {
        number: (kind, history.outcomes[number])
        for number, kind in enumerate(history.kinds)
        if number not in history.cancelled | history.forced and not isinstance(history.outcomes[number], expected[kind])
    }
    assert not odd


# -- I2 and I3: starts ------------------------------------------------------------------------------------------------


def test_task_without_retries_starts_at_most_once(history):
    plain = set(range(TASKS)) - set(numbers(history, "tried", "doomed"))
    assert {number: history.starts[number] for number in plain if history.starts[number] > 1} == {}


def test_task_without_retries_that_was_not_cancelled_starts_exactly_once(history):
    # One that is over its time may be ended before it has noted its start.
    plain = set(range(TASKS)) - set(numbers(history, "tried", "doomed", "late")) - history.cancelled - history.forced
    assert {history.starts[number] for number in plain} == {1}


def test_task_with_retries_starts_no_more_often_than_they_allow(history):
    assert all(history.starts[number] <= RETRIES + 1 for number in numbers(history, "tried", "doomed"))


def test_task_that_fails_each_time_is_started_as_often_as_its_retries_allow(history):
    doomed = set(numbers(history, "doomed")) - history.cancelled - history.forced
    assert {history.starts[number] for number in doomed} == {RETRIES + 1}


# -- I4 and I5 --------------------------------------------------------------------------------------------------------


def test_every_outcome_is_that_of_its_own_task(history):
    for number, outcome in history.outcomes.items():
        if isinstance(outcome, tuple):
            assert outcome[0] == number
        elif isinstance(outcome, KeyError | ValueError):
            assert outcome.args == (number,)


def test_cancelled_task_never_starts(history):
    assert history.cancelled
    assert {number: history.starts[number] for number in history.cancelled if history.starts[number]} == {}


def test_cancelled_future_stays_cancelled(history):
    assert all(isinstance(history.outcomes[number], CancelledError) for number in history.cancelled | history.forced)


# -- I6 ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_after_shutdown(history):
    assert history.left == []


# -- I7: what is outstanding and what is read ahead is bounded --------------------------------------------------------


def test_no_more_is_outstanding_than_workers_and_windows_hold(history):
    assert history.outstanding <= 3 * DEPTH


def test_worker_that_runs_a_long_task_holds_one_more_at_most(lone, tmp_path):
    lone.submit(tasks.nap, 0.05).result(SOON)
    futures = [lone.submit(tasks.hold, tmp_path)]
    tasks.wait_held(tmp_path)
    futures += [lone.submit(tasks.nap, 0) for _ in range(100)]
    outstanding = lone._engine.counts["outstanding"]
    tasks.release(tmp_path)
    assert [future.result(SOON) for future in futures][1:] == [0] * 100
    assert outstanding <= 2


class Source:
    """Counts what is pulled from it."""

    def __init__(self, length):
        self.length = length
        self.pulled = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.pulled == self.length:
            raise StopIteration
        self.pulled += 1
        return self.pulled - 1


@pytest.mark.parametrize("buffersize", [1, 2, 7, 100])
def test_no_more_items_are_pulled_than_consumed_and_buffered(pool, buffersize):
    source = Source(500)
    results = pool.map(abs, source, buffersize=buffersize)
    assert source.pulled <= buffersize
    for consumed, value in enumerate(results, 1):
        assert value == consumed - 1
        assert source.pulled <= consumed + buffersize
    assert consumed == 500


@pytest.mark.parametrize(("buffersize", "chunksize"), [(1, 5), (3, 4)])
def test_buffer_counts_batches_where_their_size_is_given(pool, buffersize, chunksize):
    source = Source(200)
    for consumed, _ in enumerate(pool.map(abs, source, buffersize=buffersize, chunksize=chunksize), 1):
        assert source.pulled <= consumed + buffersize * chunksize
    assert consumed == 200


def test_map_that_is_closed_pulls_no_more(pool):
    source = Source(10_000)
    results = pool.map(abs, source, buffersize=10)
    next(results)
    results.close()
    assert source.pulled <= 11


# -- order ------------------------------------------------------------------------------------------------------------


def test_calls_start_in_the_order_of_their_submission_on_one_worker(lone, journal):
    lone.submit(tasks.note, journal, "known").result(SOON)
    busy = threading.Event()
    # The engine looks away: what is not written by the submitting thread itself waits for it.
    lone._engine._loop.tell(lambda: busy.wait(SOON))
    futures = [
        lone.submit(lambda note, path: note(path, "new"), tasks.note, journal),
        lone.submit(tasks.note, journal, "next"),
    ]
    busy.set()
    assert [future.result(SOON) for future in futures] == [None, None]
    assert tasks.notes(journal) == ["known", "new", "next"]


@pytest.mark.parametrize("options", [{}, {"retries": 1}], ids=["plain", "with options"])
def test_calls_of_several_kinds_start_in_order_on_one_worker(lone, journal, options):
    view = lone.with_options(**options)
    for number in range(0, 300, 3):
        view.submit(tasks.note, journal, number)
        lone.submit(tasks_b.note_large, journal, number + 1, bytes(50_000))
        lone.submit(tasks.note, journal, number + 2)
    lone.submit(abs, -1).result(SOON)
    assert list(map(int, tasks.notes(journal))) == list(range(300))


# -- I8: maps are in order --------------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize(
    "options", [{}, {"chunksize": 1}, {"chunksize": 7}, {"buffersize": 5}, {"buffersize": 3, "chunksize": 4}], ids=str
)
def test_map_is_in_order_whatever_the_items_take(pool, options):
    dice = random.Random(3)
    items = [(number, dice.choice([0, 0, 0, 0.002, 0.005])) for number in range(300)]
    assert list(pool.map(tasks_b.nap_and_return, *zip(*items, strict=True), **options)) == list(range(300))


def test_map_is_in_order_when_workers_are_replaced():
    with PeerPoolExecutor(2, max_tasks_per_child=5) as executor:
        assert list(executor.map(abs, range(100), chunksize=3)) == list(range(100))


def test_map_with_retries_is_in_order_and_whole_when_workers_die(pool, journal):
    again = pool.with_options(retries=3)
    assert list(again.map(tasks_b.die_at_first, [journal] * 60, range(60), chunksize=5)) == list(range(60))


def test_map_gives_what_comes_before_an_item_that_fails_and_not_what_comes_after(pool):
    results = pool.map(tasks_b.fail_at, range(200), [150] * 200)
    assert [next(results) for _ in range(150)] == list(range(150))
    with pytest.raises(KeyError):
        next(results)
    assert list(results) == []


def test_neighbours_of_an_item_that_fails_all_run(pool, journal):
    results = pool.map(tasks_b.note_and_fail_at, [journal] * 20, range(20), [3] * 20, chunksize=10)
    with pytest.raises(KeyError):
        list(results)
    assert tasks.eventually(lambda: set(map(int, tasks.notes(journal))) >= set(range(10)))
