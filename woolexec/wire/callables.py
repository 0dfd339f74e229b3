"""
Objects around functions that travel by value, which cloudpickle does not fully support: methods, cached functions,
functions made by `singledispatch`, subclasses of `property` and similar, captured variables, and context managers,
which decorate functions.

The functions themselves are reduced by cloudpickle.
"""

from __future__ import annotations

from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager
from functools import (
    _lru_cache_wrapper,
    cached_property,
    lru_cache,
    partial,
    partialmethod,
    singledispatch,
    singledispatchmethod,
)
from importlib import import_module
from types import CellType, FunctionType, MethodType
from weakref import WeakKeyDictionary, WeakValueDictionary

from woolexec.wire.modules import is_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _cache(fn: Any) -> Any:
    """Reduce a cached function of the program by value: by default it would be pickled by name."""
    return None if is_named(fn) else (_cached, (fn.__wrapped__, fn.cache_parameters()))


def _cached(fn: Any, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(fn)


def _method(method: Any) -> Any:
    """Reduce a method to a lookup on its object, as pickle does, unless the lookup would find something else."""
    owner, fn = method.__self__, method.__func__
    if type(fn) is not FunctionType or _in_class(type(owner), "__getattribute__") is not _USUAL_LOOK:
        return None
    name = fn.__name__
    if name in getattr(owner, "__dict__", ()) or _in_class(type(owner), name) is not fn:
        return None
    return getattr, (owner, name)


_USUAL_LOOK = object.__dict__["__getattribute__"]


def _in_class(cls: type, name: str) -> Any:
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def _property(value: Any) -> Any:
    if not hasattr(value, "lock"):  # Python 3.12 and later
        return None
    return cached_property, (value.func,), {"attrname": value.attrname}


def with_annotations_as_text(fn: Any) -> Any:
    """Copy a function whose annotations cannot be evaluated, with their text instead."""
    copy = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__dict__.update(fn.__dict__)
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__"):
        setattr(copy, name, getattr(fn, name))
    copy.__annotations__ = annotations_of(fn)
    return copy


def annotations_of(owner: Any) -> dict[str, Any]:
    """Return annotations; as strings if they cannot be evaluated."""
    try:
        return dict(owner.__annotations__)
    except Exception:  # user code
        annotationlib: Any = import_module("annotationlib")
        return dict(annotationlib.get_annotations(owner, format=annotationlib.Format.STRING))


_KINDS: tuple[tuple[Any, Callable[[Any], tuple[Any, ...]]], ...] = (
    (property, lambda value: (value.fget, value.fset, value.fdel)),  # its docstring is among the attributes
    (classmethod, lambda value: (value.__func__,)),
    (staticmethod, lambda value: (value.__func__,)),
)


def reduce_kind(value: Any, cls: Any) -> Any:
    """Reduce an instance of a subclass of `property`, `classmethod` or `staticmethod`, with its own attributes."""
    if cls.__reduce_ex__ is not object.__reduce_ex__ or cls.__reduce__ is not object.__reduce__:
        return None
    for kind, parts in _KINDS:
        if issubclass(cls, kind):
            return _make_kind, (kind, cls), (parts(value), object.__getstate__(value)), None, None, _set_kind
    return None


def _make_kind(kind: Any, cls: Any) -> Any:
    return kind.__new__(cls, _nothing)  # from Python 3.15 on, it needs a function


def _set_kind(value: Any, state: Any) -> None:
    """Complete the object as its class would, without running a method of the program."""
    parts, more = state
    next(kind for kind, _ in _KINDS if isinstance(value, kind)).__init__(value, *parts)
    attributes, slots = more if type(more) is tuple else (more, None)
    for name, each in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(value, name, each)


def with_cells(newargs: tuple[Any, ...], slots: dict[str, Any], fn: Any) -> tuple[Any, ...]:
    """Return the arguments that create a function, with its captured variables, which other functions may share."""
    slots["__closure__"] = None  # cloudpickle would copy their values into variables that it creates
    return *newargs[:4], fn.__closure__


def _cell(cell: Any) -> Any:
    """Reduce a captured variable to one that is set afterwards: its value may be a function that captures it."""
    try:
        return make_cell, (), (cell.cell_contents,), None, None, set_cell
    except ValueError:  # it is empty
        return make_cell, ()


def make_cell() -> CellType:
    """Create an empty captured variable."""
    return CellType()


def cell_of(fn: Any, index: int) -> CellType:
    """Return one of a function's captured variables, which another function shares."""
    cell: CellType = fn.__closure__[index]
    return cell


def set_cell(cell: Any, state: tuple[Any]) -> None:
    """Set a captured variable."""
    (cell.cell_contents,) = state


def _context_manager(value: Any) -> Any:
    """Reduce a context manager made by `contextmanager` to a call of its function, unless its block has begun."""
    made = value.__dict__
    return (type(value), (made["func"], made["args"], made["kwds"])) if "func" in made else None


def _weak(table: Any) -> Any:
    """Reduce a weak dictionary to its entries; the copy keeps those that are referenced elsewhere."""
    return type(table), (dict(table),)


def _partial_method(method: Any) -> Any:
    return partial(partialmethod, method.func, *method.args, **method.keywords), ()


def _dispatch_method(method: Any) -> Any:
    state = {name: value for name, value in method.__dict__.items() if name != "_method_cache"}
    return singledispatchmethod, (_nothing,), state


def _nothing(_: object) -> None:
    """Stand in for a function that is set afterwards."""


_example: Any = singledispatch(_nothing)
DISPATCHING = _example.__code__
"""The code of all functions made by `singledispatch`."""


def dispatch(fn: Any) -> Any:
    """Reduce a function made by `singledispatch`, without its cache, which contains weak references."""
    names = {name: getattr(fn, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")}
    more = {name: value for name, value in fn.__dict__.items() if name not in _OF_DISPATCH}
    return _make_dispatch, (), (names | more, dict(fn.registry)), None, None, _set_dispatch


_OF_DISPATCH = ("register", "dispatch", "registry", "_clear_cache")


def _make_dispatch() -> Any:
    return singledispatch(_nothing)


def _set_dispatch(fn: Any, state: Any) -> Any:
    names, registry = state
    for name, value in names.items():
        setattr(fn, name, value)
    for cls, implementation in registry.items():
        fn.register(cls, implementation)
    return fn


REDUCERS: dict[type, Callable[[Any], Any]] = {
    MethodType: _method,
    CellType: _cell,
    _GeneratorContextManager: _context_manager,
    _AsyncGeneratorContextManager: _context_manager,
    _lru_cache_wrapper: _cache,
    cached_property: _property,
    partialmethod: _partial_method,
    singledispatchmethod: _dispatch_method,
    WeakKeyDictionary: _weak,
    WeakValueDictionary: _weak,
}
"""Reducers by exact type; a reducer returns None if the value needs no special treatment."""
