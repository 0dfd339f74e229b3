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


def is_definition(value: object) -> bool:
    """Say whether this is a function, or a class of a kind that is its attributes."""
    kind = type(value)
    return kind is FunctionType or kind in _KINDS


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


_WRAPPED = frozenset(["__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__wrapped__"])
"""Attributes that methods of classes take from their functions."""

_codes, _defaults = attrgetter("__code__"), attrgetter("__defaults__")
_options, _attributes = attrgetter("__kwdefaults__"), attrgetter("__dict__")
_contents, _bases = attrgetter("cell_contents"), attrgetter("__bases__")


class Snapshot:
    """The parts of a definition as they were, apart from those that can never change."""

    @classmethod
    def of(cls, defined: object) -> Snapshot | None:
        """
        Take one of a function or a class.

        :return: None if something that its pickle depends on may change unseen
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
        """Say whether all are what they were; this takes a few microseconds, for C does the comparing."""
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
        except (RuntimeError, ValueError):  # a dictionary that another thread changes, a cell that was emptied
            return False

    def _add(self, value: Any) -> bool:
        """Look at a value and what it consists of; False if something of that may change unseen."""
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
        """Look at a function."""
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
        """Look at a class."""
        self._visited.add(id(cls))
        self._classes.append(cls)
        self._bases.append(cls.__bases__)
        members: Any = ()
        if type(cls) is EnumMeta:
            members = cls._member_map_  # with aliases
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
