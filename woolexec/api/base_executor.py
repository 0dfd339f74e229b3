"""The base class of a pool, its views and the executor of nested tasks: `submit`, `map` and their types."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial

from woolexec.api.async_api import AsyncFace
from woolexec.checks import check_map
from woolexec.options import WithOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

    from woolexec.api.async_api import Items
    from woolexec.api.gate import Gate
    from woolexec.api.gated_map import GatedSender
    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.api.map_batches import FutureSender
    from woolexec.api.stream import Stream
    from woolexec.api.submission import Submission
    from woolexec.futures.call_future import CallFuture
    from woolexec.options import TaskOptions

    P = ParamSpec("P")
    T = TypeVar("T")

    class GraphCollection(Protocol):
        """A collection of dask."""

        def __dask_graph__(self) -> Any: ...
else:
    from woolexec.api.overload import overload


class BaseExecutor(Executor, AsyncFace, WithOptions):
    """
    An executor that runs coroutine functions and generator functions as well.

    Pools, their views and actors are of this type.
    """

    _options: TaskOptions | None
    _submission: Submission

    def _map(
        self, fn: Any, iterables: tuple[Iterable[Any], ...], chunksize: int | None, **how: Any
    ) -> Generator[Any, None, None]:
        from woolexec.api.map_futures import map_futures

        return map_futures(partial(self.submit, fn), iterables, **how)  # each item is a separate task

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        from woolexec.api.map_async import AsyncMap
        from woolexec.api.map_batches import FutureSender

        star = settings.star or len(iterables) > 1
        return AsyncMap(FutureSender(lambda args: self._start(fn, args, {}), star=star), iterables, settings)

    def _start(self, fn: Any, args: Any, kwargs: Any, *, stream: bool = False, prefetch: int = 0) -> CallFuture[Any]:
        return self._submission.submit(fn, args, kwargs, self._options, stream=stream, prefetch=prefetch)

    @property
    def _gate(self) -> Gate | None:
        return self._submission.gate

    def _through_gate(self, sender: FutureSender) -> FutureSender | GatedSender:
        gate = self._submission.gate
        if gate is None:
            return sender
        from woolexec.api.gated_map import GatedSender

        return GatedSender(sender, gate, counts=False)

    @property
    def _abandons(self) -> bool:
        return self._options is not None and self._options.abandon_on_cancel

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> CallFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, Items[T]], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[Stream[T]]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> CallFuture[Any]:
        """
        Run ``fn(*args, **kwargs)`` on a worker.

        Function and arguments are pickled before this returns, so later changes to them do not reach the task.  If one
        cannot be pickled, the future raises the error.

        The result of a coroutine function is the value that it returns; that of a generator function is a `Stream`.

        :raises RuntimeError: after `shutdown`, at the interpreter's end, in a forked child, or if no task is running
        :raises BrokenProcessPool: if the initializer failed, or the workers were ended
        """
        return self._submission.submit(fn, args, kwargs, self._options)

    def put(self, value: T, /) -> CallFuture[T]:
        """
        Store a value that many tasks need; return a done future that stands for it in their arguments.

        The value is pickled before this returns, and only once.  Each task gets its own copy, which it may change.
        Workers on this machine map the memory of a large value (128 KiB or more) and copy only what they change; each
        peer is sent the value once.  It is freed when the future is collected and no task needs it.

        Within a task the future only stands for the value, which is sent with each nested task.

        :raises StoreFullError: if the values that were put exceed the `store_limit` of the pool
        :raises RuntimeError: after `shutdown`, at the interpreter's end, in a forked child, or if no task is running
        :raises Exception: any exception raised by pickling
        """
        return self._submission.put(value)

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
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
        fn: Callable[..., Coroutine[Any, Any, T]],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[T | BaseException, None, None]: ...
    @overload
    def map(
        self,
        fn: Callable[..., Items[T]],
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
        fn: Callable[..., Items[T]],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[Stream[T] | BaseException, None, None]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
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
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool,
    ) -> Generator[T | BaseException, None, None]: ...
    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Generator[Any, None, None]:
        """
        Apply `fn` to the items of the iterables; yield the results in order.

        Items are sent together in batches; results are yielded one by one.  The first item that raised ends the
        iteration; its exception has a note that names the item.  If the iteration ends early, or the iterator is closed
        or collected after the first result was requested, tasks that have not been started are cancelled.  If no result
        was requested, all tasks run.

        :param timeout: seconds from this call until the last result is requested
        :param chunksize: number of items in a batch; None: chosen from measured run times
        :param buffersize: maximum number of batches (items, if `chunksize` is None) that are taken from the iterables
            ahead of the consumer; None takes all at once, as the standard library does
        :param ordered: yield the results in the order of the items; otherwise as they arrive
        :param return_exceptions: yield an item's exception as its result, and continue
        :raises TimeoutError: from the iterator, if a result does not arrive in time
        :raises ValueError: for a size below 1
        :raises RuntimeError: after `shutdown`, at the interpreter's end, or in a forked child
        """
        chunksize, buffersize, timeout = check_map(chunksize, buffersize, timeout)
        return self._map(
            fn,
            iterables,
            chunksize,
            timeout=timeout,
            buffersize=buffersize,
            ordered=ordered,
            return_exceptions=return_exceptions,
        )

    def submit_graph(
        self, graph: Mapping[Any, Any] | GraphCollection, keys: object = None
    ) -> dict[Any, CallFuture[Any]]:
        """
        Run the nodes of a graph of tasks; return the futures of some of them by key.

        A graph is a mapping.  A value ``(fn, arg, ...)`` is a call; arguments that are keys of the graph are replaced
        by the values of these nodes, at any depth of lists, tuples, dictionaries and calls.  A value that is a key is
        an alias of that node; any other value stands for itself.  Graphs, nodes and collections of dask are accepted
        too.

        A node runs when the nodes that it needs are done.  Nodes that no key needs do not run.  Small nodes may run in
        one call, and values without a future here stay where they were made until the last node that needs them ran.

        :param graph: a mapping, or a collection of dask
        :param keys: a key, or a list of keys and such lists; None: all keys of a mapping, or those of a collection
        :raises graphlib.CycleError: if the graph has a cycle
        :raises KeyError: if a key that is requested or needed is not in the graph
        :raises RuntimeError: after `shutdown`, at the interpreter's end, in a forked child, or if no task is running
        :raises Exception: any exception raised by pickling a value that several nodes need
        """
        from woolexec.graphs.submitting import submit_graph

        return submit_graph(self._submission, self._options, graph, keys)

    def get(self, dsk: Mapping[Any, Any] | GraphCollection, keys: object, **kwargs: object) -> Any:
        """
        Run the nodes of a graph that `keys` need and wait for them; return their values.

        It can be dask's scheduler: ``dask.config.set(scheduler=pool.get)``.  The first exception of a node is raised
        here, and nodes that have not been started are cancelled.

        :param dsk: a graph: see `submit_graph`
        :param keys: a key, or a list of keys and such lists; in the result, tuples take the place of the lists
        :param kwargs: what dask passes to its own schedulers; ignored
        :raises Exception: what a node raised, or what `submit_graph` raises
        """
        from woolexec.graphs.submitting import get

        return get(self._submission, self._options, dsk, keys)

    def _view(self, options: TaskOptions) -> BaseExecutor:
        raise NotImplementedError
