"""Classes whose instances can be expected to unpickle, because no user code runs."""

from __future__ import annotations

import sys

from woolexec.class_attributes import defines
from woolexec.wire.own_copies import is_kind_constant

_CONTAINERS = frozenset({list, dict, set, frozenset, tuple, bytearray})

_LIBRARIES = sys.stdlib_module_names | {"numpy"}

_OWN = "__setstate__", "__getnewargs__", "__getnewargs_ex__"

_known: dict[type, bool] = {}

_MOST = 1000
"""Maximum number of classes that are remembered."""


def is_sure(value: object) -> bool:
    """Return whether a value can be expected to unpickle; its contents are not examined."""
    cls = type(value)
    known = _known.get(cls)
    if known is None:
        if len(_known) >= _MOST:
            _known.clear()
        known = _known[cls] = cls in _CONTAINERS or _is_sure(cls)
    return known


def _is_sure(cls: type) -> bool:
    if issubclass(cls, BaseException):  # its constructor may refuse the arguments
        return False
    if is_kind_constant(cls) or (cls.__module__.partition(".")[0] in _LIBRARIES and cls.__module__ != "__main__"):
        return True
    if cls.__reduce_ex__ is not object.__reduce_ex__ or cls.__reduce__ is not object.__reduce__:
        return False
    if cls.__mro__[1:] == (tuple, object) and defines(cls, "_fields"):  # a NamedTuple
        return not defines(cls, "__setstate__")
    is_plain = not any(issubclass(cls, base) for base in _CONTAINERS) and cls.__new__ is object.__new__
    return is_plain and not defines(cls, *_OWN)
