"""
Objects of `typing` that travel by value: the program's type variables of all kinds, type aliases and new types, and
annotations that cannot be evaluated yet.

All but the last are created once per process, under a tracker id that is the same in all processes, so two functions
that name one find the same object.
"""

from __future__ import annotations

import sys
import typing
import uuid

from woolexec.wire.modules import comes_by_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_trackers: dict[int, tuple[Any, str]] = {}
_tracked: dict[str, Any] = {}
"""Objects that were sent or received, and their tracker ids: the first by `id`, the second by tracker id.  They are
few, and are never removed."""


def _tracker(obj: Any) -> str:
    known = _trackers.get(id(obj))
    return known[1] if known is not None else _track(obj, uuid.uuid4().hex)[1]


def _track(obj: Any, tracker: str) -> tuple[Any, str]:
    made = _tracked.setdefault(tracker, obj)
    return _trackers.setdefault(id(made), (made, tracker))


def _is_named(obj: Any) -> bool:
    module = sys.modules.get(obj.__module__ or "")
    return module is not None and not comes_by_value(obj.__module__) and getattr(module, obj.__name__, None) is obj


def reduce_parameter(obj: Any) -> tuple[Any, ...]:
    """Reduce a `TypeVar`, `ParamSpec` or `TypeVarTuple`."""
    if _is_named(obj):
        return getattr, (sys.modules[obj.__module__], obj.__name__)
    args: list[Any] = []
    kwargs = {name: True for name in ("covariant", "contravariant", "infer_variance") if _get(obj, f"__{name}__")}
    if isinstance(obj, typing.TypeVar):
        args = [*(_get(obj, "__constraints__") or ())]
    bound = _get(obj, "__bound__")
    if bound is not None:
        kwargs["bound"] = bound
    if _get(obj, "has_default") and obj.has_default():
        kwargs["default"] = _get(obj, "__default__")
    return make, (type(obj), _tracker(obj), obj.__module__, (obj.__name__, *args), kwargs)


def reduce_new_type(obj: Any) -> tuple[Any, ...] | None:
    """Reduce a `NewType`; return None if it can be imported by name."""
    if _is_named(obj):
        return None
    return make, (type(obj), _tracker(obj), obj.__module__, (obj.__name__, obj.__supertype__), {})


def _get(obj: Any, name: str) -> Any:
    try:
        return getattr(obj, name, None)
    except Exception:  # Python 3.12 and later evaluate these on access, which may fail
        return None


def make(kind: Any, tracker: str, module: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Create such an object, or return the existing one."""
    made = _tracked.get(tracker)
    if made is None:
        made = kind(*args, **kwargs)
        try:
            made.__module__ = module
        except (AttributeError, TypeError):
            pass
        made = _track(made, tracker)[0]
    return made


# -- aliases: the `type` statement of Python 3.12 ----------------------------------------------------------------------


def reduce_alias(obj: Any) -> tuple[Any, ...]:
    """Reduce a type alias; its value is set afterwards, since it may refer to the alias itself."""
    if _is_named(obj):
        return getattr, (sys.modules[obj.__module__], obj.__name__)
    parameters = tuple((type(each), each.__name__, _tracker(each)) for each in obj.__type_params__)
    value = _get(obj, "__value__")
    return make_alias, (_tracker(obj), obj.__module__, obj.__name__, parameters), value, None, None, set_alias


_STARS = {"TypeVar": "", "TypeVarTuple": "*", "ParamSpec": "**"}
_values: dict[str, list[Any]] = {}


def make_alias(tracker: str, module: str, name: str, parameters: tuple[tuple[type, str, str], ...]) -> Any:
    """Create an alias whose value is still unknown, or return the existing one."""
    if tracker in _tracked:
        return _tracked[tracker]
    declared = ", ".join(f"{_STARS[kind.__name__]}{each}" for kind, each, _ in parameters)
    space: dict[str, Any] = {"__name__": module, "_value": _values.setdefault(tracker, [])}
    # Only the statement creates an alias that is evaluated lazily, and so may refer to itself.
    exec(f"type {name}{f'[{declared}]' if declared else ''} = _value[0]", space)  # noqa: S102
    alias = space[name]
    for each, (_, _, number) in zip(alias.__type_params__, parameters, strict=True):
        if number not in _tracked:
            _track(each, number)
    return _track(alias, tracker)[0]


def set_alias(alias: Any, value: Any) -> Any:
    """Set the value of an alias, unless it has one."""
    values = _values.get(_tracker(alias))
    if values is not None and not values:
        values.append(value)
    return alias


# -- annotations that cannot be evaluated yet --------------------------------------------------------------------------


def reduce_reference(obj: Any) -> tuple[Any, ...] | None:
    """Reduce an annotation without its namespaces: the receiver evaluates it in those of its owner."""
    owner = getattr(obj, "__owner__", None)
    if owner is None:  # always so before Python 3.14: it has no namespaces, or nothing else
        return None
    cells = obj.__cell__
    if type(cells) is dict:
        cells = {name: cell for name, cell in cells.items() if name != "__classdict__"}
    options = {
        "module": obj.__forward_module__,
        "is_argument": obj.__forward_is_argument__,
        "is_class": obj.__forward_is_class__,
    }
    state = {"__owner__": owner, "__cell__": cells, "__extra_names__": obj.__extra_names__}
    return make_reference, (obj.__forward_arg__, options), state, None, None, set_reference


def make_reference(text: str, options: dict[str, Any]) -> Any:
    """Create an annotation that cannot be evaluated yet."""
    return typing.ForwardRef(text, **options)


def set_reference(reference: Any, state: dict[str, Any]) -> Any:
    """Set the annotation's owner, which may be a class that contains it."""
    for name, value in state.items():
        setattr(reference, name, value)
    return reference


REDUCERS: dict[type, Any] = {
    typing.TypeVar: reduce_parameter,
    typing.NewType: reduce_new_type,
    typing.ForwardRef: reduce_reference,
}
for _name, _reduce in (
    ("ParamSpec", reduce_parameter),
    ("TypeVarTuple", reduce_parameter),
    ("TypeAliasType", reduce_alias),
):
    if hasattr(typing, _name):
        REDUCERS[getattr(typing, _name)] = _reduce
