import gc

import pytest

from woolexec.platform import memory
from woolexec.room import Room


class Thing:
    pass


@pytest.fixture
def room():
    return Room(100, 0.1)


def test_bytes_are_counted_until_the_object_is_collected(room):
    thing, other = Thing(), Thing()
    room.add(1, thing, 60)
    room.add(2, other, 30)
    assert room.size == 90
    del thing
    gc.collect()
    assert room.size == 30
    assert len(room) == 1


def test_object_that_is_added_again_is_counted_once(room):
    thing = Thing()
    room.add(1, thing, 60)
    room.add(1, thing, 50)
    assert room.size == 50
    room.forget(1)
    assert room.size == 0


def test_forgotten_object_is_counted_no_more_and_once(room):
    thing = Thing()
    room.add(1, thing, 60)
    room.forget(1)
    room.forget(1)
    assert room.size == 0
    del thing
    gc.collect()
    assert room.size == 0


def test_excess_is_what_was_used_longest_ago(room):
    things = [Thing() for _ in range(3)]
    for number, thing in enumerate(things):
        room.add(number, thing, 50)
    assert room.excess() is things[0]
    room.use(0)
    room.use(7)  # which is not counted
    assert room.excess() is things[1]
    room.forget(1)
    assert room.size == room.limit == 100
    assert room.excess() is None


def test_what_is_collected_is_no_excess(room):
    things = [Thing() for _ in range(4)]
    for number, thing in enumerate(things):
        room.add(number, thing, 50)
    things[0] = None
    gc.collect()
    assert room.excess() is things[1]
    things[1] = None
    gc.collect()
    assert room.excess() is None


def test_limit_is_a_share_of_the_memory_of_this_process(monkeypatch):
    monkeypatch.setattr(memory, "usable_memory", lambda: 10_000)
    assert Room(None, 0.3).limit == 3000
    assert Room(7, 0.3).limit == 7
