"""Marks that many tests share."""

import pytest


def slow(*values: object) -> list[object]:
    """Values of a parameter that only ``make test-slow`` tries."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
