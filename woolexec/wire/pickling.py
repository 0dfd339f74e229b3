"""
Pickle with the C pickler where it can, with cloudpickle only where needed.

Guarantees:
1. What the C pickler can carry by itself costs nothing more than ``pickle.dumps`` and a search for one word.
2. Nothing is ever pickled as a reference into ``__main__``: workers never import it, so such things travel by value.
3. Buffers of at least `payload.LARGE` bytes leave the pickle and are copied once, into a memory file.
4. `bytes` of at least `payload.APART` bytes that are an argument or the result itself leave the pickle and are not
   copied at all before they are written: nobody can change them.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from functools import _lru_cache_wrapper, cached_property, lru_cache
from types import FunctionType
from weakref import WeakKeyDictionary, WeakSet

from woolexec.wire.payload import APART, LARGE, File, Parts, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable
    from typing import Any
else:  # sooner there: see `worker/template.py`
    import _pickle as pickle

_MAIN = b"\x8c\x08__main__"
"""How a pickle names the module: a short string.  Looking for it costs 0.3 µs a KiB."""

_GLOBAL = b"\x93"
"""The opcode without which a pickle refers to nothing by name (STACK_GLOBAL)."""

_CONNECTION = b"multiprocessing.connection"


class _Raw:
    """Stands for large `bytes` in a pickle; arrives as them."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.data),)


ATOMS = frozenset({type(None), bool, int, float, complex, str})
"""What refers to nothing and has no buffers, so `dumps` need not look: that saves 1 µs of the 5 that a tiny task takes
in its worker, and of those in its caller."""


_ALONE = pickle.dumps(_Raw(b""), 5, buffer_callback=lambda _: False)
_ALONE_IN_CALL = pickle.dumps(((_Raw(b""),), {}), 5, buffer_callback=lambda _: False)
"""What is left in the pickle where `bytes` of middle size are the result, or the only argument: always the same."""


def _is_middling(value: object) -> bool:
    return value.__class__ is bytes and APART <= len(value) < LARGE - APART


def dumps_value(value: object) -> bytes | File | Parts:
    """Pickle a result; see `dumps`."""
    if type(value) in ATOMS:
        body = pickle.dumps(value, 5)
        if len(body) < LARGE:
            return body
    if _is_middling(value):
        return Parts([_ALONE, value])
    return dumps(_Raw(value) if value.__class__ is bytes and len(value) >= APART else value)


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | File | Parts:
    """Pickle arguments; see `dumps`."""
    for value in args:
        if type(value) not in ATOMS:
            break
    else:
        if not kwargs:
            body = pickle.dumps((args, {}), 5)
            if len(body) < LARGE:
                return body
    if len(args) == 1 and not kwargs and _is_middling(args[0]):
        return Parts([_ALONE_IN_CALL, args[0]])
    return _dumps_apart(args, kwargs)


def _dumps_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | File | Parts:
    for value in args:
        if value.__class__ is bytes and len(value) >= APART:
            args = tuple(_Raw(arg) if arg.__class__ is bytes and len(arg) >= APART else arg for arg in args)
            break
    if kwargs:
        kwargs = {
            name: _Raw(arg) if arg.__class__ is bytes and len(arg) >= APART else arg for name, arg in kwargs.items()
        }
    return dumps((args, kwargs))


def dumps(obj: object) -> bytes | File | Parts:
    """
    Pickle `obj`, whatever it is.

    :raises Exception: what pickling it raises; `obj` may run any code
    """
    buffers: list[Any] = []

    def is_inline(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes >= APART and view.obj.__class__ is bytes:
            buffers.append(view.obj)
            return False
        if view.nbytes < LARGE:
            return True
        buffers.append(view)
        return False

    try:
        body = pickle.dumps(obj, 5, buffer_callback=is_inline)
        by_value = _needs_more(body)
    except Exception:  # whatever the object's own code raises: cloudpickle may know better
        by_value = True
    if by_value:
        buffers.clear()
        body = _dumps_by_value(obj, is_inline)
    if len(body) < LARGE:
        if not buffers:
            return body
        parts = Parts([body, *buffers])
        if len(parts) < LARGE:
            return parts
    try:
        return store([body, *buffers])
    except OSError:
        if not buffers:
            return body
    return dumps_inline(obj)  # no descriptors left: send it all through the socket


def dumps_inline(obj: object) -> bytes:
    """Pickle `obj` into bytes, whatever its size."""
    try:
        body = pickle.dumps(obj, 5)
        if not _needs_more(body):
            return body
    except Exception:  # as in dumps
        pass
    return _dumps_by_value(obj, None)


def _needs_more(body: bytes) -> bool:
    """Say whether the C pickler did what must not be: refer to __main__, or send the number of a descriptor."""
    if _GLOBAL not in body:  # it names no class and no function: the usual case
        return False
    if _MAIN in body:
        return True
    reduction = sys.modules.get("multiprocessing.reduction")
    if reduction is None:
        return False
    return _CONNECTION in body or _has_reducers(reduction.ForkingPickler._extra_reducers)


_reducers_seen = (0, False)


def _has_reducers(reducers: dict[type, Any]) -> bool:
    """Say whether somebody registered reducers with multiprocessing, beside those that it and sockets bring."""
    global _reducers_seen  # a cache: this is asked for every pickle
    if _reducers_seen[0] != len(reducers):
        own = ("multiprocessing", "functools", "builtins", "socket", "_socket")
        _reducers_seen = len(reducers), any(cls.__module__.partition(".")[0] not in own for cls in reducers)
    return _reducers_seen[1]


def _dumps_by_value(obj: object, is_inline: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    """Pickle with cloudpickle, and with what is registered with multiprocessing, as the stdlib's pool does."""
    import io
    from collections import ChainMap

    import cloudpickle

    reduction = sys.modules.get("multiprocessing.reduction")
    table: Any = cloudpickle.Pickler.dispatch_table
    if reduction is not None:
        table = ChainMap(table, reduction.ForkingPickler._extra_reducers)
    base: Any = type("Pickler", (cloudpickle.Pickler,), {"dispatch_table": table, "reducer_override": _reduce})
    file = io.BytesIO()
    pickler = base(file, 5, is_inline)
    main = sys.modules["__main__"].__dict__
    pickler.globals_ref[id(main)] = _Main(main)
    pickler.dump(obj)
    return file.getvalue()


class _Main(dict):  # type: ignore[type-arg]  # typing would cost a worker's start 6 ms
    """Stands for the names of ``__main__`` in a pickle."""

    def __init__(self, main: dict[str, Any]) -> None:
        self._own = {name: main[name] for name in ("__file__", "__package__") if type(main.get(name)) is str}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _main_names, (self._own,)


is_worker = False
"""In a worker the functions of the caller's ``__main__`` share one namespace, as they do there."""

_seen: dict[str, bytes] = {}
"""What the caller's globals were when they last came, pickled."""

_seen_of: WeakKeyDictionary[type, dict[str, bytes]] = WeakKeyDictionary()
"""The same of the attributes of its classes."""


def _main_names(own: dict[str, Any]) -> dict[str, Any]:
    if not is_worker:  # a function that comes home must not change what is there
        return {"__name__": "__main__", **own}
    names = sys.modules["__main__"].__dict__
    for name, value in own.items():
        names.setdefault(name, value)
    return names


_ours: WeakSet[type] = WeakSet()
_foreign: WeakSet[type] = WeakSet()
"""Classes that this process has sent by value, and those that it made when it unpickled them."""


def _reduce(pickler: Any, obj: Any) -> Any:
    """Reduce as cloudpickle does, but have functions and classes completed by our own functions."""
    from cloudpickle import cloudpickle

    if obj.__class__ is _lru_cache_wrapper and (obj.__module__ == "__main__" or "<locals>" in obj.__qualname__):
        return _cached, (obj.__wrapped__, obj.cache_parameters())  # by itself it would travel as its name
    if obj.__class__ is cached_property and hasattr(obj, "lock"):  # before Python 3.12
        return cached_property, (obj.func,), {"attrname": obj.attrname}
    if obj.__class__.__module__ == "typing" and obj.__class__.__name__ == "NewType" and obj.__module__ == "__main__":
        return obj.__class__, (obj.__name__, obj.__supertype__)
    if obj.__class__ is ContextVar:
        from woolexec.wire import variables

        reduced = variables.reduce(obj)
        if reduced is not None:
            return reduced
    reduced = cloudpickle.Pickler.reducer_override(pickler, obj)
    if reduced.__class__ is not tuple or len(reduced) != 6:
        return reduced
    if reduced[5] is cloudpickle._function_setstate:
        values = reduced[2][1]["__globals__"]
        values.update({name: _Anew(value) for name, value in values.items() if type(value) in _ANEW})
        if obj.__globals__ is sys.modules["__main__"].__dict__:
            return (*reduced[:5], _set_state)
    elif reduced[5] is cloudpickle._class_setstate:
        if obj not in _foreign:
            _ours.add(obj)
        if len(reduced[1]) == 6:  # not an Enum
            names = reduced[1][3]
            names["__qualname__"] = obj.__qualname__
            if "__slots__" in obj.__dict__ and "_fields" not in obj.__dict__:  # not a NamedTuple, whose base has them
                names["__slots__"] = obj.__slots__  # by itself it comes without
        values = reduced[2][0]
        values.update({name: _Anew(value) for name, value in values.items() if type(value) in _ANEW})
        return (*reduced[:5], _set_class_state)
    return reduced


_ANEW: dict[type, Callable[[], Any]] = {
    type(threading.Lock()): threading.Lock,
    type(threading.RLock()): threading.RLock,
    threading.local: threading.local,
    threading.Event: threading.Event,
    threading.Condition: threading.Condition,
}
"""What each process has for itself, where a global of a function or an attribute of a class is one: where these are
imported there is a new one as well."""


class _Anew:
    """Stands for one of those in a pickle."""

    __slots__ = ("kind",)

    def __init__(self, value: object) -> None:
        self.kind = type(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _ANEW[self.kind], ()


def _cached(fn: Any, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(fn)


def _set_class_state(cls: type, state: Any) -> type:
    """
    Complete a class, unless it is one of ours that has come home: it is as its owner wants it.

    An attribute that a task has set stays, as a global does: see `_set_state`.
    """
    from cloudpickle.cloudpickle import _class_setstate

    if cls in _ours:
        return cls
    _foreign.add(cls)
    if is_worker:
        attributes, slots = state
        seen = _seen_of.setdefault(cls, {})
        state = {name: value for name, value in attributes.items() if _is_news(seen, name, value)}, slots
        if cls.__module__ == "__main__" and "." not in cls.__qualname__:  # so that tasks can pickle what is of it
            setattr(sys.modules["__main__"], cls.__name__, cls)
    _class_setstate(cls, state)
    return cls


def _set_state(fn: Any, state: Any) -> None:
    """
    Complete a function of ``__main__``, as cloudpickle does.

    A global that came with it is stored only if the caller's has changed since it last came: what a task has stored
    under that name, an initializer for example, stays.
    """
    from cloudpickle.cloudpickle import _function_setstate

    if is_worker:
        values = state[1]["__globals__"]
        state[1]["__globals__"] = {name: value for name, value in values.items() if _is_news(_seen, name, value)}
    _function_setstate(fn, state)


def _is_news(seen: dict[str, bytes], name: str, value: Any) -> bool:
    """Say whether this came for the first time, or is another value than when it last came."""
    if isinstance(value, FunctionType | type) or hasattr(type(value), "__get__") or name == "_abc_impl":
        return True
    try:
        data = b"anew" if type(value) in _ANEW else dumps_inline(value)
    except BaseException:  # user code
        return True
    if seen.get(name) == data:
        return False
    seen[name] = data
    return True


def prepare(payload: bytes | memoryview | File | Parts) -> None:
    """Import what unpickling this will need."""
    if "cloudpickle" not in sys.modules and (payload.__class__ is not bytes or b"cloudpickle" in payload):
        import cloudpickle  # noqa: F401


_load = pickle.loads


def restrict(load: Callable[..., Any]) -> None:
    """From now on, unpickle in this process with another function."""
    global _load  # once, when a worker begins
    _load = load


def loads(payload: bytes | memoryview | File | Parts) -> Any:
    """
    Unpickle a payload.

    :raises Exception: what unpickling it raises; it may run any code
    """
    if payload.__class__ is bytes:
        return _load(payload)
    if isinstance(payload, File | Parts):
        body, *buffers = payload.load()
        if body == _ALONE:
            return bytes(buffers[0])
        if body == _ALONE_IN_CALL:
            return (bytes(buffers[0]),), {}
        return _load(body, buffers=buffers)
    return _load(payload)
