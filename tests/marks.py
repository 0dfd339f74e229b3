"""Marks that many tests share."""

import pytest


def slow(*values: object) -> list[object]:
    """Values of a parameter, or of several parameters as tuples, that only ``make test-slow`` tries."""
    return [pytest.param(*value if isinstance(value, tuple) else [value], marks=pytest.mark.slow) for value in values]
