import itertools
from random import Random

import pytest

from woolexec.core.call import QUEUED, Call, Chunk, Function
from woolexec.core.candidate import Candidate
from woolexec.core.group import Group
from woolexec.core.offer import Offer
from woolexec.core.offering import CREDIT, PAUSE, PAUSES, Offering
from woolexec.core.place import RemotePlace
from woolexec.core.policies import SLOW, IdleFirst, LeastOutstanding, PowerOfTwoChoices, RoundRobin
from woolexec.core.window import HORIZON
from woolexec.options import TaskOptions


class Far(RemotePlace):
    """A link, without its wire."""

    def __init__(self, name, width=1, tags=(), resources=None, *, is_here=False):
        super().__init__()
        self.width = width
        self.offer = Offer(tags, resources)
        self.candidate = Candidate(self, name, f"host-{name}", is_here=is_here)


class Engine:
    """A core with links."""

    def __init__(self, *links, policy=None):
        self.group = Group(itertools.count(1).__next__)
        self.offering = Offering(self.group, policy or IdleFirst(Random(1)), None, None)
        self.links = links
        for link in links:
            self.join(link)

    def join(self, link):
        self.group.join(link)
        self.offering.join()

    def submit(self, count=1, function=None, **options):
        function = function or Function(b"", "task")
        calls = [Call(function, b"", None, TaskOptions(**options) if options else None) for _ in range(count)]
        for call in calls:
            self.group.queue.offer(call)
            self.group.queue.add(call)
        return calls

    def place(self, *, near=False):
        """Place what can be placed; return how many went where."""
        return {link.candidate.name: len(calls) for link, calls in self.offering.place(self.links, near=near)}

    def try_once(self, call):
        """Offer a call that waits, and have it refused; return whether it was offered."""
        for link, _ in self.offering.place(self.links):
            self.offering.refuse(link, [call.number])
            return True
        return False


def used_by_others(*links):
    """Have links of which it is only known that they were full once."""
    for link in links:
        link.candidate.refused()
        link.candidate.is_full = False


def known(seconds):
    function = Function(b"", "known")
    function.seconds = seconds
    return function


def test_calls_of_unknown_length_go_where_workers_are_and_no_further():
    engine = Engine(Far("a", 2), Far("b", 3))
    engine.submit(10)
    assert engine.place() == {"a": 2, "b": 3}
    assert engine.place() == {}


def test_short_calls_are_sent_ahead_up_to_the_horizon():
    engine = Engine(Far("a", 2))
    engine.submit(100, known(HORIZON / 10))
    assert engine.place() == {"a": 20}


def test_one_long_call_does_not_keep_short_ones_from_the_other_workers():
    engine = Engine(Far("a", 2))
    engine.submit(1, known(100.0))
    engine.submit(100, known(HORIZON / 10))
    assert engine.place() == {"a": 11}


def test_peer_that_has_refused_gets_nothing_until_it_says_that_it_has_room():
    link = Far("a", 2)
    engine = Engine(link)
    calls = engine.submit(2)
    engine.place()
    engine.offering.refuse(link, [call.number for call in calls])
    assert [call.state for call in calls] == [QUEUED, QUEUED]
    assert [call.attempts for call in calls] == [0, 0]
    assert engine.place() == {}
    engine.offering.tell_free(link, 1)
    assert link.candidate.free == 1
    assert engine.place() == {"a": 2}  # of the second place nothing is known: it is tried


def test_refused_calls_keep_their_order():
    link, other = Far("a", 3), Far("b", 3)
    engine = Engine(link)
    calls = engine.submit(3)
    engine.place()
    engine.offering.refuse(link, [call.number for call in reversed(calls)])
    engine.links = [other]
    engine.join(other)
    ((_, placed),) = engine.offering.place([other])
    assert placed == calls


def test_after_a_refusal_another_busy_peer_is_tried_when_there_is_news_or_was_a_pause():
    engine = Engine(*(Far(str(n)) for n in range(4)))
    used_by_others(*engine.links)
    (call,) = engine.submit()
    assert engine.try_once(call)
    assert not engine.try_once(call)
    engine.offering.try_again()
    assert engine.try_once(call)
    assert not engine.try_once(call)
    engine.offering.tell_free(next(link for link in engine.links if link.candidate.is_full), 1)
    assert engine.try_once(call)


def test_peers_of_which_nothing_is_known_are_tried_at_once_until_most_have_refused():
    engine = Engine(Far("busy"), *(Far(str(n)) for n in range(3 * CREDIT)))
    engine.submit()
    engine.offering.place(engine.links[:1])
    (call,) = engine.submit()
    refusals = 0
    while engine.try_once(call):
        refusals += 1
    assert refusals == CREDIT - 1


def test_room_that_a_peer_tells_of_is_used_first():
    links = [Far("a"), Far("b")]
    engine = Engine(*links)
    used_by_others(*links)
    engine.offering.may_try = False
    engine.submit()
    assert engine.place() == {}
    engine.offering.tell_free(links[1], 1)
    assert engine.place() == {"b": 1}


def test_places_of_busy_peers_that_were_free_once_are_all_tried_at_once():
    links = [Far(str(n), 4) for n in range(4)]
    engine = Engine(*links)
    used_by_others(*links)
    for link in links:
        engine.offering.tell_free(link, 4)
    engine.submit(20)
    assert engine.place() == {"0": 4, "1": 4, "2": 4, "3": 4}


def out_of_credit(count):
    """
    Return an engine of which much was refused, and a call that waits.

    It has a call at one peer, and as many others as it is asked for.
    """
    busy, full = Far("busy"), Far("full", CREDIT)
    engine = Engine(busy, full, *(Far(str(n)) for n in range(count)))
    engine.submit()
    engine.offering.place([busy])
    calls = engine.submit(CREDIT)
    engine.offering.place([full])
    engine.offering.refuse(full, [call.number for call in calls])
    assert all(engine.group.queue.claim(call) for call in calls)
    engine.links = [link for link in engine.links if link is not full]
    used_by_others(*engine.links)
    return engine, engine.submit()[0]


def test_who_was_refused_too_often_tries_one_at_each_pause():
    engine, _ = out_of_credit(4)
    engine.submit(3)
    engine.offering.try_again()
    assert sum(engine.place().values()) == 1
    assert engine.place() == {}


def test_pause_without_a_refusal_pays_the_debt():
    engine, _ = out_of_credit(4)
    engine.submit(3)
    engine.offering.try_again()
    assert sum(engine.place().values()) == 1
    engine.offering.try_again()
    assert sum(engine.place().values()) == 3


def test_who_was_refused_too_often_uses_what_is_known_to_be_free():
    engine, call = out_of_credit(4)
    engine.submit(3)
    assert engine.place() == {}
    engine.offering.tell_free(engine.links[1], 1)
    assert engine.place() == {"0": 1}
    engine.offering.tell_free(engine.links[2], 1)
    assert engine.place() == {"1": 1}
    engine.offering.finish(engine.links[1], call.number, 1.0)
    assert engine.place() == {"0": 1}


def test_who_was_refused_too_often_uses_peers_that_are_nobody_elses():
    engine, _ = out_of_credit(0)
    own = Far("own")
    engine.links = [*engine.links, own]
    assert engine.place() == {}  # nothing is known of it yet
    own.candidate.ended(1)
    assert engine.place() == {"own": 1}


def test_who_was_refused_too_often_uses_a_peer_that_has_just_joined():
    engine, _ = out_of_credit(2)
    engine.submit(9)
    new = Far("new", 8)
    engine.join(new)
    engine.links = [*engine.links, new]
    assert engine.place() == {"new": 8}


def test_who_has_nothing_anywhere_tries_all_peers_of_which_nothing_is_known():
    engine, _ = out_of_credit(0)
    (busy,) = engine.links
    strangers = [Far(str(n)) for n in range(3 * CREDIT)]
    engine.submit(len(strangers))
    engine.links = [busy, *strangers]
    assert engine.place() == {}
    engine.offering.finish(busy, min(busy.outstanding), 1.0)
    busy.candidate.refused()
    assert sum(engine.place().values()) == len(strangers)


def test_calls_that_are_placed_earn_further_tries():
    engine, _ = out_of_credit(2)
    wide = Far("wide", 2 * CREDIT)
    wide.candidate.ended(1)
    engine.links = [wide, *engine.links]
    engine.submit(2 * CREDIT)
    assert engine.place() == {"wide": 2 * CREDIT}
    engine.offering.finish(wide, min(wide.outstanding), 1.0)
    engine.submit(2)
    assert engine.place() == {"wide": 1, "0": 1, "1": 1}


def test_call_that_finds_no_place_keeps_no_other_from_trying():
    engine, _ = out_of_credit(0)
    zone, others = Far("zone", 1, ["zone=b"]), [Far(str(n)) for n in range(2)]
    used_by_others(zone, *others)
    engine.links = [zone, *others]
    engine.submit(1, require={"zone": "b"}, priority=5)
    engine.offering.try_again()
    assert len(engine.place()) == 2


def test_pauses_grow_while_all_is_refused_and_nothing_ends():
    engine, call = out_of_credit(1)
    busy, link = engine.links
    pauses = []
    for _ in range(2 * PAUSES):
        pauses.append(engine.offering.pause())
        engine.offering.try_again()
        assert engine.try_once(call)
        link.candidate.is_full = False
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE * 2**PAUSES
    engine.offering.finish(busy, min(busy.outstanding), 1.0)
    assert engine.offering.pause() == PAUSE


def test_pause_is_short_again_after_a_try_that_was_not_refused():
    engine, _ = out_of_credit(4)
    engine.offering.try_again()
    assert engine.offering.pause() > PAUSE
    assert sum(engine.place().values()) == 1
    engine.offering.try_again()
    assert engine.offering.pause() == PAUSE


def test_pauses_are_a_part_of_the_run_time_of_what_waits():
    link = Far("a")
    engine = Engine(link)
    used_by_others(link)
    (call,) = engine.submit(1, known(0.1))
    assert engine.try_once(call)
    assert engine.offering.pause() == pytest.approx(0.1 * PAUSE)


def test_peers_of_which_nothing_is_known_are_all_tried_in_the_end():
    engine, call = out_of_credit(1)
    link = engine.links[1]
    strangers = [Far(str(n)) for n in range(2 * CREDIT)]
    engine.submit(2 * CREDIT)
    for _ in range(PAUSES + 1):
        assert engine.offering.place([engine.links[0], *strangers]) == []
        engine.offering.try_again()
        assert engine.try_once(call)
        link.candidate.is_full = False
    engine.offering.try_again()
    engine.links = [engine.links[0], *strangers]
    assert sum(engine.place().values()) == 2 * CREDIT


def test_refused_coroutines_cost_nothing():
    engine = Engine(Far("a", CREDIT), Far("b", CREDIT))
    used_by_others(*engine.links)
    engine.offering.refuse(engine.links[0], range(1000, 1000 + CREDIT))
    engine.submit(CREDIT)
    assert engine.place() == {"b": CREDIT}


def test_policy_chooses_among_all_that_may_have_room():
    links = [Far("a", 8), Far("b", 8)]
    engine = Engine(*links, policy=LeastOutstanding())
    used_by_others(*links)
    for link in links:
        engine.offering.tell_free(link, 8)
    engine.submit(8)
    assert engine.place() == {"a": 4, "b": 4}


def test_slow_peer_of_ones_own_comes_after_quick_ones_that_others_use():
    slow, quick, third = Far("slow", 4), Far("quick", 4), Far("third", 1)
    slow.candidate.pace = 2 * SLOW
    used_by_others(quick, third)
    engine = Engine(slow, quick, third)
    engine.offering.tell_free(quick, 4)
    engine.offering.tell_free(third, 1)
    engine.submit(5)
    assert engine.place() == {"quick": 4, "third": 1}


def test_long_call_leaves_places_to_the_short_ones_behind_it():
    engine = Engine(Far("a"), Far("b"))
    engine.submit(1, known(HORIZON / 10))
    engine.offering.place(engine.links[:1])
    engine.submit(1, known(100.0))
    engine.submit(5, known(HORIZON / 10))
    assert engine.place() == {"b": 1, "a": 5}


def test_finished_call_leaves_a_place_that_is_known_to_be_free():
    link = Far("a")
    engine = Engine(link)
    (call,) = engine.submit()
    engine.place()
    assert link.candidate.free == 0
    engine.offering.finish(link, call.number, 1.0)
    assert link.candidate.free == 1


def test_places_that_are_known_to_be_free_come_first():
    links = [Far("a", 4), Far("b", 4), Far("c", 4)]
    engine = Engine(*links)
    links[0].candidate.taken = links[2].candidate.taken = 4
    engine.submit(4)
    assert engine.place() == {"b": 4}


def test_this_host_comes_first():
    engine = Engine(Far("a", 8), Far("here", 2, is_here=True))
    engine.submit(3)
    assert engine.place() == {"here": 2, "a": 1}


def test_slow_peer_gets_what_others_have_no_place_for():
    slow, quick = Far("slow", 4), Far("quick", 2)
    engine = Engine(slow, quick)
    slow.candidate.pace = 2 * SLOW
    engine.submit(3)
    assert engine.place() == {"quick": 2, "slow": 1}


def test_pace_is_learnt_and_one_odd_call_makes_nobody_slow():
    candidate = Far("a").candidate
    candidate.observe(1.0, 0.01)
    assert candidate.pace < 2
    for _ in range(30):
        candidate.observe(1.0, 0.1)
    assert candidate.pace > SLOW


def test_slow_peer_is_sent_less_ahead():
    slow, quick = Far("slow"), Far("quick")
    slow.candidate.pace = 4.0
    engine = Engine(slow, quick, policy=LeastOutstanding())
    engine.submit(100, known(HORIZON / 20))
    assert engine.place() == {"slow": 5, "quick": 20}


def test_requirement_is_met_by_those_who_offer_it_and_keeps_nobody_else():
    engine = Engine(Far("a", 2), Far("b", 2, ["zone=b"], {"gpu": 1}))
    engine.submit(5, require={"gpu": 1})
    engine.submit(1, require={"zone": "b"})
    engine.submit(2)
    assert engine.place() == {"b": 2, "a": 2}  # one holds the gpu, one is in the zone


def test_task_that_nobody_can_run_blocks_nobody():
    engine = Engine(Far("a", 2))
    engine.submit(3, require={"gpu": 1})
    engine.submit(2)
    assert engine.place() == {"a": 2}
    assert len(engine.group.queue.requirements()) == 1


def test_resource_is_free_again_when_its_call_is_over():
    link = Far("a", 4, (), {"gpu": 1})
    engine = Engine(link)
    calls = engine.submit(2, require={"gpu": 1})
    assert engine.place() == {"a": 1}
    engine.offering.finish(link, calls[0].number, 1.0)
    assert engine.place() == {"a": 1}


def test_higher_priority_goes_first():
    engine = Engine(Far("a"))
    (low,) = engine.submit(priority=-1)
    (normal,) = engine.submit()
    (high,) = engine.submit(priority=5)
    order = []
    for _ in range(3):
        ((link, (call,)),) = engine.offering.place(engine.links)
        order.append(call)
        engine.offering.finish(link, call.number, 1.0)
    assert order == [high, normal, low]


def test_near_is_a_wish():
    engine = Engine(Far("a"), Far("b", 1, ["zone=b"]))
    engine.submit(2, near="zone=b")
    assert engine.place(near=True) == {"b": 1}
    assert engine.place() == {"a": 1}


def test_what_is_near_nobody_special_is_left_for_workers_here():
    engine = Engine(Far("a"))
    engine.submit()
    engine.submit(near="elsewhere")
    assert engine.place(near=True) == {}


@pytest.mark.parametrize("near", ["b", "host-b"])
def test_near_names_a_peer_or_its_host(near):
    engine = Engine(Far("a"), Far("b"))
    engine.submit(near=near)
    assert engine.place(near=True) == {"b": 1}


def test_items_of_a_map_are_spread():
    engine = Engine(Far("a"), Far("b"))
    engine.group.queue.add(Chunk(known(HORIZON / 100), b"", 1000, None))
    placed = engine.place()
    assert placed["a"] == placed["b"] > 1


def test_round_robin_goes_by_the_number_of_workers():
    engine = Engine(Far("a", 100), Far("b", 300), policy=RoundRobin())
    engine.submit(40)
    assert engine.place() == {"a": 10, "b": 30}


def test_round_robin_gives_a_new_peer_no_more_than_its_share():
    policy, old, new = RoundRobin(), Far("old", 100), Far("new", 100)
    engine = Engine(old, policy=policy)
    for _ in range(10):
        policy.choose([old.candidate], "task")
    engine = Engine(old, new, policy=policy)
    engine.submit(10)
    assert engine.place() == {"old": 5, "new": 5}


def test_least_outstanding_goes_by_the_number_of_workers():
    engine = Engine(Far("a", 100), Far("b", 300), policy=LeastOutstanding())
    engine.submit(40)
    assert engine.place() == {"a": 10, "b": 30}


def test_two_choices_leave_nobody_far_behind():
    links = [Far(str(n), 1000) for n in range(10)]
    engine = Engine(*links, policy=PowerOfTwoChoices(Random(3)))
    engine.submit(1000)
    placed = engine.place()
    assert min(placed.values()) > 90
    assert max(placed.values()) < 110
