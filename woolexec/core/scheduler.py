"""
Which calls go where: the decisions of the engine, without its I/O.

The engine reports what happened (`submit`, `finish`, `leave`, ...) and asks what to do (`assign`, `victim`).  Each call
of a method is one step; nothing happens between steps.  All rules on which I1-I7 of the fault list depend are here, and
``tests/core/test_simulation.py`` runs this class against thousands of seeded histories.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

from woolexec.core.batching import span_size
from woolexec.core.call import SENT, UNCERTAIN, Call, Chunk
from woolexec.core.placement import CREDIT, PAUSE, PAUSES, weigh
from woolexec.core.ready_queue import ReadyQueue
from woolexec.core.window import HORIZON, Place
from woolexec.resources import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any, Protocol

    from woolexec.core.placement import Candidate, Placement

    class SharedPage(Protocol):
        """The page shared with a place: see `woolexec.wire.shared_page`."""

        @property
        def started(self) -> int:
            """Return the number of the call started last."""

        def recall(self, number: int) -> int:
            """Recall this call and all with higher numbers; return the number of the call started last."""

        def clear_recall(self) -> None:
            """Clear the recalls."""


STEAL = 0.0005
"""Work that waits behind a running call is taken back for an idle place if it is expected to last longer than this, in
seconds, or if the running call has run longer than expected."""


class Scheduler:
    """Decides which queued calls go to which places, and which come back."""

    def __init__(self, number: Callable[[], int], beside: ReadyQueue | None = None) -> None:
        self.queue = ReadyQueue(beside)
        self.places: list[Place] = []
        self._width = 0  # the sum over all places, kept because it is needed for each call that is placed
        self._number = number
        self.may_try = True  # whether a peer that is not known to have a free place may be tried
        self._credit = CREDIT
        self._pause, self._failures, self._has_failed = PAUSE, 0, False
        self._is_idle = True  # no call is outstanding behind a link
        self._heard = 0

    def join(self, place: Place) -> None:
        """Add a place; its width must not change after that."""
        self.places.append(place)
        self._width += place.width
        if place.candidate is not None:
            self._credit = max(1, self._credit)  # a new peer may be idle

    # -- what to do ---------------------------------------------------------------------------------------------

    def assign(self, place: Place) -> list[Call]:
        """Choose the calls to send to this place now, and record them as outstanding there."""
        if place.waiting:
            return self._assign_child(place)
        if place.pinned:
            return self._assign_pinned(place)
        if place.is_supplied:
            return []
        chosen: list[Call] = []
        queue, places = self.queue, self._width
        share = -(-len(queue) * place.width // max(1, places))
        while len(chosen) < share or not place.outstanding:
            entry = queue.head(place.offer)
            if entry is None:
                break
            if place.outstanding and entry.line is not None and entry.line.requirement is not None:
                break  # the resources that it takes would be unused while it waits behind another call
            seconds = entry.function.seconds
            if isinstance(entry, Chunk):
                count = entry.count if entry.fixed else 1 if entry.alone else None
                count = count or span_size(seconds, entry.count - entry.next, len(queue), places)
                cost = None if seconds is None else seconds * count
                if not place.has_room(cost, len(entry.payload)):
                    break
                call = entry.cut(count)
                queue.taken_from(entry)
            else:
                cost = seconds
                if entry.ancestor and entry.ancestor in place.outstanding:
                    break  # it would wait behind the call that is about to wait for it
                if not place.has_room(cost, len(entry.payload)):
                    break
                if not queue.take(entry):
                    continue
                call = entry
            place.sent(call, self._number(), cost or 0.0, len(call.payload))
            chosen.append(call)
        return chosen

    def place(self, places: Collection[Any], policy: Placement, *, near: bool = False) -> list[tuple[Any, list[Call]]]:
        """
        Choose the calls to send to places behind links, and record them as outstanding there.

        :param places: each a `Place` with the rules of `placement.Distant`
        :param near: place only calls whose options name one of these places as `near`, and only there
        """
        able = [
            place
            for place in places
            if place.ready and not (place.recalling or place.candidate.is_full or place.is_supplied)
        ]
        queue, offers = self.queue, _AnyOf(able)
        stuck: set[Line | None] = set()
        chosen: dict[Any, list[Call]] = {}
        has_tried = False
        self._pause = PAUSE
        self._is_idle = not any(place.outstanding for place in places)
        while able and (entry := queue.head(offers, stuck)) is not None:
            line = entry.line
            if (near and (line is None or not line.near)) or (line is not None and line.client is not None):
                stuck.add(line)  # a call that came from a client is not passed on to another peer
                continue
            fitting = able
            named: list[Any] = []
            if line is not None:
                fitting = [place for place in able if _has(place, line.requirement)]
                if line.near:
                    named = [place for place in fitting if place.candidate.matches(line.near)]
            count = 0
            if isinstance(entry, Chunk):
                count = entry.count if entry.fixed else 1 if entry.alone else 0
                count = count or span_size(entry.function.seconds, entry.count - entry.next, len(queue), self._width)
            place = self._choose(named, entry, count, policy) if named else None
            if place is None and not near:
                place = self._choose(fitting, entry, count, policy)
            if place is None:
                stuck.add(line)
                continue
            if self._credit <= 0 and _is_long(entry, count) and not self._is_sure(place.candidate):
                stuck.add(line)  # one call of each line may be tried
                has_tried = True
            if isinstance(entry, Chunk):
                call = entry.cut(count)
                queue.taken_from(entry)
            elif queue.take(entry):
                call = entry
            else:
                continue
            cost = _cost_of(call, count, place)
            place.sent(call, self._number(), cost, len(call.payload))
            self._credit = min(CREDIT, self._credit + 1)
            chosen.setdefault(place, []).append(call)
        if has_tried:
            self.may_try = False
        return list(chosen.items())

    def _choose(self, places: list[Any], entry: Call | Chunk, count: int, policy: Placement) -> Any:
        """Choose the place for a call; None if it must wait.  Places that cannot take it are removed from the list."""
        size = len(entry.payload)
        if _is_long(entry, count):
            self._pause = min(self._pause, PAUSE * (entry.function.seconds or 1.0) * (count or 1))
            if not self.may_try or self._credit <= 0:
                places = [place for place in places if place.has_room(_cost_of(entry, count, place), size)]
                sure = [place for place in places if self._is_sure(place.candidate)]
                if not (sure or self.may_try):
                    return None
                places = sure or places
        while places:
            at = 0
            if len(places) > 1:
                candidates = [place.candidate for place in places]
                at = candidates.index(policy.choose(candidates, entry.function.name))
            place = places[at]
            if place.has_room(_cost_of(entry, count, place), size):
                return place
            del places[at]
        return None

    def _is_sure(self, candidate: Candidate) -> bool:
        """Return whether an offer to this peer does not count as a try."""
        if candidate.is_contended:
            is_last = candidate.fresh == self._heard and candidate.free > 0
            return is_last or (self._is_idle and self._failures > PAUSES)
        return candidate.is_known or self._credit > 0 or self._is_idle or self._failures > PAUSES

    def refuse(self, place: Any, numbers: Iterable[int]) -> None:
        """Queue again the calls that a place behind a link refused; it will report when a place is free."""
        place.candidate.refused()
        numbers = sorted(place.outstanding.keys() & set(numbers), reverse=True)
        if numbers:
            self._credit = max(-CREDIT, self._credit - 2 * len(numbers))
            self.may_try, self._has_failed = False, True
        self.withdraw(place, numbers)

    def tell_room(self, place: Any, free: int) -> None:
        """Note how many calls a place behind a link can take now."""
        self._heard += 1
        place.candidate.heard(free, self._heard)
        self.may_try = self.may_try or self._credit > 0

    def pause(self) -> float:
        """Return the seconds to wait before `try_again`; they double after each pause with refusals in it."""
        return self._pause * (1 << min(self._failures, PAUSES))

    def try_again(self) -> None:
        """Allow another peer to be tried, after a pause."""
        self.may_try = True
        if self._has_failed:
            self._failures += 1
        else:
            self._failures, self._credit = 0, max(1, self._credit)
        self._has_failed = False

    def pin(self, place: Place, call: Call) -> None:
        """Make a call wait for this place and no other; nothing else is sent there before it."""
        call.pin = 1
        self.queue.offer(call)
        place.pinned.append(call)

    def pin_far(self, place: Place, call: Call, worker: int) -> None:
        """Send a call to one worker of a place that has several, regardless of what is outstanding there."""
        call.pin, call.is_plain = worker, False
        self.queue.offer(call)
        self.queue.claim(call)
        place.sent(call, self._number(), 0.0, len(call.payload))

    def _assign_pinned(self, place: Place) -> list[Call]:
        while place.pinned and not place.outstanding and place.ready and not place.recalling:
            call = place.pinned.pop(0)
            if self.queue.claim(call):
                place.sent(call, self._number(), 0.0, len(call.payload))
                return [call]
        return []

    def spread(self) -> list[tuple[Place, list[Call]]]:
        """Choose the calls for places that run all their calls concurrently: each goes where the fewest are."""
        queue, places = self.queue, self.places
        heap = [
            (len(place.outstanding) / place.width, at)
            for at, place in enumerate(places)
            if place.ready and not place.recalling
        ]
        heapify(heap)
        chosen: dict[int, list[Call]] = {}
        stuck: set[Line | None] = set()
        while heap and (entry := queue.head(_AnyOf([places[at] for _, at in heap]), stuck)) is not None:
            index = 0
            if entry.line is not None:
                fitting = [(each, n) for n, each in enumerate(heap) if _takes(places[each[1]], entry.line)]
                if not fitting:
                    stuck.add(entry.line)
                    continue
                near = [each for each in fitting if _is_near(places[each[0][1]], entry.line)]
                index = min(near or fitting)[1]
            _, at = heap[index]
            place = places[at]
            ahead = len(place.outstanding)
            # A nested task is not held back by the limit, because its parent counts against the limit and waits for it.
            is_full = ahead >= place.limit and not (isinstance(entry, Call) and entry.parent)
            if place.is_used_up or is_full:
                heap[index] = heap[0]
                heappop(heap)
                heapify(heap)
                continue
            if isinstance(entry, Chunk):
                call = entry.cut(1)
                queue.taken_from(entry)
            elif queue.take(entry):
                call = entry
            else:
                continue
            place.sent(call, self._number(), 0.0, len(call.payload))
            chosen.setdefault(at, []).append(call)
            if index:
                heap[index] = (ahead + 1) / place.width, at
                heapify(heap)
            else:
                heapreplace(heap, ((ahead + 1) / place.width, at))
        return [(places[at], calls) for at, calls in chosen.items()]

    def _assign_child(self, place: Place) -> list[Call]:
        """Choose a nested task for a place whose call waits for its own tasks; nothing else is sent there."""
        if place.above or place.recalling or not place.ready:
            return []
        call = self.queue.take_child(place.waiting[-1], place.offer)
        if call is None:
            return []
        place.sent(call, self._number(), call.function.seconds or 0.0, len(call.payload))
        place.above = call.number
        return [call]

    def victim(self, started: Callable[[Place], int], overrun: Callable[[Place], bool]) -> Place | None:
        """Choose the worker that should give back its unstarted calls because another is idle; None if none should."""
        best, most = None, STEAL
        for place in self.places:
            if place.recalling or len(place.outstanding) < 2 or place.waiting or place.candidate is not None:
                continue
            waiting = place.unstarted(started(place))
            if not waiting:
                continue
            if overrun(place):
                return place
            cost = sum(call.cost for call in waiting)
            if cost > most:
                best, most = place, cost
        return best

    # -- what happened ------------------------------------------------------------------------------------------

    def finish(self, place: Place, number: int, seconds: float) -> Call | None:
        """Note that a call ended, with any outcome; return it, or None if it is not outstanding there (any more)."""
        call = place.outstanding.get(number)
        if call is None:
            return None
        place.gone(number, len(call.payload))
        call.move("finish")
        call.function.observe(seconds / call.count if call.count else seconds)
        if place.above == number:
            place.above = 0
        if place.candidate is not None and not call.function.lane:
            if place.candidate.is_contended:
                self._heard += 1
            place.candidate.ended(self._heard)
            self.may_try = self.may_try or self._credit > 0
            self._failures = 0
        self.queue.forget_parent(number)
        return call

    def again(self, place: Place, call: Call) -> None:
        """Queue a call again that failed at its place."""
        place.gone(call.number, len(call.payload))
        if place.above == call.number:
            place.above = 0
        self.queue.forget_parent(call.number)
        self.retry(call)

    def recall(self, place: Place, page: SharedPage, since: int = 0) -> int:
        """
        Take back the calls that the place has not started.

        This may be called at any time, even while earlier recalls are unanswered.  The caller then sends the mark that
        the place answers with Recalled (see `recalled`); nothing else is sent to it in between.

        :param since: number of the first call to take back; 0: all that have not been started
        :return: number of the first call that was recalled
        """
        since = since or page.started + 1
        started = page.recall(since)
        for call in reversed(place.unstarted(max(started, since - 1))):
            self._requeue(place, call)
        for number, call in place.outstanding.items():
            if since <= number <= started and call.state != UNCERTAIN:
                call.move("doubt")
        place.recalling += 1
        return since

    def withdraw(self, place: Place, numbers: Iterable[int]) -> None:
        """Queue again those of these calls that are outstanding at the place, which has not started them."""
        for number in numbers:
            call = place.outstanding.get(number)
            if call is not None:
                self._requeue(place, call)

    def recalled(self, place: Place, page: SharedPage, numbers: Iterable[int]) -> None:
        """Note that the place has read a mark; queue again the uncertain calls that it did not start (`numbers`)."""
        self.withdraw(place, numbers)
        place.recalling = max(0, place.recalling - 1)
        if place.recalling:
            return
        page.clear_recall()
        for call in place.outstanding.values():
            if call.state == UNCERTAIN:
                call.move("start")

    def is_running(self, place: Place, page: SharedPage, call: Call) -> bool:
        """
        Return whether ending this place now would end this call and no later one.

        The answer is valid only if everything behind the call has been recalled, nothing has been sent since, and all
        frames from the place have been read: a place sends the outcome of a call before it starts another.
        """
        return place.outstanding.get(call.number) is call and call.state == SENT and call.number <= page.started

    def leave(self, place: Place, started: int) -> list[Call]:
        """
        Remove a place that is gone: queue its unstarted calls again; return its other calls, their states unchanged.

        :param started: number of the last call that it started
        """
        if place in self.places:
            self.places.remove(place)
            self._width -= place.width
        place.ready = False
        for call in reversed(place.unstarted(started)):
            self._requeue(place, call)
        lost = list(place.outstanding.values())
        for call in lost:
            place.gone(call.number, len(call.payload))
            self.queue.forget_parent(call.number)
        pinned, place.pinned = place.pinned, []
        return lost + [call for call in pinned if self.queue.claim(call)]

    def retry(self, call: Call) -> None:
        """Queue a call again that was started and failed."""
        call.move("retry")
        call.pin = 0  # the place where it was to run is gone
        self.queue.give_back(call)

    def wait(self, place: Place, number: int) -> None:
        """Note that a call of this place waits for its own tasks: the place can run those."""
        place.waiting.append(number)
        place.above = 0

    def resume(self, place: Place, number: int) -> None:
        """Note that the waiting call continues."""
        if place.waiting and place.waiting[-1] == number:
            place.waiting.pop()
            place.above = number if place.waiting and number in place.outstanding else 0

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
            self.queue.give_back(call)


class _AnyOf:
    """The offers of several places."""

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[Any]) -> None:
        self._places = places

    def has(self, requirement: Any) -> bool:
        """Return whether one of them could now run a call with this requirement."""
        return requirement is None or any(_has(place, requirement) for place in self._places)


def _has(place: Any, requirement: Any) -> bool:
    is_full = place.candidate is not None and place.candidate.is_full
    return bool(place.offer.has(requirement) and not is_full)


def _takes(place: Any, line: Line) -> bool:
    may = line.client is None or place.candidate is None
    return may and (line.requirement is None or _has(place, line.requirement))


def _is_near(place: Any, line: Line) -> bool:
    return bool(line.near) and place.candidate is not None and place.candidate.matches(line.near)


def _is_long(entry: Call | Chunk, count: int) -> bool:
    """Return whether a call, or this many items of a chunk, is sent as an offer, which may be refused."""
    return weigh(entry.function.seconds) * (count or 1) >= HORIZON


def _cost_of(entry: Call | Chunk, count: int, place: Any) -> float:
    """Return what a call, or this many items of a chunk, would take of a place behind a link."""
    seconds = entry.function.seconds
    return weigh(None if seconds is None else seconds * (count or 1) * place.candidate.pace)
