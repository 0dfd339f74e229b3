"""Which record is tried next; writing very many records does not influence the choice."""

import random

import pytest

from woolexec.discovery.base import Discovery, Record
from woolexec.mesh.client import candidates
from woolexec.mesh.client.candidates import Candidates

HERE = Discovery()


def heard(names, *, salt=b"salt", now=0.0):
    made = Candidates(salt)
    for name in names:
        hear(made, name, now)
    return made


def hear(made, name, now=0.0, address="h:1"):
    made.hear((HERE, name), Record(name, (address,)), now)


def taken(made, now=0.0, later=0.0):
    names = []
    while (candidate := made.take(now, later)) is not None:
        names.append(candidate.record.key)
    return names


def test_each_is_taken_once():
    names = [str(n) for n in range(500)]
    made = heard(names)
    assert sorted(taken(made)) == sorted(names)


def test_order_differs_between_clients_and_not_with_the_order_of_the_records():
    names = [str(n) for n in range(100)]
    order = taken(heard(names))
    random.Random(7).shuffle(names)
    assert taken(heard(names)) == order
    assert taken(heard(names, salt=b"other")) != order


def test_choice_among_very_many_changes_little_when_some_leave():
    names = [str(n) for n in range(1000)]
    chosen = taken(heard(names))[:10]
    left = {*names} - {*chosen[:3]}
    assert taken(heard(left))[:7] == chosen[3:]


def test_newcomer_is_tried_soon_although_very_many_wait():
    made = heard([f"flood {n}" for n in range(10_000)])
    hear(made, "peer", now=5.0)
    assert "peer" in [made.take(5.0).record.key for _ in range(3)]


def test_one_of_many_is_reached_while_others_come_all_the_time():
    made = heard([f"flood {n}" for n in range(1000)])
    hear(made, "peer", now=5.0)
    for n in range(5000):
        hear(made, f"later {n}", now=5.0 + n)
        if made.take(5.0 + n).record.key == "peer":
            return
    pytest.fail("the peer was never tried")


def test_one_that_failed_is_tried_again_when_it_is_due_and_not_before():
    made = heard(["one"])
    made.give_back(made.take(0.0), due=3.0)
    assert made.next_due() == 3.0
    assert made.take(2.9) is None
    assert made.take(3.5, later=1.0) is None
    assert made.take(4.0, later=1.0).record.key == "one"


def test_one_that_failed_has_its_turn_beside_those_that_were_not_tried():
    made = heard(["one"])
    made.give_back(made.take(0.0), due=0.0)
    for n in range(1000):
        hear(made, str(n))
    assert "one" in [made.take(1.0).record.key for _ in range(7)]


def test_record_that_has_changed_is_tried_at_once_and_one_that_has_not_is_not():
    made = heard(["one"])
    made.give_back(made.take(0.0), due=100.0)
    hear(made, "one", 1.0)
    assert made.take(1.0) is None
    hear(made, "one", 1.0, address="h:2")
    assert made.take(1.0).record.addresses == ("h:2",)


def test_record_that_changes_while_it_is_tried_is_not_tried_twice():
    made = heard(["one"])
    made.take(0.0)
    hear(made, "one", 1.0, address="h:2")
    assert made.take(1.0) is None


def test_record_that_has_left_is_not_tried():
    made = heard(["one", "two"])
    tried = made.take(0.0)
    made.leave((HERE, "one"))
    made.leave((HERE, "two"))
    made.give_back(tried, due=0.0)
    assert made.take(10.0) is None
    assert list(made) == []


def test_number_of_records_is_bounded_and_those_that_have_failed_go_first(monkeypatch):
    monkeypatch.setattr(candidates, "MOST_KNOWN", 100)
    made = heard([str(n) for n in range(100)])
    failed = [made.take(0.0) for _ in range(10)]
    for candidate in failed:
        made.give_back(candidate, due=5.0)
    for n in range(10):
        hear(made, f"new {n}")
    assert len(made.known) == 100
    assert not {candidate.place for candidate in failed} & made.known.keys()
    for n in range(1000):
        hear(made, f"more {n}")
    assert len(made.known) == 100
    assert len(taken(made)) == 100


@pytest.mark.parametrize("leaves", [False, True])
def test_memory_of_the_lines_is_bounded_while_one_record_changes_all_the_time(monkeypatch, leaves):
    monkeypatch.setattr(candidates, "MOST_KNOWN", 100)
    made = heard(["other"])
    for n in range(10_000):
        hear(made, "one", 5.0 + n, address=f"h:{n}")
        if leaves:
            made.leave((HERE, "one"))
    assert len(made._newest) + len(made._ranked) + len(made._failed) <= 600
    assert sorted(taken(made, 1e6)) == (["other"] if leaves else ["one", "other"])


def test_those_that_were_refused_for_good_before_somebody_came_have_their_turn_at_once():
    made = heard(["earlier", "later", "not for good"])
    for name, refused_at in (("earlier", 1.0), ("later", 3.0), ("not for good", None)):
        candidate = made.known[HERE, name]
        candidate.is_tried, candidate.refused_at = True, refused_at
        made.give_back(candidate, due=100.0)
    assert made.hasten(since=2.0)
    assert taken(made, now=2.0) == ["earlier"]
    assert not made.hasten(since=2.0)  # it is being tried
    assert [each.record.key for each in made if each.is_hopeless(2.0)] == ["later"]
