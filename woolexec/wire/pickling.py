"""
Pickle with the C pickler where possible, with cloudpickle (`by_value`) only where needed.

Guarantees:
1. An object that the C pickler can handle costs no more than ``pickle.dumps`` and a search for one word.
2. Nothing is ever pickled as a reference into ``__main__``: workers never import it, so such objects travel by value.
3. Buffers of at least `payload.APART` bytes are pickled out of band and copied once, into a memory file or into the
   payload.
4. `bytes` of at least `payload.APART` bytes that are an argument or the result itself are pickled out of band and not
   copied at all before they are written: they cannot change.  `bytes` of 64 KiB or more inside containers are not
   copied either.
5. Arrays arrive writable, even if they are read-only here, as they do from the standard library's pool up to Python
   3.13; no array shares its memory with another object.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

from woolexec.imported import import_now
from woolexec.wire import modules, reducers, unpickling
from woolexec.wire.arrays import is_array, is_small
from woolexec.wire.atoms import ATOMS
from woolexec.wire.inputs import FutureMetError, Input, Unbound, is_future_class
from woolexec.wire.nature import BY_VALUE, WALKED, WITH_REDUCERS, nature_of
from woolexec.wire.payload import APART, LARGE, File, Parts, PicklePieces, pack
from woolexec.wire.unpickling import ALL_BYTES, ALONE, ALONE_IN_CALL, READ_ONLY, Raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from woolexec.wire.values import Needs
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle

_MAIN = b"_main__"
"""The common end of ``__main__`` and ``__mp_main__`` in a pickle.  Searching for it costs 0.3 µs per KiB."""

_GLOBAL = b"\x93"
"""The opcode STACK_GLOBAL, without which a pickle refers to nothing by name."""

_MEMOIZE = 0x94

_STEPS = 20_000
"""Maximum number of frames, large strings and marks of a pickle that are examined one by one."""

_CONNECTION = b"multiprocessing.connection"

_BY_VALUE = "woolexec.wire.code_objects"


def _is_middling(value: object) -> bool:
    return value.__class__ is bytes and APART <= len(value) < LARGE - APART


def dumps_value(value: object, *, goes_home: bool = False) -> bytes | File | Parts:
    """Pickle a result; see `dumps`."""
    if type(value) in ATOMS or is_small(value):
        body = pickle.dumps(value, 5)
        if len(body) < LARGE:
            return body
    if _is_middling(value):
        return Parts([ALONE, value])
    return dumps(_raw(value), is_outcome=True, goes_home=goes_home)


def dumps_put(value: object) -> bytes | File | Parts:
    """Pickle a value that calls are to share; see `dumps`."""
    return dumps(_raw(value), "value", keeps_flags=True, is_shared=True)


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | File | Parts | Unbound:
    """Pickle arguments, which may contain futures; see `dumps`."""
    for value in args:
        if not (type(value) in ATOMS or is_small(value)):
            break
    else:
        if not kwargs:
            body = pickle.dumps((args, {}), 5)
            if len(body) < LARGE:
                return body
    if len(args) == 1 and not kwargs and _is_middling(args[0]):
        return Parts([ALONE_IN_CALL, args[0]])
    if not kwargs:
        unbound = _dumps_futures(args)
        if unbound is not None:
            return unbound
    return _dumps_apart(args, kwargs)


def _dumps_futures(args: tuple[Any, ...]) -> Unbound | None:
    """Pickle arguments that are futures and atoms, in a fifth of the usual time; None if there are others."""
    numbers: dict[int, Input] = {}
    inputs: list[Any] = []
    replaced: list[Any] = []
    for arg in args:
        if type(arg) in ATOMS:
            replaced.append(arg)
        elif is_future_class(type(arg)):
            if id(arg) not in numbers:  # one that occurs twice is one input
                numbers[id(arg)] = Input(len(inputs))
                inputs.append(arg)
            replaced.append(numbers[id(arg)])
        else:
            return None
    if not inputs:
        return None
    body = pickle.dumps((tuple(replaced), {}), 5)
    return Unbound(body, inputs) if len(body) < LARGE else None


def _raw(value: Any) -> Any:
    return Raw(value) if value.__class__ is bytes and len(value) >= APART else value


def _dumps_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | File | Parts | Unbound:
    args, kwargs = tuple(map(_raw, args)), {name: _raw(arg) for name, arg in kwargs.items()}
    return dumps_arguments((args, kwargs), ("args", "kwargs"))


def dumps_arguments(obj: object, names: tuple[str, ...] | str) -> bytes | File | Parts | Unbound:
    """
    Pickle arguments, in which futures stand for their values; see `dumps`.

    :return: an `Unbound` if there are futures
    """
    inputs: list[Any] = []
    payload = dumps(obj, names, inputs=inputs)
    return Unbound(payload, inputs) if inputs else payload


def is_for_all(payload: bytes | File | Parts) -> bool:
    """Return whether a pickled result can be unpickled in any worker: it names nothing that travels by value."""
    if payload.__class__ is bytes and len(payload) < WALKED and _GLOBAL not in payload:  # the usual case
        return True
    body: Any = payload if isinstance(payload, bytes) else payload.load()[0]
    return not _names_by_value(bytes(body))


def dumps(
    obj: object,
    names: tuple[str, ...] | str = (),
    *,
    least: int = APART,
    is_outcome: bool = False,
    goes_home: bool = False,
    is_function: bool = False,
    needs: Needs | None = None,
    inputs: list[Any] | None = None,
    keeps_flags: bool = False,
    is_shared: bool = False,
) -> bytes | File | Parts:
    """
    Pickle any object.

    :param names: names of the elements of `obj`, or the name of `obj`, for error messages
    :param least: minimum size in bytes of a buffer that is pickled out of band
    :param is_outcome: the pickle goes to another task or to a future, where it must not change globals of functions
    :param goes_home: the pickle goes to the process that this worker's classes of ``__main__`` came from, so that these
        need not be sent
    :param is_function: `obj` is a function that is to be called
    :param needs: receives the large globals that `obj` names, if it travels by value; None: they are part of the pickle
    :param inputs: receives the futures in `obj`, for each of which the pickle has a number; None: they are an error
    :param keeps_flags: read-only arrays stay read-only, unless something in `obj` travels by value
    :param is_shared: any number of workers may unpickle it, and each often
    :raises Exception: any exception raised by pickling, with a note that says what failed; `obj` may run any code
    """
    buffers: list[Any] = []
    kind = (_HOME if goes_home else _OUTCOME) if is_outcome else _FUNCTION if is_function else _ARGUMENTS
    flags: list[bool] | None = [] if keeps_flags else None
    body = _dump(obj, buffers, least, names, kind, needs, inputs, flags, is_shared=is_shared)
    is_all_bytes = buffers and all(buffer.__class__ is bytes for buffer in buffers)
    if mark := ALL_BYTES if is_all_bytes else READ_ONLY if flags and all(flags) else b"":
        if isinstance(body, PicklePieces):
            body.write(mark)
        else:
            body += mark
    return pack(body, buffers, lends=goes_home or (inputs is not None and not unpickling.is_worker))


def dumps_inline(
    obj: object,
    *,
    is_function: bool = False,
    goes_home: bool = False,
    inputs: list[Any] | None = None,
    is_shared: bool = False,
) -> bytes:
    """
    Pickle `obj` into `bytes`, whatever its size.

    :param is_function: `obj` is a function that a nested task calls
    :param goes_home: see `dumps`
    :param inputs: see `dumps`
    :param is_shared: see `dumps`
    """
    kind = _FUNCTION if is_function else _HOME if goes_home else _OUTCOME
    return _joined(_dump(obj, [], sys.maxsize, kind=kind, inputs=inputs, is_shared=is_shared))


_OUTCOME, _HOME, _ARGUMENTS, _FUNCTION = range(4)
"""Kinds of pickled objects: they are treated differently when something travels by value."""

_FOR_WORKERS = _ARGUMENTS, _FUNCTION


class Pickled:
    """A value pickled separately from others, because one of them may fail to pickle or to unpickle."""

    __slots__ = ("_body", "_buffers", "_load")

    def __init__(self, body: bytes, buffers: Sequence[Any] = (), load: Callable[..., Any] | None = None) -> None:
        self._body = body
        self._buffers = buffers
        self._load = load  # None: this process's function

    @classmethod
    def of(cls, value: object, *, goes_home: bool = False) -> Pickled:
        """
        Pickle a value.

        :param goes_home: see `dumps`
        :raises Exception: any exception raised by pickling
        """
        buffers: list[Any] = []
        body = _joined(_dump(value, buffers, APART, kind=_HOME if goes_home else _OUTCOME))
        return cls(body, tuple(map(pickle.PickleBuffer, buffers)))

    def load(self) -> Any:
        """
        Unpickle the value.

        :raises Exception: any exception raised by unpickling, which may run any code
        """
        load = self._load or unpickling.load
        return load(self._body, buffers=self._buffers) if self._buffers else load(self._body)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Pickled, (self._body, self._buffers)) if self._buffers else (Pickled, (self._body,))


class _NeedsReducersError(Exception):
    """The object contains something that needs a reducer other than its own."""


def _dump(
    obj: object,
    buffers: list[Any],
    least: int,
    names: tuple[str, ...] | str = (),
    kind: int = _OUTCOME,
    needs: Needs | None = None,
    inputs: list[Any] | None = None,
    flags: list[bool] | None = None,
    *,
    is_shared: bool = False,
) -> bytes | PicklePieces:
    """
    Pickle an object; append its out-of-band buffers to `buffers`, and its futures to `inputs`.

    :param flags: receives whether each buffer is read-only and stays so; None: read-only arrays become writable
    """
    is_for_workers = is_shared or kind in _FOR_WORKERS
    with_reducers = False

    def is_inline(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.readonly and not with_reducers and flags is None and is_array(view.obj):
            raise _NeedsReducersError
        if view.nbytes < least:
            return True
        if flags is not None:
            flags.append(view.readonly and not with_reducers)
        buffers.append(view.obj if view.obj.__class__ is bytes else view)
        return False

    try:
        nature = nature_of(obj)
        if nature < BY_VALUE:
            body: bytes | PicklePieces
            if nature & WITH_REDUCERS:
                raise _NeedsReducersError
            if nature:
                body = PicklePieces()
                pickle.Pickler(body, 5, buffer_callback=is_inline).dump(obj)
            else:
                body = pickle.dumps(obj, 5, buffer_callback=is_inline)
                if _GLOBAL not in body:  # the usual case: it refers to no class or function
                    return body
            if not _names_by_value(body):
                if _needs_reducers(body):
                    raise _NeedsReducersError
                return body
    except (_NeedsReducersError, FutureMetError):
        with_reducers = True
        buffers.clear()
        try:
            with reducers.inheriting(is_shared=is_shared) if is_for_workers else nullcontext():
                body = reducers.dumps(obj, is_inline, inputs)
            if not _names_by_value(body):
                return body
        except Exception:  # see below
            pass
    except Exception:  # the object's own code may raise anything, and cloudpickle may succeed
        pass
    with_reducers = True
    buffers.clear()
    if kind not in _FOR_WORKERS:
        import_now("woolexec.wire.by_value")
        from woolexec.wire.by_value import dumps_by_value

        with reducers.inheriting(is_shared=is_shared) if is_for_workers else nullcontext():
            return dumps_by_value(obj, is_inline, buffers, names, goes_home=kind == _HOME and unpickling.is_worker)
    import_now("woolexec.wire.bundle")
    from woolexec.wire.bundle import dumps_bundle

    with reducers.inheriting(is_shared=is_shared):
        return dumps_bundle(obj, is_inline, buffers, names, is_function=kind == _FUNCTION, needs=needs, inputs=inputs)


def _joined(body: bytes | PicklePieces) -> bytes:
    return body.join() if isinstance(body, PicklePieces) else body


def _names_by_value(body: bytes | PicklePieces) -> bool:
    """Return whether a pickle refers to ``__main__``, or to another module that the receiver cannot import."""
    if _holds(body, _MAIN):
        return True
    modules.look()
    return bool(modules.by_path) and any(_holds(body, name) for name in modules.by_path.values())


def _needs_reducers(body: bytes | PicklePieces) -> bool:
    """Return whether a pickle may contain an object that multiprocessing has a reducer for, such as a connection."""
    registered = reducers.registered()
    if not registered:
        return False
    has_torch = reducers.has_torch(registered) and _holds(body, b"torch")
    return has_torch or reducers.has_foreign(registered) or _holds(body, _CONNECTION)


_FRAME = 0x95
_LARGE_OPCODES = {0x42: 4, 0x58: 4, 0x8E: 8, 0x8D: 8, 0x96: 8}
"""BINBYTES, BINUNICODE, BINBYTES8, BINUNICODE8 and BYTEARRAY8, with the width of their size in bytes."""


def _holds(body: bytes | PicklePieces, word: bytes) -> bool:
    """
    Return whether a word occurs in a pickle; it may be missed inside `bytes`, strings and buffers of 64 KiB or more.

    The pickler writes these between its frames, and this skips them.  `rfind` takes half the time of `in`.
    """
    if isinstance(body, PicklePieces):
        return any(piece.rfind(word) >= 0 for piece in _frames(body.parts))
    end, pos = len(body), 2
    if end < WALKED:
        return body.rfind(word) >= 0
    for _ in range(_STEPS):  # there may be very many small ones
        if pos >= end:
            return False
        opcode, width = body[pos], _LARGE_OPCODES.get(body[pos])
        if opcode == _FRAME:
            start, pos = pos, pos + 9 + int.from_bytes(body[pos + 1 : pos + 9], "little")
            if body.rfind(word, start, pos) >= 0:
                return True
        elif width is not None:
            pos += 1 + width + int.from_bytes(body[pos + 1 : pos + 1 + width], "little")
        elif opcode == _MEMOIZE:
            pos += 1
        else:  # small opcodes, whose sizes are not worth tracking
            break
    return body.rfind(word, pos) >= 0


def _frames(pieces: list[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a pickle except large `bytes` and strings, which follow a piece that ends with their size."""
    last = b""
    for piece in pieces:
        size = len(piece)
        if size < WALKED or not last.endswith(size.to_bytes(4 if size < 1 << 32 else 8, "little")):
            yield piece
        last = piece


def prepare(payload: bytes | memoryview | File | Parts) -> None:
    """Import the modules that unpickling this payload will need."""
    if _BY_VALUE not in sys.modules and (payload.__class__ is not bytes or b"cloudpickle" in payload):
        from woolexec.wire import arrivals, code_objects, main_module  # noqa: F401  # recreate code and classes

        main_module.import_cloudpickle()


unpickling.fingerprint = dumps_inline
