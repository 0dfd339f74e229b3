"""
Which targets of an engine have which values; `woolexec.wire.values` defines values.

A target keeps a value until it is collected here, or until newer values need its room.  A value that a queued or
running call needs is never collected, because the call refers to it.

A peer that needs a value that other peers have is told to fetch it from one of them (see `woolexec.core.sharing`).  If
that fails, the value is sent from here.  The calls that need it are already at the peer, and wait for it.
"""

from __future__ import annotations

import weakref
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, Protocol

    from woolexec.core.sharing import Sharing
    from woolexec.wire.values import Value

    class Sent(Protocol):
        """The sizes, in bytes, of the values that a target has, by number."""

        values: dict[int, int]
        """Values that it was sent; the most recently used is the last."""
        kept: dict[int, int]
        """Outcomes that it keeps."""

    class Target(Protocol):
        """A worker, or a link to a peer: see `woolexec.engine.transport`."""

        VALUES: ClassVar[int]
        room_for_values: int
        candidate: Any
        """None: it is a worker here."""

        @property
        def has_sent(self) -> Sent:
            """What it has."""

        def may_share(self, value: Value) -> bool:
            """Return whether it may get this value from another target, and send it to others."""

        def nearness(self, holder: Any) -> int:
            """Return how near it is to a target that has a value; 0 if it cannot fetch the value from there."""

        def send_value(self, value: Value) -> bool:
            """Send a value; return whether the target says when it has arrived."""

        def send_drop(self, number: int) -> None:
            """Tell it to drop a value."""

        def send_fetch(self, number: int) -> None:
            """Request an outcome that it keeps."""

        def send_pull(self, number: int, key: bytes, holder: Any) -> None:
            """Tell it to fetch a value from a target that has it."""


class Entry:
    """A value that targets have."""

    __slots__ = ("sharing", "targets", "value", "wanted")

    def __init__(self, value: weakref.ref[Value]) -> None:
        self.value = value
        self.targets: set[Target] = set()
        """Those that have it, or are about to."""
        self.sharing: Sharing | None = None
        """How they get it from each other."""
        self.wanted: list[Target] | None = None
        """If it is a kept outcome that is being fetched: the targets that need it."""


class SentValues:
    """
    The values that the targets of one engine have.

    :param tell: runs a function in the engine's thread soon; from any thread
    :param due: the targets that the engine flushes at the end of a round
    """

    def __init__(self, tell: Callable[[Callable[[], object]], object], due: set[Any]) -> None:
        self._tell, self._due = tell, due
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    # -- what is sent -------------------------------------------------------------------------------------------

    def send(self, target: Target, values: Sequence[Value]) -> tuple[int, ...]:
        """Send a target the values that it does not have; return the numbers of all."""
        sizes, kept = target.has_sent.values, target.has_sent.kept
        numbers = tuple(value.number for value in values)
        missing = [value for value in values if not (value.number in sizes or value.number in kept)]
        for number in numbers:
            if number in sizes:
                sizes[number] = sizes.pop(number)  # the most recently used one is the last
        added = {value.number: value.size for value in missing}
        if missing:
            self._make_room(target, added, frozenset(numbers))
        for value in missing:
            sizes[value.number] = added[value.number]
            entry = self._entry_of(value)
            entry.targets.add(target)
            if target.may_share(value):
                sharing_of(entry).add(target)
                self._share(entry)
            else:
                self._give(entry, target)
        return numbers

    def _share(self, entry: Entry) -> None:
        """Let targets that need a value fetch it from those that can send it now."""
        value, sharing = entry.value(), entry.sharing
        while value is not None and sharing is not None and (step := sharing.next()) is not None:
            target, giver = step
            if giver is None:
                self._give(entry, target)
            else:
                target.send_pull(value.number, sharing.holders[giver], giver)
                self._due.add(target)

    def _give(self, entry: Entry, target: Target) -> None:
        """Send a target a value from here, as soon as it is here."""
        value = entry.value()
        if value is None:
            return
        if value.is_away:
            self.bring(value.number, target)
            return
        if not target.send_value(value) and entry.sharing is not None:
            entry.sharing.hold(target, b"")
        self._due.add(target)

    def _make_room(self, target: Target, added: dict[int, int], needed: frozenset[int]) -> None:
        """Let a target drop the least recently used values that are not needed now."""
        sizes = target.has_sent.values
        total = sum(sizes.values()) + sum(added.values())
        in_use: frozenset[int] | None = None
        for number in list(sizes):  # the least recently used one is the first
            if len(sizes) + len(added) <= target.VALUES and total <= target.room_for_values:
                return
            if in_use is None:
                in_use = needed | _in_use(target)
            if number not in in_use:
                total -= sizes[number]
                self._drop(target, number)
                self._part(target, number)

    def _part(self, target: Target, number: int) -> None:
        """Note that a target no longer has a value."""
        entry = self._entries.get(number)
        if entry is None:
            return
        entry.targets.discard(target)
        if entry.sharing is not None:
            entry.sharing.remove(target)
            self._share(entry)
        if not entry.targets:
            del self._entries[number]

    def let_go(self, number: int) -> None:
        """Let workers here drop a value that they do not need now, so that its memory is freed."""
        entry = self._entries.get(number)
        for target in () if entry is None else tuple(entry.targets):
            if target.candidate is None and number not in _in_use(target):
                self._drop(target, number)
                self._part(target, number)

    def _give_instead(self, entry: Entry, gone: Target) -> None:
        """Send from here the values that a target that is gone was sending to others."""
        if entry.sharing is not None:
            for target in entry.sharing.takers(gone):
                entry.sharing.fail(target)
                self._give(entry, target)

    def _entry_of(self, value: Value) -> Entry:
        entry = self._entries.get(value.number)
        if entry is None:
            gone = partial(self._tell, partial(self._collected, value.number))
            entry = self._entries[value.number] = Entry(weakref.ref(value, lambda _: gone()))
        return entry

    def _collected(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        for target in () if entry is None else entry.targets:
            self._drop(target, number)

    def _drop(self, target: Target, number: int) -> None:
        target.has_sent.values.pop(number, None)
        target.has_sent.kept.pop(number, None)
        target.send_drop(number)
        self._due.add(target)

    def leave(self, target: Target) -> None:
        """Forget the values of a target that is gone."""
        for entry in self._entries.values():
            if entry.wanted is not None and target in entry.wanted:
                entry.wanted.remove(target)
        for number in target.has_sent.values:
            if number in self._entries:
                self._give_instead(self._entries[number], target)
            self._part(target, number)
        target.has_sent.values.clear()

    def bring(self, number: int, target: Target) -> None:
        """Fetch a value for a target, unless it is here, on its way, or gone."""
        raise NotImplementedError


def sharing_of(entry: Entry) -> Sharing:
    """Return how targets get a value from each other."""
    from woolexec.core.sharing import Sharing  # there are peers

    if entry.sharing is None:
        entry.sharing = Sharing(_nearness)
    return entry.sharing


def _nearness(target: Target, holder: Target) -> int:
    return target.nearness(holder)


def _in_use(target: Any) -> frozenset[int]:
    """Return the numbers of the values needed by calls that were sent to a target; it may not have these values yet."""
    places = (target, getattr(target, "lane_place", None))
    calls = [call for place in places for call in getattr(place, "outstanding", {}).values()]
    return frozenset(value.number for call in calls for value in getattr(call.payload, "values", ()))
