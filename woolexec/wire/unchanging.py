"""
The parts that the pickle of a function or class depends on, if none of them can change without being noticed.

A function consists of its code, defaults and closure; a class of the attributes that it defines itself.  A part can
only be changed by replacing it with another object, so a pickle is valid as long as all parts are the same objects.
A function or class that contains a list or an instance may change unnoticed, and is pickled again each time.

The globals that functions name are not covered: users of this module must check them too.
"""

from __future__ import annotations

import types
from _collections import _tuplegetter  # type: ignore[import-not-found]  # used by named tuples; not public
from abc import ABCMeta
from enum import EnumMeta
from operator import attrgetter, is_
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

from woolexec.wire.atoms import SAFE
from woolexec.wire.modules import is_named, travels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ATOMS = SAFE | {type(...), type(NotImplemented)}

_CONSTANTS = frozenset(
    {
        *ATOMS,
        BuiltinFunctionType,
        GetSetDescriptorType,
        MemberDescriptorType,
        MethodDescriptorType,
        WrapperDescriptorType,
        _tuplegetter,
        getattr(types, "LazyImportType", type(None)),  # of Python 3.15
    }
)

_KINDS = (type, ABCMeta, EnumMeta)
"""Metaclasses whose classes are fully described by their attributes."""

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
"""Attributes of classes that Python and its standard library set once and that do not change."""

_MAKERS = frozenset(["collections", "dataclasses", "reprlib"])
"""Modules that generate methods, from data that cannot change."""


def is_definition(value: object) -> bool:
    """Return whether a value is a function, or a class that is fully described by its attributes."""
    kind = type(value)
    return kind is FunctionType or kind in _KINDS


def is_constant(value: object) -> bool:
    """Return whether nothing in a value's pickle can change; for functions, their parts are checked instead."""
    cls: Any = type(value)
    if issubclass(cls, type):
        return _comes_by_name(value)
    if cls is ModuleType:
        return not travels(value)
    if cls.__module__ == "logging":
        return cls.__name__ in ("Logger", "RootLogger")  # they are pickled by name
    return cls in _CONSTANTS or _is_member(cls) or cls.__module__ == "dataclasses"  # its markers


def _comes_by_name(cls: Any) -> bool:
    return not cls.__flags__ & _HEAP_TYPE or is_named(cls)


_HEAP_TYPE = 1 << 9
"""The flag Py_TPFLAGS_HEAPTYPE: without it, the interpreter has defined the class."""


def _is_member(cls: Any) -> bool:
    return type(cls) is EnumMeta and _comes_by_name(cls)


_WRAPPED = frozenset(["__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__wrapped__"])
"""Attributes that `classmethod` and `staticmethod` objects copy from their functions."""

_codes, _defaults = attrgetter("__code__"), attrgetter("__defaults__")
_options, _attributes = attrgetter("__kwdefaults__"), attrgetter("__dict__")
_contents, _bases = attrgetter("cell_contents"), attrgetter("__bases__")


class Snapshot:
    """The parts of a definition at one point in time, apart from those that can never change."""

    @classmethod
    def of(cls, defined: object) -> Snapshot | None:
        """
        Take a snapshot of a function or class.

        :return: None if something that its pickle depends on may change unnoticed
        """
        if not is_definition(defined):
            return None
        taken = cls()
        add = taken._add_function if type(defined) is FunctionType else taken._add_class
        is_whole = add(defined)
        taken._visited.clear()
        return taken if is_whole else None

    def __init__(self) -> None:
        self._visited: set[int] = set()
        self.functions: list[Any] = []
        self._codes: list[Any] = []
        self._defaults: list[Any] = []
        self._options: list[Any] = []
        self._cells: list[Any] = []
        self._contents: list[Any] = []
        self._classes: list[Any] = []
        self._bases: list[Any] = []
        self._plain: list[Any] = []  # functions without attributes
        self._mappings: list[tuple[Any, list[Any], list[Any]]] = []

    def is_same(self) -> bool:
        """Return whether all parts are the same objects; takes a few microseconds, since the comparison runs in C."""
        try:
            return (
                all(map(is_, map(_codes, self.functions), self._codes))
                and all(map(is_, map(_defaults, self.functions), self._defaults))
                and all(map(is_, map(_options, self.functions), self._options))
                and all(map(is_, map(_contents, self._cells), self._contents))
                and all(map(is_, map(_bases, self._classes), self._bases))
                and not any(map(_attributes, self._plain))
                and all(map(_holds, self._mappings))
            )
        except (RuntimeError, ValueError):  # another thread changes a dictionary, or a cell was emptied
            return False

    def _add(self, value: Any) -> bool:
        """Add a value and its parts; return False if any of them may change unnoticed."""
        cls = type(value)
        if cls in _CONSTANTS or id(value) in self._visited:
            return True
        if cls is FunctionType:
            return self._add_function(value)
        self._visited.add(id(value))
        if cls is property:
            return all(map(self._add, (value.fget, value.fset, value.fdel)))
        if cls is staticmethod or cls is classmethod:
            return not value.__dict__.keys() - _WRAPPED and self._add(value.__func__)
        if cls is tuple or cls is frozenset:
            return all(map(self._add, value))
        return is_constant(value) or (cls in _KINDS and self._add_class(value))

    def _add_function(self, fn: Any) -> bool:
        """Add a function and its parts; return False if any of them may change unnoticed."""
        self._visited.add(id(fn))
        defaults, options = fn.__defaults__, fn.__kwdefaults__
        self.functions.append(fn)
        self._codes.append(fn.__code__)
        self._defaults.append(defaults)
        self._options.append(options)
        if fn.__globals__.get("__name__") in _MAKERS:
            return True
        cells = fn.__closure__ or ()
        try:
            contents = list(map(_contents, cells))
        except ValueError:  # not filled yet
            return False
        self._cells += cells
        self._contents += contents
        if fn.__dict__:
            if not self._add_mapping(fn.__dict__):
                return False
        else:
            self._plain.append(fn)
        return all(map(self._add, (*(defaults or ()), *contents))) and (not options or self._add_mapping(options))

    def _add_class(self, cls: Any) -> bool:
        """Add a class and its parts; return False if any of them may change unnoticed."""
        self._visited.add(id(cls))
        self._classes.append(cls)
        self._bases.append(cls.__bases__)
        members: Any = ()
        if type(cls) is EnumMeta:
            members = cls._member_map_  # including aliases
            for member in members.values():
                if not self._add_mapping(vars(member), ("__objclass__",)):
                    return False
        return all(map(self._add, cls.__bases__)) and self._add_mapping(cls.__dict__, _SET_ONCE, members)

    def _add_mapping(self, mapping: Any, *set_once: Any) -> bool:
        names, values = list(mapping), list(mapping.values())
        self._mappings.append((mapping, names, values))
        return all(
            self._add(value)
            for name, value in zip(names, values, strict=True)
            if not any(name in skipped for skipped in set_once)
        )


def _holds(entry: tuple[Any, list[Any], list[Any]]) -> bool:
    mapping, names, values = entry
    return len(mapping) == len(names) and all(map(is_, mapping.values(), values)) and all(map(is_, mapping, names))
