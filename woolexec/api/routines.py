"""
Routines: coroutine functions and asynchronous generator functions that run in the current pool.

    @routine
    async def add(x, y): ...

    async with PeerPoolExecutor(): await add(1, 2)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar, overload

from woolexec.api.pool_executor import ambient
from woolexec.api.task_executor import current_executor
from woolexec.worker import nested_tasks

if TYPE_CHECKING:
    _Function = Callable[..., Coroutine[Any, Any, Any] | AsyncIterator[Any]]
    _Method = classmethod[Any, Any, Coroutine[Any, Any, Any]] | classmethod[Any, Any, AsyncIterator[Any]]

F = TypeVar("F", bound="_Function | _Method")


@overload
def routine(fn: F, /) -> F: ...
@overload
def routine(*, local: bool = ...) -> Callable[[F], F]: ...
def routine(fn: Any = None, /, *, local: bool = False) -> Any:
    """
    Make a coroutine function, or an asynchronous generator function, run in the current pool.

    The current pool is that of the innermost ``with`` or ``async with`` block, or the one in which the caller runs.
    Methods, class methods and static methods may be routines, in either order of the decorators; `self` is pickled.

    :param local: outside of any pool, run in the caller's process instead of raising RuntimeError
    :raises TypeError: if `fn` is neither kind of function
    """
    if fn is None:
        return lambda function: _routine(function, local=local)
    return _routine(fn, local=local)


def _routine(fn: Any, *, local: bool) -> Any:
    if isinstance(fn, classmethod | staticmethod):
        return type(fn)(_routine(fn.__func__, local=local))
    if isasyncgenfunction(fn):
        return _generator(fn, local=local)
    if iscoroutinefunction(fn):
        return _coroutine(fn, local=local)
    raise TypeError(f"a routine must be an async def function, not {fn!r}")


class _Target:
    """The function behind a routine; it is pickled like the routine: by name if that can be imported."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper
        self.__qualname__ = wrapper.__qualname__  # how messages name it

    @property
    def __code__(self) -> Any:
        return self._wrapper.__wrapped__.__code__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper.__wrapped__(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Target, (self._wrapper,)


def _coroutine(fn: Any, *, local: bool) -> Any:
    @wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if local and not _has_pool():
            return await fn(*args, **kwargs)
        return await current_executor().run(_Target(call), *args, **kwargs)

    return call


def _generator(fn: Any, *, local: bool) -> Any:
    @wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        if local and not _has_pool():
            stream: Any = fn(*args, **kwargs)
            scope: Any = _Closing(stream)
        else:
            scope = current_executor().stream(_Target(call), *args, **kwargs)
        async with scope as stream:
            try:
                item = await anext(stream)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as exc:  # thrown into the generator
                        item = await stream.athrow(exc)
                    else:
                        item = await (anext(stream) if sent is None else stream.asend(sent))
            except StopAsyncIteration:
                return

    return call


class _Closing:
    """The scope of a generator that runs in the caller's process."""

    def __init__(self, agen: AsyncGenerator[Any, Any]) -> None:
        self._agen = agen

    async def __aenter__(self) -> AsyncGenerator[Any, Any]:
        return self._agen

    async def __aexit__(self, *exc_info: object) -> None:
        await self._agen.aclose()


def _has_pool() -> bool:
    return ambient.get() is not None or nested_tasks.worker is not None
