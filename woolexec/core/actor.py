"""
An actor: an object in its own worker process, and the calls of its methods.

Its *life* is a call that runs the constructor, and that does not end before the object does.  So the object is placed,
reserves what it requires, and is lost like any other call.  Calls of its methods go where the life is outstanding.  The
number of the life identifies the incarnation: frames of an earlier one are about calls that are not outstanding.

::

                 send                start
    UNPLACED ------------> STARTING --------> ALIVE
       ^   <-- refuse, lose --'                 |
       `------------------- lose ---------------'      each of them --end--> ENDED
"""

from __future__ import annotations

from collections import deque

from woolexec.core.call import Relayed, fail, give_back
from woolexec.core.callers import Callers
from woolexec.core.group import Group
from woolexec.core.held import is_about_away, loss_among, pending_among
from woolexec.core.ready_queue import ReadyQueue
from woolexec.core.retry import LOST
from woolexec.errors import ProtocolError, ValueLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from typing import Any, Protocol

    from woolexec.core.away import Away
    from woolexec.core.call import Call, Chunk
    from woolexec.core.place import Place
    from woolexec.core.ready_queue import Offers
    from woolexec.resources import Requirement

    class Actors(Protocol):
        """What an actor needs of `woolexec.core.actors`."""

        due: dict[Actor, None]
        is_closing: bool
        error_of: Callable[[Actor, Call], Any]

        def new_group(self) -> Group:
            """Create a group for the calls of one actor."""

        def started(self, actor: Actor) -> None:
            """Note that an actor is alive."""

        def make_again(self, actor: Actor) -> None:
            """Queue the next life of a lost actor."""

        def ended(self, actor: Actor) -> None:
            """Forget an actor."""


UNPLACED, STARTING, ALIVE, ENDED = "unplaced", "starting", "alive", "ended"

TABLE: dict[str, dict[str, str]] = {
    UNPLACED: {"send": STARTING, "end": ENDED},
    STARTING: {"start": ALIVE, "refuse": UNPLACED, "lose": UNPLACED, "end": ENDED},
    ALIVE: {"lose": UNPLACED, "end": ENDED},
    ENDED: {},
}

CONCURRENCY = 1000
"""Default number of coroutines and streams of one actor that run at once."""


class ActorQueue(ReadyQueue):
    """
    The waiting calls of one actor: first in, first out, including nested ones.

    A call that lacks the values of its inputs is one of this program, and keeps its place among this program's calls.
    Nested calls overtake it, because the values may depend on them.

    :ivar about_away: calls that refer to values that peers keep (see `woolexec.core.away`), each with whether it waits
        for these
    """

    def __init__(self, beside: ReadyQueue | None = None) -> None:
        super().__init__(beside)
        self.about_away: dict[Call, bool] = {}
        self._nested: deque[Call | Chunk] = deque()  # calls that tasks submitted
        self.callers = Callers(self.is_claimable)

    def add(self, call: Call | Chunk) -> None:
        """Add a call that was offered before."""
        if len(self._line) > self._limit:
            self._drop_cancelled(self._line)
        self._line.append(call)
        self.note_values(call)  # type: ignore[arg-type]  # there are no chunks
        if call.parent:  # type: ignore[union-attr]  # there are no chunks
            if len(self._nested) > self._limit:
                self._drop_cancelled(self._nested)
            self._nested.append(call)
        self.callers.add(call)
        if call.ancestor:
            self.children.setdefault(call.ancestor, {})[call] = None  # type: ignore[index]  # there are no chunks

    def give_back(self, call: Call) -> None:
        """Put a recalled call at the front."""
        self._unclaimed.add(call)
        self._line.appendleft(call)
        self.note_values(call)
        if call.parent:
            self._nested.appendleft(call)
        self.callers.add(call)
        if call.ancestor in self.children:
            self.children[call.ancestor][call] = None

    def note_values(self, call: Call) -> None:
        """Note a call that refers to values that peers keep."""
        if call.payload.__class__ is not bytes and is_about_away(call.payload):
            self.about_away[call] = False

    def _lacks(self, call: Any) -> bool:
        return lacks_values(call) or self.about_away.get(call, False)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, not even a call that lacks values."""
        return self._front(self._line) is None

    def head(self, offer: Offers | None = None, stuck: Any = ()) -> Call | Chunk | None:
        """Return the next call that has its values, without taking it; None if there is none."""
        entry = self._front(self._line)
        return self._front(self._nested) if entry is not None and self._lacks(entry) else entry

    def take(self, call: Call) -> bool:
        """Take the head; return False if it has just been cancelled."""
        if self._line[0] is call:
            self._line.popleft()
        is_claimed = self.claim(call)
        self.callers.remove(call)
        self._front(self._nested)  # nested calls that were taken are forgotten
        return is_claimed

    def take_child(self, parent: int, offer: Offers | None = None) -> Call | None:
        """Take the oldest call that has this one as its ancestor."""
        children = self.children.get(parent, {})
        for call in list(children):
            if not self._lacks(call):
                del children[call]
                self.callers.remove(call)
                if self.claim(call):
                    return call
        return None

    def clear(self, requirements: Container[Requirement | None] | None = None) -> list[Call | Chunk]:
        """Remove and return all calls."""
        taken = super().clear(requirements)
        self._front(self._nested)
        self.about_away.clear()
        if requirements is None:
            self.callers.clear()
        return taken

    def ancestors_among(self, outstanding: Container[int]) -> list[int]:
        """Return the calls among these that have called this actor again through other tasks; forget the others."""
        for number in [number for number in self.children if number not in outstanding]:
            del self.children[number]
        return list(self.children)


def lacks_values(call: Any) -> bool:
    """Return whether a call waits for the values of futures among its arguments (see `woolexec.wire.inputs`)."""
    return hasattr(call.payload, "inputs")


class Actor(Relayed):
    """
    One actor: the receiver of its lives.  Only the engine's thread uses it, except for `inbox` and where stated.

    :param actors: the actors of this engine
    :param name: for messages
    :param limit: maximum number of its coroutines and streams that run at once
    :param restarts: how often it may be made again
    :param on_end: called when it has ended
    :ivar failure: why it has ended: None if it was shut down
    :ivar worker: its worker in this process's engine, while it is alive there; other threads may read it
    """

    takes_logs = False
    is_guest = False
    """Another process decides when it ends."""

    def __init__(
        self,
        actors: Actors,
        name: str,
        *,
        limit: int = CONCURRENCY,
        restarts: int = 0,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.name, self.limit, self.restarts = name, limit, restarts
        self.inbox: deque[Call] = deque()  # any thread appends; the engine's takes
        self.is_told = False  # the engine's thread is about to read the inbox
        self.is_closed = False
        """No more calls are accepted; it ends after the accepted ones."""
        self.cancels = False
        """Calls that were not started are cancelled."""
        self.state = UNPLACED
        self.life: Call | None = None
        self.failure: Any = None
        self.worker: Any = None
        self.main, self.lanes = actors.new_group(), actors.new_group()
        self.away: dict[Call, None] = {}  # calls that were sent over a link; those that ended are removed later
        self.target: Any = None  # its worker, or the link to its peer
        self.is_ending = False  # the target was told to end it
        self.is_moving = False  # its peer is about to leave: it is made again elsewhere, after its running calls
        self._actors = actors
        self._on_end = on_end

    @property
    def place(self) -> Place | None:
        """The place where it lives, or is being made."""
        return None if self.life is None else self.life.place

    @property
    def is_far(self) -> bool:
        """Whether it lives at a peer, or may, because it has no place yet; from any thread."""
        target = self.target
        return target is None or target.candidate is not None

    @property
    def is_waiting(self) -> bool:
        """Calls wait."""
        return not (self.main.queue.is_empty and self.lanes.queue.is_empty)  # type: ignore[attr-defined]  # `ActorQueue`

    def move(self, event: str) -> None:
        """
        Change the state as the table says for this event.

        :raises ProtocolError: if the table has no such transition
        """
        try:
            self.state = TABLE[self.state][event]
        except KeyError:
            raise ProtocolError(f"actor {self.name}: {event} is not allowed while it is {self.state}") from None

    # -- calls of its methods -----------------------------------------------------------------------------------

    def add(self, call: Call) -> None:
        """Queue a call that was offered, or fail it because the actor has ended."""
        if self.state == ENDED:
            if self.main.queue.claim(call):
                self.refuse_call(call)
            return
        self.queue_of(call).add(call)

    def queue_of(self, call: Call) -> ReadyQueue:
        """Return the queue in which a call waits; the caller is about to change the call."""
        self._actors.due[self] = None
        return (self.lanes if call.function.lane else self.main).queue

    def note_end(self, call: Call) -> None:
        """Note that a call of it has ended, so that others may be sent."""
        self._actors.due[self] = None

    def name_in(self, frame: Any) -> None:
        """Name the object in a Start frame for a link."""
        assert self.life is not None
        frame.actor = self.life.number

    def refuse_call(self, call: Call) -> None:
        """Fail a call that cannot be run, or give it back to the process that sent it."""
        error = None if self.cancels else self._actors.error_of(self, call)
        if isinstance(error, BaseException) and LOST in _types_of(error):
            give_back(call, error)
        else:
            fail(call, error)

    def look_at_values(self, away: Away) -> None:
        """Handle waiting calls whose values peers keep: only a peer can fetch these directly."""
        for queue in (self.main.queue, self.lanes.queue):
            about_away: dict[Call, bool] = queue.about_away  # type: ignore[attr-defined]  # an `ActorQueue`
            for call in list(about_away):
                if not (queue.is_claimable(call) and is_about_away(call.payload)):
                    del about_away[call]
                elif (loss := loss_among(call.payload)) is not None:
                    if queue.claim(call):
                        fail(call, loss)
                elif not about_away[call]:
                    self._wait_for_values(about_away, call, away)

    def _wait_for_values(self, about_away: dict[Call, bool], call: Call, away: Away) -> None:
        """Hold a call until its values are here, or made again; a call for a peer waits only for the latter."""

        def look_again() -> None:
            if call in about_away:
                about_away[call] = False
            self.note_end(call)

        pending = pending_among(call.payload)
        if pending is not None:
            about_away[call] = True
            away.after(pending, look_again)
        elif not self.is_far:
            about_away[call] = True
            for value in call.payload.values:
                if value.is_away:
                    away.bring(value, look_again)

    def refuse_waiting(self) -> None:
        """Fail or give back all calls that wait."""
        for call in self.drop_waiting():
            self.refuse_call(call)

    def drop_waiting(self) -> Iterator[Call]:
        """Remove and return all calls that wait."""
        for queue in (self.main.queue, self.lanes.queue):
            yield from queue.clear()  # type: ignore[misc]  # there are no chunks

    # -- its state: it receives the outcome of its life ---------------------------------------------------------

    def deliver_start(self, call: Call) -> None:
        """Note that the object was made."""
        if call is not self.life or self.state != STARTING:
            return  # of an earlier incarnation
        self.move("start")
        call.options = None  # the timeout was the constructor's
        if not self.restarts and call.place is not None:
            call.place.free_arguments(call)  # they may be large, and the object may live long
        self._actors.started(self)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Note that the constructor raised, or that the object is lost: make it again, or end."""
        types: Sequence[str] = self.types
        self.types = ()
        if call is not self.life:
            return
        if isinstance(payload, BaseException):
            types = _types_of(payload)
        may_begin = self.restarts > 0 and not isinstance(payload, ValueLostError)
        if LOST in types and may_begin and not self.is_closed and not self._actors.is_closing:
            self.restarts -= 1
            if self.state != UNPLACED:
                self.move("lose")
            self._actors.make_again(self)
        else:
            self.cancels = self.cancels or (payload is None and not self.is_ending)  # an argument was cancelled
            self.end(None if self.is_ending else payload)

    def deliver(self, call: Call, payload: Any) -> None:
        """Refuse a value: a life has none."""
        self.deliver_failure(call, ProtocolError("an actor's life has returned a value"))

    deliver_context = deliver_item = deliver

    def end(self, failure: Any = None) -> None:
        """
        End: no call of it is run from now on.

        :param failure: why; an exception may be encoded
        """
        if self.state == ENDED:
            return
        self.move("end")
        self.failure = failure
        self.worker = None
        self._actors.ended(self)
        self.refuse_waiting()
        self.away.clear()
        if self._on_end is not None:
            self._on_end()


def _types_of(error: BaseException) -> list[str]:
    return [f"{cls.__module__}:{cls.__qualname__}" for cls in type(error).__mro__]


def new_group(number: Callable[[], int], beside: ReadyQueue) -> Group:
    """
    Make a group whose queue is an `ActorQueue`.

    :param beside: a queue with which it shares the set of claimable calls
    """
    group = Group(number, beside)
    group.queue = ActorQueue(beside)
    return group
