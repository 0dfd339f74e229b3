"""
Complete functions and classes that arrive by value, or leave them unchanged.

A class that returns to the process that it came from is complete already.  In a worker, a value that a task has stored
under a name, or in an attribute of a class, is kept until the caller's value changes: each value that arrives is
compared with the one that arrived before it.  Globals that come in a bundle are compared by their digests instead: see
`main_module`.
"""

from __future__ import annotations

import sys
from types import FunctionType
from weakref import WeakKeyDictionary, WeakSet

from woolexec.class_attributes import defines
from woolexec.wire import stand_ins, unpickling
from woolexec.wire.modules import MAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_seen: dict[str, bytes] = {}
"""The pickles of the globals that last arrived with an outcome of a nested task."""

_seen_of: WeakKeyDictionary[type, dict[str, bytes]] = WeakKeyDictionary()
"""The pickles of the attributes of the caller's classes, as they last arrived."""

_ours: WeakSet[type] = WeakSet()
_foreign: WeakSet[type] = WeakSet()
"""Classes that this process has sent by value (`_ours`), and those that it created by unpickling (`_foreign`)."""


def sent(cls: type) -> None:
    """Record that this class was sent by value: if it comes back, it is not changed."""
    if cls not in _foreign:
        _ours.add(cls)


def came(cls: type) -> None:
    """Record that this class was created here by unpickling, before anything that names it is sent."""
    _foreign.add(cls)


def is_ours(cls: type) -> bool:
    """Return whether this class was sent by value from here, where it was defined."""
    return cls in _ours


def set_class_state(cls: type, state: Any) -> type:
    """
    Complete a class, unless it originated in this process and has come back: then it is complete already.

    An attribute that a task has set is kept, as a global is: see `set_state`.
    """
    from cloudpickle.cloudpickle import _class_setstate

    if cls in _ours:
        return cls
    _foreign.add(cls)
    if unpickling.is_worker:
        attributes, slots = state
        seen = _seen_of.setdefault(cls, {})
        state = {name: value for name, value in attributes.items() if _is_news(seen, name, value)}, slots
        if cls.__module__ == MAIN and "." not in cls.__qualname__:  # so that tasks can pickle its instances
            setattr(sys.modules[MAIN], cls.__name__, cls)
    _class_setstate(cls, state)
    return cls


def set_state(fn: Any, state: Any) -> None:
    """
    Complete a function of ``__main__``, as cloudpickle does.

    A global that came with it is stored only if it differs from the one that came last: a value that a task has stored
    under the name is kept.
    """
    from cloudpickle.cloudpickle import _function_setstate

    if unpickling.is_worker:
        values = state[1]["__globals__"]
        state[1]["__globals__"] = {name: value for name, value in values.items() if _is_news(_seen, name, value)}
    _function_setstate(fn, state)


def _is_news(seen: dict[str, bytes], name: str, value: Any) -> bool:
    """Return whether a value arrives for the first time, or differs from the one that arrived last."""
    if isinstance(value, FunctionType | type) or defines(type(value), "__get__") or name == "_abc_impl":
        return True
    try:
        data = b"anew" if type(value) in stand_ins.ANEW else unpickling.fingerprint(value)
    except BaseException:  # user code
        return True
    if seen.get(name) == data:
        return False
    seen[name] = data
    return True
