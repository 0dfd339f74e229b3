"""CPython's own tests of concurrent.futures, run against the executor under test."""

import pytest

from .stdlib_suite import SuiteMissingError, adapted_cases

try:
    CASES = adapted_cases()
except SuiteMissingError as exc:
    pytest.skip(str(exc), allow_module_level=True)

for name, case in CASES.items():
    # Where pickle looks for a test class whose methods are submitted.
    case.__module__ = __name__
    globals()[name] = case
del case
