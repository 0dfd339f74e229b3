from tests.core.peers import Client, Far
from woolexec.core.policies import SLOW


def test_finished_call_leaves_a_place_that_is_known_to_be_free():
    link = Far("a")
    engine = Client(link)
    (call,) = engine.submit()
    engine.place()
    assert link.candidate.free == 0
    engine.offering.finish(link, call.number, 1.0)
    assert link.candidate.free == 1


def test_pace_is_learnt_and_one_odd_call_makes_nobody_slow():
    candidate = Far("a").candidate
    candidate.observe(1.0, 0.01)
    assert candidate.pace < 2
    for _ in range(30):
        candidate.observe(1.0, 0.1)
    assert candidate.pace > SLOW
