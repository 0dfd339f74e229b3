"""The actors of one client at a peer: their lives are calls of its link, and so are the calls of their methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.actor import ALIVE, CONCURRENCY, ENDED, Actor
from woolexec.core.call import LIFE, give_back
from woolexec.engine.nested_receiver import of_same_actor
from woolexec.resources import Line
from woolexec.wire.descriptors import are_scarce

if TYPE_CHECKING:
    from woolexec.core.call import Call
    from woolexec.engine.links import Links
    from woolexec.mesh.server.answer import Answer
    from woolexec.wire.frames import Log, Output, Progress, Start

MOST = 1000
"""Maximum number of actors of one client at a peer: each is a process."""


class ClientActors:
    """
    The actors that came over one link.

    :param calls: the calls of the client that have not ended, by their numbers
    :param requests: the calls that tasks here have passed on to the client, by their numbers
    """

    def __init__(self, links: Links, calls: dict[int, Answer], requests: dict[int, Call]) -> None:
        self._links, self._calls, self._requests = links, calls, requests

    def has_room(self, frame: Start) -> bool:
        """
        Return whether a call about an actor may be accepted.

        The actor must be alive; or, for a new one, the client has fewer than `MOST`, and there are enough descriptors
        in addition to those that the workers of all clients need.

        :raises ProtocolError: if it is a call of a map, or for a particular worker, which calls about actors never are
        """
        if frame.worker or frame.count or len(frame.call) != 1:
            raise errors.ProtocolError(f"call {frame.call[0]} is about an actor, but of a map or for a certain worker")
        if frame.lane != LIFE:
            return self._owner(frame) is not None
        lives = sum(answer.outstanding_call.function.lane == LIFE for answer in self._calls.values())
        return lives < MOST and not are_scarce()

    def _owner(self, frame: Start) -> Guest | None:
        """Return the actor that a call of a method is for; None if it has ended, which the client was told."""
        life = self._calls.get(frame.actor)
        owner = None if life is None else life.outstanding_call.receiver
        return owner if isinstance(owner, Guest) and owner.state != ENDED else None

    def accept(self, call: Call, frame: Start, client: object) -> None:
        """Bind a call about an actor, for which there is room, to it."""
        answer: Answer = call.receiver
        if frame.lane == LIFE:
            table = self._links.actors()
            actor = Guest(table, call, frame.max_concurrency or CONCURRENCY)
            call.receiver, call.is_plain = actor, False
            needs = None if call.line is None else call.line.requirement
            call.line = Line(frame.priority, needs, client=client, actor=table)
            return
        owner = self._owner(frame)
        assert owner is not None  # otherwise there is no room
        call.line = Line(actor=owner)
        answer.request = request = self._requests.get(frame.parent)
        if request is not None:
            call.ancestor = of_same_actor(request.receiver.worker, request, owner)
        answer.is_of_actor = True

    def cancel(self, answer: Answer) -> bool:
        """End a plain call of a method, with its actor; return False if this is not such a call."""
        if not answer.is_of_actor or answer.outstanding_call.function.lane:
            return False
        call = answer.outstanding_call
        self._links.cancel(call, lambda ended: answer.deliver_failure(call, None) if ended else None, force=True)
        return True


class Guest(Actor):
    """An actor of a client: it is not made again here, and its client is informed of its state."""

    takes_logs = True
    is_guest = True

    def __init__(self, actors: Any, life: Call, limit: int) -> None:
        self.answer: Answer = life.receiver
        super().__init__(actors, life.name, limit=limit)

    @property
    def outstanding_call(self) -> Call:
        """The actor's life, under the name that its session uses."""
        return self.answer.outstanding_call

    @outstanding_call.setter
    def outstanding_call(self, life: Call) -> None:
        self.answer.outstanding_call = life

    def deliver_start(self, call: Call) -> None:
        """Tell the client that the object was made."""
        super().deliver_start(call)
        if self.state == ALIVE:
            self.answer.served.let_go_arguments(self.answer)
            self.answer.deliver_start(call)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Note the end of the object."""
        self.life = self.life or call  # it may not have been queued
        self.answer.types = self.types
        super().deliver_failure(call, payload)

    def end(self, failure: Any = None) -> None:
        """Tell the client first; the waiting calls are given back to it after that."""
        if self.state != ENDED and self.life is not None:
            error = failure if failure is not None else errors.ActorLostError(f"the actor {self.name} was ended")
            self.answer.deliver_failure(self.life, error)
        super().end(failure)

    def refuse_call(self, call: Call) -> None:
        """Give a call back."""
        give_back(call, errors.ActorLostError(f"the actor {self.name} has ended"))

    def refuse(self, reason: str) -> bool:
        """Give the life back, because no worker can be started."""
        if not self.answer.refuse(reason):
            return False
        super().end()
        return True

    def deliver_log(self, frame: Log) -> None:
        """Send a logging record to the client."""
        self.answer.deliver_log(frame)

    def deliver_progress(self, frame: Progress) -> None:
        """Send the progress of the constructor to the client."""
        self.answer.deliver_progress(frame)

    def deliver_output(self, frame: Output) -> None:
        """Send its output to the client."""
        self.answer.deliver_output(frame)
