"""The table of differences: each line names a test that exists, and the page shows the table."""

import importlib
from collections import Counter

import pytest

from . import stdlib_pool
from .differences import DIFFERENCES, OTHER_CLASSES, PAGE, POOL_DIFFERENCES, VERSIONS, page
from .stdlib_suite import SuiteMissingError, adapted_cases, kind_of_pool, names_of_tests, stdlib_cases

ALL = DIFFERENCES + POOL_DIFFERENCES


@pytest.fixture(scope="module")
def adapted():
    try:
        return adapted_cases()
    except SuiteMissingError as exc:
        pytest.skip(str(exc))


def test_page_shows_the_table():
    text = PAGE.read_text()
    assert page(text) == text, "docs/conformance.md is old: python -m tests.conformance.differences"


def test_no_test_has_two_lines():
    assert [test for test, count in Counter(row.test for row in ALL).items() if count > 1] == []


def test_each_line_applies_to_a_supported_python():
    assert [row.test for row in ALL if not any(map(row.applies, VERSIONS))] == []


def test_each_line_names_a_test_of_ours():
    def exists(instead):
        module, _, name = instead.partition("::")
        return hasattr(importlib.import_module(f"{__package__}.{module}"), name)

    assert [row.instead for row in ALL if not exists(row.instead)] == []


def test_each_line_names_a_test_of_the_stdlib(adapted):
    known = {f"{name}.{test}" for name, case in adapted.items() for test in names_of_tests(case)}
    assert [row.test for row in DIFFERENCES if row.applies() and not row.backported and row.test not in known] == []


def test_each_line_of_the_pool_names_a_test_of_the_stdlib():
    try:
        cases = stdlib_pool.adapted_cases()
    except SuiteMissingError as exc:
        pytest.skip(str(exc))
    known = {f"{name}.{test}" for name, case in cases.items() for test in names_of_tests(case)}
    assert [row.test for row in POOL_DIFFERENCES if row.applies() and row.test not in known] == []


def test_each_class_of_the_stdlib_is_run_or_explained(adapted):
    cases = stdlib_cases()
    unexplained = {name for name, case in cases.items() if kind_of_pool(case) is None} - set(adapted)
    assert {name for name in unexplained if name not in OTHER_CLASSES} == set()
