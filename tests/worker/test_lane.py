"""Behaviour of all lanes besides the main thread; `tests.worker.test_loop_lane` runs them."""

import pytest

from tests.worker.lanes import Engine, job
from woolexec.wire.frames import Start
from woolexec.wire.pickling import Pickled, dumps
from woolexec.wire.unpickling import loads
from woolexec.worker import lane as lanes
from woolexec.worker.job import Job
from woolexec.worker.lane import FAST, RUN_AHEAD, Lane, Outlet


class Odd:
    def __reduce__(self):
        raise LookupError("odd")


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(lanes, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def outlet(engine, clock):
    """The output of a stream; what waits for the stream's code to wait is in `soon`."""
    soon = []
    outlet = Outlet(Lane(engine, None), job(1, None), soon.append)
    outlet.soon = soon
    outlet.go_on()
    return outlet


def items_of(frame):
    value = loads(frame.payload)
    if not frame.count:
        return [value]
    return [item.load() if isinstance(item, Pickled) else item for item in value]


def test_slow_items_are_sent_one_by_one(engine, clock, outlet):
    for item in range(3):
        clock[0] += 2 * FAST
        outlet.gather(item)
        assert items_of(engine.next()) == [item]
    assert outlet.soon == []


def test_fast_items_are_sent_together_when_the_code_waits(engine, outlet):
    for item in range(3):
        outlet.gather(item)
    assert engine.is_quiet
    [flush] = outlet.soon
    flush()

    frame = engine.next()
    assert (frame.count, items_of(frame)) == (3, [0, 1, 2])
    outlet.flush()
    assert engine.is_quiet


def test_items_are_not_collected_for_longer_than_the_limit(engine, clock, outlet):
    count = 0
    while engine.is_quiet:
        outlet.gather(count)
        clock[0] += FAST / 2
        count += 1

    assert items_of(engine.next()) == list(range(count))
    assert (count - 2) * FAST / 2 <= RUN_AHEAD


def test_item_that_cannot_be_pickled_raises_behind_those_before_it(engine, outlet):
    for item in (1, [2], Odd(), 3):
        outlet.gather(item)
    with pytest.raises(LookupError, match="odd"):
        outlet.flush()

    assert [items_of(engine.next()) for _ in range(2)] == [[1], [[2]]]
    assert engine.is_quiet


def test_error_while_the_code_waits_is_raised_by_the_next_flush(engine, outlet):
    outlet.gather(Odd())
    [flush] = outlet.soon
    flush()

    with pytest.raises(LookupError, match="odd"):
        outlet.flush()


def test_each_object_of_a_chunk_is_given_to_one_call(engine):
    lane = Lane(engine, None)
    payload = dumps((False, [[0], [1]]))

    def item(first, number):
        frame = Start(call=(number,), count=1, first=first)
        return lane._item(Job(number, None, payload, frame))[1]

    zero, one, again = item(0, 1), item(1, 2), item(0, 3)

    assert (zero, one, again) == ([0], [1], [0])
    assert again is not zero
