import pytest

from woolexec.core.histogram import Histogram
from woolexec.core.slow_tasks import ENOUGH, SHORTEST, SlowTasks


def ended(seconds, times=ENOUGH):
    runs = Histogram()
    runs.add(seconds, times)
    return runs


def test_call_is_slow_that_has_run_ten_times_longer_than_others_and_for_the_time():
    tasks = SlowTasks(10.0)
    running = [(5, 100.0, 0, ended(3.0)), (4, 100.0, 0, ended(0.01))]
    assert tasks.judge(running, 109.9) == ({}, pytest.approx(SHORTEST))
    assert tasks.judge(running, 110.5)[0] == {4: (10.5, 0.01)}
    assert tasks.judge(running, 129.9)[0] == {}
    assert tasks.judge(running, 130.5)[0] == {5: (30.5, 3.0)}


def test_call_is_named_once_and_another_one_like_it_as_well():
    tasks = SlowTasks(10.0)
    assert [*tasks.judge([(1, 0.0, 0, ended(0.1))], 11.0)[0]] == [1]
    assert [*tasks.judge([(1, 0.0, 0, ended(0.1)), (2, 0.0, 0, ended(0.1))], 12.0)[0]] == [2]
    assert tasks.judge([(1, 0.0, 0, ended(0.1)), (2, 0.0, 0, ended(0.1))], 1000.0)[0] == {}


def test_those_that_have_ended_are_forgotten():
    tasks = SlowTasks(10.0)
    tasks.judge([(1, None, 0, ended(0.1))], 0.0)
    tasks.judge([(1, None, 0, ended(0.1))], 11.0)
    tasks.judge([], 12.0)
    assert not tasks._named | tasks._seen.keys()


def test_nothing_is_slow_before_enough_calls_have_ended():
    tasks = SlowTasks(10.0)
    assert tasks.judge([(1, 0.0, 0, None), (2, 0.0, 0, ended(0.1, ENOUGH - 1))], 100.0) == ({}, 10.0)


def test_call_for_many_items_may_take_as_long_as_all_of_them():
    tasks = SlowTasks(10.0)
    assert tasks.judge([(1, 0.0, 50, ended(0.1))], 49.9)[0] == {}
    assert tasks.judge([(1, 0.0, 50, ended(0.1))], 52.0)[0] == {1: (52.0, pytest.approx(5.0))}


def test_call_whose_start_is_not_known_counts_from_when_it_was_first_seen():
    tasks = SlowTasks(10.0)
    assert tasks.judge([(1, None, 0, ended(0.1))], 100.0) == ({}, 10.0)
    assert tasks.judge([(1, None, 0, ended(0.1))], 109.0) == ({}, 1.0)
    assert tasks.judge([(1, None, 0, ended(0.1))], 110.5)[0] == {1: (10.5, 0.1)}


def test_next_look_is_when_the_first_call_may_be_slow_and_after_the_time_at_the_latest():
    tasks = SlowTasks(10.0)
    assert tasks.judge([], 0.0)[1] == 10.0
    assert tasks.judge([(1, 0.0, 0, ended(0.1)), (2, 2.0, 0, ended(0.1))], 4.0)[1] == pytest.approx(6.0)
    assert tasks.judge([(3, 0.0, 0, ended(20.0))], 4.0)[1] == 10.0
    assert SlowTasks(0.001).judge([], 0.0)[1] == SHORTEST
