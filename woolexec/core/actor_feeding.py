"""
Which calls of an actor are sent over a link; the peer queues them, and keeps their order.

An actor in this process is fed like other workers, from its own queues (see `woolexec.core.feeding`).
"""

from __future__ import annotations

from woolexec.core.call import Call
from woolexec.core.callers import waiter_of
from woolexec.core.window import BYTES_AHEAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from woolexec.core.actions import Actions
    from woolexec.core.actor import Actor
    from woolexec.core.group import Group
    from woolexec.core.place import Place

AHEAD = 64
"""Maximum number of plain calls of one actor that are sent over a link before they have ended."""

APART = 1 << 17
"""Later frames may overtake a payload of this size on a link, so nothing is sent before it has arrived."""


def is_busy(actor: Actor) -> bool:
    """Return whether calls of an actor wait or run."""
    if actor.inbox or actor.is_waiting:
        return True
    place: Any = actor.place
    if place is None:
        return False
    if place.candidate is None:
        worker = place.target
        return bool(worker.outstanding or worker.recalling or worker.has_permit or len(place.outstanding) > 1)
    return runs_calls(actor, place)


def runs_calls(actor: Actor, place: Place) -> bool:
    """Return whether calls of an actor are outstanding at its peer."""
    _prune(actor, place)
    return bool(actor.away)


def awaited(actors: Iterable[Actor], number: int) -> Iterator[int]:
    """
    Yield a call that waits, and the calls in the main threads of these actors that must end before it can continue.

    These are the calls of methods that it has made, and what runs there before them, and so on.  So it may run the
    tasks that these wait for.
    """
    found = [number]
    for each in found:
        yield each
        for actor in actors:
            if actor.worker is not None and actor.worker.outstanding:
                found += [other for other in _before(actor, each) if other not in found]


def _before(actor: Actor, number: int) -> list[int]:
    """
    Return the calls in the main thread of an actor here that must end before a call that has called the actor.

    Only calls that have started have tasks.
    """
    worker = actor.worker
    stack, running = [*worker.waiting], worker.current
    if running is not None and running.number not in stack:
        stack.append(running.number)
    if not stack:
        return []
    calls: dict[int, Call] = worker.outstanding
    first = next((index for index, each in enumerate(stack) if _is_for(number, calls.get(each))), len(stack))
    # Of calls that have not started, one is enough: what it runs on top of depends on the call that waits for it.
    behind = next((call for call in worker.unstarted(worker.page.started) if _is_for(number, call)), None)
    if behind is None:
        behind = actor.main.queue.callers.find(number)  # type: ignore[attr-defined]  # an `ActorQueue`
    if behind is not None:
        first = min(first, stack.index(behind.ancestor) + 1 if behind.ancestor in stack else 0)
    return stack[first:]


def _is_for(number: int, call: Call | None) -> bool:
    return call is not None and waiter_of(call) == number


def feed_far(actor: Actor, place: Any, group: Group, actions: Actions) -> None:
    """Send calls over a link: the peer queues them, and keeps their order."""
    chosen = list(_nested(actor, place))
    if actor.is_waiting:
        _prune(actor, place)
        ahead = Ahead(call for call in actor.away if not call.function.lane)
        while isinstance(call := actor.main.queue.head(), Call) and ahead.may_grow(call):
            if actor.main.queue.take(call):
                ahead.add(call)
                chosen.append(call)
        room = actor.limit - (len(actor.away) - ahead.count)
        while room > 0 and isinstance(call := actor.lanes.queue.head(), Call):
            if actor.lanes.queue.take(call):
                room -= 1
                chosen.append(call)
        actor.away.update(dict.fromkeys(chosen))
    for call in chosen:
        call.is_plain = False  # it has to name the actor
        group.record(place, call, 0.0)
    actions.send(place, chosen)


def _nested(actor: Actor, place: Any) -> Iterable[Call]:
    """Take the calls that a call of this actor waits for: they do not wait behind others."""
    queue: Any = actor.main.queue
    for ancestor in queue.ancestors_among(place.outstanding):
        while (call := queue.take_child(ancestor)) is not None:
            actor.away[call] = None
            yield call


def _prune(actor: Actor, place: Place) -> None:
    for call in [call for call in actor.away if call.place is not place]:
        del actor.away[call]


class Ahead:
    """The plain calls of one actor that were sent over a link and have not ended."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.count = self._size = 0
        self._is_apart = False
        for call in calls:
            self.add(call)

    def add(self, call: Call) -> None:
        """Add a call."""
        self.count += 1
        self._size += len(call.payload)
        self._is_apart = self._is_apart or _is_apart(call)

    def may_grow(self, call: Call) -> bool:
        """Return whether one more call may be sent: at most `AHEAD`, and none that others could overtake."""
        if not self.count:
            return True
        is_full = self.count >= AHEAD or self._size + len(call.payload) > BYTES_AHEAD
        return not (is_full or self._is_apart or _is_apart(call))


def _is_apart(call: Call) -> bool:
    return len(call.payload) >= APART or hasattr(call.payload, "values")
