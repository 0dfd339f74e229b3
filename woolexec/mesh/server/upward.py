"""
Passes requests of tasks at a peer on to the client, because only the client can serve them: calls of actors whose
handles the tasks have, and names of its ``__main__`` that they lack.

::

    task at the peer --Submit--> the client's engine here --Submit, with the actor's key--> the client
                     <--Return--                          <--Return, Raise, Started, Yield--  which finds the actor

To the engine here the client is a place that runs only such calls.  The request for a name is sent in the same way,
with the name instead of a key.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec import errors
from woolexec.core.candidate import Candidate
from woolexec.core.remote_place import RemoteLane
from woolexec.engine.transport import Remote, Sent
from woolexec.mesh.link.outbox import ABOVE
from woolexec.wire.frames import Cancel, Close, Options, Raise, Return, Started, Submit, Yield, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from woolexec.core.call import Call
    from woolexec.engine.links import Links
    from woolexec.mesh.link.arriving import Arriving
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.wire.payload import File
    from woolexec.wire.protobuf import Message

_MOST = 10_000
"""Maximum number of calls that have not ended."""


class Upward(Remote):
    """
    The client of one link, as a place for calls of its actors, and for requests of names.

    :ivar hops: number of peers between that client and the one whose tasks these are
    """

    __slots__ = ("_arriving", "_lines", "_links", "_outbox", "handlers", "has_sent", "hops", "lane_place", "name")

    def __init__(self, links: Links, outbox: Outbox, arriving: Arriving, client: str) -> None:
        super().__init__(monotonic())
        self.hops = 0
        self.has_sent, self.name = Sent(), client
        self.candidate = Candidate(self, client, client, is_here=False, address=client)
        self.lane_place = RemoteLane(self, _MOST, monotonic())
        self._links, self._outbox, self._arriving = links, outbox, arriving
        self._lines: dict[int, bytes] = {}  # by the numbers of calls of actors, the actors' keys
        links.ups[self] = None
        self.handlers: dict[type[Message], Callable[[Any], None]] = dict.fromkeys(
            (Return, Raise, Started, Yield), self._hear
        )

    # -- to the client ------------------------------------------------------------------------------------------

    def pass_on(self, call: Call, parent: int, *, actor: bytes = b"", main_name: str = "") -> None:
        """
        Let the client run a call of an actor, or look up a name of its ``__main__``.

        :param parent: the client's number of the call that submitted it
        """
        if len(self.lane_place.outstanding) >= _MOST:
            call.receiver.deliver_failure(call, errors.ActorLostError(_full(call)))
            return
        options, call.options, call.is_plain = call.options, None, False  # the client applies the options
        self._links.record(self.lane_place, call)
        frame = Submit(task=call.number, parent=parent, function=call.function.payload, name=call.function.name)
        frame.lane, frame.context, frame.actor = call.function.lane, call.context, actor
        frame.main_name = main_name
        if options is not None:
            frame.options = Options(**options.submit_fields)
        if actor:  # its calls must not overtake each other, or the one that makes it
            self._lines[call.number] = actor
        self._outbox.put_frame(ABOVE | call.number, frame, call.payload, actor or None)

    def _line_of(self, number: int) -> Hashable:
        """Return the name of the line in which the frames of a call keep their order: its actor, if it has one."""
        return self._lines.get(number) or ABOVE | number

    def send_command(self, frame: Any, file: File | None = None) -> None:
        """Send a command for a call; to cancel a coroutine, it is closed like a stream."""
        if frame.__class__ is Cancel:
            frame = Close(call=frame.call)
        if file is None:
            self._outbox.put(encode(frame), self._line_of(frame.call))
        else:
            self._outbox.put_frame(ABOVE | frame.call, frame, file, self._line_of(frame.call))

    def end_actor(self, number: int, *, cancel: bool) -> None:
        """End an actor that a task here has made, by the number of its life."""
        self._outbox.put(encode(Close(call=number) if cancel else Cancel(call=number)), self._line_of(number))

    def flush(self) -> bool:
        """Return True: the outbox does the writing."""
        return True

    def withdraw(self, call: Call) -> bool:
        """Return False: calls are not recalled."""
        return False

    # -- from the client ----------------------------------------------------------------------------------------

    def _hear(self, frame: Any) -> None:
        numbers = (frame.call,) if isinstance(frame.call, int) else frame.call
        if len(numbers) != 1:
            raise errors.ProtocolError("expected the outcome of one call")
        if getattr(frame, "kept", 0):
            raise errors.ProtocolError("a client cannot keep the outcome of a call")
        (number,) = numbers
        if getattr(frame, "extent", ()):
            frame.payload = self._arriving.take(frame, ABOVE | number)
        if frame.__class__ is Started:
            call = self.lane_place.began(number, monotonic())
            if call is not None:
                call.receiver.deliver_start(call)
        else:
            self._links.hear(self, frame)
            if number not in self.lane_place.outstanding:
                self._lines.pop(number, None)

    def close(self) -> None:
        """Fail the calls that have not ended, because the link has ended."""
        self._links.ups.pop(self, None)
        self._links.leave_upward(self, _lost)


def _full(call: Call) -> str:
    return f"{call.name} was not run: {_MOST} calls of actors in other processes have not ended; wait for some of them"


def _lost(call: Call) -> errors.ActorLostError:
    return errors.ActorLostError(f"the link to the process that knows the actor has ended while {call.name} ran")
