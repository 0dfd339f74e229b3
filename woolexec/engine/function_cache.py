"""
Pickle functions once.

An importable function is pickled by name, once for all.  A function that travels by value (of ``__main__``, a REPL, a
notebook, a lambda) takes cloudpickle 50-300 µs; its pickle is used again only as long as everything that it refers to
is the same, immutable object: its code, defaults, closure and globals.  If it refers to anything that can change
unseen, it is pickled anew for each task, so that a task always sees the present state, as its arguments do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from woolexec.core.call import ASYNCIO, MAIN, THREAD, TRIO, Function
from woolexec.core.recent import Recent
from woolexec.imported import imported
from woolexec.wire.modules import comes_by_value, look, space_of
from woolexec.wire.payload import LARGE
from woolexec.wire.pickling import Needs, dumps, dumps_inline
from woolexec.wire.unchanging import Snapshot, is_constant

_CACHE_LIMIT = 512
_MISSING = object()


class Functions:
    """What is known of the functions that one executor was given."""

    def __init__(self, intern: Callable[[Any, str, int], Function], *, is_nested: bool = False) -> None:
        self._intern = intern
        self._is_nested = is_nested
        # By identity: FunctionType cannot be subclassed, so its hash and equality are object's.
        self._known: Recent[FunctionType, tuple[Function, _References | None]] = Recent(_CACHE_LIMIT)
        self._with_needs: Recent[tuple[Any, int], Function] = Recent(_CACHE_LIMIT)
        self._large: dict[Any, Any] = {}

    def get(self, fn: Callable[..., Any], backend: str | None = None) -> Function:
        """
        Return the pickled form of `fn`, for the lane on which it runs.

        :param backend: the event loop for a coroutine function or an asynchronous generator function; None: as here
        :raises Exception: what pickling it raises
        """
        if fn.__class__ is not FunctionType:
            return self._make(fn, *self._dumps(fn), backend)
        known = self._known.get(fn)
        if known is not None:
            function, references = known
            if references is None or references.is_same():
                if function.lane in _LOOPS and function.lane != loop_lane(backend):
                    return self._make(fn, function.payload, [], backend)
                return function
        references = None if _is_importable(fn) else _References()
        may_change = references is not None and not references.add_all(fn)
        payload, needs = self._dumps(fn)
        function = self._make(fn, payload, needs, backend)
        if not may_change and not needs and isinstance(payload, bytes):  # large ones cost about what sending them does
            self._known.add(fn, (function, references))
        return function

    def _dumps(self, fn: Callable[..., Any]) -> tuple[Any, list[Any]]:
        """Pickle a function; return that and the large globals that it needs, which are payloads of their own."""
        is_function = fn.__class__ is FunctionType
        if self._is_nested:  # it travels inside a frame
            return dumps_inline(fn, is_function=is_function), []
        needs = Needs(self._large)
        return dumps(fn, least=LARGE, is_function=is_function, needs=needs), needs

    def clear(self) -> None:
        """Let go of what was pickled."""
        self._known.clear()
        self._with_needs.clear()
        self._large.clear()

    def _make(self, fn: Callable[..., Any], payload: Any, needs: list[Any], backend: str | None) -> Function:
        flags = _flags(fn)
        lane = MAIN
        if flags & (_COROUTINE | _ASYNC_GENERATOR):
            lane = loop_lane(backend)
        elif flags & _GENERATOR:
            lane = THREAD
        function = self._find(fn, payload, needs, lane) if needs else self._intern(payload, name_of(fn), lane)
        function.is_stream = bool(flags & (_GENERATOR | _ASYNC_GENERATOR))
        return function

    def _find(self, fn: Any, payload: Any, needs: list[Any], lane: int) -> Function:
        """Return what was made the last time, if it is the same: older large globals are not to be kept."""
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
"""Flags of code objects (`inspect`, which takes long to import, names them CO_GENERATOR and so on)."""

_LOOPS = (ASYNCIO, TRIO)


def _flags(fn: Any) -> int:
    """Tell what calling `fn` gives: the flags of the code behind methods, partials and callable objects."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if not isinstance(code, CodeType):
        code = getattr(getattr(type(fn), "__call__", None), "__code__", None)  # noqa: B004  # its code, not whether
    return code.co_flags if isinstance(code, CodeType) else 0


def loop_lane(backend: str | None) -> int:
    """Choose the event loop for coroutines: the given one, else the one that runs here, else asyncio's."""
    if backend is not None:
        return TRIO if backend == "trio" else ASYNCIO
    return ASYNCIO if trio_token() is None else TRIO


def trio_token() -> Any:
    """Return the token of the trio that runs here; None if none does."""
    trio = imported("trio")
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:  # none runs here
        return None


def name_of(fn: object) -> str:
    """Name a callable for messages."""
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
    """Say whether pickle takes this function or class by its name."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    if module is None:
        return False
    look()
    if comes_by_value(fn.__module__):
        return False
    found: Any = module
    for part in fn.__qualname__.split("."):
        found = getattr(found, part, _MISSING)
    return found is fn


class _References:
    """All that a function's pickle depends on, with the globals that it and those that it names may use."""

    def __init__(self) -> None:
        self._snapshots: list[Snapshot] = []
        self._globals: list[tuple[dict[str, Any], str, Any]] = []

    def is_same(self) -> bool:
        """Say whether all are what they were."""
        for namespace, name, value in self._globals:
            if namespace.get(name, _MISSING) is not value:
                return False
        return all(snapshot.is_same() for snapshot in self._snapshots)

    def add_all(self, fn: FunctionType) -> bool:
        """Look at all of them; False if something may change unseen."""
        waiting: list[Any] = [fn]
        visited = {id(fn)}
        while waiting:
            snapshot = Snapshot.of(waiting.pop())
            if snapshot is None:
                return False
            self._snapshots.append(snapshot)
            for part in snapshot.functions:
                if space_of(part.__globals__) is None:
                    continue
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
