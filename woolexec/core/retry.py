"""Whether a call that failed is run again."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.options import TaskOptions

IDEMPOTENT_RETRIES = 3
"""How often a task declared idempotent is run again after worker losses, unless `retries` is larger."""

NOT_STARTED = "woolexec.errors:WorkerStartError"
LOST = "woolexec.errors:WorkerLostError"


def retries_left(options: TaskOptions | None, attempts: int, types: Sequence[str]) -> bool:
    """
    Return whether a task that failed may be started again.

    :param attempts: number of times it has been started
    :param types: names of the exception's classes, as ``module:qualname``
    """
    if options is None:
        return False
    if LOST in types:
        limit = max(options.retries, IDEMPOTENT_RETRIES if options.idempotent else 0)
        return attempts <= limit
    return attempts <= options.retries and not options.retry_on.isdisjoint(types)
