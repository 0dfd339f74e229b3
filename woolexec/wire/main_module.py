"""
The names of the caller's ``__main__`` in a worker: one namespace, as they are there.

Functions and classes of ``__main__`` travel by value; what they name arrives in the worker's own ``__main__``.
"""

from __future__ import annotations

import sys
from types import FunctionType
from weakref import WeakKeyDictionary, WeakSet

from cloudpickle.cloudpickle import _class_setstate, _function_setstate

from woolexec.wire import pickling
from woolexec.wire.stand_ins import ANEW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Main(dict):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """Stands for the names of ``__main__`` in a pickle."""

    def __init__(self, main: dict[str, Any]) -> None:
        self._own = {name: main[name] for name in ("__file__", "__package__") if type(main.get(name)) is str}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _main_names, (self._own,)


_seen: dict[str, bytes] = {}
"""What the caller's globals were when they last came, pickled."""

_seen_of: WeakKeyDictionary[type, dict[str, bytes]] = WeakKeyDictionary()
"""The same of the attributes of its classes."""


def _main_names(own: dict[str, Any]) -> dict[str, Any]:
    if not pickling.is_worker:  # a function that comes home must not change what is there
        return {"__name__": "__main__", **own}
    names = sys.modules["__main__"].__dict__
    for name, value in own.items():
        names.setdefault(name, value)
    return names


_ours: WeakSet[type] = WeakSet()
_foreign: WeakSet[type] = WeakSet()
"""Classes that this process has sent by value, and those that it made when it unpickled them."""


def sent(cls: type) -> None:
    """Remember that this class leaves by value: if it comes home it stays as it is."""
    if cls not in _foreign:
        _ours.add(cls)


def came(cls: type) -> None:
    """Remember that this class was made here because it came, before anything that names it is sent."""
    _foreign.add(cls)


def set_class_state(cls: type, state: Any) -> type:
    """
    Complete a class, unless it is one of ours that has come home: it is as its owner wants it.

    An attribute that a task has set stays, as a global does: see `set_state`.
    """
    if cls in _ours:
        return cls
    _foreign.add(cls)
    if pickling.is_worker:
        attributes, slots = state
        seen = _seen_of.setdefault(cls, {})
        state = {name: value for name, value in attributes.items() if _is_news(seen, name, value)}, slots
        if cls.__module__ == "__main__" and "." not in cls.__qualname__:  # so that tasks can pickle what is of it
            setattr(sys.modules["__main__"], cls.__name__, cls)
    _class_setstate(cls, state)
    return cls


def set_state(fn: Any, state: Any) -> None:
    """
    Complete a function of ``__main__``, as cloudpickle does.

    A global that came with it is stored only if the caller's has changed since it last came: what a task has stored
    under that name, an initializer for example, stays.
    """
    if pickling.is_worker:
        values = state[1]["__globals__"]
        state[1]["__globals__"] = {name: value for name, value in values.items() if _is_news(_seen, name, value)}
    _function_setstate(fn, state)


def _is_news(seen: dict[str, bytes], name: str, value: Any) -> bool:
    """Say whether this came for the first time, or is another value than when it last came."""
    if isinstance(value, FunctionType | type) or hasattr(type(value), "__get__") or name == "_abc_impl":
        return True
    try:
        data = b"anew" if type(value) in ANEW else pickling.dumps_inline(value)
    except BaseException:  # user code
        return True
    if seen.get(name) == data:
        return False
    seen[name] = data
    return True
