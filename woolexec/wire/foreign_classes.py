"""Classes that consist of more than their attributes, and travel by value: those of ctypes, msgspec and pydantic."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types

from cloudpickle import cloudpickle

from woolexec.wire import arrivals, classes, mapped_classes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def reduce(cls: Any) -> tuple[Any, ...] | None:
    """Reduce such a class; return None for an ordinary class."""
    for module, reduce_one in _KINDS.items():
        if module in sys.modules:
            reduced = reduce_one(cls, sys.modules[module])
            if reduced is not None:
                return reduced
    return None


# -- ctypes -----------------------------------------------------------------------------------------------------------


def _reduce_ctypes(cls: Any, ctypes: Any) -> tuple[Any, ...] | None:
    if issubclass(cls, ctypes.Array) and "_length_" in dir(cls):
        return operator.mul, (cls._type_, cls._length_)
    if issubclass(cls, ctypes._Pointer) and hasattr(cls, "_type_"):
        return ctypes.POINTER, (cls._type_,)
    if issubclass(cls, ctypes._SimpleCData):
        return _reduce_simple(cls)
    if issubclass(cls, ctypes._CFuncPtr) and cls.__name__ == "CFunctionType":
        return make_function_type, (cls._flags_, cls._restype_, cls._argtypes_)
    if not issubclass(cls, ctypes.Structure | ctypes.Union):
        return None
    state, slots = cloudpickle._class_getstate(cls)
    fields = state.pop("_fields_", ())
    for field in fields:
        state.pop(field[0], None)
    before = {name: state.pop(name) for name in _BEFORE if name in state}
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    make = make_structure, (cls.__name__, cls.__bases__, {"__module__": cls.__module__, **before}, tracker)
    state["__qualname__"] = cls.__qualname__
    return *make, (state, slots, fields), None, None, set_structure


_BEFORE = ("_pack_", "_align_", "_layout_", "_anonymous_")
"""Attributes that a structure must have before its fields are set."""


def _reduce_simple(cls: Any) -> tuple[Any, ...] | None:
    for name, other in (("__ctype_be__", "__ctype_le__"), ("__ctype_le__", "__ctype_be__")):
        native = getattr(cls, other, None)
        if getattr(cls, name, None) is cls and native is not None and native is not cls:
            return getattr, (native, name)
    return None


@functools.cache  # ctypes keeps only those of one of the two
def make_function_type(flags: int, result: Any, arguments: tuple[Any, ...]) -> Any:
    """Create the type of C functions with these arguments, or return the existing one."""
    import ctypes

    if flags & ctypes._FUNCFLAG_PYTHONAPI:  # type: ignore[attr-defined]
        return ctypes.PYFUNCTYPE(result, *arguments)
    return ctypes.CFUNCTYPE(result, *arguments, use_errno=bool(flags & ctypes._FUNCFLAG_USE_ERRNO))  # type: ignore[attr-defined]


def make_structure(name: str, bases: tuple[Any, ...], names: dict[str, Any], tracker: str) -> Any:
    """Create a structure or union without fields, or return the existing one."""
    known = classes.find(tracker)
    return known or classes.keep(tracker, type(bases[0])(name, bases, names))


def set_structure(cls: Any, state: Any) -> Any:
    """Complete a structure; its fields can be set only once."""
    names, slots, fields = state
    if fields and "_fields_" not in cls.__dict__:
        cls._fields_ = fields
    return arrivals.set_class_state(cls, (names, slots))


# -- msgspec ----------------------------------------------------------------------------------------------------------


def _reduce_struct(cls: Any, msgspec: Any) -> tuple[Any, ...] | None:
    if not issubclass(cls, msgspec.Struct):
        return None
    state, slots = cloudpickle._class_getstate(cls)
    own = [name for name in cls.__annotations__ if name in cls.__struct_fields__]
    defaults: dict[str, Any] = {}
    given = cls.__struct_defaults__
    for name, default in zip(cls.__struct_fields__[len(cls.__struct_fields__) - len(given) :], given, strict=True):
        if type(default) is msgspec._core.Factory:
            defaults[name] = "default_factory", default.factory
        elif default is not msgspec.NODEFAULT:
            defaults[name] = "default", default
    parameters = inspect.signature(cls).parameters
    config = {name: getattr(cls.__struct_config__, name) for name in _CONFIG if hasattr(cls.__struct_config__, name)}
    config["kw_only"] = any(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own)
    encoded = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    config["rename"] = {name: encoded[name] for name in own if encoded[name] != name} or None
    fields = [(name, defaults.get(name)) for name in own]
    for name in (*cls.__struct_fields__, "__slots__", "__weakref__"):
        state.pop(name, None)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    tracker = cloudpickle._get_or_create_tracker_id(cls)
    made = type(cls), cls.__name__, cloudpickle._get_bases(cls), names, fields, msgspec.field, config, tracker
    state["__annotations__"] = dict(cls.__annotations__)
    return make_struct, made, (state, slots), None, None, arrivals.set_class_state


_CONFIG = (
    "frozen",
    "eq",
    "order",
    "array_like",
    "gc",
    "repr_omit_defaults",
    "omit_defaults",
    "forbid_unknown_fields",
    "weakref",
    "dict",
    "cache_hash",
    "tag",
    "tag_field",
)


def make_struct(
    kind: Any, name: str, bases: Any, names: dict[str, Any], fields: Any, field: Any, config: Any, tracker: str
) -> Any:
    """Create a struct whose fields have no types yet, or return the existing one."""
    known = classes.find(tracker)
    if known is not None:
        return known
    names = {**names, "__annotations__": dict.fromkeys([each for each, _ in fields], object)}
    names.update({each: field(**{how[0]: how[1]}) for each, how in fields if how is not None})
    cls = types.new_class(name, bases, {"metaclass": kind, **config}, lambda namespace: namespace.update(names))
    return classes.keep(tracker, cls)


# -- pydantic ---------------------------------------------------------------------------------------------------------


def _reduce_generic(cls: Any, _: Any) -> tuple[Any, ...] | None:
    made = cls.__dict__.get("__pydantic_generic_metadata__")
    if type(made) is dict and made.get("origin") is not None:  # pydantic itself caches these
        return operator.getitem, (made["origin"], made["args"][0] if len(made["args"]) == 1 else tuple(made["args"]))
    return None


_KINDS = {
    "ctypes": _reduce_ctypes,
    "msgspec": _reduce_struct,
    "pydantic": _reduce_generic,
    "sqlalchemy.orm": mapped_classes.reduce,
}
