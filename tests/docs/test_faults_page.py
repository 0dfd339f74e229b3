"""Each test that docs/faults.md names exists, and is run by ``make test`` or by ``make test-slow``."""

import ast
import functools
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def marks_in(file):
    """Return the tests of a file, each with its decorators as they are written there."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {
        node.name: [ast.unparse(decorator) for decorator in node.decorator_list]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def named():
    return sorted(set(NAMED.findall(PAGE.read_text(encoding="utf-8"))))


def test_named_tests_exist():
    assert len(named()) > 200
    assert [f"{file}::{name}" for file, name in named() if name not in marks_in(file)] == []


def test_named_tests_are_run_by_one_of_both_commands():
    # Whatever is not slow is run by `make test`; what is slow, by `make test-slow`; what is skipped, by neither.
    skipped = [mark for file, name in named() for mark in marks_in(file)[name] if mark.startswith("pytest.mark.skip(")]
    assert skipped == []


def test_each_row_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| ---", "| what", "| |"))]
    assert rows
    assert [row for row in rows if not NAMED.search(row)] == []
