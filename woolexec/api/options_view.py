"""What an executor with an engine and its views have in common, and the views."""

from __future__ import annotations

from concurrent.futures import wait

from woolexec.api.pool_executor import PoolExecutor
from woolexec.imported import import_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from typing import Any, ParamSpec, Self, TypeVar, overload

    from woolexec.api.engine_submission import EngineSubmission
    from woolexec.api.gated_map import GatedSender
    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.api.map_batches import ChunkSender, FutureSender
    from woolexec.core.call import Function
    from woolexec.core.task_stack import Stacks
    from woolexec.futures.call_future import CallFuture
    from woolexec.observe.trace import Trace
    from woolexec.options import TaskOptions
    from woolexec.statistics import Statistics

    P = ParamSpec("P")
    T = TypeVar("T")
else:
    from woolexec.api.overload import overload


class EngineExecutor(PoolExecutor):
    """Base class of an executor with an engine and of its views."""

    _pool: EngineExecutor
    """The executor itself."""
    _submission: EngineSubmission

    def _map(
        self, fn: Any, iterables: tuple[Iterable[Any], ...], chunksize: int | None, **how: Any
    ) -> Generator[Any, None, None]:
        submission, options = self._submission, self._options
        submission.check()
        if not iterables:
            return (_ for _ in ())
        if getattr(self.submit, "__func__", None) is not EngineExecutor.submit:
            return super()._map(fn, iterables, chunksize, **how)  # through `submit`, which a subclass may override
        try:
            function = submission.function(fn, options)
        except BaseException as exc:  # as in `submit`
            return _failing(exc, iterables, return_exceptions=how["return_exceptions"])
        if _goes_by_calls(function, options):
            return super()._map(fn, iterables, chunksize, **how)
        sender = submission.chunk_sender(
            fn, function, options, self._check, is_fixed=chunksize is not None, star=len(iterables) > 1
        )
        import_now("woolexec.api.map")  # imported by the first map
        from woolexec.api.map import map_chunks

        return map_chunks(sender, iterables, chunksize=chunksize, **how)

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        from woolexec.api.map_async import AsyncMap

        star = settings.star or len(iterables) > 1
        return AsyncMap(self._sender(fn, settings.chunksize, star=star), iterables, settings)

    def _sender(self, fn: Any, chunksize: int | None, *, star: bool) -> ChunkSender | FutureSender | GatedSender:
        """
        Return what sends the items of a map.

        :param star: each item is a tuple of arguments
        """
        submission, options = self._submission, self._options
        function = submission.function(fn, options)
        if _goes_by_calls(function, options):
            from woolexec.api.map_batches import FutureSender

            return self._through_gate(FutureSender(lambda args: self._start(fn, args, {}), star=star))
        return submission.chunk_sender(fn, function, options, self._check, is_fixed=chunksize is not None, star=star)

    def _check(self) -> None:
        self._submission.check()

    def statistics(self) -> Statistics:
        """
        Return what the pool is doing and what it has done: see `Statistics`.

        It takes less than a millisecond with a few workers and a short queue, so coroutines may call it too.  There is
        no cost while it is not called.  After `shutdown` it returns the final statistics.

        :raises RuntimeError: in a forked child
        """
        return self._pool._submission.statistics()

    def stacks(self, timeout: float = 2.0) -> Stacks:
        """
        Return the running tasks of workers and peers, each with its stack, the longest-running first.

        Tasks are not stopped for this.  Workers and peers that do not answer are named, with the reason if it is known.

        :param timeout: seconds that workers and peers have to answer
        :raises ValueError: if `timeout` is not above 0
        :raises RuntimeError: in a forked child
        """
        from woolexec.api.stacks import stacks

        return stacks(self._submission.engine, timeout)

    async def stacks_async(self, timeout: float = 2.0) -> Stacks:  # noqa: ASYNC109  # it ends with an answer
        """Like `stacks`, without blocking the event loop."""
        from woolexec.api.stacks import stacks_async

        return await stacks_async(self._submission.engine, timeout)

    def trace(self, path: str | os.PathLike[str]) -> Trace:
        """
        Return a block, for ``with`` or ``async with``, that writes the timeline of its tasks to a file.

        The file is in the Trace Event format, which Perfetto and chrome://tracing open; ``woolexec timeline`` makes a
        page from it.  It has a lane for each worker, here and at peers, with the tasks that ran and how long each
        waited.  It is written while tasks end, and is complete when the block is left, even by an exception.

        :param path: the file, which is replaced if it exists
        :raises RuntimeError: if tasks are not accepted
        """
        from woolexec.observe.trace import Trace

        self._submission.check()
        return Trace(self._submission.engine, path)

    @overload
    def run_on_all(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int | str, CallFuture[T]]: ...
    @overload
    def run_on_all(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int | str, CallFuture[T]]: ...
    def run_on_all(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> dict[int | str, CallFuture[Any]]:
        """
        Run ``fn(*args, **kwargs)`` once on every worker and wait until all are done; start missing workers first.

        :return: a dictionary of done futures, each with the value or the exception of one worker; the key is the
            worker's process id, or for a worker of a peer ``"<host>/<the peer's identity, shortened>/<number>"``
        :raises RuntimeError: after `shutdown`, at the interpreter's end, or in a forked child
        """
        arguments, run = self._submission.for_all(fn, args, kwargs, self._options)
        made = run(arguments.result())
        wait([future for _, future in made])
        return {key(): future for key, future in made}

    @overload
    async def run_on_all_async(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int | str, CallFuture[T]]: ...
    @overload
    async def run_on_all_async(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> dict[int | str, CallFuture[T]]: ...
    async def run_on_all_async(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> dict[int | str, CallFuture[Any]]:
        """Like `run_on_all`, without blocking the event loop; if the wait is cancelled, so are the calls."""
        from woolexec.futures.awaiting import all_done

        arguments, run = self._submission.for_all(fn, args, kwargs, self._options)
        made = run(await arguments)
        await all_done([future for _, future in made], abandon=self._abandons)
        return {key(): future for key, future in made}

    def _new_actor(self, options: TaskOptions | None, cls: Any) -> Any:
        from woolexec.api.actor_submission import ActorSubmission, Handle

        self._submission.check()
        handle, gate = Handle(self._pool, options, cls), self._submission.gate
        if gate is None:
            return ActorSubmission(handle)
        from woolexec.api.gated_submission import gated_of_actor

        return gated_of_actor(handle, gate)

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        raise NotImplementedError

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002  # PEP 3148
        *,
        cancel_futures: bool = False,
        timeout: float | None = None,
    ) -> None:
        raise NotImplementedError

    async def shutdown_async(self, *, cancel_futures: bool = False, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as `shutdown` has it
        raise NotImplementedError

    def _view(self, options: TaskOptions) -> OptionsView:
        return OptionsView(self._pool, None if options.is_default else options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool that is pickled with a task is unpickled, in the worker, as the pool that the task runs in.
        from woolexec.api.task_executor import current_executor

        return current_executor, ()


class OptionsView(EngineExecutor):
    """A view of an executor with other task options; made by `PeerPoolExecutor.with_options`."""

    def __init__(self, pool: EngineExecutor, options: TaskOptions | None) -> None:
        self._pool = pool
        self._options = options
        self._submission = pool._submission

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002  # PEP 3148
        *,
        cancel_futures: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Shut down the executor that this is a view of."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures, timeout=timeout)

    async def shutdown_async(self, *, cancel_futures: bool = False, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as `shutdown` has it
        """Shut down the executor that this is a view of."""
        await self._pool.shutdown_async(cancel_futures=cancel_futures, timeout=timeout)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Leave the block of the executor that this is a view of."""
        self._pool.__exit__(exc_type, *exc_info)  # type: ignore[arg-type]  # mypy does not see that they are two

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Leave the block of the executor that this is a view of."""
        await self._pool.__aexit__(exc_type, *exc_info)


def _goes_by_calls(function: Function, options: TaskOptions | None) -> bool:
    """Return whether a map submits one call for each item, instead of chunks."""
    return function.is_stream or function.calls_first or (options is not None and bool(options.awaited))


def _failing(
    exc: BaseException, iterables: tuple[Iterable[Any], ...], *, return_exceptions: bool
) -> Generator[Any, None, None]:
    """Return the results of a map whose function cannot be pickled: the error for each item, or raise it once."""
    for _ in zip(*iterables):  # noqa: B905  # as map does
        if not return_exceptions:
            raise exc
        yield exc
