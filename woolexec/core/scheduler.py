"""
Which calls go where: the decisions of the engine, without its I/O.

The engine tells what happened (`submit`, `finish`, `leave`, ...) and asks what to do (`assign`, `victim`).  One call
of a method is one step; nothing happens between steps.  Every rule that I1-I7 of the fault list rest on is here, and
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
        """What is shared with a place: see `woolexec.wire.shared_page`."""

        @property
        def started(self) -> int:
            """Number of the call started last."""

        def recall(self, number: int) -> int:
            """Recall this call and all above it; return the number of the call started last."""

        def clear_recall(self) -> None:
            """Forget the recalls."""


STEAL = 0.0005
"""Work that waits behind a running call is taken back for an idle place when it is expected to last longer than this,
in seconds, or when the running call has overrun it."""


class Scheduler:
    """The queue, the places, and what passes between them."""

    def __init__(self, number: Callable[[], int], beside: ReadyQueue | None = None) -> None:
        self.queue = ReadyQueue(beside)
        self.places: list[Place] = []
        self._width = 0  # of all of them: it is asked for with each call that is placed
        self._number = number
        self.may_try = True  # a peer of which it is not known that it has room
        self._credit = CREDIT
        self._pause, self._failures, self._has_failed = PAUSE, 0, False
        self._is_idle = True  # nothing of ours is behind a link
        self._heard = 0

    def join(self, place: Place) -> None:
        """Take a place in; its width is not to change after that."""
        self.places.append(place)
        self._width += place.width
        if place.candidate is not None:
            self._credit = max(1, self._credit)  # who is new may be idle

    # -- what to do ---------------------------------------------------------------------------------------------

    def assign(self, place: Place) -> list[Call]:
        """Choose what is sent to this place now, and book it."""
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
                break  # what it requires would lie idle while it waits behind another
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
        Choose what is sent to places behind links, and book it.

        :param places: each a `Place` with the rules of `placement.Distant`
        :param near: only of what is to run near one of them, and there
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
                stuck.add(line)  # what comes from a client has come far enough
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
                stuck.add(line)  # one of each line may try
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
        """Choose the place for a call; None if it is to wait.  Those without room for it leave the list."""
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
        """Say whether an offer there need not count as a try."""
        if candidate.is_contended:
            is_last = candidate.fresh == self._heard and candidate.free > 0
            return is_last or (self._is_idle and self._failures > PAUSES)
        return candidate.is_known or self._credit > 0 or self._is_idle or self._failures > PAUSES

    def refuse(self, place: Any, numbers: Iterable[int]) -> None:
        """A place behind a link has refused calls, and will tell when it has room: they wait again."""
        place.candidate.refused()
        numbers = sorted(place.outstanding.keys() & set(numbers), reverse=True)
        if numbers:
            self._credit = max(-CREDIT, self._credit - 2 * len(numbers))
            self.may_try, self._has_failed = False, True
        self.withdraw(place, numbers)

    def tell_room(self, place: Any, free: int) -> None:
        """A place behind a link says how many calls it would take now."""
        self._heard += 1
        place.candidate.heard(free, self._heard)
        self.may_try = self.may_try or self._credit > 0

    def pause(self) -> float:
        """Return after how many seconds to `try_again`: twice as long after each pause with refusals in it."""
        return self._pause * (1 << min(self._failures, PAUSES))

    def try_again(self) -> None:
        """Another peer may be tried: there was a pause."""
        self.may_try = True
        if self._has_failed:
            self._failures += 1
        else:
            self._failures, self._credit = 0, max(1, self._credit)
        self._has_failed = False

    def pin(self, place: Place, call: Call) -> None:
        """Let a call wait for this place and no other; nothing else is sent there before it."""
        call.pin = 1
        self.queue.offer(call)
        place.pinned.append(call)

    def pin_far(self, place: Place, call: Call, worker: int) -> None:
        """Send a call to a place that has several workers, for one of them, whatever else is there."""
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
        """Choose what is sent to places that run their calls all at once: each call goes where there are fewest."""
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
            # What a call waits for that itself counts against the limit must not have to wait for it.
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
        """A place whose call waits for its own tasks runs one of those, and nothing else."""
        if place.above or place.recalling or not place.ready:
            return []
        call = self.queue.take_child(place.waiting[-1], place.offer)
        if call is None:
            return []
        place.sent(call, self._number(), call.function.seconds or 0.0, len(call.payload))
        place.above = call.number
        return [call]

    def victim(self, started: Callable[[Place], int], overrun: Callable[[Place], bool]) -> Place | None:
        """Choose the worker that should give its unstarted calls back, because another is idle; None if none should."""
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
        """A call ended, with whatever outcome.  None if the place does not have it (any more)."""
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
        """A call ended at its place, not well, and is queued once more."""
        place.gone(call.number, len(call.payload))
        if place.above == call.number:
            place.above = 0
        self.queue.forget_parent(call.number)
        self.retry(call)

    def recall(self, place: Place, page: SharedPage, since: int = 0) -> int:
        """
        Take back what the place has not started.

        May be done at any time, also while earlier recalls are not answered.  The caller then sends the mark that the
        place answers with `recalled`; nothing else is sent to it in between.

        :param since: the first call to take back; 0: all that are not started
        :return: the first call that was recalled
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
        """Calls were sent, and are not started there: those that the place still has wait again."""
        for number in numbers:
            call = place.outstanding.get(number)
            if call is not None:
                self._requeue(place, call)

    def recalled(self, place: Place, page: SharedPage, numbers: Iterable[int]) -> None:
        """The place has read a mark, and says which calls before it it did not start; those in limbo wait again."""
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
        Say whether ending this place now would hit this call and no later one.

        It can only be asked when everything behind the call has been recalled, nothing was sent since, and all that the
        place said has been read: a place says what became of a call before it starts another.
        """
        return place.outstanding.get(call.number) is call and call.state == SENT and call.number <= page.started

    def leave(self, place: Place, started: int) -> list[Call]:
        """
        A place is gone: what it had not started waits again; return what it had, still booked as sent.

        :param started: the last call that it started
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
        """Queue a call once more that was started and did not end well."""
        call.move("retry")
        call.pin = 0  # where it was to run there is no place any more
        self.queue.give_back(call)

    def wait(self, place: Place, number: int) -> None:
        """A call of this place waits for its own tasks: the place is free for those."""
        place.waiting.append(number)
        place.above = 0

    def resume(self, place: Place, number: int) -> None:
        """The call that waits goes on."""
        if place.waiting and place.waiting[-1] == number:
            place.waiting.pop()
            place.above = number if place.waiting and number in place.outstanding else 0

    def _requeue(self, place: Place, call: Call) -> None:
        """Queue a call again that was sent and not started."""
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
    """What several places offer."""

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[Any]) -> None:
        self._places = places

    def has(self, requirement: Any) -> bool:
        """Say whether one of them could run it now."""
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
    """Say whether a call, or so many items, is offered, and may be refused."""
    return weigh(entry.function.seconds) * (count or 1) >= HORIZON


def _cost_of(entry: Call | Chunk, count: int, place: Any) -> float:
    """Return what a call, or so many items, would take of a place behind a link."""
    seconds = entry.function.seconds
    return weigh(None if seconds is None else seconds * (count or 1) * place.candidate.pace)
