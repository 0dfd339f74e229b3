from random import Random

from tests.core.peers import Client, Far
from woolexec.core.policies import SLOW, LeastOutstanding, PowerOfTwoChoices, RoundRobin


def test_places_that_are_known_to_be_free_come_first():
    links = [Far("a", 4), Far("b", 4), Far("c", 4)]
    engine = Client(*links)
    links[0].candidate.taken = links[2].candidate.taken = 4
    engine.submit(4)
    assert engine.place() == {"b": 4}


def test_this_host_comes_first():
    engine = Client(Far("a", 8), Far("here", 2, is_here=True))
    engine.submit(3)
    assert engine.place() == {"here": 2, "a": 1}


def test_slow_peer_gets_what_others_have_no_place_for():
    slow, quick = Far("slow", 4), Far("quick", 2)
    engine = Client(slow, quick)
    slow.candidate.pace = 2 * SLOW
    engine.submit(3)
    assert engine.place() == {"quick": 2, "slow": 1}


def test_round_robin_goes_by_the_number_of_workers():
    engine = Client(Far("a", 100), Far("b", 300), policy=RoundRobin())
    engine.submit(40)
    assert engine.place() == {"a": 10, "b": 30}


def test_round_robin_gives_a_new_peer_no_more_than_its_share():
    policy, old, new = RoundRobin(), Far("old", 100), Far("new", 100)
    engine = Client(old, policy=policy)
    for _ in range(10):
        policy.choose([old.candidate], "task")
    engine = Client(old, new, policy=policy)
    engine.submit(10)
    assert engine.place() == {"old": 5, "new": 5}


def test_round_robin_forgets_peers_that_left_long_ago():
    policy, stays = RoundRobin(), Far("stays", 1)
    for number in range(3000):
        policy.choose([Far(f"gone {number}", 1).candidate, stays.candidate], "task")

    assert len(policy._given) < 2000
    assert "stays" in policy._given


def test_least_outstanding_goes_by_the_number_of_workers():
    engine = Client(Far("a", 100), Far("b", 300), policy=LeastOutstanding())
    engine.submit(40)
    assert engine.place() == {"a": 10, "b": 30}


def test_two_choices_leave_nobody_far_behind():
    links = [Far(str(n), 1000) for n in range(10)]
    engine = Client(*links, policy=PowerOfTwoChoices(Random(3)))
    engine.submit(1000)
    placed = engine.place()
    assert min(placed.values()) > 90
    assert max(placed.values()) < 110
