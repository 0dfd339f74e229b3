"""
Objects that each call must have for itself: copies of the callable's state, and of the items of a map.

In the standard library's pool, callable and arguments are pickled for each call.  Here a callable is sent to a worker
once, and the items of a map are pickled together.  Without further measures, one call could see what another call in
the same worker or batch has changed.

- `has_state`: a bound method, a `partial` or a callable object that a call may change.  A worker unpickles it for each
  call.  Functions and classes have no state in this sense: they are definitions, and each process has one of each.
- `share`: two items of a map contain the same object, which a call may change.  These items are pickled separately.
"""

from __future__ import annotations

import gc
from functools import _lru_cache_wrapper, partial
from itertools import chain, compress
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)

from woolexec.class_attributes import defines
from woolexec.wire.atoms import SAFE
from woolexec.wire.unpickling import NAMED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_ATOMS = SAFE | {type(...), type(NotImplemented), range, slice}
_DEFINITIONS = (type, FunctionType, ModuleType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)
_BOUND = (MethodType, BuiltinFunctionType, MethodWrapperType)

_CONSTANT = frozenset(
    {
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("ipaddress", "IPv4Address"),
        ("ipaddress", "IPv4Network"),
        ("ipaddress", "IPv6Address"),
        ("ipaddress", "IPv6Network"),
        ("logging", "Logger"),
        ("logging", "RootLogger"),
        ("numpy", "ufunc"),
        ("operator", "attrgetter"),
        ("operator", "itemgetter"),
        ("operator", "methodcaller"),
        ("re", "Pattern"),
        ("uuid", "UUID"),
        ("zoneinfo", "ZoneInfo"),
    }
)
"""Classes whose instances do not change in use, or exist once per name in each process."""

_NESTING, _LEVELS = 8, 64
_PER_ITEM = 256


def has_state(fn: Any, payload: Any = b"") -> bool:
    """
    Return whether a call of this callable may change its state for the next call.

    :param payload: its pickle; a callable pickled as the name of a global exists once in each process
    """
    if type(fn) is FunctionType or (payload.__class__ is bytes and payload.endswith(NAMED)):
        return False
    return not _is_constant(fn, _NESTING)


def _is_constant(value: Any, nesting: int) -> bool:
    """Return whether a value cannot change in use; False if it is nested more deeply than `nesting` levels."""
    cls = type(value)
    if cls in _ATOMS:
        return True
    if not nesting:
        return False
    if cls in _BOUND:
        owner = value.__self__
        return isinstance(owner, _DEFINITIONS) or _is_constant(owner, nesting - 1)
    if isinstance(value, _DEFINITIONS) or is_kind_constant(cls):
        return True
    parts: Any
    if cls is partial:
        if value.__dict__:
            return False
        parts = (value.func, *value.args, *value.keywords.values())
    elif cls in (tuple, frozenset):
        parts = value
    else:
        return False
    return all(_is_constant(part, nesting - 1) for part in parts)


def is_kind_constant(cls: type) -> bool:
    """Return whether the instances of a class do not change in use."""
    if cls in _ATOMS or cls is _lru_cache_wrapper or issubclass(cls, _DEFINITIONS):
        return cls is not BuiltinFunctionType
    module = cls.__module__
    if (module, cls.__qualname__) in _CONSTANT:
        return True
    return defines(cls, "_member_map_") or (module.partition(".")[0] == "pathlib" and defines(cls, "__fspath__"))


def share(items: Sequence[Any], *, star: bool) -> bool:
    """
    Return whether two items may contain the same object, and a call may change that object.

    Also return True if the items contain so many objects that pickling them separately costs little.

    :param star: each item is a tuple of arguments that nothing else uses
    """
    level: Any = chain.from_iterable(items) if star else items
    if not isinstance(level, list):
        level = list(level)
    left = _PER_ITEM * len(items)
    seen: set[int] = set()
    kinds: dict[type, bool] = {}
    for _ in range(_LEVELS):
        met = set(map(type, level))
        for cls in met.difference(kinds):
            kinds[cls] = is_kind_constant(cls)
        changing = {cls for cls in met if not kinds[cls]}
        if not changing:
            return False
        if len(changing) < len(met):
            level = list(compress(level, map(changing.__contains__, map(type, level))))
        numbers = set(map(id, level))
        if len(numbers) < len(level) or not numbers.isdisjoint(seen):
            level = _without_repeats(level, seen)
            if level is None:
                return True
        left -= len(level)
        if left < 0:
            return True
        seen |= numbers
        level = gc.get_referents(*level)
    return True


def _without_repeats(level: list[Any], seen: set[int]) -> list[Any] | None:
    """Return the values of a level once, without those seen before; None if one that occurs again may be changed."""
    once: dict[int, Any] = {}
    for value in level:
        if id(value) in once or id(value) in seen:
            if type(value) not in (tuple, frozenset) and not _is_constant(value, 1):
                return None
        else:
            once[id(value)] = value
    return list(once.values())
