"""
Replacements for values that cannot be sent with a function or class that names them.

1. Values that each process should have for itself are recreated there: locks, thread-locals, context variables, log
   handlers.
2. Values that an importable module contains are taken from that module.
3. Anything else is replaced by a stand-in, which raises an exception when used, and says what it replaces and why.

The first rule always applies to the values of globals and of class attributes.  The others apply to values that cannot
be pickled.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from contextvars import Context, ContextVar
from functools import partial
from time import monotonic
from weakref import ref

from woolexec.wire import reducers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any, NoReturn

    Wrap = Callable[[Any], "Anew | None"]
    Reduced = tuple[Callable[..., Any], tuple[Any, ...]]

# -- recreated --------------------------------------------------------------------------------------------------------


class Anew:
    """Represents in a pickle a value that is recreated where it arrives."""

    __slots__ = ("reduced",)

    def __init__(self, reduced: Reduced) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Reduced:
        return self.reduced


def anew(value: Any, wrap: Wrap) -> Anew | None:
    """
    Return how the receiver recreates a value; None if it does not.

    :param wrap: does the same for a value inside, so that a value shared by two others stays shared
    """
    make = ANEW.get(type(value))
    if make is None:
        if is_handler(value):
            make = _handler
        elif is_library(value):
            make = _library
        else:
            return None
    reduced = make(value, wrap)
    return None if reduced is None else Anew(reduced)


def recreate(value: Any) -> Any:
    """Reduce a value of a class in `ANEW`: to a new one, or as usual if that is not possible."""

    def wrap(inner: Any) -> Anew | None:
        return anew(inner, wrap)

    made = wrap(value)
    return value.__reduce_ex__(5) if made is None else made.reduced


def _plain(make: Callable[[], Any]) -> Callable[[Any, Wrap], Reduced]:
    return lambda _value, _wrap: (make, ())


def _condition(value: threading.Condition, wrap: Wrap) -> Reduced | None:
    lock = wrap(value._lock)  # type: ignore[attr-defined]
    return None if lock is None else (threading.Condition, (lock,))


def _event(value: threading.Event, _wrap: Wrap) -> Reduced:
    return make_event, (value.is_set(),)


def _semaphore(value: threading.Semaphore, _wrap: Wrap) -> Reduced | None:
    free: int = value._value
    return (threading.Semaphore, (free,)) if free else None  # at 0, it depends on a thread of this process


def _bounded_semaphore(value: threading.BoundedSemaphore, _wrap: Wrap) -> Reduced:
    return threading.BoundedSemaphore, (value._initial_value,)  # type: ignore[attr-defined]


def make_event(is_set: bool) -> threading.Event:  # noqa: FBT001  # called by a pickle
    """Create an event in this state."""
    event = threading.Event()
    if is_set:
        event.set()
    return event


_variables: dict[tuple[str, int], ContextVar[Any]] = {}
_keys: dict[ContextVar[Any], tuple[str, int]] = {}
"""Context variables received, and their keys, so that all functions that name one find the same object."""


def _variable(value: ContextVar[Any], _wrap: Wrap) -> Reduced:
    reduce = reducers.own.get(ContextVar)
    reduced = None if reduce is None else reduce(value)
    if reduced is not None:
        return reduced[0], reduced[1]
    key = _keys.get(value) or (value.name, id(value))
    try:
        return make_variable, (key, Context().run(value.get))  # in an empty context, this is the default
    except LookupError:
        return make_variable, (key,)


def make_variable(key: tuple[str, int], *default: Any) -> ContextVar[Any]:
    """Create a context variable, or return the existing one for this key."""
    if key not in _variables:
        made: ContextVar[Any] = ContextVar(key[0], default=default[0]) if default else ContextVar(key[0])
        _keys[_variables.setdefault(key, made)] = key
    return _variables[key]


def is_handler(value: Any) -> bool:
    """Return whether a value is a log handler that does not customize pickling."""
    logging: Any = sys.modules.get("logging")
    cls: Any = type(value)
    return (
        logging is not None
        and issubclass(cls, logging.Handler)
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and not hasattr(cls, "__setstate__")
    )


def _handler(value: Any, _wrap: Wrap) -> Reduced:
    state = dict(value.__dict__)
    state.pop("lock", None)
    for name in _OPENED:
        if name in state:
            state[name] = None  # reopened for the next record
    if "baseFilename" not in state and "stream" in value.__dict__:
        state["stream"] = value.stream
    return make_handler, (type(value), state)


_OPENED = ("stream", "sock", "socket")


def make_handler(cls: type, state: dict[str, Any]) -> Any:
    """Recreate a log handler; a file is reopened in append mode."""
    handler: Any = object.__new__(cls)
    handler.__dict__.update(state)
    if state.get("baseFilename") is not None:
        handler.mode = "a"
    handler.createLock()
    return handler


def is_library(value: Any) -> bool:
    """Return whether a value is a shared library loaded by ctypes."""
    ctypes: Any = sys.modules.get("ctypes")
    return ctypes is not None and issubclass(type(value), ctypes.CDLL)


def _library(value: Any, _wrap: Wrap) -> Reduced:
    functions = {}
    for name, each in value.__dict__.items():
        if type(each) is value._FuncPtr and not name.startswith("_"):
            functions[name] = each.argtypes, each.restype
    return make_library, (type(value), value._name, functions)


def make_library(cls: type, name: str | None, functions: dict[str, Any]) -> Any:
    """Load a shared library, or return a stand-in if that fails."""
    try:
        library: Any = cls(name)
        for function, (argtypes, restype) in functions.items():
            found = getattr(library, function)
            found.restype = restype
            if argtypes is not None:
                found.argtypes = argtypes
    except Exception as exc:
        return StandIn(f"the shared library {name!r} cannot be loaded in this process ({type(exc).__name__}: {exc})")
    return library


def import_lazy(namespace: dict[str, Any], names: Iterable[str], attributes: Container[str]) -> None:
    """
    Resolve these lazy imports, as their first use does; leave those that fail.

    :param attributes: names of attributes, which may be modules inside the others that are imported lazily too
    """
    lazy: Any = getattr(sys, "lazy_modules", ())
    for name in names:
        value = namespace.get(name)
        try:
            if type(value) is LAZY:
                value = namespace[name] = value.resolve()  # type: ignore[union-attr]  # its type is that of a lazy import
            if lazy and type(value) is types.ModuleType:
                prefix = f"{value.__name__}."
                for inner in [each for each in tuple(lazy) if each.startswith(prefix)]:
                    if all(part in attributes for part in inner.removeprefix(prefix).split(".")):
                        importlib.import_module(inner)
        except Exception:  # importing runs user code; it is tried again for the stand-in, or fails where it is used
            continue


def _lazy(value: Any, _wrap: Wrap) -> Reduced:
    try:
        return itself, (value.resolve(),)
    except Exception as exc:  # importing runs user code
        return StandIn, (f"it cannot be imported ({_said(exc)})",)


def itself(value: Any) -> Any:
    """Return the value."""
    return value


LAZY: Any = getattr(types, "LazyImportType", None)
"""The type of a global that is imported at its first use; None before Python 3.15."""

ANEW: dict[type, Callable[[Any, Wrap], Reduced | None]] = {
    type(threading.Lock()): _plain(threading.Lock),
    type(threading.RLock()): _plain(threading.RLock),
    threading.local: _plain(threading.local),
    threading.Event: _event,
    threading.Condition: _condition,
    threading.Semaphore: _semaphore,
    threading.BoundedSemaphore: _bounded_semaphore,
    ContextVar: _variable,
}
"""Types of which each process has its own instance, when a global of a function or an attribute of a class is one;
importing the module of such a function or class would create a new instance as well."""

if LAZY is not None:
    ANEW[LAZY] = _lazy


# -- imported ---------------------------------------------------------------------------------------------------------


def imported(name: str, value: object, explain: str) -> Anew | None:
    """
    Return how the receiver takes a value from a module; None if no importable module contains it.

    :param name: the name of the value here
    :param explain: the message of the stand-in that is used if the receiver cannot import it
    """
    found = None
    package = type(value).__module__.partition(".")[0]
    for module_name, module in list(sys.modules.items()):
        if module_name in ("__main__", "__mp_main__") or getattr(module, "__spec__", None) is None:
            continue
        namespace = getattr(module, "__dict__", {})
        if namespace.get(name) is value:
            if module_name.partition(".")[0] == package:
                return Anew((take, (module_name, name, explain)))  # the package that defines its type
            found = found or Anew((take, (module_name, name, explain)))
    return found


def take(module: str, name: str, explain: str) -> Any:
    """Return a value from a module of this process, or a stand-in if it cannot be imported."""
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except Exception as exc:  # importing runs user code
        return StandIn(f"{explain}; {module}.{name} is not available here: {type(exc).__name__}: {exc}")


# -- stand-ins --------------------------------------------------------------------------------------------------------


class StandIn:
    """Raises when it is used in any way, except to be passed on, compared by identity or shown."""

    __slots__ = ("_StandIn__why", "__weakref__")

    def __init__(self, why: str) -> None:
        object.__setattr__(self, "_StandIn__why", why)

    def __repr__(self) -> str:
        return f"<stand-in: {_why(self)}>"

    def __reduce_ex__(self, protocol: Any) -> Reduced:
        return StandIn, (_why(self),)

    def __getattribute__(self, name: str) -> Any:
        if name not in ("__class__", "__reduce_ex__"):  # read by picklers and `isinstance`
            _fail(self)
        return object.__getattribute__(self, name)


def _why(stand_in: StandIn) -> str:
    why: str = object.__getattribute__(stand_in, "_StandIn__why")
    return why


def _fail(stand_in: StandIn, *_: Any, **__: Any) -> NoReturn:
    from pickle import PicklingError

    raise PicklingError(_why(stand_in))


_OPERATORS = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
_OTHERS = """
    setattr delattr call str format bytes hash bool len length_hint iter next reversed contains getitem setitem delitem
    missing enter exit aenter aexit aiter anext await lt le eq ne gt ge neg pos abs invert int float complex index round
    trunc floor ceil fspath buffer instancecheck subclasscheck mro_entries
"""
for _name in [
    *(prefix + name for name in _OPERATORS.split() for prefix in ("", "r", "i")),
    *_OTHERS.split(),
]:
    if _name != "idivmod":
        setattr(StandIn, f"__{_name}__", _fail)


def explain(owner: str, name: str, value: object, error: BaseException, where: str) -> str:
    """
    Return the message of a stand-in, for a value that cannot be pickled.

    :param owner: the function or class that names it; "" if it is not known
    :param where: the part of it that cannot be pickled
    """
    subject = f"{name!r} of {owner}" if owner else f"the global {name!r}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"{subject} is not in this process, because this {kind} cannot be pickled ({_said(error)}{where}); {_CURE}"


def explain_failed(name: str, error: BaseException) -> str:
    """Return the message of a stand-in, for a global that was pickled but cannot be unpickled."""
    return f"the global {name!r} is not in this process, because it cannot be unpickled ({_said(error)}); {_CURE}"


_CURE = "create it in the task, or in the pool's initializer"


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # user code
        return type(error).__name__


# -- refused ----------------------------------------------------------------------------------------------------------

_refused: dict[int, tuple[ref[Any], Any, float]] = {}
"""Values that recently failed to pickle, by `id`: a weak reference, the replacement, and the time when it expires."""

_MOMENT = 1.0
"""Seconds: many calls of a function pay for the search once, and a value that has been fixed since is soon noticed."""


def remember(value: Any, replaced: Any) -> None:
    """Remember for a moment that a value failed to pickle, and its replacement."""
    key = id(value)
    try:
        _refused[key] = ref(value, partial(_forget, key)), replaced, monotonic() + _MOMENT
    except TypeError:  # its class does not support weak references
        return


def refused(value: Any) -> Any:
    """Return the replacement of a value that recently failed to pickle; the value itself if there is none."""
    known = _refused.get(id(value)) if _refused else None
    return known[1] if known is not None and known[0]() is value and monotonic() < known[2] else value


def _forget(key: int, _: object, pop: Any = _refused.pop) -> None:
    pop(key, None)
