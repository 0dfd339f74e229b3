import os

import pytest

from tests.chaos.leftovers import GROWTH, LOOKS, MORE_DESCRIPTORS, Before, Sizes, grown
from tests.chaos.processes import Size

FLAT = [Size(50, 20, 5)] * LOOKS


def test_process_that_keeps_its_size_has_not_grown():
    assert grown(FLAT) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"memory": 150}, "memory by 100"),
        ({"descriptors": 90}, "descriptors by 70"),
        ({"threads": 25}, "threads by 20"),
    ],
)
def test_process_that_has_grown_is_named_with_what_has_grown(change, named):
    late = Size(**{"memory": 50, "descriptors": 20, "threads": 5, **change})
    assert grown([*FLAT, *[late] * LOOKS]) == named


def test_one_look_at_a_busy_moment_is_no_growth():
    assert grown([*FLAT, Size(50 + 4 * GROWTH, 20, 5)]) is None


def test_first_looks_do_not_count_as_a_process_takes_what_it_needs():
    assert grown([Size(5, 5, 1), *FLAT, *FLAT]) is None


def test_process_that_took_long_to_start_has_not_grown_by_what_it_needs():
    assert grown([*[Size(5, 4, 1)] * LOOKS, *[Size(50, 4 + 2 * MORE_DESCRIPTORS, 9)] * LOOKS]) is None


def test_process_that_lived_briefly_has_not_grown():
    assert grown([Size(50, 20, 5), Size(500, 200, 50)]) is None


def test_sizes_are_those_of_processes_by_name():
    sizes = Sizes(lambda: {"ours": os.getpid(), "ended": 2**22})
    sizes.look()
    assert sizes.faults() == []
    assert "ours: Size(memory=" in str(sizes)
    assert "ended" not in str(sizes)


def test_open_file_that_is_left_behind_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.leaks.SETTLE", 0.0)
    before = Before()
    with open(tmp_path / "left", "w"):
        assert any(str(tmp_path / "left") in text for text in before.left())
    assert before.left() == []
