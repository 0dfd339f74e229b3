"""
Which targets of an engine have which values; for what a value is see `woolexec.wire.values`.

A target keeps what it was sent until the value is collected here, or until newer ones need its room.  A value that a
queued or running call needs is never collected, because the call refers to it.
"""

from __future__ import annotations

import weakref
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, Protocol

    from woolexec.wire.values import Value

    class Sent(Protocol):
        """What a target has been sent."""

        values: dict[int, int]

    class Target(Protocol):
        """A worker, or a link to a peer: see `woolexec.engine.transport`."""

        VALUES: ClassVar[int]
        room_for_values: int

        @property
        def has_sent(self) -> Sent:
            """What it has been sent: for each value its size, in bytes; the one used last is the last."""

        def send_value(self, value: Value) -> None:
            """Send a value."""

        def send_drop(self, number: int) -> None:
            """Let it forget a value."""


class SentValues:
    """
    The values that the targets of one engine have.

    :param tell: runs a function in the engine's thread soon; from any thread
    :param due: what the engine flushes at the end of a round
    """

    def __init__(self, tell: Callable[[Callable[[], object]], object], due: set[Any]) -> None:
        self._tell, self._due = tell, due
        self._holders: dict[int, tuple[weakref.ref[Value], set[Target]]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def send(self, target: Target, values: Sequence[Value]) -> tuple[int, ...]:
        """Send a target those of the values that it does not have; return the numbers of all."""
        sizes = target.has_sent.values
        numbers = tuple(value.number for value in values)
        missing = [value for value in values if value.number not in sizes]
        for number in numbers:
            if number in sizes:
                sizes[number] = sizes.pop(number)  # the last one is the one used last
        added = {value.number: len(value.payload) for value in missing}  # type: ignore[arg-type]  # none lacks its own
        if missing:
            self._make_room(target, added, frozenset(numbers))
        for value in missing:
            sizes[value.number] = added[value.number]
            self._holders_of(value).add(target)
            target.send_value(value)
        return numbers

    def _make_room(self, target: Target, added: dict[int, int], needed: frozenset[int]) -> None:
        """Let a target drop values that were used longest ago, and are not needed now."""
        sizes = target.has_sent.values
        total = sum(sizes.values()) + sum(added.values())
        for number in list(sizes):
            if len(sizes) + len(added) <= target.VALUES and total <= target.room_for_values:
                return
            if number not in needed:
                total -= sizes[number]
                self._drop(target, number)
                self._part(target, number)

    def _part(self, target: Target, number: int) -> None:
        """Note that a target does not have a value any more."""
        holders = self._holders[number][1]
        holders.discard(target)
        if not holders:
            del self._holders[number]

    def _holders_of(self, value: Value) -> set[Target]:
        entry = self._holders.get(value.number)
        if entry is None:
            gone = partial(self._tell, partial(self._collected, value.number))
            entry = self._holders[value.number] = weakref.ref(value, lambda _: gone()), set()
        return entry[1]

    def _collected(self, number: int) -> None:
        _, holders = self._holders.pop(number, (None, set()))
        for target in holders:
            self._drop(target, number)

    def _drop(self, target: Target, number: int) -> None:
        del target.has_sent.values[number]
        target.send_drop(number)
        self._due.add(target)

    def leave(self, target: Target) -> None:
        """Forget what a target has: it is gone."""
        for number in target.has_sent.values:
            self._part(target, number)
        target.has_sent.values.clear()
