"""Ends tasks by force: one that is selected in a dashboard or in ``top``, or all that are left after a shutdown."""

from __future__ import annotations

from woolexec.engine.snapshot import tasks
from woolexec.engine.stacks import running
from woolexec.futures.call_future import Nobody

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.engine.rounds import Rounds


def end_task(rounds: Rounds, number: int, pid: int) -> bool:
    """
    Cancel a task that runs in a worker here, by the number under which `stacks` lists it; in the engine's thread.

    :param pid: the process of the worker
    :return: False if it does not run there, or has just ended
    """
    rounds.dispatcher.take_inbox()
    rounds.dispatcher.revoke_permits()  # so that calls that were sent directly are known
    for worker in [each for each in rounds.supervisor.workers.values() if each.known_pid == pid]:
        for call, _ in running(worker, 0.0):
            receiver = call.receiver
            if call.number == number and not isinstance(receiver, Nobody):  # it was cancelled already
                ended: list[bool] = []
                rounds.cancellation.cancel(call, ended.append, force=True)
                if ended[0]:
                    receiver.deliver_failure(call, None)
                return ended[0]
    return False


def end_all(rounds: Rounds, seconds: float | None, told: list[str]) -> None:
    """
    End all tasks by force; in the engine's thread.

    :param seconds: how long they were given to end
    :param told: receives the message of their error
    """
    found = tasks(rounds.scheduler)
    waited = found.held + found.queued + found.sent
    told.append(f"{found.running} tasks ran and {waited} waited {seconds:g} s after shutdown, and were ended by force")
    rounds.end_by_force(told[0])
