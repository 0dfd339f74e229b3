"""CPython's own tests of `multiprocessing.Pool`, run against `as_pool`."""

import pytest

from .stdlib_pool import adapted_cases
from .stdlib_suite import SuiteMissingError

# The pool of a class starts its workers as it needs them.
pytestmark = pytest.mark.leaks(reason="the pool of a class lives longer than one of its tests")

try:
    CASES = adapted_cases()
except SuiteMissingError as exc:
    pytest.skip(str(exc), allow_module_level=True)

for name, case in CASES.items():
    # Where pickle looks for a test class whose methods are submitted.
    case.__module__ = __name__
    globals()[name] = case
del case
