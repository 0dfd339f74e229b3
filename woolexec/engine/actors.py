"""Passes actors and the calls of their methods to the scheduler, from any thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from woolexec import errors
from woolexec.core.actor import Actor
from woolexec.core.actors import Actors
from woolexec.core.retry import LOST
from woolexec.engine.dispatcher import AFTER_SHUTDOWN
from woolexec.engine.inputs import Inputs
from woolexec.resources import Line
from woolexec.wire.exceptions import NotStarted, types_of
from woolexec.wire.frames import Cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.call import Call
    from woolexec.engine.dispatcher import Dispatcher
    from woolexec.engine.rounds import Rounds
    from woolexec.options import TaskOptions
    from woolexec.wire.values import Value


class ActorDoor:
    """The operations on an engine's actors that other threads use."""

    def __init__(self, rounds: Rounds) -> None:
        self._loop, self._scheduler = rounds.loop, rounds.scheduler
        self._submit, self._values = rounds.dispatcher.submit, rounds.dispatcher.values
        made = Actors(rounds.scheduler, rounds.dispatcher, error_of, partial(_end_life, rounds.dispatcher))
        self.table: Actors = vars(rounds.scheduler).setdefault("actors", made)  # another thread may have made one

    def make(self, name: str, options: TaskOptions | None, on_end: Callable[[], object]) -> Actor:
        """Return a new actor that has no life yet."""
        restarts = 0 if options is None else options.restarts
        actor = Actor(self.table, name, restarts=restarts, on_end=on_end)
        if options is not None and options.max_concurrency is not None:
            actor.limit = options.max_concurrency
        return actor

    def line_up(self, life: Call) -> None:
        """Set the line in which a life waits, before it is submitted: from then on its failure is the actor's."""
        life.receiver.life = life
        line: Line = life.line or Line()
        life.line, life.is_plain = line._replace(actor=self.table), False

    def begin(self, life: Call) -> None:
        """
        Start the creation of an actor.

        :raises RuntimeError: if the engine has stopped meanwhile
        """
        self._submit(life)

    def submit(self, actor: Actor, call: Call) -> None:
        """
        Submit a call of a method.

        :raises RuntimeError: if the engine has stopped meanwhile
        """
        call.line = Line(actor=actor)
        # Calls in the inbox come first: one that is sent directly would overtake them.
        if call.is_plain and not call.function.lane and not actor.inbox:
            worker = actor.worker
            if worker is not None and worker.send_directly(call):
                return
        queue = self._scheduler.main.queue
        queue.offer(call)
        actor.inbox.append(call)
        # The engine clears the flag, then empties the inbox: it either sees this call or is woken for it.
        if not actor.is_told:
            actor.is_told = True
            self._loop.tell(partial(self.table.take, actor))
        if self._loop.stopped and queue.claim(call):
            raise RuntimeError(AFTER_SHUTDOWN)

    def holder(self, actor: Actor) -> ActorInputs:
        """Return what holds the calls of an actor that lack values."""
        return ActorInputs(self, actor, Inputs(self._loop, self._scheduler, self._values))

    def close(self, actor: Actor, *, cancel: bool) -> None:
        """End an actor after its calls; `cancel`: cancel those that were not started."""
        if not (self._loop.stopped or self._loop.forked):
            self._loop.tell(partial(self.table.close, actor, cancel=cancel))

    def tell(self, piece: Callable[[], object]) -> None:
        """Run a function in the engine's thread."""
        self._loop.tell(piece)


class ActorInputs:
    """
    Holds the calls of one actor that lack values.

    Coroutines and streams are held as other calls are; a plain call keeps its place in the line.
    """

    shares: ClassVar[bool] = True

    def __init__(self, door: ActorDoor, actor: Actor, inputs: Inputs) -> None:
        self._door, self._actor, self._inputs = door, actor, inputs
        self.line = Line(actor=actor)

    def takes(self, value: Value) -> bool:
        """Return False for a value that may be at a peer, if the actor is here: it must be fetched first."""
        return not value.is_kept or (self._actor.is_far and self._inputs.takes(value))

    def _is_in_line(self, entry: Any) -> bool:
        return entry.receiver is not self._actor and not entry.function.lane

    def hold(self, entry: Any) -> None:
        """Hold a call, or the life."""
        if self._is_in_line(entry):
            self._door.submit(self._actor, entry)
            return
        if entry.receiver is not self._actor:
            entry.line = self.line
        self._inputs.hold(entry)

    def release(self, entry: Any, payload: Any) -> None:
        """Give a call its payload, with the values."""
        if self._is_in_line(entry):
            self._door.tell(partial(self._complete, entry, payload))
        else:
            self._inputs.release(entry, payload)

    def drop(self, entry: Any, payload: Any) -> None:
        """End a call because an input has failed, or with None, because it was cancelled."""
        if self._is_in_line(entry):
            self._door.tell(partial(self._fail, entry, payload))
        else:
            self._inputs.drop(entry, payload)

    def _complete(self, entry: Call, payload: Any) -> None:
        if self._actor.main.queue.is_claimable(entry):
            entry.payload = payload
            self._door.table.due[self._actor] = None

    def _fail(self, entry: Call, payload: Any) -> None:
        if self._actor.main.queue.cancel(entry):
            entry.receiver.deliver_failure(entry, payload)
            self._door.table.due[self._actor] = None


def _end_life(dispatcher: Dispatcher, life: Call) -> None:
    dispatcher.command(life, Cancel(call=life.number))


def error_of(actor: Actor, call: Call) -> Any:
    """Return the failure of a call of an actor that has ended: that of its constructor, or an `ActorLostError`."""
    failure, text = actor.failure, f"{call.name} was not run, because the actor {actor.name} has ended"
    if failure is not None:
        is_value = isinstance(failure, errors.ValueLostError)  # that of an argument: there was no object
        is_loss = isinstance(failure, BaseException) and not is_value and LOST in types_of(failure)
        if not is_loss:
            return NotStarted(failure, f"the constructor of the actor {actor.name}", call.name)
        text += f": {failure}"
    error = errors.ActorLostError(text)
    error.task = call.name
    if failure is not None:
        for name in ("pid", "host", "exitcode"):
            setattr(error, name, getattr(failure, name, None))
    return error
