"""How the constructor of an actor and the calls of its methods are submitted."""

from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.api.held import held
from woolexec.api.submission import Submission, beside
from woolexec.core.call import LIFE, Call, Function
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.engine.function_cache import name_of
from woolexec.futures.latch import Latch
from woolexec.platform.posix import renewed_at_fork
from woolexec.wire import context_vars
from woolexec.wire.inputs import Unbound
from woolexec.wire.pickling import dumps_call

if TYPE_CHECKING:
    from woolexec.api.engine_submission import EngineSubmission
    from woolexec.core.actor import Actor
    from woolexec.engine.actors import ActorDoor, ActorInputs
    from woolexec.engine.engine import Engine
    from woolexec.engine.function_cache import Functions
    from woolexec.futures.call_future import CallFuture
    from woolexec.options import TaskOptions


_making = renewed_at_fork(threading.Lock())  # held while a key is chosen
handles: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
"""The actors of this process that have keys: those that were pickled, and those that tasks here have made."""


class Handle:
    """What the views of one actor share; the actor ends when it is collected."""

    def __init__(self, executor: Any, options: TaskOptions | None, cls: Any) -> None:
        self._executor = executor  # it is shut down when it is collected
        self.pool: EngineSubmission = executor._submission
        self._key = b""
        self.door: ActorDoor = self.pool.engine.actors()
        self.ended = Latch()  # opens when the actor has ended
        self.held: list[Any] = []  # what must live until then
        self.is_closed = False
        name = (options.name if options is not None else None) or name_of(cls)
        on_end = partial(_end, self.ended, self.held, self.pool.engine)
        self.actor: Actor = self.door.make(name, options, on_end)
        self._finalizer = weakref.finalize(self, self.door.close, self.actor, cancel=False)
        self._finalizer.atexit = False

    @property
    def state(self) -> str:
        """The state of the actor."""
        return self.actor.state

    def submission(self) -> ActorSubmission:
        """Return what makes its calls."""
        return ActorSubmission(self)

    def key(self) -> bytes:
        """Return the unguessable key with which tasks call the actor; it is made when it is first needed."""
        if not self._key:
            with _making:
                self._key = self._key or os.urandom(16)
            handles[self._key] = self
            self.door.table.by_key[self._key] = self.actor
        return self._key

    def close(self, *, cancel: bool) -> None:
        """Accept no more calls."""
        self.is_closed = True
        self._finalizer.detach()
        self.door.close(self.actor, cancel=cancel)

    def wait(self) -> None:
        """Wait until the actor has ended."""
        self.ended.wait()


def _end(ended: Latch, held: list[Any], engine: Engine) -> None:
    """Note that an actor has ended."""
    ended.open()
    if held:
        engine.drop(held)


def constructor_call(
    functions: Functions, name: str, cls: Any, args: Any, kwargs: Any, options: TaskOptions | None
) -> Call:
    """
    Return the call that makes an object, without a receiver.

    :param name: the actor's name
    :raises TypeError: if the constructor is a coroutine function or a generator function
    :raises Exception: any exception raised by pickling
    """
    function = functions.get(cls)
    if function.lane:
        raise TypeError(f"{function.name} cannot make an actor: it is a coroutine function or a generator function")
    if function.calls_first:
        args = cls, *args
    payload: Any = dumps_call(args, kwargs)
    if options is not None and options.awaited:
        payload = beside(payload, options)
    constructor = Function(function.payload, name, LIFE)
    constructor.needs = function.needs
    return Call(constructor, payload, None, options, context=context_vars.capture(name))  # type: ignore[arg-type]


class ActorSubmission(Submission):
    """Makes the calls of one actor."""

    def __init__(self, handle: Handle) -> None:
        # Not a method of this object: the cycle would keep the actor alive until the next garbage collection.
        hand_on = partial(handle.door.submit, handle.actor)
        super().__init__(handle.pool.engine, handle.pool.functions, hand_on, handle.pool.future)
        self.handle = handle

    def check(self) -> None:
        """
        Check that calls are accepted.

        :raises RuntimeError: if the actor or its pool was shut down
        """
        self.handle.pool.check()
        if self.handle.is_closed:
            raise RuntimeError(AFTER_SHUTDOWN)

    def begin(self, cls: Any, args: Any, kwargs: Any, options: TaskOptions | None) -> None:
        """
        Have the object made.

        :raises TypeError: if the constructor is a coroutine function or a generator function
        :raises Exception: any exception raised by pickling
        """
        handle, door = self.handle, self.handle.door
        handle.pool.check()
        life = constructor_call(self.functions, self.name, cls, args, kwargs, options)
        handle.held += held(cls, life.function, (args, kwargs), life.payload) or ()
        life.receiver = handle.actor
        door.line_up(life)
        if life.payload.__class__ is Unbound:
            from woolexec.api.inputs import hold

            if hold(life, self._holder(), life.name):
                return
            door.line_up(life)
        door.begin(life)

    @property
    def name(self) -> str:
        """The actor's name."""
        return self.handle.actor.name

    def key(self) -> bytes:
        """Return the key with which tasks call the actor."""
        return self.handle.key()

    def end(self, *, wait: bool, cancel: bool) -> None:
        """Accept no more calls, and end the actor after the accepted ones."""
        if self.handle.pool.engine.forked:
            return
        self.handle.close(cancel=cancel)
        if wait:
            self.handle.wait()

    def _holder(self) -> ActorInputs:
        return self.handle.door.holder(self.handle.actor)

    def put(self, value: Any) -> CallFuture[Any]:
        """Return a future with a value that several calls share; see `Submission.put`."""
        self.check()
        return self.handle.pool.put(value)
