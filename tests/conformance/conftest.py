"""Mark the stdlib's tests by the table of differences."""

import pytest

from .differences import DIFFERENCES, POOL_DIFFERENCES, Why
from .subject import IS_OURS


def pytest_itemcollected(item: pytest.Item) -> None:
    owner = getattr(item, "cls", None)
    rows = {"test_stdlib.py": DIFFERENCES, "test_stdlib_pool.py": POOL_DIFFERENCES}.get(item.path.name, ())
    if not IS_OURS or owner is None:
        return
    for row in rows:
        if not row.applies() or row.test != f"{owner.__name__}.{item.name}":
            continue
        if row.why is Why.SLOW:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.versions)
        else:
            # Strict: a line of the table whose test passes is stale, and fails.
            item.add_marker(pytest.mark.xfail(strict=not row.partly, reason=row.reason))
