"""Mark the stdlib's tests by the table of differences."""

import pytest

from .differences import DIFFERENCES, Why
from .subject import IS_OURS


def pytest_itemcollected(item: pytest.Item) -> None:
    owner = getattr(item, "cls", None)
    if not IS_OURS or owner is None or item.path.name != "test_stdlib.py":
        return
    for row in DIFFERENCES:
        if not row.applies() or row.test != f"{owner.__name__}.{item.name}":
            continue
        if row.why is Why.SLOW:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.versions)
        else:
            # Strict: a line of the table whose test passes is stale, and fails.
            item.add_marker(pytest.mark.xfail(strict=not row.partly, reason=row.reason))
