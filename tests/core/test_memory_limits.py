import random

import pytest

from woolexec.core.memory_limits import (
    END,
    GROWTH,
    KEEP,
    LONGEST,
    REPLACE,
    SHORTEST,
    MemoryLimits,
    is_full,
    largest,
    pause_of,
)
from woolexec.platform.memory import Memory

MIB = 1 << 20


@pytest.mark.parametrize(
    ("used", "todo"), [(100 * MIB, KEEP), (100 * MIB + 1, REPLACE), (200 * MIB, REPLACE), (200 * MIB + 1, END)]
)
def test_worker_is_replaced_above_one_limit_and_ended_above_the_other(used, todo):
    assert MemoryLimits(100 * MIB, 200 * MIB).judge(used) == todo


def test_either_limit_may_be_missing():
    assert MemoryLimits(None, 5).judge(6) == END
    assert MemoryLimits(5, None).judge(6) == REPLACE
    assert MemoryLimits().judge(1 << 50) == KEEP
    assert [bool(MemoryLimits(*limits)) for limits in ((None, None), (1, None), (None, 1))] == [False, True, True]


def test_lower_one_of_two_limits_holds():
    found = MemoryLimits(10, None).within(MemoryLimits(20, 30))
    assert (found.replace_above, found.end_above) == (10, 30)
    assert not MemoryLimits().within(MemoryLimits())


def asked(limits, resident, shared, exact):
    """What is measured, and whether that took long."""
    calls = []
    used = limits.measure(resident, shared, lambda: calls.append(1) or exact)
    return used, bool(calls)


def test_kernel_walks_through_the_pages_only_if_what_is_shared_decides():
    limits = MemoryLimits(100, 200)
    assert asked(limits, 90, 40, 0) == (90, False)
    assert asked(limits, 290, 40, 0) == (250, False)  # its own pages alone are too many
    assert asked(limits, 230, 100, 180) == (180, True)
    assert asked(limits, 130, 100, 60) == (60, True)


def test_what_is_resident_counts_where_the_kernel_does_not_tell_more():
    assert asked(MemoryLimits(100, None), 130, 100, None) == (130, True)


def test_no_worker_can_grow_from_one_look_beyond_a_limit_by_more_than_the_shortest_pause_allows():
    random.seed(20)
    for _ in range(10_000):
        low, high = sorted(random.randrange(1, 1 << 34) for _ in range(2))
        limits = MemoryLimits(low, high)
        used = random.randrange(high)
        pause = limits.pause(used)
        next_limit = low if used <= low else high
        assert SHORTEST <= pause <= LONGEST
        assert used + (pause - SHORTEST) * GROWTH <= next_limit + 1


def test_what_is_its_own_now_counts_if_the_kernel_told_less_before():
    assert asked(MemoryLimits(None, 200), 210, 15, 120) == (195, True)


def test_cgroup_is_full_earlier_if_the_kernel_had_to_free_memory():
    group = Memory(1000, 950, 900)
    assert is_full(group, had_to_free=True)
    assert not is_full(group, had_to_free=False)
    assert is_full(Memory(1000, 980, 900), had_to_free=False)
    assert not is_full(None, had_to_free=True)


def test_cgroup_is_full_still_earlier_if_its_processes_wait_for_memory():
    group = Memory(1000, 850, 900)
    assert is_full(group, had_to_free=False, waiting=0.3)
    assert not is_full(group, had_to_free=False, waiting=0.1)
    assert not is_full(Memory(1000, 750, 900), had_to_free=True, waiting=1.0)


def test_cgroup_is_looked_at_again_before_its_workers_can_have_filled_it():
    group = Memory(1 << 40, 1 << 39, 0)
    assert pause_of(group, 1) == pause_of(None, 1) == LONGEST
    group = Memory(GROWTH, GROWTH // 2, 0)
    assert pause_of(group, 2) == pytest.approx(0.2)
    assert pause_of(Memory(GROWTH, GROWTH, 0), 2) == SHORTEST


def test_largest_worker_is_chosen():
    assert largest({"a": 1, "b": 3, "c": 2}) == "b"
    assert largest({}) is None
