"""
How much may be sent to a place before its outcomes arrive.

A place runs one call at a time.  More calls are sent ahead if they are short, so that it never waits for the engine.
Sending ahead does not harm the balance between workers, because unstarted calls can be recalled at once (see
`scheduler`).

Figures, measured on two cores: the client's other threads may hold the GIL for 5 ms (the switch interval), so each
worker needs about that much work queued to run a burst of tiny tasks without a gap.  Each refill costs the worker
60-100 µs between two calls, so the window is eight times as large and is filled in large steps: with steps half as
large, 2,000 sleeps of 1 ms take 1 % longer.
"""

from __future__ import annotations

HORIZON = 0.040
"""Work sent ahead to one worker, in seconds of expected run time."""

LOW = 0.005
"""A worker with more work ahead than this, in seconds of expected run time, is not sent more yet."""

DEPTH = 1024
"""Maximum number of calls outstanding at one worker."""

BYTES = 1 << 19
"""Maximum payload outstanding at one worker, in bytes, for calls beyond the first two."""

BYTES_AHEAD = 8 << 20
"""Maximum payload outstanding behind a link, in bytes, for calls sent beyond those that run."""

EPSILON = 1e-9
"""Expected run times are sums of floats: a difference smaller than this is ignored."""


def weigh(seconds: float | None) -> float:
    """Return how much of one worker's horizon a call with this expected run time takes, in seconds."""
    return HORIZON if seconds is None or seconds > HORIZON else seconds


def taken_by(load: float) -> int:
    """Return the number of places that this much work takes."""
    return -int((EPSILON - load) // HORIZON)
