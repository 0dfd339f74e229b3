"""Each row of tests/values.md and of tests/sight.md names a test, and each test that it names exists and is run."""

from pathlib import Path

import pytest

from tests.docs.test_faults_page import NAMED, marks_in

TABLES = {name: Path(__file__).parents[1] / name for name in ("values.md", "sight.md")}
each_table = pytest.mark.parametrize("name", TABLES)


def rows(name):
    lines = [line for line in TABLES[name].read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| ---", "| promise"))]


@each_table
def test_each_promise_names_a_test(name):
    assert len(rows(name)) > 50
    assert [row for row in rows(name) if not NAMED.search(row)] == []


@each_table
def test_named_tests_exist_and_are_run(name):
    named = sorted({test for row in rows(name) for test in NAMED.findall(row)})
    assert [f"{file}::{test}" for file, test in named if test not in marks_in(file)] == []
    assert [
        test for file, test in named if any(mark.startswith("pytest.mark.skip(") for mark in marks_in(file)[test])
    ] == []


@each_table
def test_each_cell_is_of_names_alone(name):
    for row in rows(name):
        shown = row.rstrip("| ").rsplit(" | ", 1)[1]
        assert NAMED.sub("", shown).replace("<br>", "") == "", row
