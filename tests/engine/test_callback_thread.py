import threading
import time
from functools import partial

import pytest

from woolexec.engine import event_loop
from woolexec.engine.callback_thread import PATIENCE, Relay


@pytest.fixture
def relay():
    relay = Relay()
    yield relay
    relay.close()
    relay.join()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_pieces_run_in_order_in_one_thread(relay):
    got = []
    for number in range(100):
        relay.put(lambda number=number: got.append((number, threading.current_thread())))
    wait_until(lambda: len(got) == 100)

    assert [number for number, _ in got] == list(range(100))
    assert len({thread for _, thread in got}) == 1
    assert got[0][1] is not threading.current_thread()


def test_piece_that_blocks_is_left_behind(relay):
    latch, blocked, got = threading.Event(), threading.Event(), threading.Event()

    def block():
        blocked.set()
        latch.wait(30)

    relay.put(block)
    assert blocked.wait(20)
    relay.put(got.set)

    while (left := relay.check()) is not None:
        assert left <= PATIENCE
        if got.wait(left):
            break

    assert got.is_set()
    latch.set()


def test_many_blocked_pieces_take_a_thread_each_and_no_more(relay):
    latch, running = threading.Event(), []

    def block():
        running.append(threading.current_thread())
        latch.wait(30)

    for _ in range(4):
        relay.put(block)
    while len(running) < 4:
        time.sleep(relay.check() or 0.001)
    latch.set()

    assert len(set(running)) == 4


def test_nothing_is_checked_while_nothing_waits(relay):
    assert relay.check() is None


def test_close_runs_what_was_put():
    relay, got = Relay(), []
    for number in range(50):
        relay.put(lambda number=number: got.append(number))

    relay.close()
    relay.join()

    assert got == list(range(50))


def test_join_in_a_piece_returns_at_once():
    relay, got = Relay(), []

    def piece():
        assert relay.running_here
        relay.join()
        got.append(1)

    relay.put(piece)
    relay.close()
    relay.join()

    assert got == [1]
    assert not relay.running_here


def test_relay_that_was_never_used_is_closed_and_joined():
    relay = Relay()
    relay.close()
    relay.join()


def test_bounded_queue_counts_what_it_drops():
    relay, latch = Relay(limit=3), threading.Event()
    blocked = threading.Event()
    relay.put(lambda: (blocked.set(), latch.wait(30)))
    assert blocked.wait(20)

    got = []
    for number in range(5):
        relay.put(partial(got.append, number))
    assert relay.dropped == 2
    relay.put(partial(got.append, "always"), always=True)
    assert relay.dropped == 2
    latch.set()
    relay.close()
    relay.join()
    assert got == [0, 1, 2, "always"]


def test_every_record_that_is_dropped_is_counted_once(monkeypatch):
    said, handled = [], []
    monkeypatch.setattr(event_loop, "warn_dropped", said.append)
    monkeypatch.setattr(event_loop, "handle_record", handled.append)
    monkeypatch.setattr(event_loop, "_RECORDS_LIMIT", 2)
    engine_loop, blocked, latch = event_loop.Loop(lambda about: False), threading.Event(), threading.Event()
    engine_loop.prepare(lambda: None, lambda: None)
    engine_loop.begin()
    engine_loop._records.put(lambda: (blocked.set(), latch.wait(30)))
    assert blocked.wait(20)
    for number in range(10):
        engine_loop.handle_record(number)
    engine_loop.close()
    latch.set()
    engine_loop._records.join()
    assert (handled, said) == ([0, 1], [8])


def test_whoever_joins_runs_what_has_no_thread(relay, monkeypatch):
    got = []
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    for number in range(3):
        relay.put(lambda number=number: got.append((number, relay.running_here)))
    assert not got

    relay.run_here()
    assert got == [(0, True), (1, True), (2, True)]
    assert not relay.running_here


def test_thread_that_could_not_be_had_is_asked_for_again(relay, monkeypatch):
    got = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        relay.put(got.set)
    assert relay.check() == PATIENCE
    assert got.wait(20)


def _refuse(thread):
    raise RuntimeError("can't start new thread")
