"""Each row of tests/values.md names a test, and each test that it names exists and is run."""

from pathlib import Path

from tests.docs.test_faults_page import NAMED, marks_in

TABLE = Path(__file__).parents[1] / "values.md"


def rows():
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| ---", "| promise"))]


def test_each_promise_names_a_test():
    assert len(rows()) > 50
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_named_tests_exist_and_are_run():
    named = sorted({name for row in rows() for name in NAMED.findall(row)})
    assert [f"{file}::{name}" for file, name in named if name not in marks_in(file)] == []
    assert [
        name for file, name in named if any(mark.startswith("pytest.mark.skip(") for mark in marks_in(file)[name])
    ] == []


def test_each_cell_is_of_names_alone():
    for row in rows():
        shown = row.rstrip("| ").rsplit(" | ", 1)[1]
        assert NAMED.sub("", shown).replace("<br>", "") == "", row
