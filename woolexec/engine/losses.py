"""What becomes of the calls that need a kept outcome, when that is lost with its peer."""

from __future__ import annotations

from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.core.scheduler import Scheduler
    from woolexec.engine.cancellation import Cancellation
    from woolexec.futures.kept_value import KeptValue


class Losses:
    """Ends the calls that wait for what is lost: at other peers, or in a queue."""

    def __init__(self, scheduler: Scheduler, cancellation: Cancellation) -> None:
        self._scheduler, self._cancellation = scheduler, cancellation

    def end_calls(self, value: KeptValue, targets: Iterable[Any]) -> None:
        """
        End the calls that need a value.

        :param targets: where calls wait for it that were sent there
        """
        for target in targets:
            for place in (target, target.lane_place):
                for call in list(place.outstanding.values()):
                    if value in getattr(call.payload, "values", ()):
                        ended = partial(_ended, call.receiver, call, value.failure)
                        self._cancellation.cancel(call, ended, force=True)
        self._scheduler.away.look()


def _ended(receiver: Any, call: Call, failure: BaseException | None, cancelled: bool) -> None:  # noqa: FBT001  # a callback
    if cancelled:
        receiver.deliver_failure(call, failure)
