"""
Calls that are sent to a worker before their input is done, behind the call whose outcome it is.

In a chain of calls, each of which takes the outcome of the one before it, a worker would otherwise wait for the engine
after each call.  Only a call that lacks this one input follows another one, and only if nothing else waits for that
outcome: calls that could run side by side go to several workers.

The worker passes the outcome on if the call before it has just returned and the outcome is small; otherwise it gives
the follower back.  A follower that comes back, for this or any other reason, waits for its input as before it was sent.
So for the scheduler it is an ordinary outstanding call: there is no other state.
"""

from __future__ import annotations

from woolexec.core.balance import STEAL
from woolexec.core.call import MAIN, Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from woolexec.core.group import Group
    from woolexec.core.place import Place

    class Follows(Protocol):
        """Waits for the one input that a call lacks."""

        entry: Call
        """The call; it has none while the call is outstanding."""
        after: int
        """The number of the call whose outcome is the input, while the call is outstanding."""

        def again(self, entry: Call) -> None:
            """Wait for the input again; tell the engine at once if it is done."""


AHEAD = STEAL * 0.8
"""Maximum work ahead of a worker, in seconds of expected run time, for which it is sent followers; an idle worker would
make it give back more."""


def followers(group: Group, place: Place, call: Call) -> list[Call]:
    """Choose the calls that go to a worker behind this one, each the follower of the one before it; record them."""
    chosen: list[Call] = []
    while (follows := getattr(call.receiver, "follower", None)) is not None:
        follower = follows.entry
        if follower.__class__ is not Call or not follower.is_plain or follower.line is not None or follower.attempts:
            break
        cost = follower.function.seconds
        if follower.function.lane != MAIN or cost is None or place.load + cost > AHEAD:
            break
        if not place.has_room(cost, len(follower.payload)) or not group.queue.held.take(follower):
            break
        follows.after, follows.entry, follower.follows = call.number, None, follows
        group.record(place, follower, cost)
        chosen.append(follower)
        call = follower
    return chosen


def take_back(group: Group, place: Place, numbers: Iterable[int]) -> None:
    """Take back the followers among these calls: they wait for their input again, which the worker does not have."""
    outstanding = place.outstanding
    group.withdraw(place, [each for each in numbers if each in outstanding and outstanding[each].follows is not None])
