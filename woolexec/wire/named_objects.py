"""
Objects of the program that are pickled as the name of a global: sentinels, and other singletons.

Their ``__reduce__`` returns a string: the name of the object in its module.  The `sentinel` of Python 3.15 does this
too.  A worker cannot import the module, so class and state are sent as well.  Each process has one object for each
name; in the process that the object comes from, it is that object itself.
"""

from __future__ import annotations

import builtins
import sys
from functools import reduce
from pickle import whichmodule  # type: ignore[attr-defined]  # typeshed lacks it

from woolexec.wire import unpickling
from woolexec.wire.modules import comes_by_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SENTINEL: Any = getattr(builtins, "sentinel", None)

_arrived: dict[tuple[str, str], Any] = {}
"""The objects that were created here, by module and qualified name."""

_incomplete: dict[int, Any] = {}
"""Those of them whose state has not been set, by `id`."""


def may_be_named(cls: type) -> bool:
    """Return whether the instances of a class may be pickled by name: whether it overrides `object`'s reduction."""
    own: Any = cls
    return own.__reduce__ is not object.__reduce__ or own.__reduce_ex__ is not object.__reduce_ex__


def reduce_named(obj: Any, name: str) -> Any:
    """Reduce an object whose own reduction is this name; by the name alone if the receiver can import the module."""
    module = whichmodule(obj, name)
    if not comes_by_value(module):
        return name
    if type(obj) is _SENTINEL:
        return find_sentinel, (module, name, repr(obj))
    return find, (module, name, type(obj)), object.__getstate__(obj), None, None, complete


def find(module: str, name: str, cls: type) -> Any:
    """Return this process's object with this name; create it, without its state, if there is none of this class."""
    found = _look_up(module, name)
    if type(found) is not cls:
        found = object.__new__(cls)
        _incomplete[id(found)] = found
        _keep(module, name, found)
    return found


def find_sentinel(module: str, name: str, text: str) -> Any:
    """Do the same as `find` for a sentinel of Python itself, whose only state is its repr."""
    found = _look_up(module, name)
    if type(found) is not _SENTINEL or repr(found) != text:
        found = _SENTINEL(name, repr=text)
        found.__module__ = module
        _keep(module, name, found)
    return found


def complete(obj: Any, state: Any) -> None:
    """Set the state of an object if `find` has created it; leave an object that already existed unchanged."""
    if _incomplete.pop(id(obj), None) is None or not state:
        return
    attributes, slots = state if type(state) is tuple else (state, None)
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(obj, name, value)


def _look_up(module: str, name: str) -> Any:
    """Return the object with this qualified name; None if there is none."""
    if (module, name) in _arrived:
        return _arrived[module, name]
    first, *rest = name.split(".")
    # Not `getattr`: in a worker, it would request the name from the caller.
    found = getattr(sys.modules.get(module), "__dict__", {}).get(first)
    try:
        return reduce(getattr, rest, found)
    except AttributeError:
        return None


def _keep(module: str, name: str, obj: Any) -> None:
    """Record an object that was created here; in a worker also as a global, so that tasks can pickle it."""
    if not unpickling.is_worker:
        return  # a value that returns to the caller must not change the caller's globals
    _arrived[module, name] = obj
    if "." not in name and module in sys.modules:
        setattr(sys.modules[module], name, obj)
