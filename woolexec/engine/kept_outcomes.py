"""
The kept outcomes of an engine: where they are, who waits for them, and what happens when one is lost.

A kept outcome exists only at the peer that made it until it is needed elsewhere.  Another peer fetches it from there,
and may take over the role of the first one.  For a worker here, and for a peer that cannot fetch it, it is fetched to
this process, once, and sent on.
"""

from __future__ import annotations

from functools import partial

from woolexec.engine.sent_values import SentValues, sharing_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from woolexec.engine.sent_values import Entry, Target
    from woolexec.errors import ValueLostError
    from woolexec.futures.kept_value import KeptValue


class KeptOutcomes(SentValues):
    """The values that the targets of one engine have, with outcomes that stay there; see `SentValues`."""

    def __init__(self, tell: Callable[[Callable[[], object]], object], due: set[Any]) -> None:
        super().__init__(tell, due)
        self.on_loss: Callable[[KeptValue, Iterable[Any], BaseException], object] = _fail
        """Called with a lost value, the targets whose calls wait for it, and the error."""
        self.on_losses: Callable[[], object] = _nothing
        """Called after one or several of these calls."""
        self.pending: set[KeptValue] = set()
        """Those that are being made again."""
        self.check: Callable[[], object] = _nothing
        """Raises an exception where nothing can be fetched: in a forked child."""
        self._is_ending = False

    def leave(self, target: Target) -> None:
        """Forget the values of a target that is gone."""
        super().leave(target)
        for number in list(target.has_sent.kept):
            self.lose(target, number)
        self.on_losses()

    def end(self) -> None:
        """Make no value again from now on: the engine is about to end."""
        self.on_loss, self.on_losses, self._is_ending = _fail, _nothing, True

    def close(self) -> None:
        """Mark the values that were not fetched as lost: the engine has ended."""
        self.end()
        entries, self._entries = self._entries, {}
        for number, entry in entries.items():
            value: Any = entry.value()
            if value is not None and value.is_away and value.failure is None:
                value.fail(self._loss_of(value, _home(entry, number)))
        for value in list(self.pending):
            value.fail(self._loss_of(value, None))

    def kept(
        self, target: Any, number: int, size: int, task: str, key: bytes = b"", value: KeptValue | None = None
    ) -> KeptValue:
        """
        Note that a target keeps the outcome of a task; return the value.

        :param size: its size in bytes
        :param key: the key with which other targets fetch it there
        :param value: the lost value that has been made again
        """
        from woolexec.futures.kept_value import KeptValue

        if value is None:
            value = KeptValue(number, size, self, task)
        value.number, value.home = number, target.name
        entry = self._entry_of(value)
        entry.targets.add(target)
        sharing_of(entry).hold(target, key)
        target.has_sent.kept[number] = size
        return value

    def ask(self, value: KeptValue) -> None:
        """Fetch a value; from any thread."""
        self.check()
        self._tell(partial(self.bring, value.number))

    def bring(self, number: int, target: Target | None = None) -> None:
        """Fetch a value for a target, unless it is on its way or gone."""
        entry = self._entries.get(number)
        if entry is None:
            return
        if entry.wanted is None:
            holder, value = _home(entry, number), entry.value()
            if holder is None or value is None or not value.is_away:
                return  # it is here, or its loss is known to all that refer to it
            entry.wanted = []
            holder.send_fetch(number)
            self._due.add(holder)
        if target is not None:
            entry.wanted.append(target)

    def bring_all(self, target: Target) -> None:
        """Fetch all kept outcomes of a target that is about to leave."""
        for number in target.has_sent.kept:
            self.bring(number)

    def is_fetching(self, target: Target) -> bool:
        """Return whether kept outcomes of this target are being fetched."""
        return any(
            number in self._entries and self._entries[number].wanted is not None for number in target.has_sent.kept
        )

    def arrived(self, target: Target, number: int, payload: Any, key: bytes = b"") -> None:
        """
        Take a value that was fetched, and send it on; without a payload, note that the target itself has it now.

        :param payload: an OSError if no descriptor or memory was left for it
        :param key: the key with which other targets fetch it there
        """
        entry = self._entries.get(number)
        if entry is None:
            return  # it was collected meanwhile
        if entry.sharing is not None and target in entry.sharing.taking and payload == b"":
            entry.sharing.hold(target, key)
            self._share(entry)
            return
        if number not in target.has_sent.kept or entry.wanted is None:
            return
        if isinstance(payload, OSError):
            self.lose(target, number, payload)
            self.on_losses()
            target.send_drop(number)
            self._due.add(target)
            return
        value: Any = entry.value()
        waiting, entry.wanted = entry.wanted, None
        if value is None:
            return
        value.settle(payload)
        for each in waiting:
            self._give(entry, each)

    def lose(self, target: Target, number: int, error: BaseException | None = None) -> None:
        """Note that a target no longer has a kept outcome, or could not fetch it, which may mean that it is lost."""
        entry = self._entries.get(number)
        if entry is not None and entry.sharing is not None and entry.sharing.fail(target):
            self._give(entry, target)
            self._share(entry)
            return
        size = target.has_sent.kept.pop(number, None)
        if size is None or entry is None:
            return
        value: Any = entry.value()
        waiting, entry.wanted = entry.wanted or [], None
        if value is not None:
            value.home = ""
        entry.targets.discard(target)
        sharing = sharing_of(entry)
        sharing.holders.pop(target, None)
        if value is not None and value.is_away and sharing.holders:
            self._move(value, next(iter(sharing.holders)), size)
        elif value is None or value.is_away:
            self._lost(entry, number, value, error or self._loss_of(value, target))
            return
        for each in waiting:
            self._give(entry, each)
        self._give_instead(entry, target)
        self._share(entry)
        if value.is_wanted:
            self.bring(number)
        if not entry.targets:
            self._entries.pop(number, None)

    def _lost(self, entry: Entry, number: int, value: KeptValue | None, error: BaseException) -> None:
        """Stop all waits for a value that no target has."""
        del self._entries[number]
        for target in entry.targets:
            self._drop(target, number)  # a target that was fetching it may still succeed
        if value is not None and value.failure is None:
            self.on_loss(value, list(entry.targets), error)

    def _move(self, value: Any, target: Any, size: int) -> None:
        """Note that a value is now kept by a target that fetched it."""
        target.has_sent.values.pop(value.number, None)
        target.has_sent.kept[value.number] = size
        value.home = target.name

    def _loss_of(self, value: KeptValue, target: Any) -> ValueLostError:
        from woolexec.errors import ValueLostError

        where = "a peer" if target is None else target.name
        why, helps = "the link to that peer has ended", "use idempotent=True, retries=, or no keep=True"
        if self._is_ending:
            why, helps = "its pool was shut down", "call result() before"
        elif value.is_forgotten:
            helps = "use a larger lineage_limit"
        error = ValueLostError(
            f"the value of {value.task} is lost: {where} kept it, and {why}; to prevent this, {helps}"
        )
        error.task, error.host = value.task, None if target is None else target.candidate.host
        return error


def _home(entry: Entry, number: int) -> Target | None:
    """Return the target that keeps an outcome."""
    return next((target for target in entry.targets if number in target.has_sent.kept), None)


def _nothing() -> None:
    """Do nothing."""


def _fail(value: KeptValue, _targets: Iterable[Any], error: BaseException) -> None:
    value.fail(error)
