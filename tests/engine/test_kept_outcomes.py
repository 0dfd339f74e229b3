"""Outcomes that stay with the targets that made them."""

import gc
from types import SimpleNamespace

import pytest

from tests.engine.fake_targets import Sharer, Target, values
from woolexec.engine.kept_outcomes import KeptOutcomes
from woolexec.engine.lineage import Lineage


@pytest.fixture
def sent(told, due):
    return KeptOutcomes(told.append, due)


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
    assert "the value of task is lost: far/1 kept it" in str(value.failure)
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
    other = KeptOutcomes(told.append, set())
    value, theirs = sent.kept(Target(), 7, 100, "task"), other.kept(Target(), 7, 100, "task")
    assert value.engine is sent
    assert theirs.engine is other


# -- from target to target --------------------------------------------------------------------------------------------


def test_target_is_told_to_fetch_it_from_the_one_that_has_it(sent, run):
    home, other = Sharer(), Sharer()
    value = sent.kept(home, 7, 100, "task", b"key")
    sent.send(other, [value])
    sent.send(other, [value])
    sent.arrived(other, 7, b"", b"its key")
    assert home.said == []
    assert other.said == [("pull", 7)]
    del value
    gc.collect()
    run()
    assert other.said == [("pull", 7), ("drop", 7)]


def test_what_it_cannot_fetch_is_sent_through_here(sent):
    home, other = Sharer(), Sharer()
    value = sent.kept(home, 7, 100, "task", b"key")
    sent.send(other, [value])
    sent.lose(other, 7)
    assert home.said == [("fetch", 7)]
    sent.arrived(home, 7, b"x")
    assert other.said == [("pull", 7), ("keep", 7)]


def test_what_it_could_not_fetch_and_is_here_meanwhile_is_sent(sent, run):
    home, other = Sharer(), Sharer()
    value = sent.kept(home, 7, 100, "task", b"key")
    sent.send(other, [value])
    value.fetch()
    run()
    sent.arrived(home, 7, b"x")
    sent.lose(other, 7)
    assert other.said == [("pull", 7), ("keep", 7)]


def test_copy_takes_the_place_of_what_is_lost(sent):
    home, other, third = Sharer(), Sharer(), Target()
    value = sent.kept(home, 7, 100, "task", b"key")
    sent.send(other, [value])
    sent.arrived(other, 7, b"", b"its key")
    sent.send(third, [value])
    sent.leave(home)
    assert value.failure is None
    assert (other.has_sent.kept, other.has_sent.values) == ({7: 100}, {})
    assert other.said == [("pull", 7), ("fetch", 7)]
    sent.arrived(other, 7, b"x")
    assert third.said == [("keep", 7)]


def test_loss_concerns_those_that_were_fetching_it(sent):
    home, other, losses = Sharer(), Sharer(), []
    sent.on_loss = lambda value, targets, error: losses.append((value, targets))
    value = sent.kept(home, 7, 100, "task", b"key")
    sent.send(other, [value])
    sent.leave(home)
    assert losses == [(value, [other])]
    sent.lose(other, 7)
    assert other.said == [("pull", 7), ("drop", 7)]  # it may have succeeded


def test_target_that_has_fetched_it_gives_it_to_others(sent):
    home, others = Sharer(), [Sharer() for _ in range(4)]
    value = sent.kept(home, 7, 100, "task", b"key")
    for other in others:
        sent.send(other, [value])
    assert [other.said for other in others] == [[("pull", 7)], [("pull", 7)], [], []]
    sent.arrived(others[0], 7, b"", b"its key")
    assert [len(other.said) for other in others] == [1, 1, 1, 1]
    assert home.said == []


def test_outcome_that_is_being_made_again_when_the_engine_ends_is_lost(sent, monkeypatch):
    made = []
    monkeypatch.setattr(Lineage, "_add", lambda _, call: made.append(call))
    sent.on_loss = Lineage(None, None, sent, limit=1000).lost
    home = Target()
    value = sent.kept(home, 7, 100, "task")
    value.origin = SimpleNamespace(anew=lambda receiver: receiver)
    sent.leave(home)
    assert (len(made), value.is_pending, value.failure) == (1, True, None)

    sent.close()
    assert value.failure is not None
