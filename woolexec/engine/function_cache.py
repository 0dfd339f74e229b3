"""
Pickle functions once.

An importable function or class is pickled by name, only once.  Pickling one by value (one of ``__main__``, a REPL or a
notebook, or a lambda) takes cloudpickle 50-300 µs.  Such a pickle is reused only while everything that it refers
to is the same immutable object: its code, defaults, closure and globals, or its bases and attributes.  If it refers to
anything that can change without being noticed, it is pickled again for each task, so that a task always sees the
current state, as its arguments do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType

from woolexec.core.call import ASYNCIO, MAIN, THREAD, TRIO, CallsFirst, Function
from woolexec.core.recent import Recent
from woolexec.futures.loop_waiters import trio_token
from woolexec.wire.inputs import call_first
from woolexec.wire.modules import is_named, look, space_of
from woolexec.wire.payload import LARGE
from woolexec.wire.pickling import dumps, dumps_inline
from woolexec.wire.unchanging import Snapshot, is_constant, is_definition
from woolexec.wire.values import Needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CACHE_LIMIT = 512
_MISSING = object()


class Functions:
    """Pickles of the functions that were submitted to one executor."""

    def __init__(self, intern: Callable[[Any, str, int], Function], *, is_nested: bool = False) -> None:
        self._intern = intern
        self._is_nested = is_nested
        # By identity: objects that `is_definition` accepts, and built-in functions, hash and compare by identity.
        self._known: Recent[Any, tuple[Function, _References | None]] = Recent(_CACHE_LIMIT)
        self._with_needs: Recent[tuple[Any, int], Function] = Recent(_CACHE_LIMIT)
        self._large: dict[Any, Any] = {}

    def get(self, fn: Callable[..., Any], backend: str | None = None) -> Function:
        """
        Return the pickled form of `fn`, for the lane in which it runs.

        A function that holds futures, in its closure, its globals or its bound arguments, has different values in each
        call.  So it must itself be sent as an argument: see `Function.calls_first`.

        :param backend: the event loop for a coroutine function or an asynchronous generator function; None: the kind
            that runs in this thread
        :raises Exception: any exception raised by pickling
        """
        if not is_definition(fn) and type(fn) is not BuiltinFunctionType:
            dumped = self._dumps(fn)
            return self._as_argument(fn, backend) if dumped is None else self._make(fn, *dumped, backend)
        known = self._known.get(fn)
        if known is not None:
            function, references = known
            if references is None or references.is_same():
                if function.lane in _LOOPS and function.lane != loop_lane(backend):
                    return self._make(fn, function.payload, [], backend)
                return function
        references = None if _is_importable(fn) else _References()
        may_change = references is not None and not references.add_all(fn)
        dumped = self._dumps(fn)
        if dumped is None:
            return self._as_argument(fn, backend)
        payload, needs = dumped
        function = self._make(fn, payload, needs, backend)
        if not may_change and not needs and isinstance(payload, bytes):  # pickling large ones costs like sending them
            self._known.add(fn, (function, references))
        return function

    def _as_argument(self, fn: Callable[..., Any], backend: str | None) -> Function:
        """Return the pickled form of a function that calls its first argument, which must be `fn`."""
        lane, is_stream = _lane_of(fn, backend)
        function = CallsFirst(dumps_inline(call_first), name_of(fn), lane)
        function.is_stream = is_stream
        return function

    def _dumps(self, fn: Callable[..., Any]) -> tuple[Any, list[Any]] | None:
        """
        Pickle a function.

        :return: the pickle and the large globals that it needs, which are separate payloads; None if it holds futures
        """
        is_function = fn.__class__ is FunctionType
        inputs: list[Any] = []
        needs = Needs(self._large)
        payload: Any
        if self._is_nested:  # it is sent inside a frame
            payload = dumps_inline(fn, is_function=is_function, inputs=inputs, is_shared=True)
            needs = Needs({})
        else:
            payload = dumps(fn, least=LARGE, is_function=is_function, needs=needs, inputs=inputs, is_shared=True)
        return None if inputs else (payload, needs)

    def clear(self) -> None:
        """Forget all pickles."""
        self._known.clear()
        self._with_needs.clear()
        self._large.clear()

    def _make(self, fn: Callable[..., Any], payload: Any, needs: list[Any], backend: str | None) -> Function:
        lane, is_stream = _lane_of(fn, backend)
        function = self._find(fn, payload, needs, lane) if needs else self._intern(payload, name_of(fn), lane)
        function.is_stream = is_stream
        return function

    def _find(self, fn: Any, payload: Any, needs: list[Any], lane: int) -> Function:
        """Return the previous Function if it is the same, otherwise a new one; older large globals are not kept."""
        key = (fn if fn.__class__ is FunctionType else name_of(fn)), lane
        function = self._with_needs.get(key)
        if function is not None and function.payload == payload:
            return function
        before, function = function, Function(payload, name_of(fn), lane)
        function.family = object() if before is None else before.family
        function.needs = tuple(map(_as_function, needs))
        self._with_needs.add(key, function)
        return function


def _as_function(large: Any) -> Function:
    if large.function is None:
        large.function = Function(large.payload, "a large global")
        large.function.family = large.family
    function: Function = large.function
    return function


_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200
"""Flags of code objects: CO_GENERATOR and so on in `inspect`, which takes long to import."""

_LOOPS = (ASYNCIO, TRIO)


def _flags(fn: Any) -> int:
    """Return the flags of the code that `fn` runs, looking through methods, partials and callable objects."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if not isinstance(code, CodeType):
        code = getattr(getattr(type(fn), "__call__", None), "__code__", None)  # noqa: B004  # the code is needed
    return code.co_flags if isinstance(code, CodeType) else 0


def _lane_of(fn: Any, backend: str | None) -> tuple[int, bool]:
    """Return the lane in which a function runs, and whether calling it opens a stream."""
    flags = _flags(fn)
    lane = MAIN
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        lane = loop_lane(backend)
    elif flags & _GENERATOR:
        lane = THREAD
    return lane, bool(flags & (_GENERATOR | _ASYNC_GENERATOR))


def loop_lane(backend: str | None) -> int:
    """Return the lane for coroutines: of the given backend, otherwise of the loop that runs here, otherwise asyncio."""
    if backend is not None:
        return TRIO if backend == "trio" else ASYNCIO
    return ASYNCIO if trio_token() is None else TRIO


def name_of(fn: object) -> str:
    """Return the name of a callable for messages."""
    for attribute in ("__qualname__", "__name__"):
        try:
            name = getattr(fn, attribute)
        except Exception:  # user code
            continue
        if type(name) is str:
            return name
    inner = getattr(fn, "func", None) if type(fn).__module__ == "functools" else None
    return name_of(inner) if inner is not None else type(fn).__qualname__


def _is_importable(fn: Any) -> bool:
    """Return whether this function or class is pickled by name, after all modules were searched."""
    look()
    return is_named(fn)


class _References:
    """Everything that a function's pickle depends on, including globals used by it and by functions that it names."""

    def __init__(self) -> None:
        self._snapshots: list[Snapshot] = []
        self._globals: list[tuple[dict[str, Any], str, Any]] = []

    def is_same(self) -> bool:
        """Return whether everything is unchanged."""
        for namespace, name, value in self._globals:
            if namespace.get(name, _MISSING) is not value:
                return False
        return all(snapshot.is_same() for snapshot in self._snapshots)

    def add_all(self, fn: Callable[..., Any]) -> bool:
        """Record everything that `fn` refers to; return False if some of it may change without being noticed."""
        waiting: list[Any] = [fn]
        visited = {id(fn)}
        while waiting:
            snapshot = Snapshot.of(waiting.pop())
            if snapshot is None:
                return False
            self._snapshots.append(snapshot)
            for part in snapshot.functions:
                if space_of(part.__globals__) is None and is_named(part):
                    continue  # pickled by name, so what it refers to is not pickled
                for name in _names(part.__code__):
                    value = part.__globals__.get(name, _MISSING)
                    self._globals.append((part.__globals__, name, value))
                    if value is _MISSING or is_constant(value) or id(value) in visited:
                        continue
                    visited.add(id(value))
                    if not (value.__class__ is FunctionType and _is_importable(value)):
                        waiting.append(value)
        return True


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
