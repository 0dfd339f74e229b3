"""Each test that docs/faults.md names exists."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def names_in(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE.read_text(encoding="utf-8")))))
def test_named_test_exists(file, name):
    assert name in names_in(file)


def test_each_row_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| ---", "| what", "| |"))]
    assert rows
    assert [row for row in rows if not NAMED.search(row)] == []
