"""The functions and classes of this program's ``__main__`` that workers request by name."""

from __future__ import annotations

import sys
from types import FunctionType


def pickled(name: str) -> bytes:
    """
    Return the pickle, by value, of a function or class of ``__main__``; empty if there is none with this name.

    No other values are returned: a task gets them with the functions that refer to them.  This runs user code.
    """
    value = getattr(sys.modules.get("__main__"), "__dict__", {}).get(name)
    if not isinstance(value, FunctionType | type):
        return b""
    from woolexec.wire.pickling import dumps_inline

    try:
        return dumps_inline(value, is_function=True, is_shared=True)
    except Exception:  # it cannot be pickled
        return b""
