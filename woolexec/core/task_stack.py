"""What a task is doing now: its stack, as `stacks` of a pool returns it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class TaskStack:
    """
    A task that runs, and where it is.

    `task` is what ``current_task().id`` is there, and `function` the task's name.  `seconds` is how long it has run,
    0 if that is not known.
    `stack` is like that of a traceback, the most recent call last, and empty if it is not known; `note` says why, or
    what is special about it.  `peer` is the address of the peer that runs it, empty on this machine's own workers, and
    `client` says whose task it is if it is not ours.
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
        """Return all of it as text."""
        where = f"worker {self.pid} on {self.host}" + (f" (peer at {self.peer})" if self.peer else "")
        since = f"running for {self.seconds:.3f} s in" if self.seconds else "in"
        head = f"{self.function} (task {self.task}), {since} {where}"
        head += f", of {self.client}" if self.client else ""
        head += f"; {self.note}" if self.note else ""
        return f"{head}\n{self.stack}".rstrip("\n")


class Stacks(tuple[TaskStack, ...]):
    """The tasks that run; printed, it is all of their stacks."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return all of them as text."""
        return "\n\n".join(map(str, self)) or "no task is running"

    def as_dict(self) -> list[dict[str, Any]]:
        """Return them as dictionaries, which JSON can represent."""
        return [asdict(each) for each in self]
