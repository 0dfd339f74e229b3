"""
`PeerPoolExecutor`: the interface of the standard library's executors.

The path of a task: `submit` pickles function and arguments in the caller's thread, creates the call and its future, and
hands the call to the engine; the engine sends it to a worker and delivers the outcome to the future; the future decodes
the outcome when it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import wait
from contextvars import Token
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from woolexec.errors import PlatformError

if sys.platform == "win32":  # before the imports that would fail there with another error
    raise PlatformError("woolexec's pool needs Unix sockets that carry descriptors; on Windows run it inside WSL 2")

from woolexec.api.base_executor import BaseExecutor
from woolexec.api.map import map_chunks, map_futures
from woolexec.api.map_batches import ChunkSender, FutureSender
from woolexec.api.stream_buffer import StreamBuffer
from woolexec.api.task_executor import ambient, current_executor
from woolexec.checks import count, integer, positive_seconds, seconds, wrong_type
from woolexec.core.call import Call, Function
from woolexec.cpus import usable_cpus
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.engine.engine import FORKED_CHILD, Engine
from woolexec.engine.function_cache import Functions
from woolexec.engine.lane import COROUTINES
from woolexec.engine.transport import Remote
from woolexec.futures.call_future import CallFuture
from woolexec.options import TaskOptions
from woolexec.platform.posix import SIGKILL, SIGTERM
from woolexec.wire import context_vars
from woolexec.wire.payload import LARGE
from woolexec.wire.pickling import dumps, dumps_call

if TYPE_CHECKING:
    from woolexec.api.map_async import AsyncMap, Settings
    from woolexec.core.policies import Placement
    from woolexec.discovery.base import Discovery
    from woolexec.engine.process import WorkerProcess
    from woolexec.engine.worker_process import Worker
    from woolexec.mesh.client.code_archive import Shippable
    from woolexec.mesh.client.peers import Peers
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.worker.setup import Setup

    PeersArgument = str | Discovery | Iterable[str | Discovery]

P = ParamSpec("P")
T = TypeVar("T")


class _Face(BaseExecutor):
    """Base class of an executor and its views."""

    _pool: PeerPoolExecutor

    def _map(
        self, fn: Any, iterables: tuple[Iterable[Any], ...], chunksize: int | None, **how: Any
    ) -> Generator[Any, None, None]:
        return self._pool._map_batches(self, fn, iterables, chunksize, **how)

    def _map_async(self, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        return self._pool._map_items(self, fn, iterables, settings)

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
        made = self._pool._run_on_all(fn, args, kwargs, self._options)
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

        made = self._pool._run_on_all(fn, args, kwargs, self._options)
        await all_done([future for _, future in made], abandon=self._abandons)
        return {key(): future for key, future in made}

    def _view(self, options: TaskOptions) -> OptionsView:
        return OptionsView(self._pool, None if options.is_default else options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool that is pickled with a task becomes, in the worker, the pool that the task runs in.
        return current_executor, ()


class PeerPoolExecutor(_Face):
    """
    A pool of worker processes that runs calls, as `concurrent.futures.ProcessPoolExecutor` does.

    :param max_workers: maximum number of worker processes; they are started when needed.  None: the number of
        processors that this process may use, by its affinity and its cgroup's quota
    :param mp_context: accepted for compatibility with the standard library, and ignored: workers are forked from a
        fresh fork server process, which inherits nothing of the caller's memory, threads or locks
    :param initializer: run by each worker before its first call.  If it raises, the executor is broken and every future
        raises `InitializerError`, a `BrokenProcessPool`.  A worker of a peer runs it before the first task that it
        receives from this executor; if it raises there, so do the tasks that are sent to that worker
    :param initargs: its arguments
    :param max_tasks_per_child: number of calls after which a worker is replaced; None: never
    :param initializer_timeout: seconds that the initializer may take; None: no limit
    :param max_coroutines: maximum number of coroutines and streams that one worker runs at once; more wait
    :param peers: peers that also run tasks: an address, ``host:port`` or ``unix:/path``; a URL of a discovery,
        ``lan://pool``, ``dir:/folder``, ``dns://name:port`` or ``ssh://user@host/workers``; a `Discovery`; or several
        of these.  Then `max_workers` counts the additional workers on this machine, and is 0 by default
    :param credentials: what this process and its peers use to authenticate each other; None: what WOOLEXEC_TOKEN_FILE,
        WOOLEXEC_TLS_CA, WOOLEXEC_TLS_CERT and WOOLEXEC_TLS_KEY name, or the token that the processes of this user share
        on this machine
    :param peers_timeout: seconds that tasks wait while no peer is connected, before they raise `NoPeersError`; None: no
        limit
    :param placement: chooses the peer for each task: `RoundRobin`, `LeastOutstanding`, `PowerOfTwoChoices`, or another
        `Placement`; None: a peer that is known to have a free place, those on this host first.  Workers on this machine
        come before peers
    :param ship: modules that are sent to each peer once: a module, its name, or the path of its file or folder; or
        several of these.  The whole package is sent.  A worker that has imported another version drops that one
    :param on_worker_start: run by each worker before the initializer, without arguments, under the initializer's rules:
        meant for library settings that the caller has made too, such as `numpy.seterr` or options of pandas
    :raises ValueError: if a number is not above 0, `peers` is empty, or a module cannot be shipped
    :raises CredentialsError: if a token or a certificate cannot be used
    :raises TypeError: for an argument of the wrong type
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        initializer_timeout: float | None = 60.0,
        max_coroutines: int = COROUTINES,
        peers: PeersArgument | None = None,
        credentials: Credentials | None = None,
        peers_timeout: float | None = 60.0,
        placement: Placement | None = None,
        ship: Shippable | Iterable[Shippable] = (),
        on_worker_start: Callable[[], object] | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = usable_cpus() if peers is None else 0
        else:
            max_workers = integer("max_workers", max_workers, "an integer or None")
            if max_workers < 0 or (max_workers == 0 and peers is None):
                raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        if initializer is not None and not callable(initializer):
            raise wrong_type("initializer", "a callable or None", initializer)
        if initargs is not None or initializer is not None:
            try:
                initargs = tuple(initargs)
            except TypeError:
                raise wrong_type("initargs", "a tuple of arguments", initargs) from None
        if on_worker_start is not None and not callable(on_worker_start):
            raise wrong_type("on_worker_start", "a function that takes no arguments, or None", on_worker_start)
        if max_tasks_per_child is not None:
            max_tasks_per_child = count("max_tasks_per_child", max_tasks_per_child, "an integer or None")
        max_coroutines = count("max_coroutines", max_coroutines)
        initializer_timeout = positive_seconds("initializer_timeout", initializer_timeout)
        peers_timeout = positive_seconds("peers_timeout", peers_timeout)
        if isinstance(placement, type):
            raise TypeError(f"placement must be an object, not a class: {placement.__name__}()")
        if placement is not None and not callable(getattr(placement, "choose", None)):
            raise wrong_type("placement", "an object with the methods of a Placement, or None", placement)
        if credentials is not None:
            _check_credentials(credentials)
        modules = _modules(ship)
        self._options = None
        self._max_workers = max(1, max_workers)
        first = _first(on_worker_start, initializer, initargs)
        self._peers = None
        if peers is not None:
            setup, code = _setup(modules, first, initializer_timeout)
            self._peers = _peers_at(peers, credentials, peers_timeout, setup, code)
        self._refusal: str | None = None
        self._outer: list[Token[Any]] = []
        self._engine = Engine(
            max_workers,
            initializer=first,
            initializer_timeout=initializer_timeout,
            calls_limit=max_tasks_per_child,
            threads=max(1, usable_cpus() // self._max_workers),
            coroutines=max_coroutines,
            guest=self._peers,
            policy=placement,
        )
        self._functions = Functions(self._engine.intern)
        self._finalizer = weakref.finalize(self, _abandon, self._engine)
        self._finalizer.atexit = False

    @property
    def _pool(self) -> PeerPoolExecutor:  # type: ignore[override]  # an attribute would be a reference cycle
        return self

    def wait_for_peers(self, count: int = 1, timeout: float | None = None) -> int:
        """
        Wait until at least `count` peers are connected.

        :return: the number of connected peers
        :raises TimeoutError: if fewer are connected after `timeout` seconds; the message says why
        :raises ValueError: if this executor has no peers
        :raises RuntimeError: in a forked child
        """
        if self._peers is None:
            raise ValueError("cannot wait for peers: this executor was created without peers=")
        if self._engine.forked:
            raise RuntimeError(FORKED_CHILD)
        return self._peers.wait(integer("count", count), seconds("timeout", timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # PEP 3148
        """
        Accept no more tasks, and end the workers when the accepted ones are done.

        :param wait: return when all tasks are done and every worker has ended; not in a done-callback, for which the
            executor itself waits
        :param cancel_futures: cancel every task that has not been started
        """
        self._refusal = AFTER_SHUTDOWN
        self._finalizer.detach()
        self._engine.shutdown(wait=wait, cancel=cancel_futures)
        self._functions.clear()

    def __enter__(self) -> Self:
        self._outer.append(ambient.set(self))
        return self

    def _leave(self) -> None:
        """Stop being the block's current executor."""
        if self._outer:
            with contextlib.suppress(ValueError):  # the block was entered in another context
                ambient.reset(self._outer.pop())

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """
        Wait for all tasks, then shut down.

        After Ctrl-C tasks that have not been started are cancelled, and running tasks get a KeyboardInterrupt, as they
        do when workers belong to the terminal's process group.
        """
        self._leave()
        interrupted = exc_type is not None and issubclass(exc_type, KeyboardInterrupt)
        if interrupted:
            self._engine.interrupt()
        self.shutdown(wait=True, cancel_futures=interrupted)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """
        Wait for all tasks, then shut down, without blocking the event loop.

        If the block is left because of a cancellation or Ctrl-C, or if this wait is cancelled, tasks that have not been
        started are cancelled and running tasks are interrupted.
        """
        from woolexec.futures.loop_waiters import is_cancellation, join

        self._leave()
        interrupted = exc_type is not None and (issubclass(exc_type, KeyboardInterrupt) or is_cancellation(exc_type))
        if interrupted:
            self._engine.interrupt()
        self.shutdown(wait=False, cancel_futures=interrupted)
        await join(self._engine.join, self._engine.interrupt)

    def terminate_workers(self) -> None:
        """End the workers with SIGTERM: running tasks raise a `BrokenProcessPool`, waiting tasks are cancelled."""
        self._end_workers(SIGTERM)

    def kill_workers(self) -> None:
        """End the workers with SIGKILL: running tasks raise a `BrokenProcessPool`, waiting tasks are cancelled."""
        self._end_workers(SIGKILL)

    @property
    def _processes(self) -> dict[int, WorkerProcess] | None:
        """The running workers by process id, as in the standard library's executor; None after shutdown."""
        return None if self._refusal is not None else self._engine.processes

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        """The thread that manages the workers, as in the standard library's executor."""
        return self._engine.thread

    def _end_workers(self, number: int) -> None:
        self._refusal = AFTER_SHUTDOWN
        self._finalizer.detach()
        self._engine.end_workers(number)

    # -- submitting tasks ---------------------------------------------------------------------------------------

    def _submit(
        self,
        fn: Callable[..., Any],
        args: Any,
        kwargs: Any,
        options: TaskOptions | None,
        *,
        stream: bool = False,
        prefetch: int = 0,
    ) -> CallFuture[Any]:
        engine = self._engine
        if self._refusal is not None or engine.broken is not None or engine.forked or _ending:
            self._refuse()
        future: CallFuture[Any] = CallFuture(engine)
        try:
            function = self._functions.get(fn, None if options is None else options.backend)
            payload = dumps_call(args, kwargs)
            context = context_vars.capture(function.name)
        except BaseException as exc:  # pickling runs user code: the future raises what it raised
            future.deliver_failure(None, exc)
            return future
        if stream and not function.is_stream:
            raise TypeError(f"{function.name} is not a generator function")
        future.is_lane = bool(function.lane)
        receiver = StreamBuffer(future, engine, prefetch) if function.is_stream else future
        call = Call(function, payload, receiver, options, context=context)
        future.outstanding_call = call
        engine.submit(call)
        return future

    def _run_on_all(
        self, fn: Callable[..., Any], args: Any, kwargs: Any, options: TaskOptions | None
    ) -> list[tuple[Callable[[], int | str], CallFuture[Any]]]:
        engine = self._engine
        if self._refusal is not None or engine.broken is not None or engine.forked or _ending:
            self._refuse()
        function = self._functions.get(fn, None if options is None else options.backend)
        if function.is_stream:
            raise TypeError(f"run_on_all takes no generator functions: {function.name}")
        payload, context = dumps_call(args, kwargs), context_vars.capture(function.name)

        def make() -> Call:
            future: CallFuture[Any] = CallFuture(engine)
            future.outstanding_call = call = Call(function, payload, future, options, context=context)
            return call

        return [(partial(_key, place, call.pin), call.receiver) for place, call in engine.run_on_all(make)]

    def _map_batches(
        self, face: _Face, fn: Any, iterables: tuple[Iterable[Any], ...], chunksize: int | None, **how: Any
    ) -> Generator[Any, None, None]:
        self._check()
        if not iterables:
            return (_ for _ in ())
        options = face._options
        try:
            function = self._functions.get(fn, None if options is None else options.backend)
        except BaseException as exc:  # as in _submit
            return _failing(exc, iterables, return_exceptions=how["return_exceptions"])
        if function.is_stream:
            return map_futures(partial(face.submit, fn), iterables, **how)
        sender = self._chunk_sender(function, options, fixed=chunksize is not None, star=len(iterables) > 1)
        return map_chunks(sender, iterables, chunksize=chunksize, **how)

    def _map_items(self, face: _Face, fn: Any, iterables: Any, settings: Settings) -> AsyncMap[Any]:
        from woolexec.api.map_async import AsyncMap

        self._check()
        options = face._options
        function = self._functions.get(fn, None if options is None else options.backend)
        star = settings.star or len(iterables) > 1
        sender: ChunkSender | FutureSender
        if function.is_stream:
            sender = FutureSender(lambda args: face._start(fn, args, {}), star=star)
        else:
            sender = self._chunk_sender(function, options, fixed=settings.chunksize is not None, star=star)
        return AsyncMap(sender, iterables, settings)

    def _chunk_sender(self, function: Function, options: TaskOptions | None, *, fixed: bool, star: bool) -> ChunkSender:
        return ChunkSender(
            self._engine,
            function,
            options,
            context_vars.capture(function.name),
            self._max_workers,
            self._check,
            fixed=fixed,
            star=star,
        )

    def _check(self) -> None:
        engine = self._engine
        if self._refusal is not None or engine.broken is not None or engine.forked or _ending:
            self._refuse()

    def _refuse(self) -> None:
        engine = self._engine
        if engine.forked:
            raise RuntimeError(FORKED_CHILD)
        if engine.broken is not None:
            raise type(engine.broken)(*engine.broken.args) from engine.broken
        if self._refusal is not None:
            raise RuntimeError(self._refusal)
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")


class OptionsView(_Face):
    """A view of an executor with other task options; made by `PeerPoolExecutor.with_options`."""

    def __init__(self, pool: PeerPoolExecutor, options: TaskOptions | None) -> None:
        self._pool = pool
        self._options = options
        self._submit = pool._submit  # type: ignore[method-assign]  # saves one call per task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # PEP 3148
        """Shut down the executor that this is a view of."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Leave the block of the executor that this is a view of."""
        self._pool.__exit__(exc_type, *exc_info)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Leave the block of the executor that this is a view of."""
        await self._pool.__aexit__(exc_type, *exc_info)


def _key(place: Worker | Remote, number: int) -> int | str:
    """Return the key of a worker in `run_on_all`; the fork server may report its pid later than the call's outcome."""
    if isinstance(place, Remote):
        return f"{place.name}/{number}"
    return place.page.pid if place.pid is None else place.pid


def _check_credentials(credentials: object) -> None:
    from woolexec.mesh.security.credentials import Credentials

    if not isinstance(credentials, Credentials):  # its repr may be the secret
        raise TypeError(f"credentials must be a Credentials or None, not {type(credentials).__name__}")


def _peers_at(
    peers: PeersArgument,
    credentials: Credentials | None,
    timeout: float | None,
    setup: Setup | None,
    code: dict[str, bytes],
) -> Peers:
    from woolexec.discovery.urls import discoveries
    from woolexec.mesh.client.peers import Peers
    from woolexec.mesh.security.credentials import Credentials

    credentials = credentials or Credentials.from_environment()
    return Peers(discoveries(peers), credentials, timeout=timeout, setup=setup, code=code.get)


def _modules(ship: Shippable | Iterable[Shippable]) -> list[Shippable]:
    """Return the modules that `ship=` names, as a list."""
    if isinstance(ship, str | os.PathLike | ModuleType):
        return [ship]
    try:
        return [*ship]
    except TypeError:
        raise wrong_type("ship", "a module, its name or path, or several of these", ship) from None


def _setup(ship: list[Shippable], initializer: Any, timeout: float | None) -> tuple[Setup | None, dict[str, bytes]]:
    """Return the setup that is sent to peers with functions, None if there is nothing to set up, and its archives."""
    if initializer is None and not ship:
        return None, {}
    import secrets

    from woolexec.mesh.client.code_archive import code_archive
    from woolexec.mesh.link.outbox import parts_of
    from woolexec.worker.setup import Setup

    code_archives = [code_archive(each) for each in ship]
    parts = () if initializer is None else parts_of(initializer)
    setup = Setup([(each.name, each.digest) for each in code_archives], parts, secrets.token_bytes(16), timeout)
    return setup, {each.digest: each.data for each in code_archives}


def _first(
    on_worker_start: Callable[[], object] | None, initializer: Callable[..., object] | None, initargs: Iterable[Any]
) -> Any:
    """Pickle the function that each worker runs first, with its arguments; return None if there is none."""
    if on_worker_start is None:
        if initializer is None:
            return None
        return dumps((initializer, tuple(initargs)), ("initializer", "initargs"), least=LARGE)
    from woolexec.worker.initializer import run_both

    arguments = on_worker_start, initializer, tuple(initargs)
    return dumps((run_both, arguments), ("", "on_worker_start or initializer"), least=LARGE)


def _failing(
    exc: BaseException, iterables: tuple[Iterable[Any], ...], *, return_exceptions: bool
) -> Generator[Any, None, None]:
    """Return the results of a map whose function cannot be pickled: the error for each item, or raise it once."""
    for _ in zip(*iterables):  # noqa: B905  # as map does
        if not return_exceptions:
            raise exc
        yield exc


def _abandon(engine: Engine) -> None:
    engine.shutdown(wait=False, cancel=False, close_streams=False)  # open streams can still be pulled to their end


_ending = False


def _note_end() -> None:
    global _ending  # set once, at interpreter shutdown
    _ending = True


getattr(threading, "_register_atexit", __import__("atexit").register)(_note_end)
