from woolexec.core.offer import NOTHING, Offer
from woolexec.resources import Requirement

GPU, ZONE, BOTH = Requirement({"gpu": 1}), Requirement({"zone": "b"}), Requirement({"gpu": 2, "zone": "b"})


def test_offer_meets_what_it_has():
    offer = Offer(["zone=b"], {"gpu": 2})
    assert all(map(offer.meets, (None, GPU, ZONE, BOTH)))
    assert not offer.meets(Requirement({"gpu": 3}))
    assert not offer.meets(Requirement({"zone": "c"}))
    assert not offer.meets(Requirement({"memory": 1}))


def test_nothing_meets_only_those_who_want_nothing():
    assert NOTHING.meets(None)
    assert NOTHING.has(None)
    assert not NOTHING.has(GPU)


def test_what_is_taken_is_there_again_when_it_is_given_back():
    offer = Offer((), {"gpu": 2})
    offer.take(GPU)
    offer.take(GPU)
    assert not offer.has(GPU)
    assert offer.meets(GPU)
    offer.give(GPU)
    assert offer.has(GPU)


def test_parts_add_up_to_the_whole():
    tenth, offer = Requirement({"gpu": 0.1}), Offer((), {"gpu": 1})
    for _ in range(10):
        assert offer.has(tenth)
        offer.take(tenth)
    assert not offer.has(tenth)


def test_tags_are_not_used_up():
    offer = Offer(["zone=b"])
    offer.take(ZONE)
    assert offer.has(ZONE)


def test_trace_of_a_resource_that_there_is_not_is_not_met_and_leaves_nothing():
    offer = Offer((), {"gpu": 1})
    assert not offer.meets(Requirement({"memory": 1e-12}))
    assert not offer.has(Requirement({"memory": 1e-12}))
