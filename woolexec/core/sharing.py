"""
How a value is distributed to several targets: each target that has it sends it on, to a few others at a time.

::

    waits     the targets that could send it are busy, or are still receiving it
    takes     it is on its way, from another target or from the owner
    holds     the target has it, and can send it

The owner sends it only while no other holder is within reach.  So the owner sends a value that many targets need at
once only twice, and each target that has received it serves two more.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

AT_ONCE = 2
"""Maximum number of targets to which one holder, or the owner, sends a value at the same time."""


class Sharing:
    """
    The targets that need, take and hold one value.

    :param nearness: how near a target is to a holder; 0: it cannot reach the holder
    """

    def __init__(self, nearness: Callable[[Any, Any], int]) -> None:
        self._nearness = nearness
        self._waiting: dict[Any, None] = {}
        self.taking: dict[Any, Any] = {}
        """By target: the sender; None: the owner."""
        self.holders: dict[Any, bytes] = {}
        """By target: the key with which others fetch it there."""

    def add(self, target: Any) -> None:
        """Note that a target needs the value."""
        self._waiting[target] = None

    def next(self) -> tuple[Any, Any] | None:
        """Return the next target to be sent the value, and the sender, None being the owner; None if all must wait."""
        busy = Counter(self.taking.values())
        free = [holder for holder in self.holders if busy[holder] < AT_ONCE]
        for target in self._waiting:
            givers = [holder for holder in free if self._nearness(target, holder)]
            if not givers and self._must_wait(target, is_owner_free=busy[None] < AT_ONCE):
                continue
            giver = max(givers, key=lambda each: (self._nearness(target, each), -busy[each])) if givers else None
            del self._waiting[target]
            self.taking[target] = giver
            return target, giver
        return None

    def _must_wait(self, target: Any, *, is_owner_free: bool) -> bool:
        """Return whether a target waits for another one, instead of loading the owner."""
        others = self.holders if is_owner_free else chain(self.holders, self.taking)
        return any(self._nearness(target, other) for other in others)

    def hold(self, target: Any, key: bytes) -> None:
        """Note that a target has the value; without a key, it cannot send it."""
        self.taking.pop(target, None)
        if key:
            self.holders[target] = key

    def fail(self, target: Any) -> bool:
        """Note that a target could not get it from another one, so that the owner sends it; return False if it did."""
        if self.taking.get(target) is None:
            return False
        self.taking[target] = None
        return True

    def takers(self, giver: Any) -> list[Any]:
        """Return the targets to which a target is sending the value."""
        return [target for target, each in self.taking.items() if each is giver]

    def remove(self, target: Any) -> None:
        """Forget a target."""
        for targets in (self._waiting, self.taking, self.holders):
            targets.pop(target, None)
