"""
Pickle by value, with cloudpickle: functions, classes and their instances that the receiver cannot import.

1. Everything is pickled unchanged, except for what each process recreates for itself.
2. If that fails, the values that functions and classes name are tried one by one, and those that fail are replaced by
   stand-ins: see `stand_ins`.
3. If it still fails, the exception has a note that says what could not be pickled: see `culprit`.

This module is imported only when the C pickler is not enough, so that programs that do not need it start faster.
"""

from __future__ import annotations

import copyreg
import io
import sys
from collections import deque
from contextvars import ContextVar
from enum import EnumMeta
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
from time import monotonic
from types import CodeType, FunctionType, MethodType, ModuleType
from weakref import ref

from cloudpickle import cloudpickle

from woolexec.wire import arrays, classes, code_objects, reducers, stand_ins, type_objects
from woolexec.wire.main_module import Names, global_of, key_of_arrived, sent, set_class_state, set_state
from woolexec.wire.modules import MAIN, comes_by_value, space_of
from woolexec.wire.stand_ins import ANEW, Anew, StandIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Iterable, MutableMapping
    from typing import Any

_MET = 16
"""Number of objects that a pickler remembers, of those that it met last."""


def dumps_by_value(
    obj: object,
    is_inline: Callable[[pickle.PickleBuffer], bool] | None = None,
    buffers: list[Any] | None = None,
    names: tuple[str, ...] = (),
    make_pickler: Callable[..., Any] | None = None,
    *,
    goes_home: bool = False,
) -> bytes:
    """
    Pickle with cloudpickle, and with the reducers registered with multiprocessing, as the standard library's pool does.

    :param is_inline: returns whether a buffer stays in the pickle
    :param buffers: the list that `is_inline` appends buffers to
    :param names: names of the elements of `obj`, for messages
    :param make_pickler: creates the pickler, of a subclass of `Pickler`; see `bundle`
    :param goes_home: the pickle goes to the process that this worker's globals came from
    :raises Exception: whatever pickling raises, with a note; `obj` may run any code
    """
    make = make_pickler or (_go_home if goes_home else Pickler)
    pickler, data, error = _try(make, obj, is_inline, buffers, None)
    if data is None and pickler.named:
        pickler, data, error = _try(make, obj, is_inline, buffers, Verdicts())
    if data is not None:
        return data
    from woolexec.wire import culprit

    culprit.annotate(error, obj, names, reversed(pickler.met))
    pickler.met.clear()  # the exception refers to the pickler
    pickler.clear_memo()
    try:
        raise error
    finally:
        del error, pickler  # they refer to each other


def _go_home(*arguments: Any) -> Any:
    pickler = Pickler(*arguments)
    pickler.goes_home = True
    return pickler


def _try(
    make: Callable[..., Any],
    obj: object,
    is_inline: Callable[[pickle.PickleBuffer], bool] | None,
    buffers: list[Any] | None,
    verdicts: Verdicts | None,
) -> tuple[Any, bytes | None, Any]:
    if buffers is not None:
        buffers.clear()
    file = io.BytesIO()
    pickler = make(file, is_inline, verdicts)
    try:
        pickler.dump(obj)
    except Exception as exc:  # user code
        return pickler, None, exc
    return pickler, file.getvalue(), None


class _Nowhere:
    """A file that discards what is written to it."""

    def write(self, data: Any) -> int:
        return len(data)


class Verdicts(dict):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """The replacement for each value in a pickle, by the value's `id`: the value itself if it can be pickled."""

    def __init__(self) -> None:
        self.anew: set[int] = set()  # locks in objects that functions name

    def find(self, owner: str, name: str, value: Any) -> Any:
        """Return what to pickle in place of a value that a function or class names."""
        key = id(value)
        if key not in self:
            self[key] = value  # while it is being tried: functions may name each other
            self[key] = substitute(owner, name, value, self)
        return self[key]


def substitute(owner: str, name: str, value: Any, verdicts: Verdicts | None = None) -> Any:
    """
    Try to pickle a value that a function or class names; return the value if that succeeds, else its replacement.

    :param owner: the function or class, for messages
    :param verdicts: known replacements of other values that go into the same pickle
    """
    verdicts = Verdicts() if verdicts is None else verdicts
    pickler = Pickler(_Nowhere(), lambda _: False, verdicts)
    pickler.is_named = True
    try:
        pickler.dump(pickler.replace(value))
    except Exception as error:  # user code
        from woolexec.wire import culprit

        culprit.annotate(error, value, name, reversed(pickler.met))
        why = stand_ins.explain(owner, name, value, error, culprit.where(error))
        error.__traceback__ = None
        replaced = stand_ins.imported(name, value, why) or StandIn(why)
        _remember(value, replaced)
        return replaced
    return value


_refused: dict[int, tuple[ref[Any], Any, float]] = {}
"""Values that recently failed to pickle, by `id`: a weak reference, the replacement, and the time when it expires."""

_MOMENT = 1.0
"""Seconds: many calls of a function pay for the search once, and a value that has been fixed since is soon noticed."""


def _remember(value: Any, replaced: Any) -> None:
    key = id(value)
    try:
        _refused[key] = ref(value, partial(_forget, key)), replaced, monotonic() + _MOMENT
    except TypeError:  # its class does not support weak references
        return


def refused(value: Any) -> Any:
    """Return the replacement of a value that recently failed to pickle; the value itself if there is none."""
    known = _refused.get(id(value))
    return known[1] if known is not None and known[0]() is value and monotonic() < known[2] else value


def _forget(key: int, _: object, pop: Any = _refused.pop) -> None:
    pop(key, None)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Reduces as cloudpickle does, except that functions and classes are completed by our own functions."""

    def __init__(self, file: Any, is_inline: Any, verdicts: Verdicts | None) -> None:
        super().__init__(file, 5, is_inline)
        self.lines_sent: dict[str, list[range]] = {}
        self.met: deque[Any] = deque(maxlen=_MET)
        self.named = False  # whether a function or class that names a value has been met
        self.verdicts = verdicts
        self.is_named = False  # whether the pickled object is itself a value that a function or class names
        self.goes_home = False  # see `dumps_by_value`
        self._anew: dict[int, Anew] = {}
        self._usual: set[type] = set()  # classes whose instances need no reducer of ours

    @property
    def dispatch_table(self) -> dict[Any, Any]:
        """
        Reducers by class, with those registered with multiprocessing; the C pickler reads this attribute once.

        cloudpickle's own table is a ChainMap, in which a lookup takes longer than pickling a small object.
        """
        joined = reducers.needed()
        for table in reversed(cloudpickle.Pickler.dispatch_table.maps):
            joined.update(table)
        return joined

    def reducer_override(self, obj: Any) -> Any:
        self.met.append(obj)
        cls: Any = type(obj)
        if cls in self._usual:
            return NotImplemented
        reduce = _REDUCERS.get(cls)
        reduced = None if reduce is None else reduce(self, obj)
        if reduced is None and self.verdicts is not None:
            reduced = self._reduce_named(obj, self.verdicts.anew)
        if reduced is None and isinstance(cls, EnumMeta):
            reduced = classes.reduce_member(obj)
        if reduced is not None:
            return reduced
        if issubclass(cls, type):
            return self._reduce_class(obj)
        if cls is FunctionType:
            return self._reduce_function(obj)
        if arrays.is_array_class(cls):
            return arrays.reduce(obj) if arrays.is_array(obj) else arrays.reduce_of_subclass(obj)
        if reduce is None and self.verdicts is None and not isinstance(cls, EnumMeta):
            self._usual.add(cls)
        return NotImplemented

    def _reduce_named(self, obj: Any, anew: set[int]) -> Any:
        """Reduce the locks in objects that functions and classes name, if the objects' classes travel by value."""
        if id(obj) in anew:
            wrapped = self.wrap(obj)
            return None if wrapped is None else wrapped.reduced
        if self.is_named and comes_by_value(type(obj).__module__):
            attributes = getattr(obj, "__dict__", None)
            if type(attributes) is dict:
                anew.update(id(value) for value in attributes.values() if type(value) in ANEW)
        return None

    def _reduce_defined(self, obj: Any) -> Any:
        """Reduce a function or a class, by value if the receiver cannot import its module."""
        if obj.__class__ is not FunctionType:
            by_value = comes_by_value(obj.__module__)
            return cloudpickle._dynamic_class_reduce(obj) if by_value else super().reducer_override(obj)
        space = space_of(obj.__globals__)
        if space is None and not comes_by_value(obj.__module__):
            return super().reducer_override(obj)
        if space is not None and id(obj.__globals__) not in self.globals_ref:
            self.globals_ref[id(obj.__globals__)] = Names(space, obj.__globals__)
        return self._dynamic_function_reduce(obj)

    def _take_globals(self, fn: Any, values: dict[str, Any]) -> None:
        """Choose the globals that travel with a function."""
        self._replace_all(fn.__qualname__, values)

    def _reduce_function(self, fn: Any) -> Any:
        if fn in _IMPORTABLE:
            return NotImplemented
        try:
            reduced = self._reduce_defined(fn)
        except NameError:  # Python 3.14 and later evaluate annotations on access
            reduced = self._dynamic_function_reduce(_with_annotations_as_text(fn))
        if reduced is NotImplemented:
            return reduced
        if fn.__code__ is _DISPATCHING:
            return _dispatch(fn)
        code_objects.find(fn.__code__, fn.__globals__)
        slots = reduced[2][1]
        for name in code_objects.names_in_classes(fn.__code__):
            if name in fn.__globals__:
                slots["__globals__"].setdefault(name, fn.__globals__[name])
        self._take_globals(fn, slots["__globals__"])
        if getattr(fn, "__type_params__", ()):
            slots["__type_params__"] = fn.__type_params__
        if space_of(fn.__globals__) == MAIN:
            return (*reduced[:5], set_state)
        return reduced

    def _reduce_class(self, cls: Any) -> Any:
        if self.goes_home and (key := key_of_arrived(cls)) is not None:
            return classes.find_at_home, (*key, cloudpickle._get_or_create_tracker_id(cls))
        reduced = self._reduce_defined(cls) if not isinstance(cls, EnumMeta) else None
        if reduced is None and not comes_by_value(cls.__module__) and cloudpickle._should_pickle_by_reference(cls):
            return NotImplemented
        if reduced is NotImplemented or (reduced is not None and len(reduced) != 6):
            return reduced
        other = classes.reduce_enum(cls) if reduced is None else _reduce_foreign(cls)
        if other is not None:
            if len(other) == 6:
                sent(cls)
                self._replace_all(cls.__qualname__, other[2][0])
            return other
        reduced = reduced or self._reduce_defined(cls)
        sent(cls)
        make, arguments, state = reduced[:3]
        if len(arguments) == 6:  # not an Enum
            make = classes.make_class
            names = arguments[3]
            names["__qualname__"] = cls.__qualname__
            if "__slots__" in cls.__dict__ and "_fields" not in cls.__dict__:  # not a NamedTuple, whose base has them
                names["__slots__"] = cls.__slots__  # cloudpickle leaves them out
        if sys.version_info >= (3, 14) and cls.__dict__.get("__annotate_func__") is not None:
            state[0].pop("__annotations_cache__", None)
            state[0]["__annotations__"] = _annotations(cls)
        self._replace_all(cls.__qualname__, state[0])
        return make, arguments, state, None, None, set_class_state

    def _replace_all(self, owner: str, values: MutableMapping[str, Any]) -> None:
        if values:
            self.named = True
        for name, value in values.items():
            replaced = refused(value) if _refused else value
            if replaced is value and self.verdicts is not None and not _is_safe(value):
                replaced = self.verdicts.find(owner, name, value)
            if replaced is value:
                replaced = self.replace(value)
            if replaced is not value:
                values[name] = replaced

    def replace(self, value: Any) -> Any:
        """Return the replacement of a value that a function or class names; the value if it is not to be recreated."""
        return self.wrap(value) or value

    def wrap(self, value: Any) -> Anew | None:
        """Return how the receiver recreates a value; None if it does not."""
        key = id(value)
        if key in self._anew:
            return self._anew[key]
        made = stand_ins.anew(value, self.wrap)
        if made is not None:
            self._anew[key] = made
        return made


_SAFE = (type(None), bool, int, float, complex, str, bytes)


def _is_safe(value: Any) -> bool:
    return type(value) in _SAFE or (type(value) is ModuleType and value.__name__ in sys.modules)


def _reduce_foreign(cls: Any) -> Any:
    """Reduce a class that consists of more than its attributes, if a package that makes such classes is loaded."""
    if sys.modules.keys().isdisjoint(_FOREIGN):
        return None
    from woolexec.wire import foreign_classes

    return foreign_classes.reduce(cls)


_FOREIGN = ("ctypes", "msgspec", "pydantic", "sqlalchemy.orm")


# -- values of some types ---------------------------------------------------------------------------------------------


def _code(pickler: Pickler, code: CodeType) -> Any:
    return code_objects.reduce(code, pickler.lines_sent)


def _cache(_: Pickler, fn: Any) -> Any:
    """Reduce a cached function of the program by value: by default it would be pickled by name."""
    return None if _is_named(fn) else (_cached, (fn.__wrapped__, fn.cache_parameters()))


def _cached(fn: Any, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(fn)


def _method(_: Pickler, method: Any) -> Any:
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


def _property(_: Pickler, value: Any) -> Any:
    if not hasattr(value, "lock"):  # Python 3.12 and later
        return None
    return cached_property, (value.func,), {"attrname": value.attrname}


def _variable(_: Pickler, variable: ContextVar[Any]) -> Any:
    from woolexec.wire import context_vars

    return context_vars.reduce(variable)


def _type_object(_: Pickler, obj: Any) -> Any:
    return type_objects.REDUCERS[type(obj)](obj)


def _with_annotations_as_text(fn: Any) -> Any:
    copy = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__dict__.update(fn.__dict__)
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__"):
        setattr(copy, name, getattr(fn, name))
    copy.__annotations__ = _annotations(fn)
    return copy


def _annotations(owner: Any) -> dict[str, Any]:
    """Return annotations; as strings if they cannot be evaluated."""
    try:
        return dict(owner.__annotations__)
    except Exception:  # user code
        annotationlib: Any = import_module("annotationlib")
        return dict(annotationlib.get_annotations(owner, format=annotationlib.Format.STRING))


def _partial_method(_: Pickler, method: Any) -> Any:
    return partial(partialmethod, method.func, *method.args, **method.keywords), ()


def _dispatch_method(_: Pickler, method: Any) -> Any:
    state = {name: value for name, value in method.__dict__.items() if name != "_method_cache"}
    return singledispatchmethod, (_nothing,), state


def _nothing(_: object) -> None:
    """Stand in for a function that is set afterwards."""


_COPY: Any = copyreg
_IMPORTABLE = frozenset(
    [_COPY.__newobj__, _COPY._reconstructor, classes.find_at_home, classes.find_member, global_of],
)
"""Functions that nearly all pickles refer to."""

_example: Any = singledispatch(_nothing)
_DISPATCHING = _example.__code__


def _dispatch(fn: Any) -> Any:
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


def named_in(code: CodeType) -> Iterable[str]:
    """Return the names of the globals that code may use, including the code of nested functions."""
    return {*cloudpickle._extract_code_globals(code), *code_objects.names_in_classes(code)}


def _is_named(obj: Any) -> bool:
    """Return whether an object can be imported by its module and qualified name."""
    if comes_by_value(obj.__module__) or obj.__module__ not in sys.modules:
        return False
    found: Any = sys.modules[obj.__module__]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


_REDUCERS: dict[type, Callable[[Pickler, Any], Any]] = {
    CodeType: _code,
    MethodType: _method,
    ContextVar: _variable,
    _lru_cache_wrapper: _cache,
    cached_property: _property,
    partialmethod: _partial_method,
    singledispatchmethod: _dispatch_method,
    **dict.fromkeys(type_objects.REDUCERS, _type_object),
}
"""Reducers by exact type; a reducer returns None if the value needs no special treatment."""
