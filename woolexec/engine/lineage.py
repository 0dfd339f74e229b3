"""
What happens to a kept outcome that is lost with its peer, and to the calls that need it.

If its task may be started again after a loss, an ordinary call makes the value again; it waits for its own inputs if
these are being made again too.  The value keeps its identity, in another place; the calls that need it are held
meanwhile.  At most one such call is made for each loss.  Otherwise the calls that need the value fail.

A value that may be made again refers to its call, and so to the arguments; their total size is bounded.
"""

from __future__ import annotations

from functools import partial

import woolexec.futures.kept_value  # noqa: F401  # not when it is needed: no descriptor may be left then
from woolexec.core.held import line_up
from woolexec.core.retry import LOST, retries_left
from woolexec.room import Room
from woolexec.wire.exceptions import RemakingFailed
from woolexec.wire.values import KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.cancellation import Cancellation
    from woolexec.engine.kept_outcomes import KeptOutcomes
    from woolexec.engine.transport import Remote
    from woolexec.futures.kept_value import KeptValue
    from woolexec.wire.exceptions import LateFailure

_SHARE = 0.1
"""The default limit, as a fraction of the memory that this process may use."""


class Lineage:
    """
    The calls that made kept outcomes.  All of it runs in the engine's thread.

    :param limit: maximum size of their arguments, in bytes; None: a tenth of the memory that this process may use
    """

    def __init__(
        self, scheduler: Scheduler, cancellation: Cancellation, values: KeptOutcomes, limit: int | None = None
    ) -> None:
        self._scheduler, self._cancellation, self._values = scheduler, cancellation, values
        self.room = Room(limit, _SHARE)
        """Counts the bytes of their arguments."""

    def kept(self, link: Remote, call: Call, size: int, key: bytes) -> None:
        """Take the outcome of a call, which a link keeps; remember how it was made, if it may be made again."""
        remade = call.receiver.value if isinstance(call.receiver, Remaking) else None
        value = self._values.kept(link, KEPT | call.number, size, call.name, key, remade)
        self._note(value, call)
        call.receiver.deliver_kept(call, value)
        if not link.ready:  # it is about to leave
            self._values.bring(value.number)

    def _note(self, value: KeptValue, call: Call) -> None:
        if not retries_left(call.options, call.attempts, (LOST,)):
            return
        value.origin = call.anew(None)  # type: ignore[arg-type]  # a new one with a receiver is made from it
        self.room.add(value.number, value, len(call.payload))
        while (forgotten := self.room.excess()) is not None:
            self.room.forget(forgotten.number)
            forgotten.origin, forgotten.is_forgotten = None, True

    def lost(self, value: KeptValue, targets: Iterable[Any], error: BaseException) -> None:
        """
        Make a lost value again, or fail the calls that need it.

        :param targets: the targets to which calls that wait for it were sent
        """
        origin, value.origin = value.origin, None
        if origin is None:
            value.fail(error)
        else:
            self.room.forget(value.number)
            value.is_pending = True
            self._values.pending.add(value)
        for target in targets:
            for place in (target, target.lane_place):
                for call in list(place.outstanding.values()):
                    if value in getattr(call.payload, "values", ()) and call not in getattr(place, "wanted", ()):
                        self._take_back(call, value)
        if origin is not None:
            self._add(origin.anew(Remaking(value, self._made)))

    def _take_back(self, call: Call, value: KeptValue) -> None:
        """Recall a call that waits for a value; not by force, because a peer may have received it and started it."""
        if call.line is not None and call.line.actor is not None:  # it keeps its place among those of its actor
            self._scheduler.recall(call.place, since=call.number)
            return
        self._cancellation.cancel(call, partial(self._taken_back, call, call.receiver, value), force=False)

    def _add(self, call: Call) -> None:
        line_up(call)
        self._scheduler.add(call)

    def _taken_back(self, call: Call, receiver: Any, value: KeptValue, cancelled: bool) -> None:  # noqa: FBT001
        if not cancelled:
            return
        if value.failure is not None:
            receiver.deliver_failure(call, value.failure)
            return
        again = call.anew(receiver)
        if hasattr(receiver, "outstanding_call"):
            receiver.outstanding_call = again
        self._add(again)

    def _made(self, value: KeptValue, failure: LateFailure | None) -> None:
        value.is_pending = False
        self._values.pending.discard(value)
        if failure is not None:
            value.fail(failure)
        elif value.is_away and value.is_wanted:
            self._values.bring(value.number)
        self._scheduler.away.made(value)


class Remaking:
    """
    Receives the outcome of a call that makes a value again.

    :param done: called with the value and, if it was not made, the reason
    """

    def __init__(self, value: KeptValue, done: Callable[[KeptValue, LateFailure | None], object]) -> None:
        self.value = value
        self._done = done

    def deliver(self, call: Call, payload: Any) -> None:
        """Take the value, which has come here."""
        self.value.settle(payload)
        self._done(self.value, None)

    def deliver_context(self, call: Call, context: bytes, payload: Any) -> None:
        """Take the value, which has come here."""
        self.deliver(call, payload)

    def deliver_kept(self, call: Call, value: KeptValue) -> None:
        """Note that another peer keeps the value now."""
        self._done(self.value, None)

    def deliver_failure(self, call: Call, payload: Any) -> None:
        """Note that the value could not be made."""
        self._done(self.value, RemakingFailed(payload, call.name))
