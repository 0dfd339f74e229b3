"""
A queue, the places that serve it, and the steps of a call between them.

The scheduler has two groups: one of the places that run one call at a time, and one of their lanes.  Each method is one
step; nothing happens between steps.
"""

from __future__ import annotations

from woolexec.core.batching import span_size
from woolexec.core.call import DONE, LEARN, LONGEST, SENT, UNCERTAIN, Call, Chunk, run_time
from woolexec.core.ready_queue import ReadyQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from woolexec.core.place import Place


class Group:
    """
    Waiting calls, and calls that are outstanding at places.

    :param number: returns the next call number
    :param beside: another queue that shares the set of claimable calls
    """

    __slots__ = ("__dict__", "number", "places", "queue", "width")  # a dictionary: a recorder wraps `finish` in it

    def __init__(self, number: Callable[[], int], beside: ReadyQueue | None = None) -> None:
        self.queue = ReadyQueue(beside)
        self.places: list[Place] = []
        self.width = 0  # the sum over all places, kept because it is needed for each call that is placed
        self.number = number

    # -- places -------------------------------------------------------------------------------------------------

    def join(self, place: Place) -> None:
        """Add a place; its width must not change after that."""
        self.places.append(place)
        self.width += place.width

    def leave(self, place: Place, started: int) -> list[Call]:
        """
        Remove a place that is gone: queue its unstarted calls again; return its other calls with unchanged states.

        :param started: number of the last call that it started
        """
        if place in self.places:
            self.places.remove(place)
            self.width -= place.width
        place.ready = False
        for call in reversed(place.unstarted(started)):
            self._requeue(place, call)
        pinned, place.pinned = place.pinned, []
        for call in pinned:  # they could run only there: lost, as if they had been sent
            if self.queue.claim(call):
                self.record(place, call, 0.0)
        lost = list(place.outstanding.values())
        for call in lost:
            place.gone(call.number, len(call.payload))
            self.queue.forget_parent(call.number)
        return lost

    # -- calls to places ----------------------------------------------------------------------------------------

    def add(self, call: Call) -> None:
        """Queue a call."""
        self.queue.offer(call)
        self.queue.add(call)

    def span_of(self, chunk: Chunk) -> int:
        """Return how many of the next items of a chunk are sent as one call."""
        count = chunk.count if chunk.fixed else 1 if chunk.alone else None
        return count or span_size(chunk.function.seconds, chunk.count - chunk.next, len(self.queue), self.width)

    def record(self, place: Place, call: Call, cost: float) -> None:
        """Record a call that was taken from the queue as outstanding at a place."""
        place.sent(call, self.number(), cost, len(call.payload))

    def pin(self, place: Place, call: Call) -> None:
        """Make a call wait for this place only; nothing else is sent there before it."""
        call.pin = 1
        self.queue.offer(call)
        place.pinned.append(call)

    def pin_far(self, place: Place, call: Call, worker: int) -> None:
        """Record a call for one worker of a place that has several, regardless of what is outstanding there."""
        call.pin, call.is_plain = worker, False
        self.queue.offer(call)
        self.queue.claim(call)
        self.record(place, call, 0.0)

    # -- what happened to them ----------------------------------------------------------------------------------

    def finish(self, place: Place, number: int, seconds: float) -> Call | None:
        """Note that a call ended, with any outcome; return it, or None if it is not outstanding there (any longer)."""
        call = place.outstanding.get(number)
        if call is None:
            return None
        place.gone(number, len(call.payload))
        # This inlined code saves four function calls for each call, which pays for the statistics.
        if call.state is SENT:
            call.state = DONE
        else:
            call.move("finish")
        function = call.function
        if call.count or not 0.0 <= seconds <= LONGEST:
            function.observe(seconds / (call.count or 1))
            seconds = run_time(seconds)
        else:
            mean = function.seconds
            function.seconds = seconds if mean is None else mean + LEARN * (seconds - mean)
        call.cost = seconds  # its reported run time; until now the expected one or, in a lane, when it was sent
        if place.above == number:
            place.above = 0
        if place.waiting:
            _no_longer_waits(place, number)
        if self.queue.children:
            self.queue.forget_parent(number)
        return call

    def again(self, place: Place, call: Call) -> None:
        """Queue a call again that failed at its place."""
        self.drop(place, call)
        self.retry(call)

    def drop(self, place: Place, call: Call) -> None:
        """Remove a call from those outstanding, without an outcome."""
        place.gone(call.number, len(call.payload))
        if place.above == call.number:
            place.above = 0
        _no_longer_waits(place, call.number)
        self.queue.forget_parent(call.number)

    def retry(self, call: Call) -> None:
        """Queue a call again that was started and failed."""
        call.move("retry")
        call.pin = 0  # the place where it had to run is gone
        self._queue_of(call).give_back(call)

    def _queue_of(self, call: Call) -> ReadyQueue:
        """Return the queue that a call was taken from: this one, or that of its actor."""
        actor: Any = None if call.line is None else call.line.actor
        return self.queue if actor is None else actor.queue_of(call)

    def wait(self, place: Place, number: int) -> None:
        """Note that a call of this place waits for nested tasks, which the place can now run."""
        place.waiting.append(number)
        place.above = 0

    def resume(self, place: Place, number: int) -> None:
        """Note that the waiting call continues."""
        if place.waiting and place.waiting[-1] == number:
            place.waiting.pop()
            place.above = number if place.waiting and number in place.outstanding else 0

    # -- recalls ------------------------------------------------------------------------------------------------

    def recall(self, place: Place, since: int = 0) -> int:
        """
        Recall the calls that the place has not started.

        This may be called at any time, even while earlier recalls are unanswered.  The caller then sends the mark that
        the place answers with Recalled (see `recalled`); nothing else is sent to it in between.

        :param since: number of the first call to recall; 0: all that have not been started
        :return: number of the first call that was recalled
        """
        since = since or place.page.started + 1
        started = place.page.recall(since)
        for call in reversed(place.unstarted(max(started, since - 1))):
            self._requeue(place, call)
        for number, call in place.outstanding.items():
            if since <= number <= started and call.state != UNCERTAIN and not place.is_certain(number):
                call.move("doubt")
        place.recalling += 1
        return since

    def recalled(self, place: Place, numbers: Iterable[int]) -> None:
        """Note that the place has read a mark; queue again the uncertain calls that it did not start (`numbers`)."""
        for call in self.withdraw(place, numbers):
            call.recalls += 1
        place.recalling = max(0, place.recalling - 1)
        if place.recalling:
            return
        place.page.clear_recall()
        for call in place.outstanding.values():
            if call.state == UNCERTAIN:
                call.move("start")

    def withdraw(self, place: Place, numbers: Iterable[int]) -> list[Call]:
        """Queue again, and return, those of these calls that are outstanding at a place that has not started them."""
        withdrawn = []
        for number in numbers:
            call = place.outstanding.get(number)
            if call is not None:
                self._requeue(place, call)
                withdrawn.append(call)
        return withdrawn

    def is_running(self, place: Place, call: Call) -> bool:
        """
        Return whether ending this place now would end this call and no later one.

        The answer is valid only if everything behind the call has been recalled, nothing has been sent since, and all
        frames from the place have been read: a place sends the outcome of a call before it starts another.
        """
        if place.outstanding.get(call.number) is not call or call.number > place.page.started:
            return False
        if call.state == UNCERTAIN and place.is_certain(call.number):  # its mark is answered only after this call
            call.move("start")
        return call.state == SENT

    def _requeue(self, place: Place, call: Call) -> None:
        """Queue a call again that was sent but not started."""
        call.attempts -= 1
        place.gone(call.number, len(call.payload))
        if place.above == call.number:
            place.above = 0
        if place.remaining is not None and not place.waiting:
            place.remaining += 1
        call.move("recall")
        if call.pin:
            self.queue.offer(call)
            place.pinned.insert(0, call)
        else:
            self._queue_of(call).give_back(call)


def _no_longer_waits(place: Place, number: int) -> None:
    """Forget the wait of a call that has ended: Ctrl-C may have prevented it from reporting that it continues."""
    place.waiting[:] = [each for each in place.waiting if each != number]
