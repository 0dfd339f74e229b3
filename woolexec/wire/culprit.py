"""
Find the variable, argument or attribute that could not be pickled.

The pickler remembers the objects that it met last.  After a failure, the path to them is searched for breadth first, so
that the shortest one is found.  The search looks at attributes, elements and variables; it does not run the pickling
code of the user's classes again.
"""

from __future__ import annotations

import functools
from collections import deque
from types import CellType, FunctionType, MethodType, ModuleType

from woolexec.wire.atoms import SAFE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Edge = tuple[object, str, str]
    """A value, the expression that leads to it, and an explanation of the variable in that expression."""

_ATOMS = (*SAFE, bytearray)
_MOST = 200_000
"""Number of values after which the search gives up."""

_DEEPEST = 12
"""Number of attributes and elements of an expression that are shown."""


def annotate(exc: BaseException, root: object, names: tuple[str, ...] | str, met: Iterable[object]) -> None:
    """
    Add a note to an exception raised by a pickler, which says what could not be pickled.

    :param names: the names of the root's elements, or of the root itself
    :param met: the objects that the pickler met last, most recent first
    """
    try:
        note = _note(root, names, [*met])
        if note not in getattr(exc, "__notes__", ()):
            BaseException.add_note(exc, note)
    except Exception:  # raised by the exception's class, or by an object that cannot be examined
        return


def where(exc: BaseException) -> str:
    """Return the note that `annotate` added, as the end of a sentence."""
    for note in getattr(exc, "__notes__", ()):
        if type(note) is str and note.startswith(_SAID):
            return f": {note.removeprefix(_SAID)}"
    return ""


_SAID = "cannot be pickled: "


def _note(root: object, names: tuple[str, ...] | str, met: list[object]) -> str:
    found = _search(root, names, {id(value): rank for rank, value in reversed([*enumerate(met)])})
    if found is None:
        return f"{_SAID}{_a(met[0])}" if met else f"{_SAID}{_a(root)}"
    value, expression, variable, rank = found
    of = "" if rank == 0 else f", whose pickling creates {_a(met[0])}"
    return f"{_SAID}{_short(expression)}, {_a(value)}{of}{variable}"


def _a(value: object) -> str:
    cls = type(value)
    name = f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def _short(expression: str) -> str:
    parts = expression.split(".")
    if len(parts) <= _DEEPEST:
        return expression
    return ".".join([*parts[: _DEEPEST // 2], f"...({len(parts) - _DEEPEST} more)...", *parts[-_DEEPEST // 2 :]])


def _search(root: object, names: tuple[str, ...] | str, ranks: dict[int, int]) -> tuple[object, str, str, int] | None:
    """Find the best-ranked value that can be reached from the root."""
    pending: deque[Edge] = deque(_roots(root, names))
    visited: set[int] = set()
    best: tuple[object, str, str, int] | None = None
    while pending and len(visited) < _MOST:
        value, expression, variable = pending.popleft()
        if id(value) in visited or _is(value, _ATOMS):
            continue
        visited.add(id(value))
        rank = ranks.get(id(value))
        if rank is not None and (best is None or rank < best[3]):
            best = value, expression, variable, rank
            if rank == 0:
                break
        try:
            pending.extend(_inside(value, expression, variable))
        except Exception:  # descriptors of the user's classes
            continue
    return best


def _roots(root: Any, names: tuple[str, ...] | str) -> Iterator[Edge]:
    if not names:
        yield root, _name(root) if callable(root) else "value", ""
        return
    if type(names) is str:
        yield root, names, ""
        return
    for name, value in zip(names, root, strict=False):
        if name == "item":  # a list of items, one of which fails
            for element in value:
                yield element, name, ""
        elif name:
            yield value, name, ""


def _inside(value: Any, expression: str, variable: str) -> Iterator[Edge]:
    cls = type(value)
    if _is(value, FunctionType):
        yield from _of_function(value, expression)
    elif _is(value, MethodType):
        yield value.__self__, f"{expression}.__self__", variable
        yield value.__func__, _name(value.__func__), variable
    elif _is(value, functools.partial):
        yield value.func, f"{expression}.func", variable
        yield value.args, f"{expression}.args", variable
        yield value.keywords, f"{expression}.keywords", variable
    elif _is(value, CellType):
        yield value.cell_contents, expression, variable
    elif _is(value, type):
        if value.__module__ == "__main__" or "<locals>" in value.__qualname__:
            for name, each in list(value.__dict__.items()):
                yield getattr(each, "__func__", each), f"{value.__qualname__}.{name}", variable
            yield from ((base, _name(base), variable) for base in value.__bases__)
        return
    elif _is(value, ModuleType):
        return
    else:
        yield from _elements(value, expression, variable)
    yield from _attributes(value, expression, variable)
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        yield cls, _name(cls), variable


def _of_function(fn: FunctionType, expression: str) -> Iterator[Edge]:
    if fn.__module__ != "__main__" and "<" not in fn.__qualname__:
        return  # it is pickled by name
    of = f" of {_name(fn)}" if expression == _name(fn) else f" of {_name(fn)}, which is {expression}"
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        yield cell, name, f"; {name} is a captured variable{of}"
    given = fn.__defaults__ or ()
    arguments = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    for name, each in zip(arguments[len(arguments) - len(given) :], given, strict=False):
        yield each, name, f"; {name} is a default{of}"
    for name, each in (fn.__kwdefaults__ or {}).items():
        yield each, name, f"; {name} is a default{of}"
    for name, each in _globals(fn):
        yield each, name, f"; {name} is a global{of}"


def _globals(fn: FunctionType) -> Iterator[tuple[str, object]]:
    codes = [fn.__code__]
    while codes:
        code = codes.pop()
        for name in code.co_names:
            if name in fn.__globals__:
                yield name, fn.__globals__[name]
        codes += [constant for constant in code.co_consts if _is(constant, type(code))]


def _elements(value: Any, expression: str, variable: str) -> Iterator[Edge]:
    cls = type(value)
    if _is(value, dict):
        for key, each in list(dict.items(value)):
            yield each, f"{expression}[{_key(key)}]", variable
            yield key, f"a key of {expression}", variable
    elif _is(value, tuple) and "_fields" in vars(cls):
        for name, each in zip(cls._fields, tuple.__iter__(value), strict=False):
            yield each, f"{expression}.{name}", variable
    elif _is(value, list | tuple | deque):
        of = list if _is(value, list) else tuple if _is(value, tuple) else deque
        for index, each in enumerate(list(of.__iter__(value))):
            yield each, f"{expression}[{index}]", variable
    elif _is(value, set | frozenset):
        of_set = set if _is(value, set) else frozenset
        for each in list(of_set.__iter__(value)):
            yield each, f"an element of {expression}", variable


def _attributes(value: Any, expression: str, variable: str) -> Iterator[Edge]:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        attributes = {}
    if _is(attributes, dict):
        for name, each in list(attributes.items()):
            yield each, f"{expression}.{name}", variable
    if _is(value, BaseException):
        yield BaseException.args.__get__(value), f"{expression}.args", variable  # type: ignore[attr-defined]
    seen = False
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if _is(slots, str) else slots:
            seen = True
            name = f"_{cls.__name__.lstrip('_')}{name}" if name[:2] == "__" and name[-2:] != "__" else name  # noqa: PLW2901
            try:
                yield object.__getattribute__(value, name), f"{expression}.{name}", variable
            except AttributeError:  # not set
                continue
    if not attributes and not seen and not _is(value, dict | list | tuple | set | frozenset | FunctionType):
        import gc  # finds references from C objects

        for each in gc.get_referents(value):
            if not _is(each, type | ModuleType):
                yield (
                    each,
                    expression if expression.startswith("the inside of ") else f"the inside of {expression}",
                    variable,
                )


def _is(value: Any, kinds: Any) -> bool:
    """Do what `isinstance` does, but ignore an overridden ``__class__``."""
    return issubclass(type(value), kinds)


def _key(key: object) -> str:
    return repr(key) if _is(key, _ATOMS) and len(repr(key)) < 40 else f"<{type(key).__qualname__}>"


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name if type(name) is str else type(value).__qualname__
