"""Look up modules that the program has already imported."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(name: str) -> Any:
    """
    Return a module if it has been imported, else None; also None while any thread is still importing it.

    A module is in `sys.modules` before its first line runs, so another thread may find it there half initialized.
    """
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module
