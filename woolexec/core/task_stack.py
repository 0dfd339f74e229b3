"""What a task is doing now: its stack, as `stacks` of a pool returns it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class TaskStack:
    """
    A running task and its stack.

    `task` is the value of ``current_task().id`` in the task, and `function` the task's name.  `seconds` is how long it
    has run, 0 if unknown.
    `stack` has the form of a traceback, the most recent call last, and is empty if unknown; `note` says why, or what is
    special about it.  `peer` is the address of the peer that runs it, empty for workers of this machine, and `client`
    names the client if it is not this process.
    """

    task: int
    function: str
    seconds: float
    host: str
    pid: int
    stack: str = ""
    note: str = ""
    peer: str = ""
    client: str = ""

    def __str__(self) -> str:
        """Return the task and its stack as text."""
        where = f"worker {self.pid} on {self.host}" + (f" (peer at {self.peer})" if self.peer else "")
        since = f"running for {self.seconds:.3f} s in" if self.seconds else "in"
        head = f"{self.function} (task {self.task}), {since} {where}"
        head += f", of {self.client}" if self.client else ""
        head += f"; {self.note}" if self.note else ""
        return f"{head}\n{self.stack}".rstrip("\n")


class Stacks(tuple[TaskStack, ...]):
    """A list of running tasks; ``print`` shows all their stacks."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return all stacks as text."""
        return "\n\n".join(map(str, self)) or "no task is running"

    def as_dict(self) -> list[dict[str, Any]]:
        """Return the tasks as dictionaries, ready for JSON."""
        return [asdict(each) for each in self]
