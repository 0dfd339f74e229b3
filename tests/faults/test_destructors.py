"""Arguments whose destructors end the worker: the outcome has been sent by then."""

import time

import pytest

from tests.faults.deadly import (
    Deadly,
    async_stream,
    at_once,
    coroutine,
    coroutine_that_raises,
    plain,
    raises,
    raises_with_another_in_its_frame,
    returns_a_coroutine,
    second,
    stream,
)
from woolexec import PeerPoolExecutor, WorkerLostError

PATIENCE = 30


@pytest.fixture
def pool():
    with PeerPoolExecutor(1) as pool:
        yield pool


def outcome_of(pool, fn):
    """Run a task; wait until the worker that it ended is gone, for that might still take the next."""
    future = pool.submit(fn, Deadly())
    outcome = future.exception(PATIENCE) or future.result()
    see_workers_end(pool)
    return outcome


def see_workers_end(pool):
    deadline = time.monotonic() + PATIENCE
    while pool._engine.pids:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_arguments_are_dropped_when_the_outcome_has_been_sent(pool):
    tasks = [plain, coroutine, at_once, returns_a_coroutine]

    assert [outcome_of(pool, fn) for fn in tasks] == ["done"] * len(tasks)


def test_arguments_and_frames_are_dropped_when_the_exception_has_been_sent(pool):
    tasks = [raises, raises_with_another_in_its_frame, coroutine_that_raises]

    assert [type(outcome_of(pool, fn)) for fn in tasks] == [LookupError] * len(tasks)


def test_outcomes_that_are_sent_together_have_left_when_the_arguments_are_dropped(pool):
    futures = [pool.submit(fn, Deadly()) for fn in [at_once, coroutine, coroutine_that_raises] * 10]

    outcomes = [future.exception(PATIENCE) or future.result() for future in futures]

    # What ends the process may come before some have run: those are lost, and no other.
    assert {type(outcome) for outcome in outcomes} - {WorkerLostError} <= {str, LookupError}
    assert outcomes[0] == "done"


@pytest.mark.parametrize("options", [{}, {"chunksize": 2}], ids=["measured", "chunks of two"])
def test_items_of_a_map_are_dropped_when_the_results_have_been_sent(pool, options):
    assert list(pool.map(second, [Deadly(), 1, 2], range(3), **options)) == [0, 1, 2]
    for fn in (plain, returns_a_coroutine):
        assert list(pool.map(fn, [Deadly(), 1, 2], **options)) == ["done"] * 3


def test_item_for_a_coroutine_is_dropped_when_its_result_has_been_sent(pool):
    assert list(pool.map(coroutine, [Deadly()])) == ["done"]


def test_items_that_are_left_of_a_map_cost_no_call_that_comes_after_it(pool):
    armed = [pool.map(plain, [1, Deadly()], chunksize=2) for _ in range(3)]
    others = [pool.submit(abs, -number) for number in range(5)]

    assert [list(results) for results in armed] == [["done"] * 2] * 3
    assert [future.result(PATIENCE) for future in others] == list(range(5))


@pytest.mark.parametrize("fn", [stream, async_stream])
def test_arguments_of_a_stream_are_dropped_when_its_end_has_been_sent(pool, fn):
    with pool.stream(fn, Deadly()) as items:
        assert list(items) == ["first", "last"]
