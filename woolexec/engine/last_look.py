"""
The last stack of a call, for the error that it ends with: taken just before its worker is ended.

This delays the end by one request to the worker, which takes a few milliseconds if the worker can answer.
"""

from __future__ import annotations

from woolexec.engine.diagnostics import stack_note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.core.call import Call
    from woolexec.core.task_stack import TaskStack
    from woolexec.engine.stacks import Inspection
    from woolexec.engine.worker_process import Worker

LONGEST = 0.5
"""Seconds that a worker has to answer."""

SHORT = 0.1
"""Seconds; a call with a shorter timeout is ended at once: it would often end by itself meanwhile."""


class LastLook:
    """
    Looks at calls that are about to be ended; in the engine's thread.

    :param inspection: asks the workers; made when it is first needed
    """

    def __init__(self, inspection: Callable[[], Inspection]) -> None:
        self._inspection = inspection
        self._seen: dict[int, TaskStack | None] = {}  # calls that were looked at

    def is_taken(self, worker: Worker, call: Call, go_on: Callable[[], object]) -> bool:
        """
        Return whether the stack of a call was taken, or cannot be; otherwise request it.

        :param go_on: called when it was taken; the call may have ended by then
        """
        number, options = call.number, call.options
        is_short = options is not None and options.timeout is not None and options.timeout < SHORT
        if number in self._seen or is_short or not worker.page.is_ready:
            return True
        is_here = True

        def take(stacks: list[TaskStack]) -> None:
            self._seen[number] = next((each for each in stacks if each.task == number), None)
            if not is_here:
                go_on()
                self._seen.pop(number, None)  # in case it has ended meanwhile

        self._inspection().look(worker, take, LONGEST)
        is_here = False
        return number in self._seen

    def add_to(self, error: BaseException, call: Call) -> None:
        """Add the stack of a call to its error."""
        seen = self._seen.pop(call.number, None)
        if seen is not None and seen.stack:
            error.add_note(stack_note(seen.stack, seen.note))
