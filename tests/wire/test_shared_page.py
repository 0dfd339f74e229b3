import os
import random
import threading
import time

import pytest

from woolexec.platform.ipc import shared_file
from woolexec.wire.shared_page import SIZE, SharedPage


@pytest.fixture
def ends():
    """The engine's end and the worker's: two maps of one file."""
    fd = shared_file(SIZE)
    pages = SharedPage(fd), SharedPage(fd)
    os.close(fd)
    yield pages
    for page in pages:
        page.close()


def test_fresh_page_says_that_nothing_was_started(ends):
    engine, _ = ends

    assert engine.started == 0
    assert engine.since == 0.0


def test_started_call_is_seen_at_the_other_end(ends):
    engine, worker = ends

    before = time.monotonic()
    assert worker.start(7)

    assert engine.started == 7
    assert before <= engine.since <= time.monotonic()


def test_recalled_call_does_not_start_and_those_before_it_do(ends):
    engine, worker = ends
    engine.recall(5)

    assert worker.start(4)
    assert not worker.start(5)
    assert not worker.start(6)


def test_only_a_call_that_was_let_start_counts_as_running(ends):
    engine, worker = ends
    worker.start(4)
    engine.recall(5)
    worker.start(5)

    assert (engine.started, engine.runs) == (5, 4)


def test_recall_returns_what_was_started_last(ends):
    engine, worker = ends
    worker.start(3)

    assert engine.recall(4) == 3


def test_second_recall_only_widens_the_first(ends):
    engine, worker = ends
    engine.recall(5)
    engine.recall(9)
    assert not worker.start(5)

    engine.recall(3)
    assert not worker.start(3)


def test_forgotten_recall_lets_calls_start(ends):
    engine, worker = ends
    engine.recall(5)

    engine.clear_recall()

    assert worker.start(5)


def test_numbers_of_64_bits_are_kept(ends):
    engine, worker = ends
    worker.start(2**64 - 2)

    assert engine.started == 2**64 - 2


@pytest.mark.parametrize("seed", range(3))
def test_call_is_never_both_started_and_taken_back(ends, seed):
    """Both ends race for the same call, again and again: at least one sees the other."""
    engine, worker = ends
    rng = random.Random(seed)
    barrier, ran = threading.Barrier(2), []
    rounds = 1500

    def work():
        for number in range(1, rounds):
            barrier.wait()
            for _ in range(rng.randint(0, 40)):
                pass
            ran.append(worker.start(number))
            barrier.wait()

    thread = threading.Thread(target=work)
    thread.start()
    both = 0
    for number in range(1, rounds):
        barrier.wait()
        taken_back = engine.recall(number) < number
        barrier.wait()
        both += taken_back and ran[-1]
        engine.clear_recall()
    thread.join()

    assert both == 0
