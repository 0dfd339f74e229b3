"""Information about the running task; a separate module because creating a named tuple's class takes a millisecond."""

from __future__ import annotations

from typing import NamedTuple

from woolexec.worker import nested_tasks


class TaskInfo(NamedTuple):
    """
    Information about a running task.

    `id` is different for each attempt; `attempt` counts from 1; `parent` is the id of the task that submitted this one,
    or None.
    """

    id: int
    name: str
    attempt: int
    parent: int | None


def current_task() -> TaskInfo | None:
    """Return information about the task that runs here; None outside of a task."""
    job = nested_tasks.current_job()
    if job is None:
        return None
    return TaskInfo(job.number, job.name, job.frame.attempt + 1, job.frame.parent or None)
