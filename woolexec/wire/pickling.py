"""
Pickle with the C pickler where it can, with cloudpickle (`by_value`) only where needed.

Guarantees:
1. What the C pickler can carry by itself costs nothing more than ``pickle.dumps`` and a search for one word.
2. Nothing is ever pickled as a reference into ``__main__``: workers never import it, so such things travel by value.
3. Buffers of at least `payload.LARGE` bytes leave the pickle and are copied once, into a memory file.
4. `bytes` of at least `payload.APART` bytes that are an argument or the result itself leave the pickle and are not
   copied at all before they are written: nobody can change them.
"""

from __future__ import annotations

import sys

from woolexec.wire import reducers
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

_BY_VALUE = "woolexec.wire.by_value"

is_worker = False
"""In a worker the functions of the caller's ``__main__`` share one namespace, as they do there: see `main_module`."""


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
    return dumps((args, kwargs), ("args", "kwargs"))


def dumps(obj: object, names: tuple[str, ...] = ()) -> bytes | File | Parts:
    """
    Pickle `obj`, whatever it is.

    :param names: what the elements of `obj` are called where an error tells of them
    :raises Exception: what pickling it raises, with a note that says of what; `obj` may run any code
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
        from woolexec.wire.by_value import dumps_by_value

        body = dumps_by_value(obj, is_inline, buffers, names)
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
    from woolexec.wire.by_value import dumps_by_value

    return dumps_by_value(obj)


def _needs_more(body: bytes) -> bool:
    """Say whether the C pickler did what must not be: refer to __main__, or send the number of a descriptor."""
    if _GLOBAL not in body:  # it names no class and no function: the usual case
        return False
    if _MAIN in body:
        return True
    registered = reducers.registered()
    return bool(registered) and (_CONNECTION in body or reducers.has_foreign(registered))


def prepare(payload: bytes | memoryview | File | Parts) -> None:
    """Import what unpickling this will need."""
    if _BY_VALUE not in sys.modules and (payload.__class__ is not bytes or b"cloudpickle" in payload):
        from woolexec.wire import by_value  # noqa: F401  # and cloudpickle


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
