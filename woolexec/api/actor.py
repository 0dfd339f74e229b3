"""
Actors: a view of a pool that calls the methods of one object, which lives in its own worker process.

::

    pool.actor(Counter, 10) --> Actor --> Handle --> the actor in the engine (`woolexec.core.actor`)
          |                       |         ends it when no view is left
          |                       `-- submit(Counter.add, 5) --> a call whose line names the actor
          `-- the constructor: a call that does not end, the life
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from woolexec.api.base_executor import BaseExecutor
from woolexec.options import TaskOptions

A = TypeVar("A")

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
    from typing import Concatenate, Literal, ParamSpec, Self, TypeAlias, overload

    from woolexec.api.async_api import Items, StreamScope
    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.api.stream import Stream
    from woolexec.futures.call_future import CallFuture

    P = ParamSpec("P")
    T = TypeVar("T")
    Method: TypeAlias = Callable[Concatenate[A, P], T]

_OF_OBJECT = ("require", "near", "at", "priority", "restarts", "max_concurrency")
"""The options that apply to the object; the others apply to its calls."""

_DEFAULT = {name: getattr(TaskOptions(), name) for name in _OF_OBJECT}


class Actor(BaseExecutor, Generic[A]):
    """
    A view of a pool for one object, which lives in its own worker process; made by `PeerPoolExecutor.actor`.

    The first argument of each method is a function that is called with the object and the other arguments, such as
    ``Counter.add`` in ``counter.submit(Counter.add, 5)``.  Plain functions run one at a time, in the order in which
    each caller submits them; coroutine functions and generator functions run concurrently with them, at most
    `max_concurrency` at once.

    An actor can be an argument of tasks and of other actors, which may then call its methods.  When its last view in
    the process that made it is collected, the object ends after the calls that were submitted.
    """

    _find: ClassVar[Any]
    """Finds an actor that arrived in a pickle; set by `woolexec.api.task_actors`, which imports this module."""

    def __init__(self, submission: Any, options: Any) -> None:  # users have no names for their types
        self._submission: Any = submission  # in a task that of `woolexec.api.task_actors`
        self._options = options

    @classmethod
    def _make(cls, submission: Any, options: TaskOptions | None, made: Any, args: Any, kwargs: Any) -> Self:
        """Make an actor."""
        if options is None:
            submission.begin(made, args, kwargs, None)
            return cls(submission, None)
        of_object = options.replace(retries=0, retry_on=(), idempotent=False, keep=False)
        of_calls = options.replace(name=None, **{name: _DEFAULT[name] for name in _OF_OBJECT})
        submission.begin(made, args, kwargs, of_object)
        return cls(submission, None if of_calls.is_default else of_calls)

    def _view(self, options: TaskOptions) -> Self:
        for name in _OF_OBJECT:
            if getattr(options, name) != _DEFAULT[name]:
                raise ValueError(f"{name} applies to the object of an actor, not to its calls: give it to the pool")
        return type(self)(self._submission, None if options.is_default else options)

    @property
    def _abandons(self) -> bool:
        return True  # a cancelled wait must not end the object

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        from woolexec.api.map_async import AsyncMap
        from woolexec.api.map_batches import FutureSender

        star = settings.star or len(iterables) > 1
        sender = FutureSender(lambda args: self._start(fn, args, {}), star=star, by_force=False)
        return AsyncMap(self._through_gate(sender), iterables, settings)

    def submit_graph(self, graph: Any, keys: object = None) -> dict[Any, CallFuture[Any]]:
        """Raise TypeError: the functions of a graph are not called with the object."""
        raise TypeError("an actor calls functions with its object: have the pool run the graph")

    def get(self, dsk: Any, keys: object, **kwargs: object) -> Any:
        """Raise TypeError, as `submit_graph` does."""
        return self.submit_graph(dsk, keys)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # PEP 3148
        """
        Accept no more calls, and end the object when the accepted ones are done.

        :param wait: return when its process has ended, or its peer has said so
        :param cancel_futures: cancel every call that has not been started

        Within a task this does nothing, unless the object was made by a task in the same worker.
        """
        self._submission.end(wait=wait, cancel=cancel_futures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """End the object after its calls; after Ctrl-C without those that were not started."""
        interrupted = exc_type is not None and issubclass(exc_type, KeyboardInterrupt)
        self.shutdown(wait=not interrupted, cancel_futures=interrupted)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """End the object after its calls, without blocking the event loop."""
        from woolexec.futures.loop_waiters import is_cancellation, join

        handle = self._submission.handle
        interrupted = exc_type is not None and (issubclass(exc_type, KeyboardInterrupt) or is_cancellation(exc_type))
        self.shutdown(wait=False, cancel_futures=interrupted)
        if handle is not None and not interrupted:
            await join(handle.wait, lambda: handle.close(cancel=True))

    if TYPE_CHECKING:  # like those of an executor, but the functions take the object first

        @overload  # type: ignore[override]  # the function takes the object first
        def submit(
            self, fn: Method[A, P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
        ) -> CallFuture[T]: ...

        @overload
        def submit(self, fn: Method[A, P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[Stream[T]]: ...

        @overload
        def submit(self, fn: Method[A, P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]: ...
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any: ...

        @overload  # type: ignore[override]  # the function takes the object first
        async def run(self, fn: Method[A, P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

        @overload
        async def run(self, fn: Method[A, P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]: ...

        @overload
        async def run(self, fn: Method[A, P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
        async def run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any: ...

        @overload  # type: ignore[override]  # the function takes the object first
        def stream(
            self, fn: Callable[Concatenate[A, ...], Items[T]], /, *args: Any, prefetch: int, **kwargs: Any
        ) -> StreamScope[T]: ...
        @overload
        def stream(self, fn: Method[A, P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> StreamScope[T]: ...
        def stream(self, fn: Any, /, *args: Any, prefetch: Any = 0, **kwargs: Any) -> Any: ...

        @overload  # type: ignore[override]  # the function takes the object first
        def map(
            self,
            fn: Callable[Concatenate[A, ...], Coroutine[Any, Any, T]],
            /,
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int | None = None,
            buffersize: int | None = None,
            ordered: bool = True,
            return_exceptions: Literal[False] = False,
        ) -> Generator[T, None, None]: ...

        @overload
        def map(
            self,
            fn: Callable[Concatenate[A, ...], Items[T]],
            /,
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int | None = None,
            buffersize: int | None = None,
            ordered: bool = True,
            return_exceptions: Literal[False] = False,
        ) -> Generator[Stream[T], None, None]: ...

        @overload
        def map(
            self,
            fn: Callable[Concatenate[A, ...], T],
            /,
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int | None = None,
            buffersize: int | None = None,
            ordered: bool = True,
            return_exceptions: Literal[False] = False,
        ) -> Generator[T, None, None]: ...

        @overload
        def map(
            self,
            fn: Callable[Concatenate[A, ...], Any],
            /,
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int | None = None,
            buffersize: int | None = None,
            ordered: bool = True,
            return_exceptions: bool,
        ) -> Generator[Any, None, None]: ...
        def map(self, fn: Any, /, *iterables: Any, **how: Any) -> Any: ...

        @overload  # type: ignore[override]  # the function takes the object first
        def map_async(
            self,
            fn: Callable[Concatenate[A, ...], Coroutine[Any, Any, T]],
            /,
            *iterables: Iterable[Any] | AsyncIterable[Any],
            ordered: bool = True,
            chunksize: int | None = None,
            buffersize: int | None = None,
            star: bool = False,
            timeout: float | None = None,
            return_exceptions: Literal[False] = False,
        ) -> AsyncMap[T]: ...

        @overload
        def map_async(
            self,
            fn: Callable[Concatenate[A, ...], Items[T]],
            /,
            *iterables: Iterable[Any] | AsyncIterable[Any],
            ordered: bool = True,
            chunksize: int | None = None,
            buffersize: int | None = None,
            star: bool = False,
            timeout: float | None = None,
            return_exceptions: Literal[False] = False,
        ) -> AsyncMap[Stream[T]]: ...

        @overload
        def map_async(
            self,
            fn: Callable[Concatenate[A, ...], T],
            /,
            *iterables: Iterable[Any] | AsyncIterable[Any],
            ordered: bool = True,
            chunksize: int | None = None,
            buffersize: int | None = None,
            star: bool = False,
            timeout: float | None = None,
            return_exceptions: Literal[False] = False,
        ) -> AsyncMap[T]: ...

        @overload
        def map_async(
            self,
            fn: Callable[Concatenate[A, ...], Any],
            /,
            *iterables: Iterable[Any] | AsyncIterable[Any],
            ordered: bool = True,
            chunksize: int | None = None,
            buffersize: int | None = None,
            star: bool = False,
            timeout: float | None = None,
            return_exceptions: bool,
        ) -> AsyncMap[Any]: ...
        def map_async(self, fn: Any, /, *iterables: Any, **how: Any) -> Any: ...

    def __eq__(self, other: object) -> bool:
        """Return whether both are views of the same object, whatever their options are."""
        return bool(self._object == other._object) if isinstance(other, Actor) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._object)

    @property
    def _object(self) -> Any:
        return self._submission.handle or self._submission.key()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._find, (self._submission.key(), self._submission.name)

    def __repr__(self) -> str:
        handle = self._submission.handle
        state = "of another process" if handle is None else handle.state
        return f"<Actor {self._submission.name}: {state}>"
