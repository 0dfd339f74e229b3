"""The demand for peers of one launcher, in the form that `woolexec.core.scaling` needs."""

from __future__ import annotations

from itertools import islice

from woolexec.core.call import Chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.offer import Offer
    from woolexec.core.ready_queue import ReadyQueue
    from woolexec.resources import Requirement

SAMPLE = 64
"""Number of entries of a line from which the run time of all its entries is estimated."""

COROUTINES = 100
"""Assumed number of coroutines that run at once at a peer."""


def demand(
    queues: Sequence[tuple[ReadyQueue, bool]], links: Iterable[Any], offer: Offer | None, width: int
) -> tuple[list[tuple[int, int]], float | None]:
    """
    Return the lines for `Scaling.step`, and the mean run time of a call, None if it is unknown.

    :param queues: where calls wait, and whether these are coroutines and streams
    :param links: the links to peers of this launcher
    :param offer: what one of its peers offers; None if unknown
    :param width: number of workers of one of its peers
    """
    lines: list[tuple[int, int]] = []
    seconds, known = 0.0, 0
    for queue, is_lane in queues:
        for line, entries in queue.lines():
            requirement = None if line is None else line.requirement
            if not entries or (offer is not None and not offer.meets(requirement)):
                continue
            few = list(islice(entries, SAMPLE))
            items = sum(map(_items, few))
            lines.append(
                (items * len(entries) // len(few), COROUTINES if is_lane else _slots(requirement, offer, width))
            )
            for entry in few:
                if entry.function.seconds is not None:
                    seconds += entry.function.seconds * _items(entry)
                    known += _items(entry)
    for link in links:
        for place, slots in ((link, width), (link.lane_place, COROUTINES)):
            if place.outstanding:
                lines.append((len(place.outstanding), slots))
    return [line for line in lines if line[0]], seconds / known if known else None


def _items(entry: Call | Chunk) -> int:
    """Return how many items are left of a chunk; 1 for a call."""
    return max(1, entry.count - (entry.next if isinstance(entry, Chunk) else 0))


def _slots(requirement: Requirement | None, offer: Offer | None, width: int) -> int:
    """Return how many calls with this requirement a peer runs at once."""
    if requirement is None or offer is None:
        return width
    fits = (int(offer.resources[name] / amount + 1e-9) for name, amount in requirement.resources)
    return max(1, min(width, *fits)) if requirement.resources else width
