import gc

import pytest

from woolexec.engine.sent_values import SentValues
from woolexec.engine.transport import Sent
from woolexec.wire.values import Value


class Target:
    VALUES = 3

    def __init__(self, room=1 << 40):
        self.has_sent, self.room_for_values = Sent(), room
        self.said = []

    def send_value(self, value):
        self.said.append(("keep", value.number))

    def send_drop(self, number):
        self.said.append(("drop", number))


@pytest.fixture
def due():
    return set()


@pytest.fixture
def told():
    return []


@pytest.fixture
def sent(told, due):
    return SentValues(told.append, due)


def values(*sizes):
    return [Value(bytes(size)) for size in sizes]


def test_value_is_sent_to_a_target_once(sent):
    target, other, (value,) = Target(), Target(), values(10)
    assert sent.send(target, [value]) == sent.send(target, [value]) == sent.send(other, [value]) == (value.number,)
    assert target.said == other.said == [("keep", value.number)]


def test_collected_value_is_dropped_by_all_that_have_it(sent, told, due):
    target, other, (value, kept) = Target(), Target(), values(10, 10)
    for each in (target, other):
        sent.send(each, [value, kept])
    number = value.number
    del value
    gc.collect()
    for piece in told:
        piece()
    assert target.said[-1] == other.said[-1] == ("drop", number)
    assert due == {target, other}
    assert list(target.has_sent.values) == [kept.number]
    assert len(sent) == 1


def test_value_used_longest_ago_makes_room_in_number(sent):
    target, (first, second, third, fourth) = Target(), values(1, 1, 1, 1)
    for value in (first, second, third, first, fourth):
        sent.send(target, [value])
    assert target.said[-2:] == [("drop", second.number), ("keep", fourth.number)]
    sent.send(target, [second])  # it is sent again
    assert target.said[-2:] == [("drop", third.number), ("keep", second.number)]


def test_values_make_room_in_bytes(sent):
    target, (first, second, third) = Target(room=100), values(40, 40, 70)
    for value in (first, second, third):
        sent.send(target, [value])
    assert target.said[2:] == [("drop", first.number), ("drop", second.number), ("keep", third.number)]


def test_values_of_one_call_exceed_the_limits(sent):
    target, many = Target(room=5), values(*[3] * 10)
    sent.send(target, many)
    assert [kind for kind, _ in target.said] == ["keep"] * 10


def test_target_that_is_gone_is_forgotten(sent, told):
    target, (value,) = Target(), values(1)
    sent.send(target, [value])
    sent.leave(target)
    del value
    gc.collect()
    for piece in told:
        piece()
    assert len(sent) == 0
    assert [kind for kind, _ in target.said] == ["keep"]
