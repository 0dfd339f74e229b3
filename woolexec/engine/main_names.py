"""The functions and classes of this program's ``__main__`` that workers ask for."""

from __future__ import annotations

import sys
from types import FunctionType


def pickled(name: str) -> bytes:
    """
    Return the pickle, by value, of a function or class of ``__main__``; empty if there is none with this name.

    Nothing else is given away: a task gets other values with the functions that name them.  This runs user code.
    """
    value = getattr(sys.modules.get("__main__"), "__dict__", {}).get(name)
    if not isinstance(value, FunctionType | type):
        return b""
    from woolexec.wire.pickling import dumps_inline

    try:
        return dumps_inline(value, is_function=True)
    except Exception:  # then it cannot be had
        return b""
