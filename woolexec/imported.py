"""Modules that the program uses already."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(name: str) -> Any:
    """
    Return a module if it has been imported, else None; also None while its import goes on, in whichever thread.

    `sys.modules` holds a module from before its first line runs, so another thread may find there one without half of
    its names.
    """
    module = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module
