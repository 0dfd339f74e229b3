"""
Which objects are held until a task has ended, because their destruction may remove what its pickle refers to.

Examples are a manager's proxy and an object that removes its file or its shared memory when it is collected: the worker
gets only a name, and the object here keeps the named thing alive.  The standard library holds function and arguments
until there is an outcome.  Here only objects that may be of this kind are held: holding plain data, which is copied,
would take its memory twice.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from weakref import getweakrefcount

from woolexec.class_attributes import defines
from woolexec.wire.arrays import is_array
from woolexec.wire.atoms import SAFE
from woolexec.wire.inputs import is_future_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_GLOBAL = b"\x93"
"""The opcode STACK_GLOBAL; a pickle without it contains only data."""

_MOST = 1000
"""Maximum number of elements of a container that are looked at."""

_REFERENCED = (type, FunctionType, ModuleType)
"""Classes whose objects have weak references for other reasons than finalizers."""


def held(fn: Any, function: Any, values: Any, payload: Any) -> list[Any] | None:
    """
    Return what must live until the call has ended; None if there is nothing.

    :param fn: the function
    :param function: its pickled form
    :param values: the arguments
    :param payload: their pickled form
    """
    kept: list[Any] = []
    if payload.__class__ is not bytes:  # large, or with futures: worth a closer look
        kept.extend(_with_finalizers(values))
    elif values and _GLOBAL in payload:
        kept.append(values)
    if not _is_bare(fn):
        if function.payload.__class__ is bytes:
            kept.append(fn)
        else:
            kept.extend(_with_finalizers(_parts(fn)))
    return kept or None


def _is_bare(fn: Any) -> bool:
    """Return whether a function holds nothing but code."""
    cls = fn.__class__
    if cls is FunctionType:
        return not (fn.__closure__ or fn.__defaults__ or fn.__kwdefaults__)
    if cls is BuiltinFunctionType:
        return fn.__self__ is None or fn.__self__.__class__ is ModuleType
    return isinstance(fn, type)


def _parts(fn: Any) -> Iterator[Any]:
    """Yield the objects that a function holds."""
    if isinstance(fn, partial):
        yield from (fn.func, *fn.args, *fn.keywords.values())
    elif isinstance(fn, FunctionType):
        for cell in fn.__closure__ or ():
            with suppress(ValueError):  # it is empty
                yield cell.cell_contents
        yield from (fn.__defaults__ or (), *(fn.__kwdefaults__ or {}).values())
    else:
        yield fn.__self__ if isinstance(fn, MethodType | BuiltinFunctionType) else fn


def _with_finalizers(values: Any, depth: int = 2, plain: set[type] | None = None) -> Iterator[Any]:
    """
    Yield those of the values, and of the elements of containers among them, that may have finalizers.

    :param plain: the classes found so far whose objects have none but those of weak references
    """
    plain = set() if plain is None else plain
    for value in islice(values, _MOST):
        cls = type(value)
        if cls in SAFE:
            continue
        if cls in plain:
            if getweakrefcount(value):
                yield value
        elif cls in (list, tuple, set, frozenset, dict):
            if depth:
                yield from _with_finalizers(value.values() if cls is dict else value, depth - 1, plain)
        elif is_array(value) or is_future_class(cls):
            continue
        elif defines(cls, "__del__"):
            yield value
        elif not issubclass(cls, _REFERENCED):
            plain.add(cls)
            if getweakrefcount(value):
                yield value
