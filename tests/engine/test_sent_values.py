import gc
from types import SimpleNamespace

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

    def send_fetch(self, number):
        self.said.append(("fetch", number))

    def send_pull(self, value, holder):
        if self.may_pull:
            self.said.append(("pull", value.number))
        return self.may_pull

    may_pull = False
    name = "far/1"
    candidate = SimpleNamespace(host="far")


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


# -- kept outcomes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(told):
    def run():
        while told:
            told.pop(0)()

    return run


def test_kept_outcome_is_fetched_once_and_sent_to_all_that_need_it(sent, run):
    home, one, two = Target(), Target(), Target()
    value = sent.kept(home, 7, 100, "task")
    assert sent.send(home, [value]) == sent.send(one, [value]) == sent.send(two, [value]) == sent.send(one, [value])
    value.fetch()
    run()
    assert home.said == [("fetch", 7)]
    assert one.said == two.said == []
    sent.arrived(home, 7, b"x" * 100)
    assert one.said == two.said == [("keep", 7)]
    assert value.payload == b"x" * 100
    sent.send(Target(), [value])
    assert home.said == [("fetch", 7)]


def test_kept_outcome_makes_no_room_for_others(sent):
    home, many = Target(room=5), values(*[3] * 10)
    sent.kept(home, 7, 100, "task")
    for each in many:
        sent.send(home, [each])
    assert ("drop", 7) not in home.said
    assert home.has_sent.kept == {7: 100}


def test_collected_outcome_is_dropped_where_it_is_and_where_it_was_sent(sent, run):
    home, other = Target(), Target()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.arrived(home, 7, b"x")
    del value
    gc.collect()
    run()
    assert home.said[-1] == other.said[-1] == ("drop", 7)
    assert not home.has_sent.kept
    assert not other.has_sent.values
    assert len(sent) == 0


def test_outcome_that_is_collected_on_its_way_is_not_taken(sent, run):
    home = Target()
    value = sent.kept(home, 7, 100, "task")
    value.fetch()
    run()
    del value
    gc.collect()
    run()
    sent.arrived(home, 7, b"x")
    assert home.said == [("fetch", 7), ("drop", 7)]


def test_target_that_is_gone_takes_its_outcomes_along(sent, run):
    home, other, losses = Target(), Target(), []

    def note(value, targets, error):
        losses.append((value, targets))
        value.fail(error)

    sent.on_loss = note
    value, here = sent.kept(home, 7, 100, "task"), sent.kept(home, 8, 100, "other")
    here.fetch()
    run()
    sent.arrived(home, 8, b"x")
    sent.send(other, [value])
    sent.leave(home)
    assert losses == [(value, [other])]
    assert "the value of task is lost: it had stayed with far/1" in str(value.failure)
    assert (value.failure.task, value.failure.host) == ("task", "far")
    assert here.failure is None
    assert not other.has_sent.values
    assert value.fetch().is_open


def test_user_that_is_gone_is_not_sent_it(sent):
    home, other = Target(), Target()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.leave(other)
    sent.arrived(home, 7, b"x")
    assert other.said == []
    assert value.payload == b"x"


def test_outcome_for_which_no_memory_is_left_is_lost_with_that_error(sent, run):
    home = Target()
    value = sent.kept(home, 7, 100, "task")
    value.fetch()
    run()
    error = OSError("no memory")
    sent.arrived(home, 7, error)
    assert value.failure is error


@pytest.mark.parametrize("number", [7, 9])
def test_what_nobody_asked_for_is_ignored(sent, number):
    home = Target()
    value = sent.kept(home, 7, 100, "task")
    sent.arrived(home, number, b"x")
    sent.lose(home, 9)
    assert value.is_away
    assert value.failure is None


def test_end_of_the_engine_loses_what_was_not_fetched(sent):
    values = [sent.kept(Target(), number, 100, "task") for number in range(3)]
    sent.close()
    assert all(value.failure for value in values)


def test_leaving_target_is_asked_for_everything(sent):
    home = Target()
    values = [sent.kept(home, number, 100, "task") for number in range(3)]
    assert not sent.is_fetching(home)
    sent.bring_all(home)
    assert sent.is_fetching(home)
    for value in values:
        sent.arrived(home, value.number, b"x")
    assert not sent.is_fetching(home)


def test_values_of_other_engines_are_not_taken_for_its_own(sent, told):
    other = SentValues(told.append, set())
    value, theirs = sent.kept(Target(), 7, 100, "task"), other.kept(Target(), 7, 100, "task")
    assert value.engine is sent
    assert theirs.engine is other


# -- from target to target --------------------------------------------------------------------------------------------


class Puller(Target):
    may_pull = True


def test_target_is_told_to_fetch_it_from_the_one_that_has_it(sent, run):
    home, other = Target(), Puller()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.send(other, [value])
    sent.arrived(other, 7, b"")
    assert home.said == []
    assert other.said == [("pull", 7)]
    del value
    gc.collect()
    run()
    assert other.said == [("pull", 7), ("drop", 7)]


def test_what_it_cannot_fetch_is_sent_through_here(sent):
    home, other = Target(), Puller()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.lose(other, 7)
    assert home.said == [("fetch", 7)]
    sent.arrived(home, 7, b"x")
    assert other.said == [("pull", 7), ("keep", 7)]


def test_what_it_could_not_fetch_and_is_here_meanwhile_is_sent(sent, run):
    home, other = Target(), Puller()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    value.fetch()
    run()
    sent.arrived(home, 7, b"x")
    sent.lose(other, 7)
    assert other.said == [("pull", 7), ("keep", 7)]


def test_copy_takes_the_place_of_what_is_lost(sent):
    home, other, third = Target(), Puller(), Target()
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.arrived(other, 7, b"")
    value.key = b"key"
    sent.send(third, [value])
    sent.leave(home)
    assert value.failure is None
    assert value.key == b""
    assert (other.has_sent.kept, other.has_sent.values) == ({7: 100}, {})
    assert other.said == [("pull", 7), ("fetch", 7)]
    sent.arrived(other, 7, b"x")
    assert third.said == [("keep", 7)]


def test_loss_concerns_those_that_were_fetching_it(sent):
    home, other, losses = Target(), Puller(), []
    sent.on_loss = lambda value, targets, error: losses.append((value, targets))
    value = sent.kept(home, 7, 100, "task")
    sent.send(other, [value])
    sent.leave(home)
    assert losses == [(value, [other])]
    sent.lose(other, 7)
    assert other.said == [("pull", 7), ("drop", 7)]  # it may have succeeded
