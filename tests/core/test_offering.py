import pytest

from tests.core.peers import Client, Far, known
from woolexec.core.call import QUEUED, Chunk
from woolexec.core.offering import CREDIT, PAUSE, PAUSES
from woolexec.core.outliers import LIMIT
from woolexec.core.policies import SLOW, LeastOutstanding
from woolexec.core.window import HORIZON


def used_by_others(*links):
    """Have links of which it is only known that they were full once."""
    for link in links:
        link.candidate.refused()
        link.candidate.is_full = False


def test_calls_of_unknown_length_go_where_workers_are_and_no_further():
    engine = Client(Far("a", 2), Far("b", 3))
    engine.submit(10)
    assert engine.place() == {"a": 2, "b": 3}
    assert engine.place() == {}


def test_short_calls_are_sent_ahead_up_to_the_horizon():
    engine = Client(Far("a", 2))
    engine.submit(100, known(HORIZON / 10))
    assert engine.place() == {"a": 20}


def test_one_long_call_does_not_keep_short_ones_from_the_other_workers():
    engine = Client(Far("a", 2))
    engine.submit(1, known(100.0))
    engine.submit(100, known(HORIZON / 10))
    assert engine.place() == {"a": 11}


def test_peer_that_has_refused_gets_nothing_until_it_says_that_it_has_room():
    link = Far("a", 2)
    engine = Client(link)
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
    engine = Client(link)
    calls = engine.submit(3)
    engine.place()
    engine.offering.refuse(link, [call.number for call in reversed(calls)])
    engine.links = [other]
    engine.join(other)
    ((_, placed),) = engine.offering.place([other])
    assert placed == calls


def test_after_a_refusal_another_busy_peer_is_tried_when_there_is_news_or_was_a_pause():
    engine = Client(*(Far(str(n)) for n in range(4)))
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
    engine = Client(Far("busy"), *(Far(str(n)) for n in range(3 * CREDIT)))
    engine.submit()
    engine.offering.place(engine.links[:1])
    (call,) = engine.submit()
    refusals = 0
    while engine.try_once(call):
        refusals += 1
    assert refusals == CREDIT - 1


def test_room_that_a_peer_tells_of_is_used_first():
    links = [Far("a"), Far("b")]
    engine = Client(*links)
    used_by_others(*links)
    engine.offering.may_try = False
    engine.submit()
    assert engine.place() == {}
    engine.offering.tell_free(links[1], 1)
    assert engine.place() == {"b": 1}


def test_places_of_busy_peers_that_were_free_once_are_all_tried_at_once():
    links = [Far(str(n), 4) for n in range(4)]
    engine = Client(*links)
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
    engine = Client(busy, full, *(Far(str(n)) for n in range(count)))
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
    engine = Client(link)
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
    engine = Client(Far("a", CREDIT), Far("b", CREDIT))
    used_by_others(*engine.links)
    engine.offering.refuse(engine.links[0], range(1000, 1000 + CREDIT))
    engine.submit(CREDIT)
    assert engine.place() == {"b": CREDIT}


def test_policy_chooses_among_all_that_may_have_room():
    links = [Far("a", 8), Far("b", 8)]
    engine = Client(*links, policy=LeastOutstanding())
    used_by_others(*links)
    for link in links:
        engine.offering.tell_free(link, 8)
    engine.submit(8)
    assert engine.place() == {"a": 4, "b": 4}


def test_slow_peer_of_ones_own_comes_after_quick_ones_that_others_use():
    slow, quick, third = Far("slow", 4), Far("quick", 4), Far("third", 1)
    slow.candidate.pace = 2 * SLOW
    used_by_others(quick, third)
    engine = Client(slow, quick, third)
    engine.offering.tell_free(quick, 4)
    engine.offering.tell_free(third, 1)
    engine.submit(5)
    assert engine.place() == {"quick": 4, "third": 1}


def test_long_call_leaves_places_to_the_short_ones_behind_it():
    engine = Client(Far("a"), Far("b"))
    engine.submit(1, known(HORIZON / 10))
    engine.offering.place(engine.links[:1])
    engine.submit(1, known(100.0))
    engine.submit(5, known(HORIZON / 10))
    assert engine.place() == {"b": 1, "a": 5}


def test_slow_peer_is_sent_less_ahead():
    slow, quick = Far("slow"), Far("quick")
    slow.candidate.pace = 4.0
    engine = Client(slow, quick, policy=LeastOutstanding())
    engine.submit(100, known(HORIZON / 20))
    assert engine.place() == {"slow": 5, "quick": 20}


def test_requirement_is_met_by_those_who_offer_it_and_keeps_nobody_else():
    engine = Client(Far("a", 2), Far("b", 2, ["zone=b"], {"gpu": 1}))
    engine.submit(5, require={"gpu": 1})
    engine.submit(1, require={"zone": "b"})
    engine.submit(2)
    assert engine.place() == {"b": 2, "a": 2}  # one holds the gpu, one is in the zone


def test_task_that_nobody_can_run_blocks_nobody():
    engine = Client(Far("a", 2))
    engine.submit(3, require={"gpu": 1})
    engine.submit(2)
    assert engine.place() == {"a": 2}
    assert len(engine.group.queue.requirements()) == 1


def test_resource_is_free_again_when_its_call_is_over():
    link = Far("a", 4, (), {"gpu": 1})
    engine = Client(link)
    calls = engine.submit(2, require={"gpu": 1})
    assert engine.place() == {"a": 1}
    engine.offering.finish(link, calls[0].number, 1.0)
    assert engine.place() == {"a": 1}


def test_higher_priority_goes_first():
    engine = Client(Far("a"))
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
    engine = Client(Far("a"), Far("b", 1, ["zone=b"]))
    engine.submit(2, near="zone=b")
    assert engine.place(near=True) == {"b": 1}
    assert engine.place() == {"a": 1}


def test_what_is_near_nobody_special_is_left_for_workers_here():
    engine = Client(Far("a"))
    engine.submit()
    engine.submit(near="elsewhere")
    assert engine.place(near=True) == {}


@pytest.mark.parametrize("near", ["b", "host-b"])
def test_near_names_a_peer_or_its_host(near):
    engine = Client(Far("a"), Far("b"))
    engine.submit(near=near)
    assert engine.place(near=True) == {"b": 1}


def test_items_of_a_map_are_spread():
    engine = Client(Far("a"), Far("b"))
    engine.group.queue.add(Chunk(known(HORIZON / 100), b"", 1000, None))
    placed = engine.place()
    assert placed["a"] == placed["b"] > 1


# -- peers that fail for reasons of their own -------------------------------------------------------------------------


def eject(engine, link):
    return [engine.offering.failed(link) for _ in range(int(LIMIT))][-1]


def test_peer_that_fails_again_and_again_gets_no_calls_for_a_while():
    bad, good = Far("a", 2), Far("b", 2)
    engine = Client(bad, good)
    seconds = eject(engine, bad)
    engine.submit(10)
    assert engine.place() == {"b": 2}
    assert [after for after, _ in engine.timers] == [seconds]  # then calls are placed again
    engine.now += seconds
    assert engine.place() == {"a": 2}


def test_call_near_a_peer_that_is_avoided_goes_elsewhere():
    bad, good = Far("a", 2), Far("b", 2)
    engine = Client(bad, good)
    eject(engine, bad)
    engine.submit(1, near="a")
    assert engine.place() == {"b": 1}


def test_peers_that_all_fail_get_calls():
    engine = Client(Far("a", 2), Far("b", 2))
    for link in engine.links:
        eject(engine, link)
    engine.submit(10)
    assert engine.place() == {"a": 2, "b": 2}


def test_refusal_of_a_peer_that_cannot_work_costs_no_credit():
    bad, good = Far("a", 2), Far("b", 2)
    engine = Client(bad, good)
    for _ in range(2 * CREDIT):
        calls = engine.submit(1, known(10.0), near="a")
        engine.place()
        engine.offering.refuse(bad, [call.number for call in calls], is_full=False)
        for call in calls:
            engine.group.queue.cancel(call)
        engine.offering.tell_free(bad, 2)
    assert engine.offering._credit > 0
    assert engine.offering.may_try


def having(**sizes):
    """Two peers with five workers each, of which each has so many bytes of what every call needs."""
    links = [Far(name, 5) for name in sizes]
    for link in links:
        link.spares = lambda values, size=sizes[link.candidate.name]: size
    return links


class Arguments(bytes):
    """Refer to a value."""

    values = ("value",)


def test_peer_that_has_the_values_of_a_call_comes_first_while_it_has_room():
    engine = Client(*having(a=0, b=1000))
    engine.submit(4, payload=Arguments())
    assert engine.place() == {"b": 4}
    engine.submit(4, payload=Arguments())
    assert engine.place() == {"b": 1, "a": 3}


def test_peers_that_have_as_much_share_the_calls():
    engine = Client(*having(a=1000, b=1000))
    engine.submit(10, payload=Arguments())
    assert engine.place() == {"a": 5, "b": 5}


def test_near_and_a_policy_of_the_user_come_before_values():
    engine = Client(*having(a=0, b=1000))
    engine.submit(1, payload=Arguments(), near="a")
    assert engine.place(near=True) == {"a": 1}
    engine = Client(*having(a=0, b=1000), policy=LeastOutstanding())
    engine.submit(4, payload=Arguments())
    assert engine.place() == {"a": 2, "b": 2}
