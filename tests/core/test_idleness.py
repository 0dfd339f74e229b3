import random

from woolexec.core.idleness import SHORTEST, Idleness


def test_worker_leaves_that_was_idle_at_every_look_for_the_time():
    idleness = Idleness(10.0, 0)
    assert idleness.look({"a": 1}, 100.0) == []
    assert idleness.look({"a": 1}, 109.9) == []
    assert idleness.look({"a": 1}, 110.0) == ["a"]


def test_call_in_between_begins_the_time_anew():
    idleness = Idleness(10.0, 0)
    idleness.look({"a": 1}, 100.0)
    assert idleness.look({"a": 2}, 109.0) == []  # it has run a call between two looks
    assert idleness.look({"a": 2}, 110.0) == []
    assert idleness.look({"a": None}, 112.0) == []  # it is busy
    assert idleness.look({"a": 2}, 119.0) == []
    assert idleness.look({"a": 2}, 129.0) == ["a"]


def test_those_idle_longest_leave_and_the_least_number_stays():
    idleness = Idleness(10.0, 2)
    idleness.look({"a": None, "b": 1, "c": None, "d": 1}, 100.0)
    idleness.look({"a": 1, "b": 1, "c": 1, "d": 1}, 101.0)
    assert idleness.look({"a": 1, "b": 1, "c": 1, "d": 1}, 111.0) == ["b", "d"]
    assert idleness.look({"a": 1, "c": 1}, 112.0) == []


def test_busy_workers_count_among_those_that_stay():
    idleness = Idleness(10.0, 1)
    idleness.look({"a": 1, "b": None}, 100.0)
    assert idleness.look({"a": 1, "b": None}, 110.0) == ["a"]


def test_nobody_looks_while_no_worker_may_leave():
    assert Idleness(8.0, 2).pause(2) is None
    assert Idleness(8.0, 2).pause(3) == 2.0
    assert Idleness(1e-9, 0).pause(1) == SHORTEST


def test_no_worker_leaves_early_nor_more_than_a_quarter_of_the_time_late():
    for seed in range(300):
        chance = random.Random(seed)
        timeout, least = chance.uniform(0.1, 10.0), chance.randrange(3)
        idleness = Idleness(timeout, least)
        ended = dict.fromkeys(range(chance.randrange(1, 8)), 0.0)  # since when each is idle
        started = dict.fromkeys(ended, 0)
        now = before = 0.0
        while (pause := idleness.pause(len(ended))) is not None and now < 20 * timeout:
            before, now = now, now + pause
            for worker in ended:
                if chance.random() < 0.05:
                    started[worker] += 1
                    ended[worker] = chance.uniform(before, now)
            for worker in idleness.look({each: started[each] for each in ended}, now):
                idle = now - ended.pop(worker)
                assert timeout * 0.999 <= idle <= timeout * 1.26 + 2 * SHORTEST or len(ended) >= least
                assert idle >= timeout * 0.999, seed
            assert len(ended) >= min(least, len(started)), seed
