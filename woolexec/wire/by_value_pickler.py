"""
The pickler for objects that the receiver cannot import: cloudpickle's, with our own reductions.

Functions and classes are pickled with their source, with the globals that cloudpickle misses, and with the attributes
that it leaves out.  Objects that each process must have for itself, such as a lock that a function names, are replaced:
see `stand_ins`.
"""

from __future__ import annotations

import copyreg
import sys
from collections import deque
from contextvars import ContextVar
from enum import EnumMeta
from struct import Struct
from types import CodeType, FunctionType, ModuleType

from cloudpickle import cloudpickle

from woolexec.wire import arrays, callables, classes, code_objects, named_objects, reducers, stand_ins, type_objects
from woolexec.wire.arrivals import sent, set_class_state, set_state
from woolexec.wire.atoms import SAFE
from woolexec.wire.main_module import Names, global_of, key_of_arrived, module_of
from woolexec.wire.modules import MAIN, comes_by_value, space_of, travels
from woolexec.wire.stand_ins import ANEW, Anew, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping
    from typing import Any, Protocol

    class Verdicts(Protocol):
        """Decides what to pickle in place of values that may fail."""

        anew: set[int]
        """Locks in objects that functions name, by `id`."""

        def find(self, owner: str, name: str, value: Any) -> Any:
            """Return what to pickle in place of a value that a function or class names."""


_METHODS = (property, classmethod, staticmethod)

_SLOT_NAMES = "__slotnames__"
"""An attribute that `copyreg` adds to a class when it pickles the first instance; it is not part of the class."""

_MET = 16
"""Number of objects that a pickler remembers: those that it met last."""


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Reduces as cloudpickle does, except that functions and classes are completed by our own functions."""

    def __init__(self, file: Any, is_inline: Any, verdicts: Verdicts | None) -> None:
        self._table: dict[Any, Any] | None = None  # set first, because the next line reads it
        super().__init__(file, 5, is_inline)
        self.lines_sent: dict[str, list[range]] = {}
        self.met: deque[Any] = deque(maxlen=_MET)
        self.named = False  # whether a function or class that names a value has been met
        self.verdicts = verdicts
        self.is_named = False  # whether the pickled object is itself a value that a function or class names
        self.is_global = False  # whether it is the value of a global or of a class attribute: see `_is_own`
        self.goes_home = False  # see `dumps_by_value`
        self._anew: dict[int, Anew] = {}
        self._usual: set[type] = set()  # classes whose instances need no special reducer

    @property
    def dispatch_table(self) -> dict[Any, Any]:
        """
        Reducers by class, with those registered with multiprocessing.

        cloudpickle's own table is a ChainMap, in which a lookup takes longer than pickling a small object.
        """
        if self._table is None:
            self._table = reducers.needed()
            for table in reversed(cloudpickle.Pickler.dispatch_table.maps):
                self._table.update(table)
        return self._table

    def reducer_override(self, obj: Any) -> Any:
        self.met.append(obj)
        cls: Any = type(obj)
        if cls in self._usual or (cls is FunctionType and obj in IMPORTABLE):
            return NotImplemented
        reduced = self._reduce_special(obj, cls)
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
        if self.is_global and _is_own(cls):
            return obj.__reduce_ex__(5)  # this raises an error
        reduced, may_differ = NotImplemented, cls is ModuleType or cls in _REDUCERS or isinstance(cls, EnumMeta)
        if named_objects.may_be_named(cls) and cls not in self.dispatch_table:
            reduced = obj.__reduce_ex__(5)
            if type(reduced) is str:
                return named_objects.reduce_named(obj, reduced)
            may_differ |= comes_by_value(cls.__module__)
        if self.verdicts is None and not may_differ:
            self._usual.add(cls)
        return reduced

    def _reduce_special(self, obj: Any, cls: Any) -> Any:
        """Reduce an object of a class that needs it; None if this one does not."""
        reduce = _REDUCERS.get(cls)
        if reduce is not None:
            return reduce(obj)
        if cls is CodeType:
            return code_objects.reduce(obj, self.lines_sent)
        if issubclass(cls, _METHODS) and cls not in self.dispatch_table:
            return callables.reduce_kind(obj, cls)
        return self._reduce_module(obj) if cls is ModuleType and travels(obj) else None

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
        if stand_ins.LAZY is not None:
            stand_ins.import_lazy(fn.__globals__, named_in(fn.__code__), fn.__code__.co_names)
        try:
            reduced = self._reduce_defined(fn)
        except NameError:  # Python 3.14 and later evaluate annotations on access
            reduced = self._dynamic_function_reduce(callables.with_annotations_as_text(fn))
        if reduced is NotImplemented:
            return reduced
        if fn.__code__ is callables.DISPATCHING:
            return callables.dispatch(fn)
        code_objects.find(fn.__code__, fn.__globals__)
        slots = reduced[2][1]
        if fn.__closure__:
            reduced = (reduced[0], callables.with_cells(reduced[1], slots, fn), *reduced[2:])
        for name in code_objects.names_in_classes(fn.__code__):
            if name in fn.__globals__:
                slots["__globals__"].setdefault(name, fn.__globals__[name])
        self._take_globals(fn, slots["__globals__"])
        if getattr(fn, "__type_params__", ()):
            slots["__type_params__"] = fn.__type_params__
        if space_of(fn.__globals__) == MAIN:
            return (*reduced[:5], set_state)
        return reduced

    def _reduce_module(self, module: ModuleType) -> Any:
        """Reduce a module that the receiver cannot import to the module that it has under this name, or creates."""
        return module_of, (module.__name__, Names(module.__name__, vars(module)))

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
        state[0].pop(_SLOT_NAMES, None)
        if len(arguments) == 6:  # not an Enum
            make = classes.make_class
            names = arguments[3]
            names["__qualname__"] = cls.__qualname__
            if "__slots__" in cls.__dict__ and "_fields" not in cls.__dict__:  # not a NamedTuple, whose base has them
                names["__slots__"] = cls.__slots__  # cloudpickle leaves them out
            if "__class__" in state[0]:  # a proxy's attribute; set afterwards, it would change the metaclass
                names["__class__"] = state[0].pop("__class__")
        if sys.version_info >= (3, 14) and cls.__dict__.get("__annotate_func__") is not None:
            state[0].pop("__annotations_cache__", None)
            state[0]["__annotations__"] = callables.annotations_of(cls)
        self._replace_all(cls.__qualname__, state[0])
        return make, arguments, state, None, None, set_class_state

    def _replace_all(self, owner: str, values: MutableMapping[str, Any]) -> None:
        if values:
            self.named = True
        for name, value in values.items():
            replaced = refused(value)
            if replaced is value and self.verdicts is not None and not _is_safe(value):
                replaced = self.verdicts.find(owner, name, value)
            if replaced is value:
                replaced = self.replace(value)
            if replaced is not value:
                values[name] = replaced

    def replace(self, value: Any) -> Any:
        """Return the replacement of a value that a function or class names; the value if it need not be recreated."""
        return self.wrap(value) or value

    def wrap(self, value: Any) -> Anew | None:
        """Return how the receiver recreates a value; None if it does not recreate it."""
        key = id(value)
        if key in self._anew:
            return self._anew[key]
        made = stand_ins.anew(value, self.wrap)
        if made is not None:
            self._anew[key] = made
        return made


def _is_safe(value: Any) -> bool:
    return type(value) in SAFE or (type(value) is ModuleType and value.__name__ in sys.modules)


def _is_own(cls: Any) -> bool:
    """
    Return whether globals with instances of a class stay in their process, although arguments may contain instances.

    A socket in a global is often a part of a client's connection, which two processes cannot use at the same time.
    """
    return bool(cls.__module__ == "socket" and cls.__name__ == "socket")


def _reduce_foreign(cls: Any) -> Any:
    """Reduce a class that consists of more than its attributes, if a package that makes such classes is loaded."""
    if sys.modules.keys().isdisjoint(_FOREIGN):
        return None
    from woolexec.wire import foreign_classes

    return foreign_classes.reduce(cls)


_FOREIGN = ("ctypes", "msgspec", "pydantic", "sqlalchemy.orm")


def named_in(code: CodeType) -> Iterable[str]:
    """Return the names of the globals that code may use, including the code of nested functions."""
    return {*cloudpickle._extract_code_globals(code), *code_objects.names_in_classes(code)}


def _variable(variable: ContextVar[Any]) -> Any:
    reduce = reducers.own.get(ContextVar)
    return None if reduce is None else reduce(variable)


def _struct(value: Struct) -> Any:
    """Reduce the compiled form of a format to the format: it cannot be pickled itself."""
    return Struct, (value.format,)


_COPY: Any = copyreg
IMPORTABLE = frozenset(
    [
        *(_COPY.__newobj__, _COPY._reconstructor),
        *(callables.make_cell, callables.set_cell),
        *(classes.find_at_home, classes.find_member),
        global_of,
    ],
)
"""Functions that nearly all pickles refer to."""

_REDUCERS: dict[type, Callable[[Any], Any]] = {
    ContextVar: _variable,
    Struct: _struct,
    **callables.REDUCERS,
    **type_objects.REDUCERS,
}
"""Reducers by exact type; a reducer returns None if the value needs no special treatment."""
