"""How an executor with an engine makes calls: one, one on every worker, or those of a map."""

from __future__ import annotations

import threading
from functools import partial

from woolexec.api.submission import Submission
from woolexec.core.call import Call
from woolexec.engine.dispatcher import AFTER_SHUTDOWN, FORKED_CHILD
from woolexec.engine.function_cache import Functions
from woolexec.futures.call_future import CallFuture
from woolexec.imported import import_now
from woolexec.wire import context_vars
from woolexec.wire.pickling import dumps_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.api.inputs import Holder
    from woolexec.api.map_batches import ChunkSender
    from woolexec.core.call import Function
    from woolexec.data.store import Store
    from woolexec.engine.engine import Engine
    from woolexec.options import TaskOptions
    from woolexec.statistics import Statistics
    from woolexec.wire.payload import File, Parts
    from woolexec.wire.values import Value

    _OnAll = list[tuple[Callable[[], int | str], CallFuture[Any]]]


class EngineSubmission(Submission):
    """
    Makes calls for an engine.  It holds no reference to the executor, so that an unreferenced executor is shut down.

    :param workers: maximum number of workers
    :param limits: the size limit and the folder of its `Store`, which is created for the first value
    """

    def __init__(
        self,
        engine: Engine,
        workers: int,
        limits: tuple[int | None, str | None],
        future: type[CallFuture[Any]] = CallFuture,
    ) -> None:
        super().__init__(engine, Functions(engine.intern), engine.submit, future)
        self.engine = engine
        self._workers = workers
        self._limits = limits
        self._store: Store | None = None
        self._making = threading.Lock()  # held while the store is made
        self.is_closed = False

    def close(self) -> None:
        """Accept no more tasks."""
        self.is_closed = True

    @property
    def is_open(self) -> bool:
        """Tasks are accepted."""
        return not (self.is_closed or self.engine.refuses or _ending)

    def check(self) -> None:
        """
        Check that tasks are accepted.

        :raises RuntimeError: after shutdown, at the interpreter's end, or in a forked child
        :raises BrokenProcessPool: if the engine is broken
        """
        if self.is_closed or self.engine.refuses or _ending:  # one call: this is on the path of each task
            self._refuse()

    def _holder(self) -> Holder:
        """Return the engine's."""
        return self.engine.inputs()

    def _value(self, payload: bytes | File | Parts) -> Value:
        """
        Make a value of a pickle.

        :raises StoreFullError: if there is no room for it
        """
        if self._store is None:
            from woolexec.data.store import Store

            with self._making:
                self._store = self._store or Store(*self._limits, self._let_go)
        return self._store.add(payload)

    def _let_go(self, number: int) -> None:
        """Make workers free the memory of a value; from any thread."""
        self.engine.tell(partial(self.engine.let_go, number))

    def statistics(self) -> Statistics:
        """
        Return what the engine is doing and has done, and the values that are held.

        :raises RuntimeError: in a forked child
        """
        found = self.engine.statistics()
        return found if self._store is None else found.with_values(*self._store.held)

    def _refuse(self) -> None:
        engine = self.engine
        if engine.forked:
            raise RuntimeError(FORKED_CHILD)
        if engine.broken is not None:
            raise type(engine.broken)(*engine.broken.args) from engine.broken
        if self.is_closed:
            raise RuntimeError(AFTER_SHUTDOWN)
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def for_all(
        self, fn: Callable[..., Any], args: Any, kwargs: Any, options: TaskOptions | None
    ) -> tuple[CallFuture[Any], Callable[[Any], _OnAll]]:
        """
        Prepare ``fn(*args, **kwargs)`` for every worker.

        :return: a future that resolves to the pickled arguments when all futures among them are done, and a function
            that starts the calls with these.  That function returns, for each worker, the future and a function that
            returns the worker's key once the call is done
        :raises Exception: any exception raised by pickling
        """
        from woolexec.api.inputs import bound

        engine, function = self.engine, self.function(fn, options)
        if function.is_stream:
            raise TypeError(f"run_on_all takes no generator functions: {function.name}")
        arguments = bound(dumps_call((fn, *args) if function.calls_first else args, kwargs))
        context = context_vars.capture(function.name)

        def run(payload: Any) -> _OnAll:
            def make() -> Call:
                future = self.future(engine)
                future.outstanding_call = call = Call(function, payload, future, options, context=context)
                return call

            self.check()  # the pool may have been shut down while the arguments were awaited
            return [(partial(place.key, call.pin), call.receiver) for place, call in engine.run_on_all(make)]

        return arguments, run

    def chunk_sender(
        self,
        fn: Callable[..., Any],
        function: Function,
        options: TaskOptions | None,
        check: Callable[[], None],
        *,
        is_fixed: bool,
        star: bool,
    ) -> ChunkSender:
        """
        Return the sender of the items of a map.

        :param function: the pickled form of `fn`
        :param check: called before items are sent; it keeps the executor alive meanwhile
        :param is_fixed: the chunks are not split
        :param star: each item is a tuple of arguments
        """
        import_now("woolexec.api.map_batches")  # imported by the first map
        from woolexec.api.map_batches import ChunkSender

        context = context_vars.capture(function.name)
        sender = ChunkSender(
            self.engine, fn, function, options, context, self._workers, check, fixed=is_fixed, star=star
        )
        sender.shown_in = getattr(self.future(), "shown_in", None)
        return sender


_ending = False


def _note_end() -> None:
    global _ending  # set once, at interpreter shutdown
    _ending = True


getattr(threading, "_register_atexit", __import__("atexit").register)(_note_end)
