"""
Which queued calls go to which local workers.

`assign` feeds a place that runs one call at a time; `spread` feeds lanes, which run all their calls at once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

from woolexec.core.call import Call, Chunk
from woolexec.core.following import followers
from woolexec.core.place import AnyOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.group import Group
    from woolexec.core.outliers import Outliers
    from woolexec.core.place import Place
    from woolexec.resources import Line


def assign(group: Group, place: Place) -> list[Call]:
    """Choose the calls to send to this place now, and record them as outstanding there."""
    if place.waiting:
        return assign_child(group, place)
    if place.pinned:
        return _assign_pinned(group, place)
    if place.is_supplied:
        return []
    chosen: list[Call] = []
    queue, offer = group.queue, place.offer
    refused = offer.refuses
    are_held = queue.held is not None and len(queue.held) > 0
    share = -(-len(queue) * place.width // max(1, group.width))
    while len(chosen) < share or not place.outstanding:
        entry = queue.head(offer, refused)
        if entry is None:
            break
        if place.outstanding and entry.line is not None and entry.line.requirement is not None:
            break  # its resources would be unused while it waits behind another call
        if entry.ancestor and entry.ancestor in place.outstanding:
            break  # it would wait behind the call that is about to wait for it
        count, cost = 0, entry.function.seconds
        if isinstance(entry, Chunk):
            count = group.span_of(entry)
            cost = None if cost is None else cost * count
        if not place.has_room(cost, len(entry.payload)):
            break
        if entry.line is not None and entry.line.ranked and not place.has_room_for_outcome(entry):
            break
        call = queue.cut(entry, count)
        if call is not None:
            group.record(place, call, cost or 0.0)
            chosen.append(call)
            if are_held:
                chosen += followers(group, place, call)
    return chosen


def assign_child(group: Group, place: Place) -> list[Call]:
    """Choose a nested task for a place whose call waits for nested tasks; nothing else is sent there."""
    if place.above or place.recalling or not place.ready:
        return []
    queue = group.queue
    calls = (queue.take_child(parent, place.offer) for parent in queue.awaited(place.waiting[-1]))
    call = next((call for call in calls if call is not None), None)
    if call is None:
        return []
    group.record(place, call, call.function.seconds or 0.0)
    place.above = call.number
    return [call]


def _assign_pinned(group: Group, place: Place) -> list[Call]:
    while place.pinned and place.ready and not place.recalling and (place.is_lane or not place.outstanding):
        call = place.pinned.pop(0)
        if group.queue.claim(call):
            group.record(place, call, 0.0)
            return [call]
    return []


def spread(group: Group, outliers: Outliers | None = None) -> list[tuple[Place, list[Call]]]:
    """
    Choose the calls for places that run all their calls concurrently: each goes to the place with the fewest calls.

    :param outliers: knows which peers are avoided
    """
    queue, places = group.queue, group.places
    heap = [
        (len(place.outstanding) / place.width, at)
        for at, place in enumerate(places)
        if place.ready and not place.recalling
    ]
    heapify(heap)
    chosen: dict[int, list[Call]] = {}
    stuck: set[Line | None] = set()
    is_choosy = (outliers is not None and outliers.has_any) or any(places[at].offer.refuses for _, at in heap)
    while heap and (entry := queue.head(AnyOf([places[at] for _, at in heap]), stuck)) is not None:
        index = 0
        if entry.line is not None or is_choosy:
            fitting = [(each, n) for n, each in enumerate(heap) if _takes(places[each[1]], entry.line)]
            if outliers is not None:
                requirement = None if entry.line is None else entry.line.requirement
                sound = outliers.without([places[at] for (_, at), _ in fitting], places, requirement)
                fitting = [each for each in fitting if places[each[0][1]] in sound]
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
        call = queue.cut(entry, 1)
        if call is None:
            continue
        group.record(place, call, 0.0)
        chosen.setdefault(at, []).append(call)
        if index:
            heap[index] = (ahead + 1) / place.width, at
            heapify(heap)
        else:
            heapreplace(heap, ((ahead + 1) / place.width, at))
    return [(places[at], calls) for at, calls in chosen.items()]


def _takes(place: Place, line: Line | None) -> bool:
    if line is None:
        return not place.offer.refuses
    may = not line.away if place.candidate is None else line.client is None
    return may and (line.requirement is None or place.has(line.requirement))


def _is_near(place: Place, line: Line | None) -> bool:
    return line is not None and bool(line.near) and place.candidate is not None and place.candidate.matches(line.near)
