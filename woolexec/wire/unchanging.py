"""
What the pickle of a function or a class depends on, if nothing of that can change unseen.

A function is its code, defaults and closure; a class is what it defines itself.  Whatever takes the place of one of
these is another object, so a pickle is good as long as all of them are the objects that they were.  What holds a list
or an instance may change unseen, and is pickled anew each time.

The globals that functions name are not part of this: whoever uses it looks at them too.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # of named tuples: it has no public name
from abc import ABCMeta
from enum import EnumMeta
from operator import is_
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

from woolexec.wire.modules import comes_by_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)})

_CONSTANTS = frozenset(
    {
        *ATOMS,
        BuiltinFunctionType,
        GetSetDescriptorType,
        MemberDescriptorType,
        MethodDescriptorType,
        ModuleType,
        WrapperDescriptorType,
        _tuplegetter,
    }
)

_KINDS = (type, ABCMeta, EnumMeta)
"""Metaclasses whose classes are their attributes."""

_SET_ONCE = frozenset(
    [
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__classdictcell__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__orig_bases__",
        "__parameters__",
        "__slotnames__",
        "__slots__",
        "__type_params__",
        "_abc_impl",
        "_field_defaults",
        "_hashable_values_",
        "_member_map_",
        "_member_names_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_value2member_map_",
    ]
)
"""Attributes of classes that Python and its library set, and nobody changes."""

_MAKERS = frozenset(["collections", "dataclasses", "reprlib"])
"""Modules that make methods, of what cannot change."""


def parts_of(defined: object) -> list[Any] | None:
    """Return all that the pickle of a function or a class depends on; None if something of that may change unseen."""
    kind = type(defined)
    if kind is not FunctionType and kind not in _KINDS:
        return None
    parts: list[Any] = []
    add = _add_function if kind is FunctionType else _add_class
    return parts if add(defined, parts, {id(defined)}) else None


def is_constant(value: object) -> bool:
    """Say whether nothing that is in a value's pickle can change; functions are asked for their parts instead."""
    cls: Any = type(value)
    if issubclass(cls, type):
        return _comes_by_name(value)
    return cls in _CONSTANTS or _is_member(cls) or cls.__module__ == "dataclasses"  # its markers


def _comes_by_name(cls: Any) -> bool:
    return not comes_by_value(cls.__module__) and "<locals>" not in cls.__qualname__


def _is_member(cls: Any) -> bool:
    return type(cls) is EnumMeta and _comes_by_name(cls)


def is_same(parts: list[Any], others: list[Any]) -> bool:
    """Say whether two lists hold the same objects."""
    return len(parts) == len(others) and all(map(is_, parts, others))


def _add(value: Any, parts: list[Any], seen: set[int]) -> bool:
    """Add a value and what it consists of; False if something of that may change unseen."""
    parts.append(value)
    cls = type(value)
    if cls in _CONSTANTS or id(value) in seen:
        return True
    seen.add(id(value))
    if cls is FunctionType:
        return _add_function(value, parts, seen)
    if cls is property:
        return all(_add(each, parts, seen) for each in (value.fget, value.fset, value.fdel))
    if cls is staticmethod or cls is classmethod:
        return not value.__dict__.keys() - _WRAPPED and _add(value.__func__, parts, seen)
    if cls is tuple or cls is frozenset:
        return all(_add(each, parts, seen) for each in value)
    return is_constant(value) or (cls in _KINDS and _add_class(value, parts, seen))


_WRAPPED = frozenset(["__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__wrapped__"])
"""Attributes that methods of classes take from their functions."""


def _add_function(fn: Any, parts: list[Any], seen: set[int]) -> bool:
    parts += (fn, fn.__code__, fn.__defaults__)
    if fn.__globals__.get("__name__") in _MAKERS:
        return True
    options = fn.__kwdefaults__ or {}
    parts += options.values()
    try:
        contents = [cell.cell_contents for cell in fn.__closure__ or ()]
    except ValueError:  # not filled yet
        return False
    values = (*(fn.__defaults__ or ()), *options.values(), *contents, *fn.__dict__.values())
    return all(_add(value, parts, seen) for value in values)


def _add_class(cls: Any, parts: list[Any], seen: set[int]) -> bool:
    if not all(_add(base, parts, seen) for base in cls.__bases__):
        return False
    members: Any = ()
    if type(cls) is EnumMeta:
        members = cls._member_map_  # with aliases
        for member in members.values():
            if not all(name == "__objclass__" or _add(each, parts, seen) for name, each in vars(member).items()):
                return False
    for name, value in list(cls.__dict__.items()):
        if name in _SET_ONCE or name in members:
            parts.append(value)
        elif not _add(value, parts, seen):
            return False
        parts.append(name)
    return True
