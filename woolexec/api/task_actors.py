"""
Actors in tasks: calls of actors whose handles a task has, and actors that a task makes.

An actor that a task makes belongs to the process that has the pool, like any other.  But it ends with the handle in the
worker of the task, after the calls that this worker has submitted.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from woolexec.api.actor import Actor
from woolexec.api.actor_submission import constructor_call, handles
from woolexec.api.held import held
from woolexec.api.nested_submission import OWNER, NestedFuture, NestedHolder, claim, hand_on, submission
from woolexec.api.submission import Submission
from woolexec.core.actor import lacks_values
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.engine.function_cache import name_of
from woolexec.futures.latch import Latch
from woolexec.platform.posix import renewed_at_fork
from woolexec.resources import Line
from woolexec.wire.inputs import Unbound
from woolexec.worker import nested_tasks

if TYPE_CHECKING:
    from woolexec.core.call import Call
    from woolexec.options import TaskOptions
    from woolexec.wire.values import Value


class _Use:
    """Keeps an actor in use here: held by the handle, and by each call until its outcome has arrived."""

    __slots__ = ("__weakref__",)


class _Life:
    """Receives the end of an actor."""

    def __init__(self) -> None:
        self.ended = Latch()  # opens when the actor has ended
        self.held: list[Any] | None = None  # what must live until then

    def deliver(self, call: Any, payload: Any) -> None:
        """Note that it has ended."""
        self.ended.open()
        self.held = None

    deliver_context: ClassVar[Any] = deliver
    deliver_failure: ClassVar[Any] = deliver


class TaskHandle:
    """What the views of an actor share that a task in this worker has made; the actor ends when this is collected."""

    def __init__(self, options: TaskOptions | None, cls: Any) -> None:
        nested_tasks.submitting_job()  # raises outside of a task
        self.name = (options.name if options is not None else None) or name_of(cls)
        self._key = os.urandom(16)
        self._life = _Life()
        self._number = 0
        self.use: _Use | None = _Use()
        handles[self._key] = self

    @property
    def state(self) -> str:
        """Whether the actor has ended, as far as is known here."""
        return "ended" if self._life.ended.is_open else "made by a task"

    def key(self) -> bytes:
        """Return the key with which tasks call the actor."""
        return self._key

    def submission(self) -> TaskActorSubmission:
        """Return what makes its calls."""
        return TaskActorSubmission(self._key, self.name, self)

    def begin(self, life: Call, held: list[Any] | None) -> None:
        """Start the object's constructor; hold what must live until the actor has ended."""
        self._life.held = held
        life.receiver, life.line = self._life, Line(actor=self._key)
        nested_tasks.submit(life)
        self._number = life.number
        weakref.finalize(self.use, nested_tasks.cancel, life.number).atexit = False

    def close(self, *, cancel: bool) -> None:
        """Accept no more calls; end the actor after those that were submitted here."""
        self.use = None
        if cancel:
            nested_tasks.cancel(self._number, force=True)

    def wait(self) -> None:
        """Wait until the actor has ended."""
        ended = self._life.ended
        if nested_tasks.must_read():
            nested_tasks.wait_until(lambda: ended.is_open, None)
        else:
            nested_tasks.wait_lane()
            ended.wait()


def new_actor(options: TaskOptions | None, cls: Any) -> TaskActorSubmission:
    """Return what makes the calls of an actor that a task makes."""
    return TaskHandle(options, cls).submission()


class _ActorHolder(NestedHolder):
    """
    Holds the calls of an actor that lack values; large values are copied, because the actor may be on another host.

    Plain calls of the same task keep their order: later ones wait behind one that lacks values.

    :param key: names the actor
    """

    shares: ClassVar[bool] = False

    def __init__(self, key: bytes, use: _Use | None) -> None:
        super().__init__(use)
        self._key = key
        self._turn = self._job.number, key

    def takes(self, value: Value) -> bool:
        """Return False: calls of an actor refer to no values."""
        return False

    def line_up(self, call: Call) -> None:
        """Send a call that has its values, or hold it because it waits behind another one."""
        with _turns:
            if self._turn in _waiting:
                self.hold(call)
            else:
                self.send(call)

    def hold(self, entry: Call) -> None:
        """Hold a call."""
        entry.line = Line(actor=self._key)
        with _turns:
            super().hold(entry)
            if not entry.function.lane:
                _waiting.setdefault(self._turn, deque()).append(entry)

    def release(self, entry: Call, payload: Any) -> None:
        """Send a call, unless it was cancelled, when those before it have been sent."""
        if entry.function.lane:
            super().release(entry, payload)
        else:
            entry.payload = payload
            self._go_on()

    def let_go(self, entry: Call) -> None:
        """Forget a call, and send those that have waited for it."""
        super().let_go(entry)
        self._go_on()

    def _go_on(self) -> None:
        with _turns:
            line = _waiting.get(self._turn, ())
            while line and not (line[0] in nested_tasks.held and lacks_values(line[0])):
                call = line.popleft()
                if claim(call):
                    self.send(call)
                    nested_tasks.held.discard(call)
            if not line:
                _waiting.pop(self._turn, None)


_waiting: dict[tuple[int, bytes], deque[Call]] = {}
"""By task and actor: plain calls in their order; the first one lacks values."""

_turns = renewed_at_fork(threading.RLock())  # held while a call is added or sent; a destructor may submit one then


def _hand_on_to(key: bytes, handle: TaskHandle | None, call: Call) -> None:
    call.line = Line(actor=key)
    use = None if handle is None else handle.use
    if call.function.lane or not _waiting:
        hand_on(call, use)
    else:
        _ActorHolder(key, use).line_up(call)


class TaskActorSubmission(Submission):
    """
    Makes the calls of an actor, in a task.

    :param key: names the actor; only its handles have it
    :param name: its name
    :param handle: its handle, if the actor was made in this worker
    """

    def __init__(self, key: bytes, name: str, handle: TaskHandle | None = None) -> None:
        super().__init__(OWNER, submission.functions, partial(_hand_on_to, key, handle), NestedFuture)
        self._key, self.name, self.handle = key, name, handle

    def check(self) -> None:
        """
        Check that calls are accepted.

        :raises RuntimeError: if the actor was shut down here, or this is no worker
        """
        if nested_tasks.worker is None:
            raise RuntimeError(f"only tasks and actors can call the actor {self.name}, because a task made it")
        if self.handle is not None and self.handle.use is None:
            raise RuntimeError(AFTER_SHUTDOWN)

    def begin(self, cls: Any, args: Any, kwargs: Any, options: TaskOptions | None) -> None:
        """
        Wait for the futures among the arguments, then start the object's constructor.

        :raises Exception: that of such a future, or any exception raised by pickling
        """
        assert self.handle is not None
        life = constructor_call(self.functions, self.name, cls, args, kwargs, options)
        kept = held(cls, life.function, (args, kwargs), life.payload)
        if life.payload.__class__ is Unbound:
            from woolexec.api.inputs import wait_for_values

            wait_for_values(life, self._holder())
        self.handle.begin(life, kept)

    def _holder(self) -> _ActorHolder:
        return _ActorHolder(self._key, None if self.handle is None else self.handle.use)

    def key(self) -> bytes:
        """Return the key with which tasks call the actor."""
        return self._key

    def end(self, *, wait: bool, cancel: bool) -> None:
        """End the actor after its calls, if it was made in this worker."""
        if self.handle is not None:
            self.handle.close(cancel=cancel)
            if wait:
                self.handle.wait()


def find_actor(key: bytes, name: str) -> Actor[Any]:
    """Return an actor that arrived in a pickle."""
    handle = handles.get(key)
    return Actor(TaskActorSubmission(key, name) if handle is None else handle.submission(), None)


Actor._find = staticmethod(find_actor)


def make_actor(submission: Any, options: TaskOptions | None, cls: Any, args: Any, kwargs: Any) -> Actor[Any]:
    """Make an actor."""
    return Actor._make(submission, options, cls, args, kwargs)
