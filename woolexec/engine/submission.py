"""Submit calls that other processes have sent: clients of a peer, and running calls that submit nested tasks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.call import Call


def submit(call: Call, trouble: BaseException | None, add: Callable[[Call], object]) -> None:
    """
    Submit a call, or fail it at once.

    :param trouble: why it cannot be run, if known
    :param add: queues it
    """
    receiver = call.receiver
    receiver.outstanding_call = call
    if isinstance(call.payload, OSError):  # no descriptor was left to receive it
        trouble = call.payload
    if trouble is None:
        add(call)
    else:
        receiver.deliver_failure(call, trouble)
