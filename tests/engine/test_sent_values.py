import gc
from types import SimpleNamespace

import pytest

from tests.engine.fake_targets import Sharer, Target, values
from woolexec.engine.sent_values import SentValues


@pytest.fixture
def sent(told, due):
    return SentValues(told.append, due)


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


class Worker(Target):
    candidate = None

    def __init__(self):
        super().__init__()
        self.outstanding = {}


def test_workers_that_do_not_need_a_value_let_go_of_it_and_are_sent_it_again(sent):
    idle, busy, link, (value,) = Worker(), Worker(), Target(), values(10)
    for target in (idle, busy, link):
        sent.send(target, [value])
    busy.outstanding[1] = SimpleNamespace(payload=SimpleNamespace(values=[value]))
    sent.let_go(value.number)
    sent.let_go(value.number + 1)
    assert idle.said == [("keep", value.number), ("drop", value.number)]
    assert busy.said == link.said == [("keep", value.number)]
    sent.send(idle, [value])
    assert idle.said[-1] == ("keep", value.number)


# -- from target to target --------------------------------------------------------------------------------------------


def test_value_leaves_here_twice_however_many_targets_need_it(sent):
    targets, (value,) = [Sharer() for _ in range(20)], values(10)
    for target in targets:
        sent.send(target, [value])
    ended = 0
    while ended < 20:
        [begun] = [[each for each in targets if len(each.said) == 1]]
        assert len(begun) <= 2 * max(1, len([each for each in targets if len(each.said) == 2]))
        for each in begun:
            each.said.append("has it")
            sent._entries[value.number].sharing.hold(each, b"key")
            sent._share(sent._entries[value.number])
            ended += 1
    assert [each.said[0][0] for each in targets].count("keep") == 2


def test_value_that_cannot_be_shared_is_sent_at_once(sent):
    targets, (value,) = [Target() for _ in range(5)], values(10)
    for target in [Sharer(), Sharer(), *targets]:
        sent.send(target, [value])
    assert [each.said for each in targets] == [[("keep", value.number)]] * 5


def test_end_of_the_one_that_gives_leaves_it_to_the_owner(sent):
    (one, two, three), (value,) = [Sharer() for _ in range(3)], values(10)
    sent.send(one, [value])
    sent._entries[value.number].sharing.hold(one, b"key")
    for each in (two, three):
        sent.send(each, [value])
    assert two.said == three.said == [("pull", value.number)]
    sent.leave(one)
    assert two.said == three.said == [("pull", value.number), ("keep", value.number)]


def test_target_that_waits_and_is_gone_holds_nobody_up(sent):
    targets, (value,) = [Sharer() for _ in range(4)], values(10)
    for target in targets:
        sent.send(target, [value])
    assert targets[3].said == []
    for target in targets[:3]:
        sent.leave(target)
    assert targets[3].said == [("keep", value.number)]
