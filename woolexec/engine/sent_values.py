"""
Which targets of an engine have which values; for what a value is see `woolexec.wire.values`.

A target keeps what it was sent until the value is collected here, or until newer ones need its room.  A value that a
queued or running call needs is never collected, because the call refers to it.

A kept outcome is with the peer that made it, and nowhere else until somebody needs it.  Another peer is told to fetch
it from there; if it cannot, and for a worker here, it is fetched to this process, once, and sent on to the targets
whose calls need it.  Those calls are there already, and wait for it.
"""

from __future__ import annotations

import weakref
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, ClassVar, Protocol

    from woolexec.errors import ValueLostError
    from woolexec.futures.kept_value import KeptValue
    from woolexec.wire.values import Value

    class Sent(Protocol):
        """What a target has, by number: the sizes of values, in bytes."""

        values: dict[int, int]
        """Those that it was sent; the one used last is the last."""
        kept: dict[int, int]
        """Outcomes that stayed there."""

    class Target(Protocol):
        """A worker, or a link to a peer: see `woolexec.engine.transport`."""

        VALUES: ClassVar[int]
        room_for_values: int

        @property
        def has_sent(self) -> Sent:
            """What it has."""

        def send_value(self, value: Value) -> None:
            """Send a value."""

        def send_drop(self, number: int) -> None:
            """Let it forget a value."""

        def send_fetch(self, number: int) -> None:
            """Ask it for an outcome that stayed there."""

        def send_pull(self, value: Value, holder: Any) -> bool:
            """Let it fetch an outcome from the target that has it; return False if it cannot."""


class SentValues:
    """
    The values that the targets of one engine have.

    :param tell: runs a function in the engine's thread soon; from any thread
    :param due: what the engine flushes at the end of a round
    """

    def __init__(self, tell: Callable[[Callable[[], object]], object], due: set[Any]) -> None:
        self._tell, self._due = tell, due
        self.on_loss: Callable[[KeptValue, Iterable[Any], BaseException], object] = _fail
        """Called with a lost value, the targets whose calls wait for it, and the error that says so."""
        self.on_losses: Callable[[], object] = _nothing
        """Called after one or several of these calls."""
        self.pending: set[KeptValue] = set()
        """Those that are being made again."""
        self.check: Callable[[], object] = bool
        """Raises an exception where nothing can be fetched: in a forked child."""
        self._holders: dict[int, tuple[weakref.ref[Value], set[Target]]] = {}
        self._wanted: dict[int, list[Target]] = {}
        """The kept outcomes that are on their way here, with the targets that are to be sent them."""
        self._pulling: dict[int, set[Target]] = {}
        """The targets that are fetching a kept outcome from the one that has it."""
        self._copies: dict[int, set[Target]] = {}
        """Those that have done so."""

    def __len__(self) -> int:
        return len(self._holders)

    # -- what is sent -------------------------------------------------------------------------------------------

    def send(self, target: Target, values: Sequence[Value]) -> tuple[int, ...]:
        """Send a target those of the values that it does not have; return the numbers of all."""
        sizes, kept = target.has_sent.values, target.has_sent.kept
        numbers = tuple(value.number for value in values)
        missing = [value for value in values if not (value.number in sizes or value.number in kept)]
        for number in numbers:
            if number in sizes:
                sizes[number] = sizes.pop(number)  # the last one is the one used last
        added = {value.number: value.size for value in missing}
        if missing:
            self._make_room(target, added, frozenset(numbers))
        for value in missing:
            sizes[value.number] = added[value.number]
            if value.is_away:
                self._bring_to(target, value)
            else:
                self._give(target, value)
        return numbers

    def _give(self, target: Target, value: Value) -> None:
        self._holders_of(value).add(target)
        target.send_value(value)

    def _make_room(self, target: Target, added: dict[int, int], needed: frozenset[int]) -> None:
        """Let a target drop values that were used longest ago, and are not needed now."""
        sizes = target.has_sent.values
        total = sum(sizes.values()) + sum(added.values())
        in_use: frozenset[int] | None = None
        for number in list(sizes):  # the one used longest ago is the first
            if len(sizes) + len(added) <= target.VALUES and total <= target.room_for_values:
                return
            if in_use is None:
                in_use = needed | _in_use(target)
            if number not in in_use:
                total -= sizes[number]
                self._drop(target, number)
                self._part(target, number)

    def _bring_to(self, target: Target, value: Value) -> None:
        number = value.number
        holder = self._home(number)
        if holder is not None and number not in self._wanted and target.send_pull(value, holder):
            self._holders_of(value).add(target)
            self._pulling.setdefault(number, set()).add(target)
            self._due.add(target)
        else:
            self.bring(number, target)

    def _home(self, number: int) -> Target | None:
        _, holders = self._holders.get(number, (None, set()))
        return next((each for each in holders if number in each.has_sent.kept), None)

    def _part(self, target: Target, number: int) -> None:
        """Note that a target does not have a value any more."""
        if number not in self._holders:
            return
        holders = self._holders[number][1]
        holders.discard(target)
        for others in (self._pulling, self._copies):
            others.get(number, set()).discard(target)
        if not holders:
            self._forget(number)

    def _holders_of(self, value: Value) -> set[Target]:
        entry = self._holders.get(value.number)
        if entry is None:
            gone = partial(self._tell, partial(self._collected, value.number))
            entry = self._holders[value.number] = weakref.ref(value, lambda _: gone()), set()
        return entry[1]

    def _collected(self, number: int) -> None:
        for target in self._forget(number):
            self._drop(target, number)

    def _forget(self, number: int) -> set[Target]:
        """Forget a value; return the targets that have it."""
        for others in (self._wanted, self._pulling, self._copies):
            others.pop(number, None)
        return self._holders.pop(number, (None, set()))[1]

    def _drop(self, target: Target, number: int) -> None:
        target.has_sent.values.pop(number, None)
        target.has_sent.kept.pop(number, None)
        target.send_drop(number)
        self._due.add(target)

    def leave(self, target: Target) -> None:
        """Forget what a target has: it is gone."""
        for number in target.has_sent.values:
            self._part(target, number)
        for waiting in self._wanted.values():
            if target in waiting:
                waiting.remove(target)
        for number in list(target.has_sent.kept):
            self.lose(target, number)
        target.has_sent.values.clear()
        self.on_losses()

    def end(self) -> None:
        """Let nothing be made again from now on: the engine is about to end."""
        self.on_loss, self.on_losses = _fail, _nothing

    def close(self) -> None:
        """Lose what was not fetched: the engine has ended."""
        self.end()
        while self._holders:
            number, (_, holders) = next(iter(self._holders.items()))
            for target in list(holders):
                self.lose(target, number)
            self._forget(number)
        for value in list(self.pending):
            value.fail(_loss_of(value, None))

    # -- kept outcomes --------------------------------------------------------------------------------------------

    def kept(self, target: Any, number: int, size: int, task: str, value: KeptValue | None = None) -> KeptValue:
        """
        Note that the outcome of a task has stayed with a target; return it.

        :param size: bytes of it
        :param value: what was lost and has been made again
        """
        from woolexec.futures.kept_value import KeptValue

        if value is None:
            value = KeptValue(number, size, self, task)
        value.number, value.home = number, target.name
        self._holders_of(value).add(target)
        target.has_sent.kept[number] = size
        return value

    def ask(self, value: KeptValue) -> None:
        """Fetch a value; from any thread."""
        self.check()
        self._tell(partial(self.bring, value.number))

    def bring(self, number: int, target: Target | None = None) -> None:
        """Fetch a value, unless it is on its way or gone; a target is to be sent it."""
        waiting = self._wanted.get(number)
        if waiting is None:
            holder = self._home(number)
            value = None if holder is None else self._holders[number][0]()
            if holder is None or value is None or not value.is_away:
                return  # its loss is known to all that refer to it; or it is here
            waiting = self._wanted[number] = []
            holder.send_fetch(number)
            self._due.add(holder)
        if target is not None:
            waiting.append(target)

    def bring_all(self, target: Target) -> None:
        """Fetch all kept outcomes of a target, which is about to leave."""
        for number in target.has_sent.kept:
            self.bring(number)

    def is_fetching(self, target: Target) -> bool:
        """Return whether kept outcomes of this target are on their way."""
        return any(number in self._wanted for number in target.has_sent.kept)

    def arrived(self, target: Target, number: int, payload: Any) -> None:
        """
        Take a value that was fetched, and send it on; without a payload, note that the target itself has fetched it.

        :param payload: an OSError if no descriptor or memory was left for it
        """
        if target in self._pulling.get(number, ()) and not isinstance(payload, OSError) and not len(payload):
            self._pulling[number].discard(target)
            self._copies.setdefault(number, set()).add(target)
            return
        if number not in target.has_sent.kept or number not in self._wanted:
            return  # it was collected meanwhile
        if isinstance(payload, OSError):
            self.lose(target, number, payload)
            self.on_losses()
            target.send_drop(number)
            self._due.add(target)
            return
        value: Any = self._holders[number][0]()
        waiting = self._wanted.pop(number)
        if value is None:
            return
        value.settle(payload)
        for each in waiting:
            self._give(each, value)
            self._due.add(each)

    def lose(self, target: Target, number: int, error: BaseException | None = None) -> None:
        """Note that a target does not have a kept outcome any more, or could not fetch it; it may be lost by that."""
        if target in self._pulling.get(number, ()):
            self._pulling[number].discard(target)
            self._holders[number][1].discard(target)
            self._send_through_here(target, number, self._holders[number][0]())
            return
        size = target.has_sent.kept.pop(number, None)
        if size is None:
            return
        value: Any = self._holders[number][0]() if number in self._holders else None
        copies, pulling = self._copies.get(number, set()), self._pulling.pop(number, set())
        waiting = [*self._wanted.pop(number, []), *pulling]
        self._part(target, number)
        is_lost = value is None or (value.is_away and not copies)
        if value is not None:
            value.home, value.key = "", b""
        if not is_lost:
            if copies:
                self._move(value, copies.pop(), size)
            for each in waiting:
                each.has_sent.values[number] = size
                self._send_through_here(each, number, value)
            if value.is_wanted:
                self.bring(number)
            return
        for each in pulling:  # it may succeed all the same
            self._part(each, number)
            self._drop(each, number)
        for each in waiting:
            each.has_sent.values.pop(number, None)
        if value is not None and value.failure is None:
            self.on_loss(value, waiting, error or _loss_of(value, target))

    def _send_through_here(self, target: Target, number: int, value: Any) -> None:
        """Send a target, whose calls wait for it, a value that it could not fetch for itself."""
        if value is None:
            return
        if value.is_away:
            self.bring(number, target)
        else:
            self._give(target, value)
            self._due.add(target)

    def _move(self, value: Any, target: Any, size: int) -> None:
        """Note that a value is now kept by a target that had fetched it."""
        target.has_sent.values.pop(value.number, None)
        target.has_sent.kept[value.number] = size
        value.home = target.name


def _in_use(target: Any) -> frozenset[int]:
    """Return the numbers of the values that calls need which a target has been sent: it may not have the values yet."""
    places = (target, getattr(target, "lane_place", None))
    calls = [call for place in places for call in getattr(place, "outstanding", {}).values()]
    return frozenset(value.number for call in calls for value in getattr(call.payload, "values", ()))


def _nothing() -> None:
    """Do nothing."""


def _fail(value: KeptValue, _targets: Iterable[Any], error: BaseException) -> None:
    value.fail(error)


def _loss_of(value: KeptValue, target: Any) -> ValueLostError:
    from woolexec.errors import ValueLostError

    where = "a peer" if target is None else target.name
    helps = "a larger lineage_limit" if value.is_forgotten else "idempotent=True, retries=, or no keep=True"
    error = ValueLostError(
        f"the value of {value.task} is lost: it had stayed with {where}, and the link to that has ended; "
        f"{helps} would have helped"
    )
    error.task, error.host = value.task, None if target is None else target.candidate.host
    return error
