"""
The single place where functions and arguments become calls: for executors, their views, and nested tasks.

1. An executor that accepts no more tasks raises.
2. The function, the arguments and the propagated context variables are pickled, in the caller's thread.  What pickling
   raises is raised by the future.
3. The outcome goes to the future; if the function is a generator function, to the buffer of a stream.
4. The call is handed to the engine; a task hands it to the engine of its worker.
"""

from __future__ import annotations

from woolexec.api.held import held
from woolexec.api.stream_buffer import StreamBuffer
from woolexec.core.call import Call
from woolexec.futures.call_future import CallFuture
from woolexec.wire import context_vars
from woolexec.wire.inputs import Unbound
from woolexec.wire.pickling import dumps_call, dumps_put
from woolexec.wire.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from woolexec.api.gate import Gate
    from woolexec.api.inputs import Holder
    from woolexec.core.call import Function
    from woolexec.engine.function_cache import Functions
    from woolexec.options import TaskOptions
    from woolexec.wire.payload import File, Parts


class Submission:
    """
    Makes calls.

    :param owner: controls the calls: it cancels them, waits for them, and sends commands to streams
    :param functions: the pickled functions
    :param hand_on: takes a call that is to run
    :param future: the class of the futures
    """

    has_peers = False
    """Outcomes of its calls may stay with peers."""

    gate: Gate | None = None
    """Where calls wait while too many are unfinished; None: there is no limit."""

    def __init__(
        self,
        owner: Any,
        functions: Functions,
        hand_on: Callable[[Call], object],
        future: type[CallFuture[Any]] = CallFuture,
    ) -> None:
        self.functions = functions
        self._owner = owner
        self._hand_on = hand_on
        self.future = future

    def check(self) -> None:
        """
        Check that tasks are accepted.

        :raises RuntimeError: if not
        """

    def submit(
        self,
        fn: Callable[..., Any],
        args: Any,
        kwargs: Any,
        options: TaskOptions | None,
        *,
        stream: bool = False,
        prefetch: int = 0,
        function: Function | None = None,
        rank: int = 0,
    ) -> CallFuture[Any]:
        """
        Submit ``fn(*args, **kwargs)``.

        :param stream: `fn` must be a generator function
        :param prefetch: number of items that the stream may be ahead of its consumer
        :param function: the pickled form of `fn`, if the caller has it
        :param rank: of the waiting calls that have a rank, the one with the lowest is next; 0: no rank
        :raises RuntimeError: if tasks are not accepted
        :raises TypeError: if `fn` is not a generator function, and `stream` is true
        """
        self.check()
        owner = self._owner
        future = self.future(owner)
        try:
            if function is None:
                function = self.functions.get(fn, None if options is None else options.backend)
            if function.calls_first:
                args = fn, *args
            payload = dumps_call(args, kwargs)
            future.held = held(fn, function, (args, kwargs), payload)
            if options is not None and options.awaited:
                payload = beside(payload, options)
            context = context_vars.capture(function.name)
        except BaseException as exc:  # pickling runs user code
            future.deliver_failure(None, exc)
            return future
        if stream and not function.is_stream:
            raise TypeError(f"{function.name} is not a generator function")
        future.is_lane = bool(function.lane)
        receiver: Any = StreamBuffer(future, owner, prefetch) if function.is_stream else future
        future.outstanding_call = call = Call(function, payload, receiver, options, context=context, rank=rank)
        if payload.__class__ is Unbound:
            from woolexec.api.inputs import hold  # imported when it is first used, so that pools start faster

            if hold(call, self._holder(), call.name):
                return future
        self._hand_on(call)
        return future

    def put(self, value: Any) -> CallFuture[Any]:
        """
        Return a future with a value; the calls whose arguments contain the future share the value.

        :raises RuntimeError: if tasks are not accepted
        :raises Exception: any exception raised by pickling
        """
        self.check()
        made = self._value(dumps_put(value))
        future = self.future()
        future.share(made)
        return future

    def _value(self, payload: bytes | File | Parts) -> Value:
        """Make a value of a pickle."""
        return Value(payload)

    def _holder(self) -> Holder:
        """Return what holds calls that lack values."""
        raise NotImplementedError

    def function(self, fn: Callable[..., Any], options: TaskOptions | None) -> Function:
        """
        Return the pickled form of a function.

        :raises RuntimeError: if tasks are not accepted
        :raises Exception: any exception raised by pickling
        """
        self.check()
        return self.functions.get(fn, None if options is None else options.backend)


def beside(payload: bytes | File | Parts | Unbound, options: TaskOptions) -> Unbound:
    """Return arguments that also wait for the futures in the options."""
    if not isinstance(payload, Unbound):
        payload = Unbound(payload)
    payload.beside = [each for each in options.awaited if each is options.at]
    payload.wishes = [each for each in options.awaited if each is not options.at]
    return payload
