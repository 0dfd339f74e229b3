"""
What tasks request from the process that has the pool: calls of actors, new actors, and names of its ``__main__``.

An engine that has a client, such as that of a peer, passes these requests on to the client (see
`woolexec.mesh.server.upward`), because only the process that has the pool knows all actors.  So an actor that a task
makes belongs to that process as well.
"""

from __future__ import annotations

from functools import partial

from woolexec import errors
from woolexec.core.call import LIFE
from woolexec.engine.nested_receiver import Receiver, known_above, of_same_actor
from woolexec.resources import Line
from woolexec.wire.frames import Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from woolexec.core.actor import Actor
    from woolexec.core.actors import Actors
    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.worker_process import Worker
    from woolexec.options import TaskOptions
    from woolexec.wire.frames import Submit

    class ActorDoor(Protocol):
        """What makes actors: see `woolexec.engine.actors`."""

        table: Actors

        def make(self, name: str, options: TaskOptions | None, on_end: Callable[[], object]) -> Actor:
            """Return an actor that has no life yet."""

        def line_up(self, life: Call) -> None:
            """Set the line in which a life waits, before it is submitted."""


class Elsewhere:
    """Decides who runs nested tasks that are not queued like others."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.ups: dict[Any, None] = {}
        """The clients of this engine."""
        self.look_up: Callable[[str, Callable[[bytes], object]], object]
        """Called with a name of this program's ``__main__`` and a function that receives its pickle."""
        self.actors: Callable[[], ActorDoor]
        """Returns the engine's `ActorDoor`."""

    def way_of(self, worker: Worker, call: Call, frame: Submit) -> Callable[[Call], object]:
        """
        Return the function that runs a call of an actor, makes an actor, or looks up a name.

        :raises ValueError: if the key of a new actor is that of an existing one
        """
        if frame.main_name:
            name = frame.main_name
            return self._way_up(worker, call, main_name=name) or partial(self._look_up, name)
        if frame.lane == LIFE:
            return self._way_up(worker, call, actor=frame.actor) or self._way_to_make(worker, call, frame.actor)
        return self._way_to_actor(worker, call, frame.actor)

    def _way_to_actor(self, worker: Worker, call: Call, key: bytes) -> Callable[[Call], object]:
        """
        Return what runs a call of an actor: the scheduler, or the client of this engine, which may know the actor.

        If a plain method of that actor is an ancestor of the call, and so waits for it, the call runs on top of it.
        """
        actors = self._scheduler.actors
        actor = None if actors is None else actors.by_key.get(key)
        if actor is None:
            call.ancestor = 0
            return self._way_up(worker, call, actor=key) or _fail
        call.line, call.ancestor = Line(actor=actor), of_same_actor(worker, call, actor)
        return self._scheduler.add

    def _way_to_make(self, worker: Worker, call: Call, key: bytes) -> Callable[[Call], object]:
        """Return what makes an actor; for a task at a peer it is made at a peer, not in this program's processes."""
        door = self.actors()
        if key in door.table.by_key:
            raise ValueError("a task made an actor with the key of another one")
        receiver: LifeReceiver = call.receiver
        actor = door.make(call.name, call.options, receiver.has_ended)
        door.table.by_key[key] = receiver.actor = actor
        receiver.close = partial(door.table.close, actor)

        def make(life: Call) -> None:
            life.receiver = actor
            door.line_up(life)
            assert life.line is not None
            life.line, life.ancestor = life.line._replace(far=worker.candidate is not None), 0
            self._scheduler.add(life)

        return make

    def _look_up(self, name: str, call: Call) -> None:
        call.move("fail")  # it must not run
        self.look_up(name, partial(call.receiver.deliver, call))

    def _way_up(self, worker: Worker, call: Call, **what: Any) -> Callable[[Call], object] | None:
        """Return what passes a call on to the client of this engine; None if it has none."""
        up = min(self.ups, key=lambda each: each.hops, default=None)
        return None if up is None else partial(up.pass_on, parent=known_above(worker, call.parent), **what)


class LifeReceiver(Receiver):
    """
    Receives the end of an actor that a task has made; it exists until the handle in the worker is gone.

    :ivar actor: the actor; None if the client of this engine has it
    :ivar close: ends the actor after its calls
    """

    actor: Actor | None = None
    close: Callable[..., object]
    _is_over = _is_left = False

    def deliver_context(self, call: Call, context: bytes, payload: Any) -> None:
        """Note the end."""
        self.has_ended()

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Note the end; if the actor was never created, its calls fail for this reason."""
        if self.actor is None:
            self.has_ended()
        else:
            self.actor.end(payload)

    def has_ended(self) -> None:
        """Tell the worker that the actor has ended."""
        self._is_over = True
        self._tasks.tell(self, Return(call=(self.task,), seconds=(0.0,)), b"")
        self._remove()

    def end(self, *, cancel: bool) -> None:
        """Note that the handle is gone: end the actor after its calls; `cancel`: cancel those that wait."""
        life = self.outstanding_call
        self._is_left = True
        if self._is_over:
            self._remove()
        elif self.actor is not None:
            self.close(cancel=cancel)
        elif life.place is not None:
            life.place.target.end_actor(life.number, cancel=cancel)

    def _remove(self) -> None:
        if self._is_over and self._is_left:
            self._tasks.remove((self.worker.id, self.task))


def _fail(call: Call) -> None:
    error = errors.ActorLostError(f"{call.name} was not run, because the actor has ended or belongs to another pool")
    call.receiver.deliver_failure(call, error)
