"""How many items of a map are sent together; decided late, from measured run times."""

from __future__ import annotations

SPAN = 0.001
"""Expected run time of one span, in seconds: long compared with the cost of a message (about 20 µs), short compared
with any delay that a user would notice."""

LEAST = 0.0001
"""Minimum expected run time, in seconds, of a span that is made smaller so that every worker gets some items."""

SINGLE = 0.0003
"""Items that take longer than this, in seconds, are sent alone, so that none waits behind another in the same span."""

PICKLE_ITEMS = 4096
"""Maximum number of items pickled together."""

PICKLE_SIZE = 64 * 1024
"""Approximate number of bytes pickled together: after a pickle that reaches it, the number of items no longer grows."""


def span_size(seconds: float | None, left: int, queued: int, places: int) -> int:
    """
    Return the number of items in the next span.

    :param seconds: mean run time of an item; None if unknown: then one item is sent to measure it
    :param left: items left in the chunk
    :param queued: chunks in the queue, including this one
    :param places: workers that share the work
    """
    if seconds is None or seconds > SINGLE:
        return 1
    count = int(SPAN / seconds) if seconds > 0 else left
    if queued <= places:  # the map is nearly done: leave items for every worker
        count = min(count, max(-(-left * queued // (2 * places)), int(LEAST / seconds) if seconds > 0 else left))
    return max(1, min(count, left))


def next_pickle(items: int, size: int) -> int:
    """
    Return how many items to pickle together next, after `items` of them took `size` bytes.

    The number starts small, so that the first workers are busy early, and grows until the size limit is reached.
    """
    if size >= PICKLE_SIZE:
        return max(1, items // 2)
    return min(PICKLE_ITEMS, items * 4) if size < PICKLE_SIZE // 4 else items
