"""How many items of a map travel together: decided late, from measured run times."""

from __future__ import annotations

SPAN = 0.001
"""Expected run time of one span, in seconds: long against the cost of a message (about 20 µs), short against what
anybody waits for."""

LEAST = 0.0001
"""Expected run time of a span, in seconds, below which none is cut smaller so that everybody has something."""

SINGLE = 0.0003
"""Items that take longer than this, in seconds, travel alone, so that none waits behind another in the same span."""

PICKLE_ITEMS = 4096
"""Items pickled together, at most."""

PICKLE_SIZE = 64 * 1024
"""Bytes pickled together, about: one that is over it is the last of its growth."""


def span_size(seconds: float | None, left: int, queued: int, places: int) -> int:
    """
    Choose how many items the next span takes.

    :param seconds: mean run time of an item; None if not known: then one item is sent to find out
    :param left: items left in the chunk
    :param queued: chunks in the queue, this one included
    :param places: workers that share the work
    """
    if seconds is None or seconds > SINGLE:
        return 1
    count = int(SPAN / seconds) if seconds > 0 else left
    if queued <= places:  # the end is near: leave something for everybody
        count = min(count, max(-(-left * queued // (2 * places)), int(LEAST / seconds) if seconds > 0 else left))
    return max(1, min(count, left))


def next_pickle(items: int, size: int) -> int:
    """
    Choose how many items are pickled together next, after `items` of them made `size` bytes.

    Starts small, so that the first workers are busy early, and grows while the bytes allow.
    """
    if size >= PICKLE_SIZE:
        return max(1, items // 2)
    return min(PICKLE_ITEMS, items * 4) if size < PICKLE_SIZE // 4 else items
