"""Which peers are avoided, for how long, and for which calls."""

import pytest

from tests.core.peers import Far
from woolexec.core.outliers import BASE, LIMIT, LONGEST, Outliers
from woolexec.core.place import Place
from woolexec.resources import Requirement


@pytest.fixture
def outliers(clock):
    return Outliers(clock)


def eject(outliers, *links):
    return [[outliers.failed(link.candidate.address) for _ in range(int(LIMIT))][-1] for link in links]


def test_peer_that_fails_several_times_in_a_row_is_ejected(outliers):
    assert [outliers.failed("a") for _ in range(int(LIMIT))] == [0.0] * (int(LIMIT) - 1) + [BASE]


def test_failures_of_one_peer_are_not_those_of_another(outliers):
    assert not any(outliers.failed(name) for _ in range(int(LIMIT) - 1) for name in "abc")


@pytest.mark.parametrize(("every", "is_ejected"), [(2, True), (10, False)])
def test_peer_that_fails_often_is_ejected_and_one_that_fails_rarely_is_not(outliers, every, is_ejected):
    ejected = False
    for n in range(1000):
        if n % every:
            outliers.succeeded("a")
        else:
            ejected = ejected or bool(outliers.failed("a"))
    assert ejected is is_ejected


def test_ejections_grow_to_the_longest_while_every_try_fails(outliers, clock):
    lengths = eject(outliers, Far("a"))
    for _ in range(100):
        clock.now += lengths[-1]
        lengths.append(outliers.failed("a"))
    assert lengths[:4] == [BASE, 2 * BASE, 4 * BASE, 8 * BASE]
    assert lengths[-1] == max(lengths) == LONGEST


def test_failures_during_an_ejection_do_not_prolong_it(outliers, clock):
    link, other = Far("a"), Far("b")
    eject(outliers, link)
    assert not any(outliers.failed("a") for _ in range(100))
    clock.now += BASE
    assert outliers.without([link], [link, other], None) == [link]
    assert outliers.failed("a") == 2 * BASE


def test_success_after_an_ejection_makes_the_next_one_short(outliers, clock):
    for length in (BASE, 2 * BASE):
        assert length in [outliers.failed("a") for _ in range(int(LIMIT))]
        outliers.succeeded("a")  # sent before: it does not count
        clock.now += length
    outliers.succeeded("a")
    assert [length for length in (outliers.failed("a") for _ in range(int(LIMIT))) if length] == [BASE]


def test_peer_that_works_again_is_forgotten(outliers, clock):
    eject(outliers, Far("a"))
    clock.now += BASE
    for _ in range(20):
        outliers.succeeded("a")
    assert not outliers.has_any


def test_ejected_peer_is_left_out_while_another_place_could_run_the_call(outliers):
    bad, good = Far("a"), Far("b")
    eject(outliers, bad)
    assert outliers.without([bad, good], [bad, good], None) == [good]
    assert outliers.without([bad], [bad, good], None) == []  # the good one is busy


def test_worker_here_is_another_place(outliers):
    bad = Far("a")
    eject(outliers, bad)
    assert outliers.without([bad], [bad, Place()], None) == []


def test_ejected_peers_are_used_when_there_are_no_others(outliers):
    bad, worse, leaving = Far("a"), Far("b"), Far("c")
    leaving.ready = False
    eject(outliers, bad, worse)
    assert outliers.without([bad, worse], [bad, worse, leaving], None) == [bad, worse]


def test_ejected_peer_is_used_for_what_no_other_offers(outliers):
    bad, good = Far("a", resources={"gpu": 1.0}), Far("b")
    eject(outliers, bad)
    gpu = Requirement.of(["gpu>=1"])
    assert outliers.without([bad], [bad, good], gpu) == [bad]


def test_number_of_peers_that_are_remembered_is_limited(outliers):
    for n in range(5000):
        outliers.failed(str(n))
    assert len(outliers._scores) == 1000
