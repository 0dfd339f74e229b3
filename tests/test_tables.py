from dataclasses import replace

import pytest

from tests.full_statistics import FULL
from woolexec.statistics import FunctionStatistics, PeerStatistics, Statistics, WorkerStatistics
from woolexec.tables import duration, size, text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_the_terminal(width):
    lines = text(FULL, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("tasks   4 running, 3 sent, 20 queued")
    assert sum(line.startswith("worker's task") for line in lines) == 1


def test_wide_text_has_each_column():
    shown = text(FULL, 200)
    for part in ("a_name_that_is_longer", "wait p95", "118 MiB", "(+3 coroutines)", "was killed by SIGKILL", "1.20 ms"):
        assert part in shown


def test_text_without_any_task_says_so():
    assert str(replace(Statistics(0.0, 1, "here"))).splitlines() == [
        "tasks   0 running, 0 sent, 0 queued",
        "ended   0 returned",
    ]


HOSTILE = "<script>alert(1)</script>\x1b[2J\nnext"


def test_names_of_others_are_no_markup_and_move_no_cursor():
    statistics = replace(
        FULL,
        functions=(FunctionStatistics(HOSTILE, count=1),),
        workers=(
            WorkerStatistics(1, "here", "running", HOSTILE, lost=HOSTILE, actor=HOSTILE, progress=(1, 2, HOSTILE)),
        ),
        peers=(PeerStatistics(HOSTILE, HOSTILE, HOSTILE),),
    )
    shown = text(statistics, 300)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2 + 1 + 3 * 3 + 1 - 1
    assert "<script" not in statistics._repr_html_()
    assert "&lt;script&gt;" in statistics._repr_html_()


def test_notebooks_get_a_table_with_all_columns():
    shown = FULL._repr_html_()
    assert shown.count("<table>") == 3
    assert "wait p95" in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (1.234e-6, "1.23 µs"),
        (0.000_999, "999 µs"),
        (0.0123, "12.3 ms"),
        (1.5, "1.50 s"),
        (119.0, "119 s"),
        (150.0, "2.50 min"),
        (36000.0, "10.0 h"),
        (None, ""),
    ],
)
def test_durations_have_units(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (150 << 20, "150 MiB"), (5 << 40, "5.0 TiB"), (None, "")],
)
def test_sizes_have_units(number, shown):
    assert size(number) == shown
